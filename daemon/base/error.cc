#include "daemon/base/error.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace gatehouse {

std::string_view to_string(Fault fault) {
  switch (fault) {
    case Fault::kInternal: return "internal";
    case Fault::kInvalid: return "invalid";
    case Fault::kNotFound: return "not_found";
    case Fault::kConflict: return "conflict";
    case Fault::kPermission: return "permission";
    case Fault::kUnauthorized: return "unauthorized";
    case Fault::kTimeout: return "timeout";
    case Fault::kCancelled: return "cancelled";
    case Fault::kConnection: return "connection";
    case Fault::kResolve: return "resolve";
    case Fault::kTls: return "tls";
    case Fault::kProtocol: return "protocol";
    case Fault::kRateLimited: return "rate_limited";
    case Fault::kTooLarge: return "too_large";
    case Fault::kUnavailable: return "unavailable";
    case Fault::kDiskFull: return "disk_full";
    case Fault::kCorrupt: return "corrupt";
    case Fault::kIo: return "io";
    case Fault::kUnsupported: return "unsupported";
  }
  return "unknown";
}

void throw_exception_from_error(const Error& error, const boost::source_location& where) {
  check_failed("value() of a Result that holds an error: " + error.message, where.file_name(),
               where.line());
}

namespace {
Fault fault_of_errno(int number) {
  switch (number) {
    case ENOENT: return Fault::kNotFound;
    case EACCES:
    case EPERM: return Fault::kPermission;
    case EEXIST:
    case EADDRINUSE: return Fault::kConflict;
    case ENOSPC:
    case EDQUOT: return Fault::kDiskFull;
    case ETIMEDOUT: return Fault::kTimeout;
    case ECONNREFUSED:
    case ECONNRESET:
    case EPIPE:
    case ENETUNREACH:
    case EHOSTUNREACH: return Fault::kConnection;
    case EINVAL: return Fault::kInvalid;
    default: return Fault::kIo;
  }
}
}  // namespace

Error errno_error(std::string_view doing, int error_number) {
  char text[256] = "";
  const char* said = strerror_r(error_number, text, sizeof text);  // The GNU form.
  return Error{fault_of_errno(error_number), std::string(doing) + ": " + said};
}

void check_failed(std::string_view why, const char* file, unsigned line) {
  std::fprintf(stderr, "gatehouse: bug at %s:%u: %.*s\n", file, line, static_cast<int>(why.size()),
               why.data());
  std::abort();
}

}  // namespace gatehouse
