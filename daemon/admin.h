#pragma once
// The HTTP server of the control plane: health, metrics and status on a TCP address, the same and
// the commands on the control socket (0600). Small requests, few connections, every step bounded in
// time and size; never for traffic. What is answered is the handler's business.

#include <boost/asio/awaitable.hpp>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "daemon/net/address.h"
#include "daemon/net/loop.h"
#include "daemon/net/task_group.h"

namespace gatehouse::daemon {

struct AdminRequest {
  std::string method, path;
  std::map<std::string, std::string> query;
  bool is_control = false;  // came over the control socket: may change things
};

struct AdminReply {
  unsigned status = 200;
  std::string body;
  std::string content_type = "text/plain; charset=utf-8";
};

class AdminServer {
 public:
  using Handler = std::function<boost::asio::awaitable<AdminReply>(AdminRequest)>;

  /// The handler runs on the loop and may wait.
  AdminServer(net::Loop& loop, Handler handler);
  ~AdminServer();

  Result<void> listen(const net::ListenAddress& address);
  /// Makes the directory when missing, replaces a socket that nobody listens on, mode 0600.
  Result<void> listen_control(const std::string& path);
  /// Where listen() is really bound.
  net::SocketAddress bound() const;
  /// Stops listening on TCP, for a changed address.
  void close_listener();

  /// Ends all connections; awaits their tasks.
  void stop();
  boost::asio::awaitable<void> join();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace gatehouse::daemon
