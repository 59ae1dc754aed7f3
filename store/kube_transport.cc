#include "store/kube_transport.h"

#include <utility>

#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::store {

using boost::asio::awaitable;

namespace {

constexpr Duration kReadAgain = 60s;                  // client-go: a token file is at most that old
constexpr std::size_t kIdleMax = 4;                   // connections that wait for the next request
constexpr std::size_t kAnswerMax = 64 * 1024 * 1024;  // a page of a list

/// The text of a file, or what is there instead of one.
Result<std::string> text_or_file(const std::string& text, const std::string& file) {
  if (!text.empty() || file.empty()) return text;
  return net::read_small_file(file);
}

}  // namespace

struct HttpsKubeTransport::Client {
  std::unique_ptr<net::HttpsClient> https;
  int in_flight = 0;
};

/// Keeps a client for as long as somebody waits for its answer.
struct HttpsKubeTransport::Lease {
  explicit Lease(Client& of) : client(of) { ++client.in_flight; }
  ~Lease() { --client.in_flight; }
  Lease(const Lease&) = delete;
  Lease& operator=(const Lease&) = delete;
  Client& client;
};

HttpsKubeTransport::HttpsKubeTransport(net::Loop& loop, net::KubeAccess access, Options options)
    : loop_(loop), access_(std::move(access)), options_(options) {}

HttpsKubeTransport::~HttpsKubeTransport() = default;

Result<HttpsKubeTransport::Trust> HttpsKubeTransport::read_trust() const {
  Trust trust;
  auto ca = text_or_file(access_.ca_pem, access_.ca_file);
  if (!ca) return std::move(ca).error().in("the apiserver's CA");
  auto certificate = text_or_file(access_.certificate_pem, access_.certificate_file);
  if (!certificate) return std::move(certificate).error().in("our certificate for the apiserver");
  auto key = text_or_file(access_.key_pem, access_.key_file);
  if (!key) return std::move(key).error().in("our key for the apiserver");
  trust.ca_pem = std::move(*ca);
  trust.certificate_pem = std::move(*certificate);
  trust.key_pem = std::move(*key);
  return trust;
}

Result<HttpsKubeTransport::Client*> HttpsKubeTransport::client() {
  while (clients_.size() > 1 && clients_.front().in_flight == 0) clients_.pop_front();
  const SteadyTime now = loop_.clock().steady_now();
  const bool has_one = !clients_.empty();
  if (has_one && now - trust_read_ < kReadAgain) return &clients_.back();
  auto trust = read_trust();
  trust_read_ = now;
  // In the middle of a rotation, or gone: what we have may do.
  if (has_one && (!trust || *trust == trust_)) return &clients_.back();
  if (!trust) return std::move(trust).error();
  net::HttpsClientOptions options;
  options.ca_pem = trust->ca_pem;
  options.tls_server_name = access_.tls_server_name;
  options.user_agent = "gatehouse/" GATEHOUSE_VERSION " (linux)";
  options.verifies_peer = !access_.skips_verification;
  options.idle_max = kIdleMax;
  options.deadline = options_.deadline;
  options.response_bytes_max = kAnswerMax;
  if (!trust->certificate_pem.empty()) {
    auto chain = net::CertificateChain::from_pem(trust->certificate_pem);
    if (!chain) return std::move(chain).error().in("our certificate for the apiserver");
    auto key = net::PrivateKey::from_pem(trust->key_pem);
    if (!key) return std::move(key).error().in("our key for the apiserver");
    auto credential = net::make_credential("apiserver", std::move(*chain), std::move(*key));
    if (!credential && has_one) return &clients_.back();  // One of the two files is still old.
    if (!credential) return std::move(credential).error().in("our certificate for the apiserver");
    options.credential = std::move(*credential);
  }
  auto https = net::HttpsClient::create(loop_.context(), std::move(options));
  if (!https) return std::move(https).error().in("the apiserver's CA");
  if (has_one) log(Level::kInfo, "kubernetes.trust_reloaded").with("server", access_.server);
  trust_ = std::move(*trust);
  clients_.push_back(Client{std::move(*https), 0});
  return &clients_.back();
}

Result<std::string> HttpsKubeTransport::token() {
  if (access_.token_file.empty()) return access_.token;
  const SteadyTime now = loop_.clock().steady_now();
  if (!token_.empty() && token_read_ != SteadyTime::min() && now - token_read_ < kReadAgain)
    return token_;
  auto text = net::read_small_file(access_.token_file);
  token_read_ = now;
  const std::string fresh(text ? trim(*text) : std::string_view());
  if (!fresh.empty()) {
    token_ = fresh;
  } else if (token_.empty()) {
    if (!text) return std::move(text).error().in("our token for the apiserver");
    return Error{Fault::kInvalid, access_.token_file + ": the token is empty"};
  }
  return token_;
}

Result<void> HttpsKubeTransport::add_identity(net::HttpRequest& request) {
  request.url.insert(0, access_.server);
  auto token = this->token();
  if (!token) return std::move(token).error();
  if (!token->empty()) request.fields.push_back({"Authorization", "Bearer " + *token});
  return {};
}

awaitable<Result<net::HttpResponse>> HttpsKubeTransport::send(net::HttpRequest request) {
  auto client = this->client();
  if (!client) co_return std::move(client).error();
  if (auto identified = add_identity(request); !identified) co_return std::move(identified).error();
  const Lease lease(**client);
  co_return co_await lease.client.https->send(std::move(request));
}

awaitable<Result<net::HttpResponse>> HttpsKubeTransport::stream(
    net::HttpRequest request, std::chrono::milliseconds silence_max,
    net::HttpsClient::OnData on_data) {
  auto client = this->client();
  if (!client) co_return std::move(client).error();
  if (auto identified = add_identity(request); !identified) co_return std::move(identified).error();
  const Lease lease(**client);
  co_return co_await lease.client.https->stream(std::move(request), silence_max,
                                                std::move(on_data));
}

}  // namespace gatehouse::store
