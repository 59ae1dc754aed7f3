#include "proxy/connection/client_certificate_field.h"

#include <algorithm>
#include <string_view>

namespace gatehouse::proxy {

namespace {

bool is_printable(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c <= 0x7e; });
}

/// RFC 2253's text comes with its quotes escaped already.
void append_quoted(std::string& into, std::string_view text, bool is_escaped) {
  into += '"';
  for (const char c : text) {
    if (!is_escaped && (c == '"' || c == '\\')) into += '\\';
    into += c;
  }
  into += '"';
}

void append_name(std::string& into, std::string_view key, std::string_view name) {
  if (name.empty() || !is_printable(name) || name.find(' ') != name.npos) return;
  into.append(1, ';').append(key).append(1, '=');
  if (name.find_first_of(",;=\"\\") == name.npos)
    into += name;
  else
    append_quoted(into, name, false);
}

}  // namespace

std::string client_certificate_element(const net::ClientCertificate& certificate) {
  std::string element = "Hash=" + certificate.sha256_hex;
  element += ";Subject=";
  append_quoted(element, is_printable(certificate.subject) ? certificate.subject : "", true);
  for (const std::string& uri : certificate.uris) append_name(element, "URI", uri);
  for (const std::string& name : certificate.dns_names) append_name(element, "DNS", name);
  return element;
}

}  // namespace gatehouse::proxy
