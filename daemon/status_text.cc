// The other half of status.h: JSON to what people read.

#include <fmt/format.h>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>

#include "daemon/base/json.h"
#include "daemon/gatehouse.h"
#include "daemon/status.h"

namespace gatehouse::daemon {

namespace json = boost::json;

namespace {
std::string text(const json::object& from, std::string_view key) {
  const json::value* value = from.if_contains(key);
  if (!value || value->is_null()) return "-";
  if (value->is_string()) return std::string(value->as_string());
  return to_text(*value);
}

bool has(const json::object& from, std::string_view key) {
  const json::value* value = from.if_contains(key);
  return value && !(value->is_bool() && !value->as_bool());
}

std::string joined(const json::object& from, std::string_view key) {
  const json::value* value = from.if_contains(key);
  std::string all;
  if (!value || !value->is_array()) return all;
  for (const json::value& entry : value->as_array()) {
    if (!all.empty()) all += " ";
    all += entry.is_string() ? std::string(entry.as_string()) : to_text(entry);
  }
  return all;
}

/// "no certificate yet" rather than a bare word; what happens next, and when.
std::string state_of(const json::object& certificate) {
  if (has(certificate, "is_temporary")) return "temporary";
  return text(certificate, "state");
}

std::string next_of(const json::object& certificate) {
  if (certificate.contains("step"))
    return text(certificate, "step") + " since " + text(certificate, "step_since");
  if (!certificate.contains("next_action")) return "-";
  return text(certificate, "next_action") + " at " + text(certificate, "next_time");
}

std::string table(const json::array& certificates) {
  std::string out = fmt::format("{:<32} {:<10} {:<20} {:<18} {}\n", "CERTIFICATE", "STATE",
                                "NOT AFTER", "ISSUER", "NEXT");
  for (const json::value& entry : certificates) {
    if (!entry.is_object()) continue;
    const json::object& certificate = entry.as_object();
    out += fmt::format("{:<32} {:<10} {:<20} {:<18} {}\n", text(certificate, "name"),
                       state_of(certificate), text(certificate, "not_after"),
                       text(certificate, "issuer"), next_of(certificate));
    if (const json::value* error = certificate.if_contains("last_error");
        error && error->is_object())
      out += fmt::format("  last error ({}, {}): {}\n", text(error->as_object(), "at"),
                         text(error->as_object(), "issuer"), text(error->as_object(), "message"));
    if (certificate.contains("not_saved"))
      out += fmt::format("  not saved: {}\n", text(certificate, "not_saved"));
  }
  return out;
}

Error not_status() {
  return Error{Fault::kInvalid, "the daemon's answer is not what was expected"};
}

std::string html_escaped(std::string_view from) {
  std::string out;
  for (const char c : from) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out.push_back(c);
    }
  }
  return out;
}
}  // namespace

Result<std::string> status_text(std::string_view from) {
  auto value = parse_json(from, {.bytes = 256 * 1024 * 1024});
  if (!value || !value->is_object()) return not_status();
  const json::object& status = value->as_object();
  std::string out = fmt::format("Gatehouse {}, up {} s, {}\n", text(status, "version"),
                                text(status, "uptime_s"), text(status, "config"));
  if (has(status, "is_draining")) out += "draining: no new connections\n";
  if (const json::value* listeners = status.if_contains("listeners");
      listeners && listeners->is_array()) {
    out += "listening:";
    for (const json::value& entry : listeners->as_array())
      if (entry.is_object())
        out += fmt::format(" {}://{}", text(entry.as_object(), "protocol"),
                           text(entry.as_object(), "address"));
    out += "\n";
  }
  out += fmt::format("connections: {}   requests: {}   vhosts: {}\n", text(status, "connections"),
                     text(status, "requests"), text(status, "vhosts"));
  if (const json::value* store = status.if_contains("store");
      store && store->is_object() && store->as_object().contains("damage"))
    out += fmt::format("store: {} was damaged ({}); set aside: {}; rows saved: {}\n",
                       text(store->as_object(), "path"), text(store->as_object(), "damage"),
                       joined(store->as_object(), "set_aside"),
                       text(store->as_object(), "rows_salvaged"));
  if (const json::value* reload = status.if_contains("last_reload");
      reload && reload->is_object()) {
    const json::object& facts = reload->as_object();
    out += fmt::format("last reload: {}, {}\n", text(facts, "at"),
                       has(facts, "taken") ? "taken" : "refused");
    if (facts.contains("error")) out += text(facts, "error") + "\n";
  }
  if (const json::value* certificates = status.if_contains("certificates");
      certificates && certificates->is_array())
    out += "\n" + table(certificates->as_array());
  return out;
}

Result<std::string> certificates_text(std::string_view from) {
  auto value = parse_json(from, {.bytes = 256 * 1024 * 1024});
  if (!value || !value->is_array()) return not_status();
  return table(value->as_array());
}

Result<std::string> certificate_text(std::string_view from) {
  auto value = parse_json(from);
  if (!value || !value->is_object()) return not_status();
  const json::object& certificate = value->as_object();
  std::string out;
  const auto line = [&](std::string_view label, const std::string& what) {
    if (what != "-" && !what.empty()) out += fmt::format("{:<14} {}\n", label, what);
  };
  line("name", text(certificate, "name"));
  line("names", joined(certificate, "names"));
  line("state", state_of(certificate));
  line("issuer", text(certificate, "issuer"));
  line("signed by", text(certificate, "signed_by"));
  line("key", text(certificate, "key"));
  line("serial", text(certificate, "serial"));
  line("sha-256", text(certificate, "fingerprint_sha256"));
  line("not before", text(certificate, "not_before"));
  line("not after", text(certificate, "not_after"));
  line("next", next_of(certificate));
  line("because", text(certificate, "next_reason"));
  line("not saved", text(certificate, "not_saved"));
  line("explanation", text(certificate, "explanation_url"));
  if (const json::value* error = certificate.if_contains("last_error"); error && error->is_object())
    line("last error",
         fmt::format("{} ({}): {}", text(error->as_object(), "at"),
                     text(error->as_object(), "issuer"), text(error->as_object(), "message")));
  if (certificate.contains("chain")) out += "\n" + text(certificate, "chain");
  return out;
}

std::string status_page(const Gatehouse& gatehouse) {
  const auto as_text = status_text(status_json(gatehouse));
  return "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gatehouse</title>"
         "<meta http-equiv=\"refresh\" content=\"5\"></head><body><h1>Gatehouse</h1><pre>" +
         html_escaped(as_text ? *as_text : as_text.error().message) +
         "</pre><p><a href=\"/status.json\">status.json</a> <a href=\"/metrics\">metrics</a> "
         "<a href=\"/readyz\">readyz</a></p></body></html>\n";
}

}  // namespace gatehouse::daemon
