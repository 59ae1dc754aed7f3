#include "daemon/net/tls_bio.h"

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <string>

#include "daemon/base/random.h"
#include "daemon/net/tls_context.h"
#include "tests/support/certificates.h"
#include "tests/support/fake_clock.h"

namespace gatehouse::net {
namespace {

using namespace testing;

class OneName final : public CredentialSource {
 public:
  CredentialPtr credential = issue(authority, {"a.test"});
  inline static const Authority authority = make_authority();
  CredentialPtr choose(const ClientHello&) override { return credential; }
};

/// A connected server (through the gathering BIO) and a client that reads when told.
class TlsBio : public ::testing::Test {
 protected:
  TlsBio() {
    int both[2];
    check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, both) == 0, "socketpair");
    server_socket_ = both[0];
    client_socket_ = both[1];
    const int small = 4096;
    setsockopt(server_socket_, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    context_ =
        *ServerTlsContext::create(TlsProfile::kIntermediate, name_, *TicketKeys::create(clock_));
    ClientTlsOptions options;
    options.ca_pem = OneName::authority.root.to_pem();
    client_context_ = *ClientTlsContext::create(options);
    server_ = *context_->new_ssl();
    client_ = *client_context_->new_ssl("a.test");
    check(attach_socket(server_.get(), server_socket_), "attach");
    check(attach_socket(client_.get(), client_socket_), "attach");
  }
  ~TlsBio() override {
    server_.reset();
    client_.reset();
    if (client_socket_ >= 0) ::close(client_socket_);
    ::close(server_socket_);
  }
  void connect() {
    for (int i = 0; i < 20; ++i) {
      SSL_do_handshake(client_.get());
      SSL_do_handshake(server_.get());
    }
    check(SSL_is_init_finished(server_.get()) && SSL_is_init_finished(client_.get()), "handshake");
    check(flush_records(server_.get()) == FlushState::kDone, "flush");
    ERR_clear_error();
  }
  /// Reads what is there, at most `limit` bytes.
  std::string read(std::size_t limit) {
    std::string got(limit, '\0');
    const int size = SSL_read(client_.get(), got.data(), static_cast<int>(limit));
    got.resize(size > 0 ? static_cast<std::size_t>(size) : 0);
    ERR_clear_error();
    return got;
  }
  void close_client() {
    ::close(client_socket_);
    client_socket_ = -1;
  }

  FakeClock clock_;
  OneName name_;
  int server_socket_ = -1, client_socket_ = -1;
  std::shared_ptr<ServerTlsContext> context_;
  std::shared_ptr<ClientTlsContext> client_context_;
  SslPtr server_, client_;
};

TEST_F(TlsBio, GathersUntilItIsFlushed) {
  connect();
  ASSERT_EQ(SSL_write(server_.get(), "hello ", 6), 6);
  ASSERT_EQ(SSL_write(server_.get(), "world", 5), 5);
  EXPECT_GT(gathered_bytes(server_.get()), 11u);
  EXPECT_EQ(read(100), "") << "nothing is sent before the flush";
  EXPECT_EQ(flush_records(server_.get()), FlushState::kDone);
  EXPECT_EQ(gathered_bytes(server_.get()), 0u);
  EXPECT_EQ(read(100), "hello ");
  EXPECT_EQ(read(100), "world");
}

TEST_F(TlsBio, HoldsWhatAConnectionWritesAtOnce) {
  connect();
  const std::string record(16 * 1024, 'x');
  constexpr std::size_t kWritten = 128 * 1024 + 16 * 1024;  // and the frame that went beyond it
  for (std::size_t written = 0; written < kWritten; written += record.size())
    ASSERT_EQ(SSL_write(server_.get(), record.data(), static_cast<int>(record.size())),
              static_cast<int>(record.size()));
  EXPECT_GT(gathered_bytes(server_.get()), kWritten);
  EXPECT_EQ(read(100), "") << "a part was sent by itself";
}

TEST_F(TlsBio, FlushesNothingForNothing) {
  connect();
  EXPECT_EQ(flush_records(server_.get()), FlushState::kDone);
  EXPECT_EQ(gathered_bytes(server_.get()), 0u);
}

TEST_F(TlsBio, SaysThatSocketAndGathererAreFull) {
  connect();
  const std::string block(16384, 'x');
  FlushState state = FlushState::kDone;
  for (int i = 0; i < 100; ++i) {
    state = make_room(server_.get());
    if (state != FlushState::kDone) break;
    ASSERT_EQ(SSL_write(server_.get(), block.data(), static_cast<int>(block.size())), 16384);
  }
  ASSERT_EQ(state, FlushState::kWouldBlock) << "somebody must say stop";
  EXPECT_EQ(flush_records(server_.get()), FlushState::kWouldBlock);
  EXPECT_LE(gathered_bytes(server_.get()), kGatherBytes);
  EXPECT_GT(gathered_bytes(server_.get()), kGatherBytes - 2 * kRecordBytesMax);
}

TEST_F(TlsBio, AWriteForWhichThereIsNoRoomFails) {
  if (!may_seal()) GTEST_SKIP() << "this OpenSSL makes its records itself";
  connect();
  const std::string block(16384, 'x');
  int result = 0;
  for (int i = 0; i < 100; ++i) {
    result = SSL_write(server_.get(), block.data(), static_cast<int>(block.size()));
    if (result <= 0) break;
  }
  ASSERT_LE(result, 0);
  EXPECT_EQ(SSL_get_error(server_.get(), result), SSL_ERROR_SYSCALL)
      << "OpenSSL would come back with bytes that may be gone";
  ERR_clear_error();
}

class TlsBioSeeds : public TlsBio, public ::testing::WithParamInterface<int> {};

TEST_P(TlsBioSeeds, DeliversEveryByteInOrder) {
  static constexpr const char* kCiphers[] = {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384",
                                             "TLS_CHACHA20_POLY1305_SHA256", nullptr};
  const char* const cipher = kCiphers[GetParam() % 4];  // null: TLS 1.2
  if (cipher)
    SSL_set_ciphersuites(client_.get(), cipher);
  else
    SSL_set_max_proto_version(client_.get(), TLS1_2_VERSION);
  connect();
  ASSERT_EQ(SSL_version(server_.get()), cipher ? TLS1_3_VERSION : TLS1_2_VERSION);
  if (cipher) {
    ASSERT_STREQ(SSL_get_cipher(server_.get()), cipher);
  }
  EXPECT_EQ(seals_records(server_.get()), cipher && may_seal());
  SeededRandom random(static_cast<std::uint64_t>(GetParam()));
  constexpr std::size_t kTotal = 1024 * 1024;
  std::string sent(kTotal, '\0'), got;
  for (char& c : sent) c = static_cast<char>(random.next());
  std::size_t written = 0;
  for (int turn = 0; got.size() < kTotal && turn < 2'000'000; ++turn) {
    if (written < kTotal && random.below(3) > 0) {
      const FlushState state = make_room(server_.get());
      ASSERT_NE(state, FlushState::kFailed);
      if (state == FlushState::kDone) {
        const std::string block =
            sent.substr(written, 1 + random.below(random.below(2) ? 60000 : 300));
        const int result = SSL_write(server_.get(), block.data(), static_cast<int>(block.size()));
        ASSERT_GT(result, 0) << SSL_get_error(server_.get(), result);
        written += static_cast<std::size_t>(result);
      }
    }
    if (random.below(4) == 0 || written == kTotal) {
      ASSERT_NE(flush_records(server_.get()), FlushState::kFailed);
    }
    if (random.below(50) == 0) shrink_records(server_.get());
    if (random.below(2) == 0) got += read(1 + random.below(20000));
  }
  EXPECT_EQ(got.size(), kTotal);
  EXPECT_TRUE(got == sent);
  EXPECT_EQ(gathered_bytes(server_.get()), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, TlsBioSeeds, ::testing::Range(0, 12));

/// RFC 8446 section 4.6.3: from us, from the peer, and from the peer with the wish for ours.
TEST_F(TlsBio, GoesOnBehindKeyUpdates) {
  connect();
  ASSERT_EQ(seals_records(server_.get()), may_seal());
  const auto say = [&](const std::string& text) {
    ASSERT_EQ(make_room(server_.get()), FlushState::kDone);
    ASSERT_EQ(SSL_write(server_.get(), text.data(), static_cast<int>(text.size())),
              static_cast<int>(text.size()));
    ASSERT_EQ(flush_records(server_.get()), FlushState::kDone);
    EXPECT_EQ(read(1000), text);
  };
  const auto hear = [&](const std::string& text) {
    ASSERT_EQ(SSL_write(client_.get(), text.data(), static_cast<int>(text.size())),
              static_cast<int>(text.size()));
    ASSERT_EQ(flush_records(client_.get()), FlushState::kDone);
    char got[100];
    ASSERT_EQ(SSL_read(server_.get(), got, sizeof got), static_cast<int>(text.size()));
    ASSERT_EQ(flush_records(server_.get()), FlushState::kDone);
  };
  say("before");
  for (int round = 0; round < 3; ++round) {
    ASSERT_EQ(SSL_key_update(client_.get(), SSL_KEY_UPDATE_REQUESTED), 1);
    hear("change your keys, too");
    say("changed");
    ASSERT_EQ(SSL_key_update(server_.get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    say("and again");
    hear("good");
    ASSERT_EQ(SSL_key_update(client_.get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
    hear("mine alone");
    ASSERT_EQ(SSL_key_update(server_.get(), SSL_KEY_UPDATE_REQUESTED), 1);
    say("yours");
    hear("done");
    say("well");
  }
}

TEST_F(TlsBio, SaysGoodbye) {
  connect();
  ASSERT_EQ(seals_records(server_.get()), may_seal());
  ASSERT_EQ(SSL_write(server_.get(), "last", 4), 4);
  ASSERT_EQ(SSL_shutdown(server_.get()), 0);
  ASSERT_EQ(flush_records(server_.get()), FlushState::kDone);
  EXPECT_EQ(read(100), "last");
  char octet = 0;
  const int result = SSL_read(client_.get(), &octet, 1);
  EXPECT_EQ(SSL_get_error(client_.get(), result), SSL_ERROR_ZERO_RETURN);
}

TEST_F(TlsBio, FailsWithoutASignalWhenThePeerIsGone) {
  connect();
  close_client();
  ASSERT_EQ(SSL_write(server_.get(), "hello", 5), 5) << "only gathered";
  errno = 0;
  EXPECT_EQ(flush_records(server_.get()), FlushState::kFailed);  // SIGPIPE would end the test.
  EXPECT_EQ(errno, EPIPE);
}

TEST_F(TlsBio, HandshakeFailsCleanlyWhenThePeerIsGone) {
  SSL_do_handshake(client_.get());
  close_client();
  const int result = SSL_do_handshake(server_.get());
  EXPECT_NE(SSL_get_error(server_.get(), result), SSL_ERROR_NONE);
  EXPECT_NE(SSL_get_error(server_.get(), result), SSL_ERROR_WANT_WRITE);
  ERR_clear_error();
}

TEST_F(TlsBio, KeepsTheFlightThatAFullSocketDidNotTake) {
  SSL_do_handshake(client_.get());
  // Fill the server's socket, so that its first flight does not fit.
  const std::string junk(4096, 'j');
  std::size_t filled = 0;
  for (ssize_t n = 0; (n = ::send(server_socket_, junk.data(), junk.size(), 0)) > 0;)
    filled += static_cast<std::size_t>(n);
  const int result = SSL_do_handshake(server_.get());
  EXPECT_EQ(SSL_get_error(server_.get(), result), SSL_ERROR_WANT_READ);
  EXPECT_GT(gathered_bytes(server_.get()), 0u);
  EXPECT_EQ(flush_records(server_.get()), FlushState::kWouldBlock);
  std::string drained(filled, '\0');
  for (std::size_t at = 0; at < filled;) {
    const ssize_t n = ::recv(client_socket_, drained.data() + at, filled - at, 0);
    ASSERT_GT(n, 0);
    at += static_cast<std::size_t>(n);
  }
  EXPECT_EQ(flush_records(server_.get()), FlushState::kDone);
  connect();
  ASSERT_EQ(SSL_write(server_.get(), "ok", 2), 2);
  EXPECT_EQ(flush_records(server_.get()), FlushState::kDone);
  EXPECT_EQ(read(10), "ok");
}

TEST_F(TlsBio, TellsItsDescriptor) {
  EXPECT_EQ(SSL_get_wfd(server_.get()), server_socket_);
  EXPECT_EQ(SSL_get_rfd(server_.get()), server_socket_);
}

}  // namespace
}  // namespace gatehouse::net
