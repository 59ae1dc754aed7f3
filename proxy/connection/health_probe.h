#pragma once
// One active check of a host: a connection of its own, made as requests to that backend are made
// (protocol, TLS, all of it), with one request on it, or none for TCP. Passed: it connects and
// shakes hands; by HTTP the status is 2xx; by gRPC the health service says SERVING. Owned by the
// data plane's table like all connections, so it tells its cluster by id; the time limit is the
// checker's.

#include <string>

#include "proxy/connection/backend_connection.h"

namespace gatehouse::proxy {

class HealthProbe final : public BackendConnection {
 public:
  struct Target {
    ClusterId cluster;
    std::uint32_t slot = 0;
    std::uint64_t round = 0;  // tells a late answer from that of the next check
    std::string authority;    // for HTTP and gRPC
  };

  HealthProbe(ConnectionHost& host, int descriptor, Settings settings, const HealthCheck& check,
              Target target);

 private:
  void tell_connected() override;
  void tell_connect_failed(const std::string& reason) override;
  void tell_closed() override;

  // ClientEvents
  void on_interim(StreamToken token, ResponseHead& head) override;
  void on_response(StreamToken token, ResponseHead& head, bool ended) override;
  void on_response_body(StreamToken token, std::string_view bytes) override;
  void on_response_end(StreamToken token, const Fields* trailers) override;
  void on_request_taken(StreamToken token, std::size_t bytes) override;
  void on_failed(StreamToken token, const Failure& failure) override;

  void send_request();
  void report(bool passed, const std::string& reason);

  const HealthCheck check_;
  const Target target_;
  StreamId stream_ = 0;
  std::string body_;  // of gRPC
  std::size_t body_bytes_ = 0;
  std::string grpc_status_;
  bool is_reported_ = false;
};

/// grpc.health.v1.HealthCheckRequest as it goes over the wire, framed.
std::string grpc_health_request(std::string_view service);
/// Whether a framed HealthCheckResponse says SERVING.
bool is_serving(std::string_view message);

}  // namespace gatehouse::proxy
