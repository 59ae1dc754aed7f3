#include "daemon/control_socket.h"

#include <boost/asio/io_context.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>

#include "daemon/base/text.h"

namespace gatehouse::daemon {

namespace asio = boost::asio;
namespace http = boost::beast::http;

Result<ControlReply> ask_daemon(const std::string& socket_path, const std::string& method,
                                const std::string& target) {
  asio::io_context context;
  asio::local::stream_protocol::socket socket(context);
  boost::system::error_code error;
  socket.connect(asio::local::stream_protocol::endpoint(socket_path), error);
  if (error) {
    const bool is_gone = error == asio::error::connection_refused ||
                         error == boost::system::errc::no_such_file_or_directory;
    return Error{
        is_gone ? Fault::kNotFound : Fault::kConnection,
        is_gone ? "no daemon is running at " + socket_path : socket_path + ": " + error.message()};
  }
  http::request<http::empty_body> request;
  request.version(11);
  request.method_string(method);
  request.target(target);
  request.set(http::field::host, "gatehouse");
  request.keep_alive(false);
  http::write(socket, request, error);
  if (error) return Error{Fault::kConnection, "asking the daemon: " + error.message()};
  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(256 * 1024 * 1024);
  http::read(socket, buffer, parser, error);
  if (error) return Error{Fault::kConnection, "the daemon's answer: " + error.message()};
  return ControlReply{parser.get().result_int(), std::move(parser.get().body())};
}

std::string percent_encoded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (is_alpha(c) || is_digit(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      out.push_back(c);
    } else {
      out.push_back('%');
      out.append(to_hex(std::string_view(&c, 1)));
    }
  }
  return out;
}

}  // namespace gatehouse::daemon
