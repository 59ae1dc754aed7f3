#include "daemon/net/tls_probe.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <utility>

#include "daemon/net/connect.h"
#include "daemon/net/http_connection.h"
#include "daemon/net/openssl.h"
#include "daemon/net/tls_policy.h"

namespace gatehouse::net {

namespace asio = boost::asio;
namespace beast = boost::beast;

namespace {

/// Offers what browsers offer: a gateway may choose by ALPN, too.
constexpr std::string_view kProtocols = "\x02h2\x08http/1.1";

Result<SslPtr> begin_handshake(const std::string& server_name) {
  const SslContextPtr context(SSL_CTX_new(TLS_client_method()));
  if (!context || !apply_policy(context.get(), TlsProfile::kIntermediate))
    return openssl_error("preparing TLS");
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  SslPtr ssl(SSL_new(context.get()));
  if (!ssl) return openssl_error("beginning a TLS handshake");
  // Zero is success for the protocols, unlike everywhere else.
  if (SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(kProtocols.data()),
                          static_cast<unsigned>(kProtocols.size())) != 0 ||
      (!server_name.empty() && SSL_set_tlsext_host_name(ssl.get(), server_name.c_str()) != 1))
    return openssl_error("naming \"" + server_name + "\" in a TLS handshake");
  SSL_set_connect_state(ssl.get());
  return ssl;
}

Result<CertificateFacts> facts_of(X509* leaf) {
  unsigned char* bytes = nullptr;
  const int size = i2d_X509(leaf, &bytes);
  if (size <= 0) return openssl_error("reading the certificate that is shown");
  std::string der(reinterpret_cast<const char*>(bytes), static_cast<std::size_t>(size));
  OPENSSL_free(bytes);
  return CertificateChain::from_der({std::move(der)}).facts();
}

}  // namespace

asio::awaitable<Result<CertificateFacts>> probe_certificate(asio::io_context& context,
                                                            Resolver& resolver,
                                                            ProbeRequest request) {
  const auto deadline = std::chrono::steady_clock::now() + request.deadline;
  auto ssl = begin_handshake(request.server_name);
  if (!ssl) co_return std::move(ssl).error();
  ConnectRequest connect{request.host, request.port, &resolver, deadline};
  const std::string doing = "TLS with " + connect.host_and_port();
  auto tcp = co_await connect_to(context, std::move(connect));
  if (!tcp) co_return std::move(tcp).error();
  SSL* native = ssl->get();
  asio::ssl::stream<beast::tcp_stream> stream(std::move(**tcp), ssl->release());
  stream.next_layer().expires_at(deadline);
  boost::system::error_code code;
  co_await stream.async_handshake(asio::ssl::stream_base::client,
                                  asio::redirect_error(asio::use_awaitable, code));
  const X509Ptr leaf(SSL_get1_peer_certificate(native));
  if (code) co_return http_error(code).in(doing);
  if (!leaf) co_return Error{Fault::kTls, doing + ": no certificate is shown"};
  co_return facts_of(leaf.get());
}

}  // namespace gatehouse::net
