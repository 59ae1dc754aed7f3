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

/// A line for each Secret; `all`: those that are in order, too.
std::string secret_lines(const json::object& certificate, bool all) {
  std::string out;
  const json::value* secrets = certificate.if_contains("secrets");
  if (!secrets || !secrets->is_array()) return out;
  for (const json::value& entry : secrets->as_array()) {
    if (!entry.is_object()) continue;
    const json::object& secret = entry.as_object();
    if (!all && text(secret, "state") == "synced") continue;
    out += fmt::format("  secret {}: {}", text(secret, "name"), text(secret, "state"));
    if (secret.contains("reason")) out += ", " + text(secret, "reason");
    if (secret.contains("owner")) out += fmt::format(" (owner: {})", text(secret, "owner"));
    out += "\n";
  }
  return out;
}

/// How an object that is named "name", or "address", is.
std::string state_line(std::string_view what, const json::object& of) {
  std::string out = fmt::format(
      "  {} {}: {}", what, text(of, of.contains("name") ? "name" : "address"), text(of, "state"));
  if (of.contains("reason")) out += ", " + text(of, "reason");
  return out + "\n";
}

/// The Secret that it is read from, and the gateway that is to serve it.
std::string origin_and_gateway(const json::object& certificate, bool all) {
  std::string out;
  if (const json::value* source = certificate.if_contains("source");
      source && source->is_object() &&
      (all || text(source->as_object(), "state") != "synced" ||
       source->as_object().contains("reason")))
    out += state_line("read from", source->as_object());
  if (const json::value* gateway = certificate.if_contains("gateway");
      gateway && gateway->is_object() && (all || text(gateway->as_object(), "state") == "late"))
    out += state_line("gateway", gateway->as_object());
  return out;
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
    out += secret_lines(certificate, /*all=*/false);
    out += origin_and_gateway(certificate, /*all=*/false);
  }
  return out;
}

/// Only backends with several hosts, or with one that is not well: the rest says nothing new.
std::string backend_table(const json::array& backends) {
  std::string out;
  for (const json::value& entry : backends) {
    if (!entry.is_object()) continue;
    const json::object& backend = entry.as_object();
    const json::value* hosts = backend.if_contains("hosts");
    if (!hosts || !hosts->is_array()) continue;
    const std::string all = std::to_string(hosts->as_array().size());
    if (all == "1" && text(backend, "usable") == "1") continue;
    out += fmt::format("{:<32} {} of {} usable{}\n", text(backend, "name"), text(backend, "usable"),
                       all, has(backend, "is_panicking") ? ", health is ignored (panic)" : "");
    for (const json::value& host : hosts->as_array()) {
      if (!host.is_object() || text(host.as_object(), "state") == "healthy") continue;
      const json::object& facts = host.as_object();
      out += fmt::format("  {:<30} {}{}\n", text(facts, "address"), text(facts, "state"),
                         facts.contains("reason") ? ": " + text(facts, "reason") : "");
    }
  }
  return out.empty() ? out : "\nBACKEND\n" + out;
}

std::string cluster_lines(const json::object& cluster) {
  std::string out = "cluster: ";
  if (has(cluster, "is_holder"))
    out += fmt::format("this node ({}) issues since {}", text(cluster, "node"),
                       text(cluster, "since"));
  else if (text(cluster, "holder").empty())
    out += fmt::format("nobody issues; this node is {}", text(cluster, "node"));
  else
    out +=
        fmt::format("{} issues; this node is {}", text(cluster, "holder"), text(cluster, "node"));
  out += fmt::format("\nshared: {} certificates, {}", text(cluster, "certificates"),
                     text(cluster, "sync"));
  if (text(cluster, "unshared") != "0")
    out += fmt::format(", {} not yet", text(cluster, "unshared"));
  out += "\n";
  if (const std::string error = text(cluster, "error"); !error.empty())
    out += fmt::format("cluster error: {}\n", error);
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
  if (const json::value* workers = status.if_contains("workers");
      workers && workers->is_array() && workers->as_array().size() > 1) {
    out += fmt::format("workers: {}   connections of each:", workers->as_array().size());
    for (const json::value& entry : workers->as_array())
      if (entry.is_object()) out += " " + text(entry.as_object(), "connections");
    out += "\n";
  }
  if (const json::value* cluster = status.if_contains("cluster"); cluster && cluster->is_object())
    out += cluster_lines(cluster->as_object());
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
  if (const json::value* backends = status.if_contains("backends");
      backends && backends->is_array())
    out += backend_table(backends->as_array());
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
  out += secret_lines(certificate, /*all=*/true);
  out += origin_and_gateway(certificate, /*all=*/true);
  if (certificate.contains("chain")) out += "\n" + text(certificate, "chain");
  return out;
}

std::string status_page(const Gatehouse& gatehouse, const LoopFacts& loops) {
  const auto as_text = status_text(status_json(gatehouse, loops));
  return "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Gatehouse</title>"
         "<meta http-equiv=\"refresh\" content=\"5\"></head><body><h1>Gatehouse</h1><pre>" +
         html_escaped(as_text ? *as_text : as_text.error().message) +
         "</pre><p><a href=\"/status.json\">status.json</a> <a href=\"/metrics\">metrics</a> "
         "<a href=\"/readyz\">readyz</a></p></body></html>\n";
}

}  // namespace gatehouse::daemon
