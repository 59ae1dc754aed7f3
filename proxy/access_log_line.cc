#include "proxy/access_log_line.h"

#include <array>
#include <charconv>
#include <chrono>

#include "daemon/base/text.h"

namespace gatehouse::proxy {
namespace {

using std::chrono::milliseconds;

constexpr char kDigits[] = "0123456789abcdef";

/// Bytes that may stand inside quotes as they are; the rest is looked at closely.
constexpr std::array<bool, 256> kPlain = [] {
  std::array<bool, 256> plain{};
  for (std::size_t i = 0x20; i < 0x7f; ++i) plain[i] = i != '"' && i != '\\';
  return plain;
}();

/// Length of the part at the front that needs no escaping.
std::size_t plain_size(std::string_view text) {
  std::size_t size = 0;
  while (size < text.size() && kPlain[static_cast<unsigned char>(text[size])]) ++size;
  return size;
}

void append_number(std::string& out, std::uint64_t number) {
  char digits[20];
  const auto end = std::to_chars(digits, digits + sizeof digits, number).ptr;
  out.append(digits, end);
}

void append_milliseconds(std::string& out, Duration duration) {
  const auto count = std::chrono::duration_cast<milliseconds>(duration).count();
  append_number(out, count < 0 ? 0 : static_cast<std::uint64_t>(count));
}

std::string_view text_of(HttpVersion version) {
  switch (version) {
    case HttpVersion::kHttp10: return "HTTP/1.0";
    case HttpVersion::kHttp11: return "HTTP/1.1";
    case HttpVersion::kHttp2: return "HTTP/2";
  }
  return "-";
}

/// \" \\ and \x1f, as nginx and Apache do.
void append_escaped(std::string& out, std::string_view text) {
  if (text.empty()) {
    out.push_back('-');
    return;
  }
  while (true) {
    const std::size_t plain = plain_size(text);
    out.append(text.substr(0, plain));
    if (plain == text.size()) return;
    const auto byte = static_cast<unsigned char>(text[plain]);
    out.push_back('\\');
    if (byte == '"' || byte == '\\') {
      out.push_back(text[plain]);
    } else {
      out.push_back('x');
      out.push_back(kDigits[byte >> 4]);
      out.push_back(kDigits[byte & 15]);
    }
    text.remove_prefix(plain + 1);
  }
}

void append_quoted(std::string& out, std::string_view text) {
  out.push_back('"');
  append_escaped(out, text);
  out.push_back('"');
}

/// One character of a JSON string that is not plain; takes it off `text`.
void append_json_character(std::string& out, std::string_view& text) {
  const auto byte = static_cast<unsigned char>(text[0]);
  if (byte == '"' || byte == '\\') {
    out.push_back('\\');
    out.push_back(text[0]);
    text.remove_prefix(1);
  } else if (byte < 0x80) {  // RFC 8259 section 7; DEL is escaped for the terminal's sake
    out.append("\\u00");
    out.push_back(kDigits[byte >> 4]);
    out.push_back(kDigits[byte & 15]);
    text.remove_prefix(1);
  } else if (const std::size_t size = utf8_sequence_size(text); size == 0) {
    out.append("\\ufffd");
    text.remove_prefix(1);
  } else if (byte == 0xc2 && static_cast<unsigned char>(text[1]) < 0xa0) {  // C1 controls
    out.append("\\u00");
    out.push_back(kDigits[static_cast<unsigned char>(text[1]) >> 4]);
    out.push_back(kDigits[static_cast<unsigned char>(text[1]) & 15]);
    text.remove_prefix(2);
  } else {
    out.append(text.substr(0, size));
    text.remove_prefix(size);
  }
}

/// `key` is `,"name":` as it stands in the line.
void append_json(std::string& out, std::string_view key, std::string_view text) {
  out.append(key);
  if (text.empty()) {
    out.append("null");
    return;
  }
  out.push_back('"');
  while (!text.empty()) {
    const std::size_t plain = plain_size(text);
    out.append(text.substr(0, plain));
    text.remove_prefix(plain);
    if (!text.empty()) append_json_character(out, text);
  }
  out.push_back('"');
}

void append_json(std::string& out, std::string_view key, std::uint64_t number) {
  out.append(key);
  append_number(out, number);
}

}  // namespace

void AccessLogLine::append(AccessLogFormat format, const AccessRecord& record, std::string& out) {
  switch (format) {
    case AccessLogFormat::kOff: return;
    case AccessLogFormat::kEnvoy: return append_envoy(record, out);
    case AccessLogFormat::kJson: return append_json(record, out);
  }
}

void AccessLogLine::append_envoy(const AccessRecord& record, std::string& out) {
  out.push_back('[');
  append_time(record.start, out);
  out.append("] \"");
  append_escaped(out, record.method);
  out.push_back(' ');
  append_escaped(out, record.path);
  out.push_back(' ');
  out.append(text_of(record.version));
  out.append("\" ");
  append_number(out, static_cast<std::uint64_t>(record.status));
  out.push_back(' ');
  record.flags.append_to(out);
  out.push_back(' ');
  append_number(out, record.request_body_bytes);
  out.push_back(' ');
  append_number(out, record.response_body_bytes);
  out.push_back(' ');
  append_milliseconds(out, record.duration);
  out.push_back(' ');
  if (record.backend_time)
    append_milliseconds(out, *record.backend_time);
  else
    out.push_back('-');
  for (const auto text : {record.forwarded_for, record.user_agent, record.request_id,
                          record.authority, record.endpoint}) {
    out.push_back(' ');
    append_quoted(out, text);
  }
  out.push_back('\n');
}

void AccessLogLine::append_json(const AccessRecord& record, std::string& out) {
  using proxy::append_json;
  // Sorted by key, and with the types that Envoy gives them: the backend's time is a string there.
  append_json(out, "{\"authority\":", record.authority);
  append_json(out, ",\"bytes_received\":", record.request_body_bytes);
  append_json(out, ",\"bytes_sent\":", record.response_body_bytes);
  append_json(out, ",\"connection_termination_details\":", record.termination_details);
  append_json(out, ",\"downstream_local_address\":", record.local_address);
  append_json(out, ",\"downstream_remote_address\":", record.remote_address);
  out.append(",\"duration\":");
  append_milliseconds(out, record.duration);
  append_json(out, ",\"method\":", record.method);
  append_json(out, ",\"path\":", record.path);
  append_json(out, ",\"protocol\":", text_of(record.version));
  append_json(out, ",\"request_id\":", record.request_id);
  append_json(out, ",\"requested_server_name\":", record.server_name);
  append_json(out, ",\"response_code\":", static_cast<std::uint64_t>(record.status));
  append_json(out, ",\"response_code_details\":", record.code_details);
  out.append(",\"response_flags\":\"");
  record.flags.append_to(out);
  out.push_back('"');
  append_json(out, ",\"route_name\":", record.route_name);
  out.append(",\"start_time\":\"");
  append_time(record.start, out);
  out.push_back('"');
  append_json(out, ",\"upstream_cluster\":", record.backend_name);
  append_json(out, ",\"upstream_host\":", record.endpoint);
  append_json(out, ",\"upstream_local_address\":", record.backend_local_address);
  out.append(",\"upstream_service_time\":");
  if (record.backend_time) {
    out.push_back('"');
    append_milliseconds(out, *record.backend_time);
    out.push_back('"');
  } else {
    out.append("null");
  }
  append_json(out, ",\"upstream_transport_failure_reason\":", record.transport_failure);
  append_json(out, ",\"user_agent\":", record.user_agent);
  append_json(out, ",\"x_forwarded_for\":", record.forwarded_for);
  out.append("}\n");
}

void AccessLogLine::append_time(WallTime time, std::string& out) {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  if (!second_ || *second_ != second.time_since_epoch()) {
    second_text_ = format_rfc3339(second);
    second_text_.back() = '.';  // instead of the Z
    second_ = second.time_since_epoch();
  }
  const auto ms = std::chrono::floor<milliseconds>(time - second).count();
  out.append(second_text_);
  out.push_back(static_cast<char>('0' + ms / 100));
  out.push_back(static_cast<char>('0' + ms / 10 % 10));
  out.push_back(static_cast<char>('0' + ms % 10));
  out.push_back('Z');
}

}  // namespace gatehouse::proxy
