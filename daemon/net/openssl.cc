#include "daemon/net/openssl.h"

#include <openssl/err.h>

#include <cstring>
#include <string>

namespace gatehouse::net {

namespace {

std::string reason_of(unsigned long code) {
  if (code == 0) return "no reason given";
  if (ERR_SYSTEM_ERROR(code)) {
    char text[256] = "";
    return strerror_r(ERR_GET_REASON(code), text, sizeof text);  // The GNU form.
  }
  if (const char* reason = ERR_reason_error_string(code)) return reason;
  return "error " + std::to_string(code);
}

}  // namespace

Error openssl_error(std::string_view doing, Fault fault) {
  const char* data = nullptr;
  int flags = 0;
  const unsigned long code = ERR_peek_last_error_all(nullptr, nullptr, nullptr, &data, &flags);
  std::string message(doing);
  message.append(": ").append(reason_of(code));
  if (code != 0 && (flags & ERR_TXT_STRING) && data && *data)
    message.append(" (").append(data).append(")");
  ERR_clear_error();
  return Error{fault, std::move(message)};
}

}  // namespace gatehouse::net
