// Real sockets on loopback, port 0: the client's subject is how connections behave.
#include "daemon/net/https_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <functional>
#include <optional>

#include "daemon/base/text.h"
#include "daemon/net/tls_context.h"
#include "tests/support/certificates.h"

namespace gatehouse::net {
namespace {

using namespace testing;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
namespace asio = boost::asio;
using asio::ip::tcp;
using TlsStream = asio::ssl::stream<tcp::socket>;

const Authority& authority() {
  static const Authority made = make_authority();
  return made;
}

class Localhost final : public CredentialSource {
 public:
  CredentialPtr choose(const ClientHello&) override {
    static const CredentialPtr credential = issue(authority(), {"localhost", "127.0.0.1"});
    return credential;
  }
};

/// What the peer does with one request.
struct Reply {
  std::string bytes;
  bool closes = false;        // after the bytes, without close_notify
  bool says_goodbye = false;  // close_notify, then closed
  bool hangs = false;
};

std::string ok(std::string_view body, std::string_view fields = "") {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         std::string(fields) + "\r\n" + std::string(body);
}

/// A tiny HTTP/1.1 peer: answers each request by script.
class Peer {
 public:
  Peer(asio::io_context& context, bool is_tls) : context_(context), is_tls_(is_tls) {
    tls_ =
        *ServerTlsContext::create(TlsProfile::kIntermediate, names_, *TicketKeys::create(clock_));
    asio::co_spawn(context_, accept(), asio::detached);
  }
  std::string url(std::string_view path, std::string_view host = "127.0.0.1") const {
    return std::string(is_tls_ ? "https://" : "http://") + std::string(host) + ":" +
           std::to_string(acceptor_.local_endpoint().port()) + std::string(path);
  }

  std::function<Reply(const std::string& head, int number)> script = [](const std::string&, int) {
    return Reply{ok("hello")};
  };
  int connections = 0, requests = 0;
  std::vector<std::string> heads;
  /// Closes what is idle.
  void close_all() {
    for (auto* socket : open_) socket->close();
  }
  void stop_listening() { acceptor_.close(); }

 private:
  asio::awaitable<void> accept() {
    for (;;) {
      boost::system::error_code code;
      tcp::socket socket =
          co_await acceptor_.async_accept(asio::redirect_error(asio::use_awaitable, code));
      if (code) co_return;
      ++connections;
      asio::co_spawn(context_, serve(std::move(socket)), asio::detached);
    }
  }
  asio::awaitable<void> serve(tcp::socket socket) {
    if (!is_tls_) {
      open_.push_back(&socket);
      co_await talk(socket, socket);
      std::erase(open_, &socket);
      co_return;
    }
    TlsStream stream(std::move(socket), tls_->new_ssl()->release());
    boost::system::error_code code;
    open_.push_back(&stream.next_layer());
    co_await stream.async_handshake(asio::ssl::stream_base::server,
                                    asio::redirect_error(asio::use_awaitable, code));
    if (!code) co_await talk(stream, stream.next_layer());
    std::erase(open_, &stream.next_layer());
  }
  template <class Stream>
  asio::awaitable<void> talk(Stream& stream, tcp::socket& socket) {
    std::string received;
    for (;;) {
      boost::system::error_code code;
      auto input = asio::dynamic_buffer(received);
      const std::size_t size = co_await asio::async_read_until(
          stream, input, "\r\n\r\n", asio::redirect_error(asio::use_awaitable, code));
      if (code) co_return;
      heads.push_back(received.substr(0, size));
      received.erase(0, size);
      const std::size_t at = heads.back().find("Content-Length: ");
      if (at != std::string::npos) {
        const std::size_t body = std::stoul(heads.back().substr(at + 16));
        if (received.size() < body)
          co_await asio::async_read(stream, asio::dynamic_buffer(received),
                                    asio::transfer_exactly(body - received.size()),
                                    asio::redirect_error(asio::use_awaitable, code));
        heads.back() += received.substr(0, body);
        received.erase(0, body);
      }
      const Reply reply = script(heads.back(), requests++);
      if (reply.hangs) {
        co_await asio::async_read_until(stream, input, "never",
                                        asio::redirect_error(asio::use_awaitable, code));
        co_return;
      }
      co_await asio::async_write(stream, asio::buffer(reply.bytes),
                                 asio::redirect_error(asio::use_awaitable, code));
      if constexpr (std::is_same_v<Stream, TlsStream>)
        if (reply.says_goodbye) {
          SSL_set_quiet_shutdown(stream.native_handle(), 0);
          co_await stream.async_shutdown(asio::redirect_error(asio::use_awaitable, code));
        }
      if (reply.closes || reply.says_goodbye) {
        socket.close(code);
        co_return;
      }
    }
  }

  asio::io_context& context_;
  bool is_tls_;
  SystemClock clock_;
  Localhost names_;
  std::shared_ptr<ServerTlsContext> tls_;
  tcp::acceptor acceptor_{context_, tcp::endpoint(asio::ip::address_v4::loopback(), 0)};
  std::vector<tcp::socket*> open_;
};

class Https : public ::testing::TestWithParam<bool> {
 protected:
  HttpsClient& client() {
    if (!client_) {
      options_.ca_pem = authority().root.to_pem();
      options_.allow_plain = true;
      client_ = *HttpsClient::create(context_, options_);
    }
    return *client_;
  }
  /// Runs one request to its end.
  Result<HttpResponse> send(HttpRequest request) {
    std::optional<Result<HttpResponse>> answer;
    asio::co_spawn(context_, client().send(std::move(request)),
                   [&](const std::exception_ptr& thrown, Result<HttpResponse> given) {
                     EXPECT_FALSE(thrown);
                     answer.emplace(std::move(given));
                   });
    context_.restart();
    while (!answer) context_.run_one();
    return std::move(*answer);
  }
  Result<HttpResponse> get(const std::string& url) {
    HttpRequest request;
    request.url = url;
    return send(std::move(request));
  }
  Result<HttpResponse> stream(const std::string& url, HttpsClient::OnData on_data,
                              std::chrono::milliseconds silence_max = 10s) {
    HttpRequest request;
    request.url = url;
    std::optional<Result<HttpResponse>> answer;
    asio::co_spawn(context_, client().stream(std::move(request), silence_max, std::move(on_data)),
                   [&](const std::exception_ptr& thrown, Result<HttpResponse> given) {
                     EXPECT_FALSE(thrown);
                     answer.emplace(std::move(given));
                   });
    context_.restart();
    while (!answer) context_.run_one();
    return std::move(*answer);
  }
  /// Lets the peer see what happened.
  void settle() {
    context_.restart();
    while (context_.poll() > 0) context_.restart();
  }

  asio::io_context context_;
  HttpsClientOptions options_;
  Peer peer_{context_, GetParam()};
  std::unique_ptr<HttpsClient> client_;
};

INSTANTIATE_TEST_SUITE_P(PlainAndTls, Https, ::testing::Bool());

TEST_P(Https, SendsARequestAndReadsItsAnswer) {
  peer_.script = [](const std::string&, int) {
    return Reply{
        ok("made", "Link: <a>;rel=\"up\"\r\nlink: <b>;rel=\"next\"\r\nReplay-Nonce: n\r\n")};
  };
  HttpRequest request;
  request.method = "POST";
  request.url = peer_.url("/order?x=1");
  request.fields = {{"Content-Type", "application/jose+json"}};
  request.body = "{}";
  const auto answer = send(std::move(request));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 200u);
  EXPECT_EQ(answer->body, "made");
  EXPECT_THAT(answer->find_all("LINK"), ElementsAre("<a>;rel=\"up\"", "<b>;rel=\"next\""));
  ASSERT_TRUE(answer->find("replay-nonce"));
  EXPECT_EQ(*answer->find("replay-nonce"), "n");
  EXPECT_EQ(answer->find("absent"), nullptr);
  ASSERT_EQ(peer_.heads.size(), 1u);
  EXPECT_TRUE(peer_.heads[0].starts_with("POST /order?x=1 HTTP/1.1\r\nHost: 127.0.0.1:"));
  EXPECT_THAT(peer_.heads[0], HasSubstr("User-Agent: gatehouse/"));
  EXPECT_THAT(peer_.heads[0], HasSubstr("Content-Length: 2\r\n"));
  EXPECT_TRUE(peer_.heads[0].ends_with("\r\n\r\n{}"));
}

TEST_P(Https, KeepsOneConnection) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(get(peer_.url("/")));
  EXPECT_EQ(peer_.connections, 1);
  client().close_idle();
  ASSERT_TRUE(get(peer_.url("/")));
  EXPECT_EQ(peer_.connections, 2);
}

TEST_P(Https, ReplacesAConnectionThatWasClosedMeanwhile) {
  for (const char* method : {"GET", "POST"}) {
    ASSERT_TRUE(get(peer_.url("/")));
    settle();
    peer_.close_all();
    settle();
    HttpRequest request;
    request.method = method;
    request.url = peer_.url("/");
    const auto answer = send(std::move(request));
    EXPECT_TRUE(answer) << method << ": " << answer.error().message;
  }
}

TEST_P(Https, RepeatsOnlyIdempotentRequestsOnAStaleConnection) {
  // The second request of each connection is swallowed: the close comes after it was sent.
  int on_this = 0, swallowed = 0;
  peer_.script = [&](const std::string&, int) {
    if (++on_this % 2 == 0) {
      ++swallowed;
      on_this = 0;
      return Reply{"", true};
    }
    return Reply{ok("x")};
  };
  ASSERT_TRUE(get(peer_.url("/")));
  ASSERT_TRUE(get(peer_.url("/"))) << "repeated on a new connection";
  EXPECT_EQ(swallowed, 1);
  EXPECT_EQ(peer_.requests, 3);
  HttpRequest request;
  request.method = "POST";
  request.url = peer_.url("/");
  const auto answer = send(std::move(request));
  ASSERT_FALSE(answer) << "the peer may have acted on it";
  EXPECT_EQ(answer.error().fault, Fault::kConnection);
  EXPECT_EQ(peer_.requests, 4) << "and it was sent once";
}

TEST_P(Https, DoesNotRepeatAfterAByteOfAnAnswer) {
  peer_.script = [](const std::string&, int number) {
    return number == 0 ? Reply{ok("x")} : Reply{"HTTP/1.1 200", true};
  };
  ASSERT_TRUE(get(peer_.url("/")));
  EXPECT_EQ(get(peer_.url("/")).error().fault, Fault::kConnection);
  EXPECT_EQ(peer_.requests, 2);
}

TEST_P(Https, DoesNotRepeatOnAFreshConnection) {
  peer_.script = [](const std::string&, int) { return Reply{"", true}; };
  EXPECT_EQ(get(peer_.url("/")).error().fault, Fault::kConnection);
  EXPECT_EQ(peer_.requests, 1);
}

TEST_P(Https, ReadsAChunkedBodyAndSkipsInterimAnswers) {
  peer_.script = [](const std::string&, int) {
    return Reply{
        "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 201 Created\r\n"
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n"};
  };
  const auto answer = get(peer_.url("/"));
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 201u);
  EXPECT_EQ(answer->body, "abcdefg");
  EXPECT_EQ(answer->find("link"), nullptr);
  ASSERT_TRUE(get(peer_.url("/")));
  EXPECT_EQ(peer_.connections, 1);
}

TEST_P(Https, StreamsABodyAsItComes) {
  peer_.script = [](const std::string&, int) {
    return Reply{
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"};
  };
  std::string taken;
  const auto answer = stream(peer_.url("/"), [&](std::string_view piece) {
    taken += piece;
    return true;
  });
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(taken, "abcdefg");
  EXPECT_EQ(answer->body, "");
  ASSERT_TRUE(get(peer_.url("/")));
  EXPECT_EQ(peer_.connections, 2) << "a stream has a connection of its own";
}

TEST_P(Https, EndsAStreamWhenItsTakerHasEnough) {
  peer_.script = [](const std::string&, int) {
    return Reply{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"};
  };
  int pieces = 0;
  const auto answer = stream(peer_.url("/"), [&](std::string_view) { return ++pieces < 1; });
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(pieces, 1);
}

TEST_P(Https, GivesTheBodyOfAFailedStreamInItsAnswer) {
  peer_.script = [](const std::string&, int) {
    return Reply{"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"};
  };
  const auto answer = stream(peer_.url("/"), [](std::string_view) {
    ADD_FAILURE() << "this is no answer to what was asked";
    return true;
  });
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 403u);
  EXPECT_EQ(answer->body, "no");
}

TEST_P(Https, GivesUpAStreamThatIsSilentOrCut) {
  peer_.script = [](const std::string&, int number) {
    return Reply{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", number == 1};
  };
  std::string taken;
  const auto take = [&](std::string_view piece) {
    taken += piece;
    return true;
  };
  EXPECT_EQ(stream(peer_.url("/"), take, 50ms).error().fault, Fault::kTimeout);
  EXPECT_EQ(stream(peer_.url("/"), take).error().fault, Fault::kConnection);
  EXPECT_EQ(taken, "abcabc");
}

TEST_P(Https, ReadsNoBodyAfterHead) {
  peer_.script = [](const std::string&, int) {
    return Reply{"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nReplay-Nonce: n\r\n\r\n"};
  };
  for (int i = 0; i < 2; ++i) {
    HttpRequest request;
    request.method = "HEAD";
    request.url = peer_.url("/nonce");
    const auto answer = send(std::move(request));
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(*answer->find("Replay-Nonce"), "n");
  }
  EXPECT_EQ(peer_.connections, 1);
}

TEST_P(Https, RefusesAnOversizedAnswer) {
  options_.response_bytes_max = 1000;
  for (const std::string& bytes :
       {ok(std::string(1001, 'x')),
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + std::string(1001, 'x') +
            "\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: " + std::string(70000, 'x') + "\r\n\r\n"}) {
    peer_.script = [&](const std::string&, int) { return Reply{bytes}; };
    const auto answer = get(peer_.url("/"));
    ASSERT_FALSE(answer);
    EXPECT_EQ(answer.error().fault, Fault::kTooLarge) << answer.error().message;
  }
  peer_.script = [&](const std::string&, int) { return Reply{ok(std::string(1000, 'x'))}; };
  EXPECT_TRUE(get(peer_.url("/")));
}

TEST_P(Https, FailsCleanlyWhereverTheAnswerIsCut) {
  const std::string whole = ok("hello world", "X: y\r\n");
  for (std::size_t size = 0; size < whole.size(); ++size) {
    peer_.script = [&](const std::string&, int) { return Reply{whole.substr(0, size), true}; };
    const auto answer = get(peer_.url("/"));
    ASSERT_FALSE(answer) << size;
    EXPECT_EQ(answer.error().fault, Fault::kConnection) << size << answer.error().message;
  }
}

TEST_P(Https, RefusesMalformedAnswers) {
  for (const char* bytes :
       {"hello\r\n\r\n", "HTTP/1.1 abc OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n"}) {
    peer_.script = [&](const std::string&, int) { return Reply{bytes}; };
    const auto answer = get(peer_.url("/"));
    ASSERT_FALSE(answer) << bytes;
    EXPECT_EQ(answer.error().fault, Fault::kProtocol) << answer.error().message;
  }
}

TEST_P(Https, EndsAtItsDeadline) {
  options_.deadline = std::chrono::milliseconds(80);
  peer_.script = [](const std::string&, int) { return Reply{"", false, false, true}; };
  const auto answer = get(peer_.url("/slow?secret"));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().fault, Fault::kTimeout);
  EXPECT_THAT(answer.error().message, HasSubstr("/slow: no answer in time"));
}

TEST_P(Https, EndsWhenItIsCancelled) {
  peer_.script = [](const std::string&, int) { return Reply{"", false, false, true}; };
  HttpRequest request;
  request.url = peer_.url("/");
  asio::cancellation_signal signal;
  std::optional<Result<HttpResponse>> answer;
  bool has_thrown = false;
  auto done = [&](const std::exception_ptr& thrown, Result<HttpResponse> given) {
    has_thrown = thrown != nullptr;
    answer.emplace(std::move(given));
  };
  asio::co_spawn(context_, client().send(std::move(request)),
                 asio::bind_cancellation_slot(signal.slot(), std::move(done)));
  while (peer_.requests == 0) context_.run_one();
  signal.emit(asio::cancellation_type::terminal);
  while (!answer) context_.run_one();
  EXPECT_FALSE(has_thrown);
  ASSERT_FALSE(*answer);
  EXPECT_EQ(answer->error().fault, Fault::kCancelled) << answer->error().message;
}

TEST_P(Https, MayBeDestroyedWithALoopThatStopped) {
  peer_.script = [](const std::string&, int) { return Reply{"", false, false, true}; };
  HttpRequest request;
  request.url = peer_.url("/");
  asio::co_spawn(context_, client().send(std::move(request)),
                 [](const std::exception_ptr&, const Result<HttpResponse>&) {});
  while (peer_.requests == 0) context_.run_one();
  SUCCEED();
}

TEST_P(Https, SaysThatNobodyListens) {
  const std::string url = peer_.url("/");
  peer_.stop_listening();
  const auto answer = get(url);
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().fault, Fault::kConnection);
  EXPECT_THAT(answer.error().message, HasSubstr("connecting to 127.0.0.1:"));
  EXPECT_THAT(answer.error().message, HasSubstr(": connection refused"));
}

TEST_P(Https, TriesEveryAddressOfAName) {
  // localhost may be ::1 first, where this peer does not listen.
  const auto answer = get(peer_.url("/", "localhost"));
  EXPECT_TRUE(answer) << answer.error().message;
}

TEST_P(Https, RefusesRequestsThatCannotBeSent) {
  const HttpRequest cases[] = {
      {"GET", "ftp://a/", {}, ""},
      {"G T", peer_.url("/"), {}, ""},
      {"GET", peer_.url("/"), {{"X", "a\r\nY: b"}}, ""},
      {"GET", peer_.url("/"), {{"X Y", "a"}}, ""},
      {"GET", peer_.url("/"), {{"Content-Length", "3"}}, ""},
  };
  for (const HttpRequest& request : cases) EXPECT_EQ(send(request).error().fault, Fault::kInvalid);
  EXPECT_EQ(peer_.connections, 0);
}

using HttpsTls = Https;
INSTANTIATE_TEST_SUITE_P(TlsOnly, HttpsTls, ::testing::Values(true));

TEST_P(HttpsTls, RefusesTheWrongName) {
  options_.tls_server_name = "other.test";
  const auto answer = get(peer_.url("/"));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().fault, Fault::kTls);
  EXPECT_THAT(answer.error().message, HasSubstr("certificate refused: hostname mismatch"));
  EXPECT_EQ(peer_.requests, 0);
}

TEST_P(HttpsTls, RefusesAnUnknownAuthority) {
  options_.ca_pem = make_authority("Another").root.to_pem();
  client_ = *HttpsClient::create(context_, options_);
  const auto answer = get(peer_.url("/"));
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().fault, Fault::kTls);
  EXPECT_THAT(answer.error().message, HasSubstr("certificate refused: unable to get local issuer"));
}

TEST_P(HttpsTls, TakesABodyThatEndsWithTheConnectionOnlyWithAGoodbye) {
  const std::string bytes = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello";
  peer_.script = [&](const std::string&, int number) {
    return number == 0 ? Reply{bytes, false, true} : Reply{bytes, true};
  };
  const auto whole = get(peer_.url("/"));
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->body, "hello");
  EXPECT_EQ(get(peer_.url("/")).error().fault, Fault::kConnection) << "perhaps cut";
}

TEST_P(HttpsTls, RefusesPlainUrlsUnlessAllowed) {
  options_.ca_pem = authority().root.to_pem();
  client_ = *HttpsClient::create(context_, options_);
  const auto answer = get("http://127.0.0.1:1/");
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().fault, Fault::kInvalid);
}

}  // namespace
}  // namespace gatehouse::net
