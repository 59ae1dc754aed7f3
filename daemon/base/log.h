#pragma once
// Log lines in logfmt: one event, one line, a stable dotted name first, units in the keys, never a
// secret. One sink for the process; safe from any thread; a line is written with one write(2).
//
//   log(Level::kInfo, "certificate.renewed").with("name", name).with("took_ms", 8120);
//
// prints: ts=2026-08-01T10:00:00.123Z level=info event=certificate.renewed name=shop.example ...

#include <cstdint>
#include <string>
#include <string_view>

namespace gatehouse {

enum class Level : std::uint8_t { kError, kWarn, kInfo, kDebug };

/// Lines above the level cost one comparison. Default: kInfo.
void set_log_level(Level level);
Level log_level();
/// Where lines go: a descriptor that stays open. Default: 2 (stderr).
void set_log_descriptor(int descriptor);
/// Tests: collects lines in the given string instead (null: back to the descriptor).
void capture_log(std::string* lines);

/// Builds one line; written when it goes out of scope. Values are quoted and escaped when needed.
class LogLine {
 public:
  LogLine(Level level, std::string_view event);
  ~LogLine();
  LogLine(LogLine&& other) noexcept : line_(std::move(other.line_)) { other.line_.clear(); }
  LogLine& operator=(LogLine&&) = delete;

  LogLine&& with(std::string_view key, std::string_view value) &&;
  LogLine&& with(std::string_view key, const char* value) && {
    return std::move(*this).with(key, std::string_view(value));
  }
  LogLine&& with(std::string_view key, const std::string& value) && {
    return std::move(*this).with(key, std::string_view(value));
  }
  LogLine&& with(std::string_view key, bool value) &&;
  LogLine&& with(std::string_view key, std::int64_t value) &&;
  LogLine&& with(std::string_view key, std::uint64_t value) &&;
  LogLine&& with(std::string_view key, int value) && {
    return std::move(*this).with(key, static_cast<std::int64_t>(value));
  }
  LogLine&& with(std::string_view key, unsigned value) && {
    return std::move(*this).with(key, static_cast<std::uint64_t>(value));
  }

 private:
  std::string line_;  // empty: below the level, or moved from
};

inline LogLine log(Level level, std::string_view event) { return LogLine(level, event); }

}  // namespace gatehouse
