#include "daemon/base/log.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <mutex>

#include "daemon/base/clock.h"
#include "daemon/base/text.h"

namespace gatehouse {

namespace {

struct Sink {
  std::atomic<Level> level{Level::kInfo};
  std::atomic<int> descriptor{2};
  std::mutex capturing;
  std::string* captured = nullptr;  // Guarded by `capturing`.

  void write(std::string_view line) {
    {
      const std::lock_guard lock(capturing);
      if (captured) {
        captured->append(line);
        return;
      }
    }
    // One write(2) puts a line in one piece; the loop is for signals and for full pipes that took a
    // part. A log that cannot be written is lost: there is nowhere to say so.
    const int to = descriptor.load(std::memory_order_relaxed);
    while (!line.empty()) {
      const ssize_t wrote = ::write(to, line.data(), line.size());
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote <= 0) return;
      line.remove_prefix(static_cast<std::size_t>(wrote));
    }
  }
};

Sink& sink() {
  static Sink sink;
  return sink;
}

std::string_view name_of(Level level) {
  switch (level) {
    case Level::kError: return "error";
    case Level::kWarn: return "warn";
    case Level::kInfo: return "info";
    case Level::kDebug: return "debug";
  }
  return "unknown";
}

/// Letters, digits and harmless punctuation stand as they are; all else needs quotes.
bool is_plain(std::string_view value) {
  if (value.empty()) return false;
  for (const char c : value)
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '=' || c == '\\') return false;
  return true;
}

/// What a peer sends ends up here: no byte of it may end the line, fake a field or steer a
/// terminal.
void append_quoted(std::string& line, std::string_view value) {
  line += '"';
  while (!value.empty()) {
    const char c = value.front();
    const std::size_t size = utf8_sequence_size(value);
    if (c == '"' || c == '\\') {
      line += '\\';
      line += c;
    } else if (c == '\n') {
      line += "\\n";
    } else if (c == '\r') {
      line += "\\r";
    } else if (c == '\t') {
      line += "\\t";
    } else if (size == 0) {
      line += "\\ufffd";  // Not UTF-8.
    } else if ((size == 1 && (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)) ||
               (size == 2 && c == '\xc2' && static_cast<unsigned char>(value[1]) < 0xa0)) {
      line += "\\u00";  // C0 and C1 controls.
      line += to_hex(value.substr(size - 1, 1));
    } else {
      line.append(value, 0, size);
    }
    value.remove_prefix(size == 0 ? 1 : size);
  }
  line += '"';
}

}  // namespace

void set_log_level(Level level) { sink().level.store(level, std::memory_order_relaxed); }
Level log_level() { return sink().level.load(std::memory_order_relaxed); }

void set_log_descriptor(int descriptor) {
  sink().descriptor.store(descriptor, std::memory_order_relaxed);
}

void capture_log(std::string* lines) {
  const std::lock_guard lock(sink().capturing);
  sink().captured = lines;
}

LogLine::LogLine(Level level, std::string_view event) {
  if (level > log_level()) return;
  line_.reserve(160);
  line_ += "ts=";
  line_ += format_rfc3339_ms(std::chrono::system_clock::now());
  line_ += " level=";
  line_ += name_of(level);
  line_ += " event=";
  line_ += event;
}

LogLine::~LogLine() {
  if (line_.empty()) return;
  line_ += '\n';
  sink().write(line_);
}

LogLine&& LogLine::with(std::string_view key, std::string_view value) && {
  if (line_.empty()) return std::move(*this);
  line_ += ' ';
  line_ += key;
  line_ += '=';
  if (is_plain(value)) {
    line_ += value;
  } else {
    append_quoted(line_, value);
  }
  return std::move(*this);
}

LogLine&& LogLine::with(std::string_view key, bool value) && {
  return std::move(*this).with(key, std::string_view(value ? "true" : "false"));
}

LogLine&& LogLine::with(std::string_view key, std::int64_t value) && {
  if (line_.empty()) return std::move(*this);
  return std::move(*this).with(key, std::string_view(std::to_string(value)));
}

LogLine&& LogLine::with(std::string_view key, std::uint64_t value) && {
  if (line_.empty()) return std::move(*this);
  return std::move(*this).with(key, std::string_view(std::to_string(value)));
}

}  // namespace gatehouse
