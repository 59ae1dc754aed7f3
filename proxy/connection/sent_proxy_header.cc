#include "proxy/connection/sent_proxy_header.h"

#include <openssl/ssl.h>

#include "daemon/net/client_certificate.h"
#include "proxy/connection/frontend_connection.h"
#include "proxy/protocol/proxy_protocol.h"

namespace gatehouse::proxy {

std::string sent_proxy_header(ProxyProtocol version, FrontendConnection& client) {
  const ProxiedAddresses addresses{client.facts().peer, client.facts().local};
  if (version == ProxyProtocol::kV1) return proxy_header_v1(addresses);
  ProxyFacts facts;
  std::string common_name;
  facts.unique_id = client.unique_id();
  if (const TlsEngine* tls = client.tls()) {
    facts.is_tls = true;
    facts.alpn = tls->alpn();
    facts.server_name = tls->server_name();
    facts.tls_version = SSL_get_version(tls->native());
    if (!client.client_certificate().empty()) {
      facts.has_client_certificate = true;
      if (const auto shown = net::client_certificate_of(tls->native()))
        common_name = shown->common_name;
      facts.common_name = common_name;
    }
  }
  return proxy_header_v2(addresses, facts);
}

}  // namespace gatehouse::proxy
