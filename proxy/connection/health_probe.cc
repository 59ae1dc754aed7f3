#include "proxy/connection/health_probe.h"

#include <optional>
#include <utility>

#include "proxy/connection/cluster.h"

namespace gatehouse::proxy {

namespace {
constexpr StreamToken kToken = 1;
constexpr std::size_t kBodyMax = 64 * 1024;  // read of an answer; beyond it the rest is not wanted
constexpr std::size_t kMessageMax = 1024;    // of a gRPC answer

/// A varint at the front of a message (Protocol Buffers encoding), taken off it.
std::optional<std::uint64_t> take_varint(std::string_view& from) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64 && !from.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(from.front());
    from.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}
}  // namespace

std::string grpc_health_request(std::string_view service) {
  std::string message;
  if (!service.empty()) {
    message.push_back('\x0a');  // field 1, a string
    std::size_t left = service.size();
    for (; left >= 0x80; left >>= 7) message.push_back(static_cast<char>((left & 0x7f) | 0x80));
    message.push_back(static_cast<char>(left));
    message.append(service);
  }
  std::string framed(1, '\0');  // not compressed
  for (int shift = 24; shift >= 0; shift -= 8)
    framed.push_back(static_cast<char>(message.size() >> shift));
  return framed + message;
}

bool is_serving(std::string_view message) {
  if (message.size() < 5 || message[0] != 0) return false;  // not even a frame, or compressed
  message.remove_prefix(5);
  std::uint64_t status = 0;
  while (!message.empty()) {
    const auto tag = take_varint(message);
    if (!tag) return false;
    if (*tag == 0x08) {  // field 1, a varint
      const auto value = take_varint(message);
      if (!value) return false;
      status = *value;
    } else if (*tag % 8 == 0) {
      if (!take_varint(message)) return false;
    } else if (*tag % 8 == 2) {
      const auto size = take_varint(message);
      if (!size || *size > message.size()) return false;
      message.remove_prefix(*size);
    } else {
      return false;
    }
  }
  return status == 1;  // SERVING
}

HealthProbe::HealthProbe(ConnectionHost& host, int descriptor, Settings settings,
                         const HealthCheck& check, Target target)
    : BackendConnection(host, PoolId(), descriptor, std::move(settings)),
      check_(check),
      target_(std::move(target)) {}

void HealthProbe::report(bool passed, const std::string& reason) {
  if (std::exchange(is_reported_, true)) return;
  if (Cluster* cluster = host().find_cluster(target_.cluster))
    cluster->on_checked(target_.slot, target_.round, passed, reason);
}

// ---- the connection -------------------------------------------------------------------------

void HealthProbe::tell_connected() {
  if (check_.path.empty() && !check_.is_grpc) {
    report(true, "");
    return drain();
  }
  send_request();
}

void HealthProbe::tell_connect_failed(const std::string& reason) { report(false, reason); }
void HealthProbe::tell_closed() { report(false, "closed"); }

void HealthProbe::send_request() {
  if (session()->capacity() == 0) return report(false, "no stream to be had");
  RequestHead head;
  head.scheme = is_tls() ? "https" : "http";
  head.authority = target_.authority;
  head.fields.add(Name::kUserAgent, "gatehouse-health");
  if (!check_.is_grpc) {
    head.method = "GET";
    head.path = check_.path;
    stream_ = session()->send_request(head, true, kToken);
    return;
  }
  if (session()->capacity() == 1) return report(false, "the backend does not speak HTTP/2");
  head.method = "POST";
  head.path = "/grpc.health.v1.Health/Check";
  head.fields.add(Name::kContentType, "application/grpc");
  head.te_trailers = true;
  stream_ = session()->send_request(head, false, kToken);
  session()->send_body(stream_, grpc_health_request(check_.grpc_service));
  session()->send_end(stream_, nullptr);
}

// ---- the answer -----------------------------------------------------------------------------

void HealthProbe::on_interim(StreamToken, ResponseHead&) {}
void HealthProbe::on_request_taken(StreamToken, std::size_t) {}

void HealthProbe::on_response(StreamToken, ResponseHead& head, bool) {
  const bool is_ok = head.status >= 200 && head.status < 300;
  if (!is_ok) return report(false, "status " + std::to_string(head.status));
  if (!check_.is_grpc) return report(true, "");
  grpc_status_ = head.fields.find(Name::kGrpcStatus).value_or("");
}

void HealthProbe::on_response_body(StreamToken, std::string_view bytes) {
  body_bytes_ += bytes.size();
  if (check_.is_grpc && body_bytes_ <= kMessageMax) body_.append(bytes);
  if (body_bytes_ > kBodyMax)
    session()->reset(stream_, Reset::kCancel);
  else
    session()->acknowledge(stream_, bytes.size());
}

void HealthProbe::on_response_end(StreamToken, const Fields* trailers) {
  if (trailers) grpc_status_ = trailers->find(Name::kGrpcStatus).value_or(grpc_status_);
  if (grpc_status_ != "0")
    return report(false, "grpc-status " + (grpc_status_.empty() ? "missing" : grpc_status_));
  const bool serves = is_serving(body_);
  report(serves, serves ? "" : "not serving");
}

void HealthProbe::on_failed(StreamToken, const Failure& failure) { report(false, failure.detail); }

}  // namespace gatehouse::proxy
