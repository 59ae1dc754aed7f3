// Where we listen, and whom we believe.

#include <string>
#include <utility>
#include <vector>

#include "daemon/config_draft.h"

namespace gatehouse::daemon {

namespace {

struct Placed {
  net::SocketAddress address;
  Mark mark;
};

/// What net says of an address ends with advice: "...; write ...".
void complain_of(Reader& reader, const Field& field, std::string message) {
  std::string hint;
  if (const auto advice = message.find("; "); advice != message.npos) {
    hint = message.substr(advice + 2);
    message.resize(advice);
  }
  reader.error(field.mark(), in_quotes(field.key) + ": " + std::move(message), std::move(hint));
}

/// "[::]:443" takes both families, so it is also 0.0.0.0:443.
bool is_same(const net::SocketAddress& a, const net::SocketAddress& b) {
  const auto is_any = [](const net::SocketAddress& address) {
    return !address.is_unix() && address.ip().bytes().find_first_not_of('\0') == std::string::npos;
  };
  return a == b || (is_any(a) && is_any(b) && a.port() == b.port());
}

/// `taken` are addresses that were read before, of either port.
void read_addresses(Reader& reader, const Field& field, std::vector<net::ListenAddress>& into,
                    std::vector<Placed>& taken) {
  if (!field) return;
  std::vector<net::ListenAddress> addresses;
  for (const Field& item : reader.one_or_many(field)) {
    const auto given = reader.scalar(item, "an address");
    if (!given) continue;
    std::string text(*given);
    if (text.starts_with("unix:") && text.size() > 5)
      text = "unix:" + reader.resolve(text.substr(5));
    auto parsed = net::ListenAddress::parse(text);
    if (!parsed) {
      complain_of(reader, item, std::move(parsed).error().message);
      continue;
    }
    // Port 0 is a different one each time.
    const bool can_clash = parsed->address.is_unix() || parsed->address.port() != 0;
    for (const Placed& other : taken) {
      if (!can_clash || !is_same(other.address, parsed->address)) continue;
      reader.error(item.mark(), in_quotes(*given) + " is listened on already, on line " +
                                    std::to_string(other.mark.line));
      break;
    }
    taken.push_back({parsed->address, item.mark()});
    addresses.push_back(std::move(*parsed));
  }
  into = std::move(addresses);
}

}  // namespace

void read_networks(Reader& reader, const Field& field, std::vector<net::Network>& into) {
  if (!field) return;
  into.clear();
  for (const Field& item : reader.items(field)) {
    const auto given = reader.scalar(item, "a network");
    if (!given) continue;
    auto network = net::Network::parse(*given);
    if (network) {
      into.push_back(std::move(*network));
      continue;
    }
    complain_of(reader, item, std::move(network).error().message);
  }
}

void read_listeners(ConfigDraft& draft, const Field& field) {
  Reader& reader = draft.reader;
  proxy::Options& options = draft.config.proxy;
  Fields fields = reader.mapping(field, {"\"listen\""});
  std::vector<Placed> taken;
  const Field https = fields.find("https"), http = fields.find("http");
  read_addresses(reader, https, options.https, taken);
  read_addresses(reader, http, options.http, taken);
  const bool is_nowhere = https && http && https.value.is_sequence() && http.value.is_sequence() &&
                          https.value.size() == 0 && http.value.size() == 0;
  if (is_nowhere) reader.error(fields.mark(), "there is nothing to listen on");
  read_networks(reader, fields.find("proxy_protocol_from"), options.proxy_protocol_from);
  read_networks(reader, fields.find("trusted_proxies"), options.trusted_proxies);
  fields.finish();
}

}  // namespace gatehouse::daemon
