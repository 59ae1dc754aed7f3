#pragma once
// Text with variables, as header edits and redirects have it: Envoy's names between percent signs,
// such as "%REQ(user-agent)%" or "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%". Parsed once, when the
// configuration is read; a request only pays for what its route uses. A variable without a value is
// empty text. Pure.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "daemon/net/address.h"
#include "proxy/protocol/message.h"

namespace gatehouse::proxy {

/// Where the values come from. Views live during the call.
struct VariableSource {
  const RequestHead& request;
  const ResponseHead* response = nullptr;        // null while there is none
  std::string_view target{};                     // as the client asked for it: path and query
  std::string_view authority{};                  // as the client asked for it
  std::string_view rest{};                       // of the path, behind the matched prefix
  std::span<const std::string_view> captures{};  // of the matched regex; [0]: the whole path
  const net::SocketAddress* peer = nullptr;
  const net::SocketAddress* local = nullptr;
  std::optional<net::IpAddress> client{};  // client_address()
  std::string_view server_name{};          // of the handshake
  std::string_view route{};
  std::string_view backend{};
  std::string_view endpoint{};  // "ip:port"
};

class Template {
 public:
  enum class Use : std::uint8_t { kRequestHeader, kResponseHeader, kRedirect, kRewrite };
  struct Problem {
    std::string message;
    std::string unknown;  // a variable's name that there is none of
  };

  Template() = default;
  /// `captures`: groups of the route's regex, which "$1" to "$9" stand for; none: "$" is a byte
  /// like others. "%%" is a percent sign; in a redirect %20 and the like are bytes of the URL, and
  /// in a rewrite there are no variables but captures.
  static std::optional<Template> parse(std::string_view text, Use use, std::optional<int> captures,
                                       Problem& problem);
  /// All that there are for that use.
  static std::vector<std::string> names(Use use);

  bool empty() const { return pieces_.empty(); }
  bool is_constant() const;
  bool has_captures() const;
  /// What stands before the first variable.
  std::string_view constant_start() const;
  /// Of a redirect: whether a visitor could choose the host that it leads to, beyond the host that
  /// was asked for.
  bool leaves_host_open() const;
  std::string expand(const VariableSource& from) const;
  /// As a Location: bytes that a URL cannot have are escaped, and a path never begins with "//",
  /// which would name another host.
  std::string expand_location(const VariableSource& from) const;

 private:
  enum class Variable : std::uint8_t;
  struct Known;
  struct Piece {
    Variable variable;
    std::string text;   // constant, or the argument
    std::string other;  // the second name of REQ(a?b)
    std::uint8_t capture = 0;
  };
  class Parser;
  static std::span<const Known> known();
  static void append(const Piece& piece, const VariableSource& from, std::string& out);

  std::vector<Piece> pieces_;
};

}  // namespace gatehouse::proxy
