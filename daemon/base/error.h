#pragma once
// Errors as values. What a peer, the disk, a CA or an operator can cause is a Result; what only our
// own mistake can cause is check(). Nothing here allocates on the success path.

#include <boost/system/result.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace gatehouse {

/// What a caller may branch on. The message is for people and is never parsed.
enum class Fault : std::uint8_t {
  kInternal,      // Anything that no caller treats specially.
  kInvalid,       // Input that does not parse or does not make sense.
  kNotFound,      // The named thing does not exist.
  kConflict,      // It exists already, or somebody else owns it.
  kPermission,    // Not allowed, or permissions wider than we accept.
  kUnauthorized,  // The peer does not accept who we are.
  kTimeout,       // A deadline passed.
  kCancelled,     // We were told to stop.
  kConnection,    // Refused, reset, unreachable, closed early.
  kResolve,       // A name has no usable address.
  kTls,           // Handshake, certificate or key trouble.
  kProtocol,      // The peer broke the protocol.
  kRateLimited,   // The peer told us to come back later.
  kTooLarge,      // A limit was exceeded.
  kUnavailable,   // The peer answers, but cannot serve now (5xx).
  kDiskFull,      // No space left for what must be kept.
  kCorrupt,       // Stored data is damaged.
  kIo,            // Any other failure of the disk or a descriptor.
  kUnsupported,   // Valid, but not something we do.
};

std::string_view to_string(Fault fault);

struct Error {
  Fault fault = Fault::kInternal;
  std::string message;  // One line, no capital, no full stop.

  /// Prefixes "doing: ", so that a message reads from the outside in.
  Error in(std::string_view doing) && {
    message.insert(0, ": ").insert(0, doing);
    return std::move(*this);
  }
};

/// Only so that boost::system::result accepts Error: nobody calls .value(), which would throw.
[[noreturn]] void throw_exception_from_error(const Error& error, const boost::source_location&);

template <class T>
using Result = boost::system::result<T, Error>;

/// Builds the error from errno: "doing: No such file or directory".
Error errno_error(std::string_view doing, int error_number);

/// Ends the process, with place and reason, when our own reasoning was wrong. Always on. The place
/// comes from builtins, because clang 14 lacks std::source_location.
[[noreturn]] void check_failed(std::string_view why, const char* file = __builtin_FILE(),
                               unsigned line = __builtin_LINE());
inline void check(bool holds, std::string_view why, const char* file = __builtin_FILE(),
                  unsigned line = __builtin_LINE()) {
  if (!holds) [[unlikely]]
    check_failed(why, file, line);
}

}  // namespace gatehouse
