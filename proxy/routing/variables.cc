#include "proxy/routing/variables.h"

#include <algorithm>
#include <utility>

#include "daemon/base/text.h"
#include "proxy/protocol/field_syntax.h"
#include "proxy/routing/host_table.h"
#include "proxy/routing/path.h"

namespace gatehouse::proxy {

enum class Template::Variable : std::uint8_t {
  kText,
  kCapture,
  kRequestField,
  kMethod,
  kTarget,
  kAuthority,
  kScheme,
  kResponseField,
  kResponseCode,
  kHost,
  kPath,
  kQuery,
  kRest,
  kProtocol,
  kClient,
  kClientAddress,
  kPeer,
  kPeerAddress,
  kLocal,
  kLocalAddress,
  kLocalPort,
  kServerName,
  kRoute,
  kBackend,
  kEndpoint,
};

struct Template::Known {
  std::string_view name;
  Variable variable;
  bool has_argument = false;
  bool is_of_response = false;  // has no value before there is one
  bool is_of_redirect = false;
};

std::span<const Template::Known> Template::known() {
  static constexpr Known kKnown[] = {
      {"REQ", Variable::kRequestField, true},
      {"RESP", Variable::kResponseField, true, true},
      {"RESPONSE_CODE", Variable::kResponseCode, false, true},
      {"HOST", Variable::kHost},
      {"PATH", Variable::kPath},
      {"QUERY", Variable::kQuery},
      {"REST", Variable::kRest, false, false, true},
      {"PROTOCOL", Variable::kProtocol},
      {"DOWNSTREAM_REMOTE_ADDRESS", Variable::kClient},
      {"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", Variable::kClientAddress},
      {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS", Variable::kPeer},
      {"DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", Variable::kPeerAddress},
      {"DOWNSTREAM_LOCAL_ADDRESS", Variable::kLocal},
      {"DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", Variable::kLocalAddress},
      {"DOWNSTREAM_LOCAL_PORT", Variable::kLocalPort},
      {"REQUESTED_SERVER_NAME", Variable::kServerName},
      {"ROUTE_NAME", Variable::kRoute},
      {"UPSTREAM_CLUSTER", Variable::kBackend},
      {"UPSTREAM_HOST", Variable::kEndpoint, false, true}};
  return kKnown;
}

std::vector<std::string> Template::names(Use use) {
  std::vector<std::string> names;
  for (const Known& one : known()) {
    if (one.is_of_response && use != Use::kResponseHeader) continue;
    if (one.is_of_redirect && use != Use::kRedirect) continue;
    names.emplace_back(one.name);
  }
  return names;
}

// ---- parsing --------------------------------------------------------------------------------

class Template::Parser {
 public:
  Parser(Use use, std::optional<int> captures, Problem& problem)
      : use_(use), captures_(captures), problem_(problem) {}

  bool parse(std::string_view text) {
    while (!text.empty()) {
      const char c = text.front();
      bool is_good = true;
      if (c == '$' && captures_)
        is_good = take_capture(text);
      else if (c == '%' && use_ != Use::kRewrite)
        is_good = take_percent(text);
      else
        take_bytes(text, 1);
      if (!is_good) return false;
    }
    return true;
  }
  std::vector<Piece> take_pieces() { return std::move(pieces_); }

 private:
  bool fail(std::string message) {
    problem_.message = std::move(message);
    return false;
  }

  void take_bytes(std::string_view& text, std::size_t count) {
    if (pieces_.empty() || pieces_.back().variable != Variable::kText)
      pieces_.push_back({Variable::kText, {}, {}});
    pieces_.back().text.append(text.substr(0, count));
    text.remove_prefix(count);
  }

  bool take_capture(std::string_view& text) {
    text.remove_prefix(1);
    if (text.starts_with('$')) return take_bytes(text, 1), true;
    if (text.empty() || text[0] < '1' || text[0] > '9')
      return fail("a $ is followed by the number of a group, or by another $");
    const int group = text[0] - '0';
    if (group > *captures_)
      return fail("$" + std::to_string(group) + ": the regex has " +
                  (*captures_ == 0 ? "no group" : "only " + std::to_string(*captures_)));
    text.remove_prefix(1);
    pieces_.push_back({Variable::kCapture, {}, {}, static_cast<std::uint8_t>(group)});
    return true;
  }

  bool take_percent(std::string_view& text) {
    if (text.starts_with("%%")) {
      text.remove_prefix(1);
      return take_bytes(text, 1), true;
    }
    const std::size_t end = text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ_", 1);
    const bool is_name = end != text.npos && end > 1 && (text[end] == '%' || text[end] == '(');
    const auto is_hex = [](char c) {
      return is_digit(c) || (to_lower(c) >= 'a' && to_lower(c) <= 'f');
    };
    if (!is_name) {
      const bool is_escape = text.size() >= 3 && is_hex(text[1]) && is_hex(text[2]);
      if (use_ == Use::kRedirect && is_escape) return take_bytes(text, 3), true;
      return fail("a % begins a variable such as %PROTOCOL%; for the character write %%");
    }
    const std::string_view name = text.substr(1, end - 1);
    std::optional<std::string_view> argument;
    text.remove_prefix(end);
    if (text.front() == '(') {
      const std::size_t close = text.find(')');
      if (close == text.npos || !text.substr(close + 1).starts_with('%'))
        return fail("%" + std::string(name) + "( has no )% behind it");
      argument = text.substr(1, close - 1);
      text.remove_prefix(close + 1);
    }
    text.remove_prefix(1);
    return add_variable(name, argument);
  }

  bool add_variable(std::string_view name, std::optional<std::string_view> argument) {
    const std::string shown = "%" + std::string(name) + "%";
    const auto all = known();
    const auto it =
        std::find_if(all.begin(), all.end(), [&](const Known& one) { return one.name == name; });
    if (it == all.end()) {
      problem_.unknown = name;
      return fail("there is no variable " + shown);
    }
    if (it->is_of_response && use_ != Use::kResponseHeader)
      return fail(shown + " is only known with the response");
    if (it->is_of_redirect && use_ != Use::kRedirect) return fail(shown + " is only for redirects");
    if (it->has_argument != argument.has_value())
      return fail(it->has_argument
                      ? shown + " needs the name of a header: %" + std::string(name) + "(x-name)%"
                      : shown + " takes no argument");
    if (!argument) {
      pieces_.push_back({it->variable, {}, {}});
      return true;
    }
    return add_field(it->variable, to_lower(*argument));
  }

  /// The argument of REQ or RESP: a name, or two with "?" between.
  bool add_field(Variable variable, const std::string& argument) {
    const auto mark = argument.find('?');
    Piece piece{variable, argument.substr(0, mark), {}};
    if (mark != argument.npos) piece.other = argument.substr(mark + 1);
    if (variable == Variable::kRequestField && mark == argument.npos && argument.starts_with(':')) {
      static constexpr std::pair<std::string_view, Variable> kPseudo[] = {
          {":method", Variable::kMethod},
          {":path", Variable::kTarget},
          {":authority", Variable::kAuthority},
          {":scheme", Variable::kScheme}};
      for (const auto& [name, pseudo] : kPseudo) {
        if (name != argument) continue;
        pieces_.push_back({pseudo, {}, {}});
        return true;
      }
    }
    if (!is_lower_case_name(piece.text) ||
        (mark != argument.npos && !is_lower_case_name(piece.other)))
      return fail("\"" + argument + "\" is not the name of a header");
    if (piece.text == "host") piece = {Variable::kAuthority, {}, {}};
    pieces_.push_back(std::move(piece));
    return true;
  }

  const Use use_;
  const std::optional<int> captures_;
  Problem& problem_;
  std::vector<Piece> pieces_;
};

std::optional<Template> Template::parse(std::string_view text, Use use, std::optional<int> captures,
                                        Problem& problem) {
  Parser parser(use, captures, problem);
  if (!parser.parse(text)) return std::nullopt;
  Template made;
  made.pieces_ = parser.take_pieces();
  return made;
}

// ---- facts ----------------------------------------------------------------------------------

bool Template::is_constant() const {
  return pieces_.empty() || (pieces_.size() == 1 && pieces_[0].variable == Variable::kText);
}

bool Template::has_captures() const {
  return std::any_of(pieces_.begin(), pieces_.end(),
                     [](const Piece& piece) { return piece.variable == Variable::kCapture; });
}

std::string_view Template::constant_start() const {
  const bool has_any = !pieces_.empty() && pieces_[0].variable == Variable::kText;
  return has_any ? std::string_view(pieces_[0].text) : std::string_view();
}

bool Template::leaves_host_open() const {
  // expand_location() sees to it that these begin with one slash.
  const auto begins_path = [](Variable variable) {
    return variable == Variable::kPath || variable == Variable::kTarget;
  };
  if (pieces_.empty()) return true;
  const std::string_view start = constant_start();
  if (start.starts_with('/')) return false;
  if (start.empty())
    return !begins_path(pieces_[0].variable) && pieces_[0].variable != Variable::kRest;
  const std::size_t scheme = start.find("://");
  if (scheme == start.npos) return true;
  for (std::size_t i = 0; i < pieces_.size(); ++i) {
    const Piece& piece = pieces_[i];
    const std::string_view text = piece.text;
    if (piece.variable == Variable::kText) {
      if (text.find_first_of("/?#", i == 0 ? scheme + 3 : 0) != text.npos) return false;
    } else if (begins_path(piece.variable)) {
      return false;
    } else if (piece.variable != Variable::kHost && piece.variable != Variable::kAuthority &&
               piece.variable != Variable::kRest && piece.variable != Variable::kQuery) {
      return true;
    }
  }
  return false;
}

// ---- values ---------------------------------------------------------------------------------

void Template::append(const Piece& piece, const VariableSource& from, std::string& out) {
  const auto append_field = [&](const Fields& fields) {
    auto value = fields.find(piece.text);
    if ((!value || value->empty()) && !piece.other.empty()) value = fields.find(piece.other);
    if (value) out.append(*value);
  };
  const auto append_ip = [&](const net::SocketAddress* address) {
    if (address && !address->is_unix()) out.append(address->ip().to_string());
  };
  const std::string_view path = path_of(from.target);
  switch (piece.variable) {
    case Variable::kText: out.append(piece.text); break;
    case Variable::kCapture:
      if (piece.capture < from.captures.size()) out.append(from.captures[piece.capture]);
      break;
    case Variable::kRequestField: append_field(from.request.fields); break;
    case Variable::kMethod: out.append(from.request.method); break;
    case Variable::kTarget: out.append(from.target == "*" ? "/" : from.target); break;
    case Variable::kAuthority: out.append(from.authority); break;
    case Variable::kScheme: out.append(from.request.scheme); break;
    case Variable::kResponseField:
      if (from.response) append_field(from.response->fields);
      break;
    case Variable::kResponseCode:
      if (from.response) out.append(std::to_string(from.response->status));
      break;
    case Variable::kHost: out.append(bracketed_host_of(from.authority)); break;
    case Variable::kPath: out.append(path == "*" ? "/" : path); break;
    case Variable::kQuery: out.append(from.target.substr(path.size())); break;
    case Variable::kRest: out.append(from.rest); break;
    case Variable::kProtocol:
      out.append(from.request.version == HttpVersion::kHttp2    ? "HTTP/2"
                 : from.request.version == HttpVersion::kHttp11 ? "HTTP/1.1"
                                                                : "HTTP/1.0");
      break;
    case Variable::kClient:
      // Envoy's port 0: who stands behind a trusted proxy has an address alone.
      if (from.client && from.peer)
        out.append(net::SocketAddress(*from.client, *from.client == from.peer->ip()
                                                        ? from.peer->port()
                                                        : std::uint16_t{0})
                       .to_string());
      break;
    case Variable::kClientAddress:
      if (from.client) out.append(from.client->to_string());
      break;
    case Variable::kPeer:
      if (from.peer) out.append(from.peer->to_string());
      break;
    case Variable::kPeerAddress: append_ip(from.peer); break;
    case Variable::kLocal:
      if (from.local) out.append(from.local->to_string());
      break;
    case Variable::kLocalAddress: append_ip(from.local); break;
    case Variable::kLocalPort:
      if (from.local && !from.local->is_unix()) out.append(std::to_string(from.local->port()));
      break;
    case Variable::kServerName: out.append(from.server_name); break;
    case Variable::kRoute: out.append(from.route); break;
    case Variable::kBackend: out.append(from.backend); break;
    case Variable::kEndpoint: out.append(from.endpoint); break;
  }
}

std::string Template::expand(const VariableSource& from) const {
  std::string out;
  for (const Piece& piece : pieces_) append(piece, from, out);
  return out;
}

std::string Template::expand_location(const VariableSource& from) const {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  const std::string raw = expand(from);
  std::string location;
  for (const char c : raw) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte > 0x20 && byte < 0x7f && c != '\\') {
      location.push_back(c);
    } else {
      location.push_back('%');
      location.push_back(kDigits[byte >> 4]);
      location.push_back(kDigits[byte & 15]);
    }
  }
  const std::string_view start = constant_start();
  if (!start.empty() && !start.starts_with('/')) return location;
  const std::size_t first = std::min(location.find_first_not_of('/'), location.size());
  return location.replace(0, first, "/");
}

}  // namespace gatehouse::proxy
