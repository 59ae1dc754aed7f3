// Real sockets on loopback: which certificate a server shows for a name.
#include "daemon/net/tls_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/this_coro.hpp>
#include <list>
#include <memory>
#include <optional>

#include "daemon/net/loop.h"
#include "daemon/net/poller.h"
#include "daemon/net/resolver.h"
#include "daemon/net/tls_context.h"
#include "tests/support/certificates.h"

namespace gatehouse::net {
namespace {

using namespace testing;
using ::testing::HasSubstr;
namespace asio = boost::asio;
using asio::ip::tcp;

/// Shows a certificate for each name of its list, and refuses others.
class Names final : public CredentialSource {
 public:
  CredentialPtr choose(const ClientHello& hello) override {
    for (const auto& one : all)
      if (one->facts.covers(hello.server_name)) return one;
    return hello.server_name.empty() ? all.front() : nullptr;
  }
  Authority authority = make_authority();
  std::vector<CredentialPtr> all{issue(authority, {"www.test"}), issue(authority, {"other.test"})};
};

struct TlsProbeTest : ::testing::Test {
  SystemClock clock;
  Loop loop{clock};
  Poller poller{loop};
  Resolver resolver{loop, poller};
  Names names;
  std::shared_ptr<TicketKeys> tickets = *TicketKeys::create(clock);
  std::shared_ptr<ServerTlsContext> context =
      *ServerTlsContext::create(TlsProfile::kIntermediate, names, tickets);
  tcp::acceptor acceptor{loop.context(), tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  bool is_silent = false;
  std::list<std::unique_ptr<asio::ssl::stream<tcp::socket>>> accepted;
  std::list<tcp::socket> silent;

  TlsProbeTest() {
    EXPECT_TRUE(poller.start());
    EXPECT_TRUE(resolver.start());
    accept();
  }
  ~TlsProbeTest() override {
    resolver.stop();
    poller.stop();
  }
  void accept() {
    acceptor.async_accept([this](const boost::system::error_code& error, tcp::socket socket) {
      if (error) return;
      if (is_silent) {
        silent.push_back(std::move(socket));
      } else {
        auto& stream = accepted.emplace_back(std::make_unique<asio::ssl::stream<tcp::socket>>(
            std::move(socket), context->new_ssl("127.0.0.1")->release()));
        stream->async_handshake(asio::ssl::stream_base::server,
                                [](const boost::system::error_code&) {});
      }
      accept();
    });
  }
  asio::awaitable<void> ask(ProbeRequest request, std::optional<Result<CertificateFacts>>* answer) {
    co_await asio::this_coro::throw_if_cancelled(false);
    answer->emplace(co_await probe_certificate(loop.context(), resolver, std::move(request)));
    loop.stop();
  }
  Result<CertificateFacts> probe(const std::string& server_name, const std::string& host,
                                 std::uint16_t port, std::chrono::milliseconds deadline = 10s) {
    std::optional<Result<CertificateFacts>> answer;
    ProbeRequest request{host, port, server_name, deadline};
    asio::co_spawn(loop.context(), ask(std::move(request), &answer), asio::detached);
    loop.run();
    return std::move(*answer);
  }
  std::uint16_t port() { return acceptor.local_endpoint().port(); }
};

TEST_F(TlsProbeTest, TellsWhatIsShownForTheName) {
  const auto shown = probe("other.test", "127.0.0.1", port());
  ASSERT_TRUE(shown) << shown.error().message;
  EXPECT_EQ(shown->fingerprint_sha256_hex, names.all[1]->facts.fingerprint_sha256_hex);
  EXPECT_EQ(shown->serial_hex, names.all[1]->facts.serial_hex);
}

TEST_F(TlsProbeTest, ANameThatIsRefusedIsAnError) {
  const auto shown = probe("unknown.test", "127.0.0.1", port());
  ASSERT_FALSE(shown);
  EXPECT_EQ(shown.error().fault, Fault::kTls);
  EXPECT_THAT(shown.error().message, HasSubstr("TLS with 127.0.0.1:"));
}

TEST_F(TlsProbeTest, AServerThatSaysNothingIsGivenUpAfterTheDeadline) {
  is_silent = true;
  const auto shown = probe("www.test", "127.0.0.1", port(), 100ms);
  ASSERT_FALSE(shown);
  EXPECT_EQ(shown.error().fault, Fault::kTimeout);
}

TEST_F(TlsProbeTest, NobodyThereIsAnErrorThatNamesTheAddress) {
  const auto nobody = port();
  acceptor.close();
  const auto shown = probe("www.test", "localhost", nobody);
  ASSERT_FALSE(shown);
  EXPECT_EQ(shown.error().fault, Fault::kConnection);
  EXPECT_THAT(shown.error().message, HasSubstr("connecting to localhost:"));
}

}  // namespace
}  // namespace gatehouse::net
