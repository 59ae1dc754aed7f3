#include "daemon/admin.h"

#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http.hpp>
#include <filesystem>
#include <optional>

#include "daemon/base/log.h"
#include "daemon/base/text.h"

namespace gatehouse::daemon {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace http = boost::beast::http;

namespace {
using Tcp = asio::ip::tcp;
using Local = asio::local::stream_protocol;
constexpr auto kIdle = std::chrono::seconds(10);
constexpr std::size_t kConnectionsMax = 64;
constexpr std::size_t kHeadBytesMax = 8 * 1024;
constexpr std::size_t kBodyBytesMax = 64 * 1024;

std::string percent_decoded(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      if (const auto byte = from_hex(to_lower(text.substr(i + 1, 2)))) {
        out.append(*byte);
        i += 2;
        continue;
      }
    }
    out.push_back(text[i] == '+' ? ' ' : text[i]);
  }
  return out;
}

AdminRequest make_request(const http::request<http::string_body>& from, bool is_control) {
  AdminRequest request;
  request.is_control = is_control;
  request.method.assign(from.method_string().data(), from.method_string().size());
  std::string_view target(from.target().data(), from.target().size());
  std::string_view query = target;
  request.path = percent_decoded(take_until(query, '?'));
  while (!query.empty()) {
    std::string_view value = take_until(query, '&');
    const std::string_view name = take_until(value, '=');
    request.query[percent_decoded(name)] = percent_decoded(value);
  }
  return request;
}
}  // namespace

struct AdminServer::State {
  State(net::Loop& owner, Handler handle)
      : loop(owner),
        handler(std::move(handle)),
        tasks(owner),
        tcp(owner.context()),
        control(owner.context()) {}

  template <class Acceptor>
  asio::awaitable<void> accept(Acceptor& acceptor, bool is_control);
  template <class Socket>
  asio::awaitable<void> serve(Socket socket, bool is_control);

  net::Loop& loop;
  Handler handler;
  net::TaskGroup tasks;
  Tcp::acceptor tcp;
  Local::acceptor control;
  std::string control_path;
  std::size_t connections = 0;
};

template <class Acceptor>
asio::awaitable<void> AdminServer::State::accept(Acceptor& acceptor, bool is_control) {
  while (acceptor.is_open()) {
    boost::system::error_code error;
    auto socket = co_await acceptor.async_accept(asio::redirect_error(asio::use_awaitable, error));
    if (error == asio::error::operation_aborted || !acceptor.is_open()) co_return;
    if (error) {
      const bool goes_on = co_await net::sleep_for(loop, std::chrono::milliseconds(100));
      if (!goes_on) co_return;
      continue;
    }
    if (connections >= kConnectionsMax) continue;  // Closed at once.
    tasks.start("admin.connection", serve(std::move(socket), is_control));
  }
}

template <class Socket>
asio::awaitable<void> AdminServer::State::serve(Socket socket, bool is_control) {
  ++connections;
  beast::basic_stream<typename Socket::protocol_type> stream(std::move(socket));
  beast::flat_buffer buffer;
  bool is_open = true;
  while (is_open) {
    http::request_parser<http::string_body> parser;
    parser.header_limit(static_cast<std::uint32_t>(kHeadBytesMax));
    parser.body_limit(kBodyBytesMax);
    boost::system::error_code error;
    stream.expires_after(kIdle);
    co_await http::async_read(stream, buffer, parser,
                              asio::redirect_error(asio::use_awaitable, error));
    if (error) break;
    AdminRequest request = make_request(parser.get(), is_control);
    const bool is_head = parser.get().method() == http::verb::head;
    if (is_head) request.method = "GET";
    stream.expires_never();
    AdminReply reply = co_await handler(std::move(request));
    http::response<http::string_body> response;
    response.version(11);
    response.result(reply.status);
    response.set(http::field::content_type, reply.content_type);
    response.set(http::field::cache_control, "no-store");
    response.keep_alive(parser.get().keep_alive());
    const std::size_t size = reply.body.size();
    if (!is_head) response.body() = std::move(reply.body);
    response.content_length(size);
    stream.expires_after(kIdle);
    http::response_serializer<http::string_body> serializer(response);
    if (is_head) serializer.split(true);
    if (is_head) {
      co_await http::async_write_header(stream, serializer,
                                        asio::redirect_error(asio::use_awaitable, error));
    } else {
      co_await http::async_write(stream, serializer,
                                 asio::redirect_error(asio::use_awaitable, error));
    }
    is_open = !error && response.keep_alive() && !tasks.is_stopped();
  }
  --connections;
}

AdminServer::AdminServer(net::Loop& loop, Handler handler)
    : state_(std::make_unique<State>(loop, std::move(handler))) {}

AdminServer::~AdminServer() {
  if (!state_->control_path.empty()) ::unlink(state_->control_path.c_str());
}

Result<void> AdminServer::listen(const net::ListenAddress& address) {
  boost::system::error_code error;
  Tcp::endpoint endpoint;
  std::memcpy(endpoint.data(), address.address.native(), address.address.native_size());
  endpoint.resize(address.address.native_size());
  const auto failed = [&] {
    state_->tcp.close();
    return Error{Fault::kIo, "admin: listening on " + address.text + ": " + error.message()};
  };
  state_->tcp.open(endpoint.protocol(), error);
  if (error) return failed();
  state_->tcp.set_option(Tcp::acceptor::reuse_address(true), error);
  state_->tcp.bind(endpoint, error);
  if (error) return failed();
  state_->tcp.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed();
  state_->tasks.start("admin.accept", state_->accept(state_->tcp, false));
  return {};
}

Result<void> AdminServer::listen_control(const std::string& path) {
  boost::system::error_code error;
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), ignored);
  const auto failed = [&](std::string_view why) {
    boost::system::error_code unused;
    state_->control.close(unused);
    return Error{Fault::kIo, "control socket " + path + ": " + std::string(why)};
  };
  if (path.size() >= sizeof(sockaddr_un{}.sun_path)) return failed("the path is too long");
  const Local::endpoint endpoint(path);
  Local::socket probe(state_->loop.context());
  probe.connect(endpoint, error);
  if (!error) return failed("another daemon answers there");
  if (error == asio::error::connection_refused) ::unlink(path.c_str());
  error = {};
  state_->control.open(endpoint.protocol(), error);
  if (error) return failed(error.message());
  const mode_t before = ::umask(0177);  // 0600 from the first moment.
  state_->control.bind(endpoint, error);
  ::umask(before);
  if (error) return failed(error.message());
  state_->control_path = path;
  state_->control.listen(asio::socket_base::max_listen_connections, error);
  if (error) return failed(error.message());
  state_->tasks.start("admin.control", state_->accept(state_->control, true));
  return {};
}

net::SocketAddress AdminServer::bound() const {
  boost::system::error_code error;
  const Tcp::endpoint endpoint = state_->tcp.local_endpoint(error);
  return net::SocketAddress::from_native(endpoint.data(), static_cast<socklen_t>(endpoint.size()));
}

void AdminServer::close_listener() {
  boost::system::error_code error;
  state_->tcp.close(error);
}

void AdminServer::stop() {
  boost::system::error_code error;
  state_->tcp.close(error);
  state_->control.close(error);
  state_->tasks.stop();
}

asio::awaitable<void> AdminServer::join() { co_await state_->tasks.join(); }

}  // namespace gatehouse::daemon
