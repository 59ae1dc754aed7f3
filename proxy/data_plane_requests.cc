// Where a request goes, and what is written down about it. The other half of DataPlane.

#include <chrono>

#include "daemon/base/log.h"
#include "proxy/data_plane.h"
#include "proxy/protocol/headers.h"
#include "proxy/protocol/local_reply.h"
#include "proxy/protocol/request_id.h"
#include "proxy/routing/path.h"

namespace gatehouse::proxy {

// ---- ConnectionHost -------------------------------------------------------------------------

Exchange& DataPlane::new_exchange() {
  std::unique_ptr<Exchange> exchange;
  if (spare_exchanges_.empty()) {
    exchange = std::make_unique<Exchange>(*this, timers());
  } else {
    exchange = std::move(spare_exchanges_.back());
    spare_exchanges_.pop_back();
  }
  Exchange& made = *exchange;
  made.assign_id(exchanges_.insert(std::move(exchange)));
  return made;
}

Exchange* DataPlane::find_exchange(StreamToken token) {
  return exchanges_.find(ExchangeId::unpack(token));
}

StreamToken DataPlane::on_request(FrontendConnection& from, StreamId stream, RequestHead& head,
                                  bool ended) {
  Exchange& exchange = new_exchange();
  exchange.begin(from.id(), stream, head, ended);
  exchange.started_wall = clock().wall_now();
  exchange.snapshot = view_;
  dispatch(exchange, from);
  return exchange.id().packed();
}

void DataPlane::on_refused(FrontendConnection& from, const RequestHead& head, int status,
                           std::string_view detail) {
  count_response(status);
  if (!access_log_->is_on()) return;
  AccessRecord record;
  record.start = clock().wall_now();
  record.method = head.method;
  record.path = head.path;
  record.version = head.version;
  record.status = status;
  record.flags.add(ResponseFlag::kDpe);
  record.authority = head.authority;
  record.code_details = detail;
  const std::string local = from.facts().local.to_string(), remote = from.facts().peer.to_string();
  record.local_address = local;
  record.remote_address = remote;
  record.server_name = from.server_name();
  access_log_->append(record);
}

void DataPlane::on_connect_failed(Exchange& exchange, ResponseFlag flag, std::string_view detail) {
  auto& target = static_cast<View*>(exchange.snapshot.get())->targets[exchange.target];
  target.balancer.on_connect_failed(exchange.endpoint_index, timers().now());
  if (++exchange.endpoints_failed < std::min<std::size_t>(target.pools.size(), 3))
    return send_to_endpoint(exchange);
  // The line names whom we could not reach, as Envoy's does.
  if (const BackendPool* pool = pools_.find(target.pools[exchange.endpoint_index]))
    exchange.endpoint = pool->text();
  exchange.on_connect_failed(flag, 503, detail);
}

// ---- ExchangeHost ---------------------------------------------------------------------------

ServerSession* DataPlane::frontend_of(const Exchange& exchange) {
  FrontendConnection* connection = frontends_.find(exchange.frontend());
  if (!connection || connection->is_retired) return nullptr;
  mark_dirty(*connection);
  return connection->session();
}

ClientSession* DataPlane::backend_of(const Exchange& exchange) {
  BackendConnection* connection = backends_.find(exchange.backend());
  if (!connection || connection->is_retired) return nullptr;
  mark_dirty(*connection);
  return connection->session();
}

bool DataPlane::retry(Exchange& exchange) {
  connection_metrics_.backend_retries.add();
  send_to_endpoint(exchange);
  return true;
}

void DataPlane::leave_queue(Exchange& exchange) {
  if (BackendPool* pool = pools_.find(exchange.pool)) pool->leave(exchange);
}

void DataPlane::on_exchange_done(Exchange& exchange) {
  count_response(exchange.status());
  durations_.observe(std::chrono::duration<double>(timers().now() - exchange.started()).count());
  if (access_log_->is_on()) log_exchange(exchange);
  done_exchanges_.push_back(exchange.id());
}

// ---- routing --------------------------------------------------------------------------------

void DataPlane::dispatch(Exchange& exchange, FrontendConnection& from) {
  const FrontendConnection::Facts& facts = from.facts();
  RequestHead& request = exchange.request();
  ExchangeTimeouts timeouts;  // Our own answers have to be taken, too.
  timeouts.stall = limits().stall_timeout;
  exchange.set_timeouts(timeouts);
  std::string normal;
  switch (normalise_path(request.path, normal)) {
    case PathForm::kNormal: break;
    case PathForm::kRefused: return exchange.reply(400, ResponseFlag::kNone, "path_with_backslash");
    case PathForm::kRewritten:
      exchange.original_path = std::exchange(request.path, std::move(normal));
      break;
  }
  if (ChallengeTable::is_challenge_path(request.path) && answer_challenge(exchange)) return;

  const net::Credential* credential = from.credential();
  if (credential && !request.authority.empty() &&
      !covers(*credential, from.server_name(), request.authority))
    return exchange.reply(421, ResponseFlag::kNone, "misdirected_request");

  const Router& router = *view_->router;
  const CompiledVhost* vhost = router.vhost_for(request.authority);
  if (!vhost) return exchange.reply(404, ResponseFlag::kNr, "route_not_found");
  if (!facts.is_tls && vhost->options->http != PlainPolicy::kServe) {
    if (vhost->options->http == PlainPolicy::kRefuse)
      return exchange.reply(404, ResponseFlag::kNr, "plain_http_refused");
    const std::string& target =
        exchange.original_path.empty() ? request.path : exchange.original_path;
    return redirect(exchange, 308, https_location(request.authority, target));
  }

  ForwardingFacts forwarding;
  forwarding.peer_ip = facts.peer_ip;
  forwarding.is_trusted = facts.is_trusted;
  forwarding.scheme = facts.is_tls ? "https" : "http";
  const RequestId fresh = make_request_id(tools_.random);
  forwarding.request_id = fresh.view();
  apply_forwarding(request, forwarding);

  const CompiledRoute* route = vhost->find(path_of(request.path));
  if (!route) return exchange.reply(404, ResponseFlag::kNr, "route_not_found");
  exchange.route = route;
  act(exchange, *route);
}

/// DESIGN.md "HTTP-01": our own tokens, else a constant 404; never forwarded.
bool DataPlane::answer_challenge(Exchange& exchange) {
  const RequestHead& request = exchange.request();
  const auto answer = challenges_.http_answer(request.path);
  if (!answer || (request.method != "GET" && request.method != "HEAD")) {
    exchange.reply(404, ResponseFlag::kNone, "no_such_challenge");
    return true;
  }
  log(Level::kInfo, "acme.challenge_answered")
      .with("type", "http-01")
      .with("host", request.authority);
  ResponseHead head;
  head.status = 200;
  head.fields.add(Name::kContentType, "application/octet-stream");
  head.content_length = answer->size();
  head.fields.add(Name::kContentLength, std::to_string(answer->size()));
  const std::string body(*answer);
  exchange.reply(head, body);
  return true;
}

void DataPlane::redirect(Exchange& exchange, int status, std::string location) {
  LocalReply own = make_redirect(status, location);
  exchange.reply(own.head, own.body);
}

void DataPlane::act(Exchange& exchange, const CompiledRoute& route) {
  const Route& options = *route.options;
  if (options.redirect) return redirect(exchange, options.redirect->status, options.redirect->to);
  if (options.respond) {
    ResponseHead head;
    head.status = options.respond->status;
    head.fields.add(Name::kContentType, "text/plain; charset=utf-8");
    if (!never_has_body("GET", head.status)) {
      head.content_length = options.respond->body.size();
      head.fields.add(Name::kContentLength, std::to_string(options.respond->body.size()));
    }
    return exchange.reply(head, options.respond->body);
  }
  exchange.target = route.choose_backend(tools_.random);
  const Backend& backend = *view_->targets[exchange.target].backend;
  const Limits& bounds = limits();
  const RequestHead& request = exchange.request();
  if (bounds.body_bytes != 0 && request.content_length.value_or(0) > bounds.body_bytes)
    return exchange.reply(413, ResponseFlag::kNone, "request_payload_too_large");
  const bool is_grpc = request.is_grpc();  // Streams that may be silent for days.
  ExchangeTimeouts timeouts;
  timeouts.response = is_grpc ? Duration::zero() : backend.timeouts.response;
  timeouts.stall = bounds.stall_timeout;
  timeouts.body_period = bounds.header_timeout;
  timeouts.body_rate = is_grpc ? 0 : bounds.body_rate;
  timeouts.body_bytes = bounds.body_bytes;
  exchange.go_to_backend(timeouts);
  send_to_endpoint(exchange);
}

/// Chooses an endpoint for an exchange in kWaiting and hands it to the endpoint's pool.
void DataPlane::send_to_endpoint(Exchange& exchange) {
  auto& target = static_cast<View*>(exchange.snapshot.get())->targets[exchange.target];
  const auto chosen = target.balancer.choose(timers().now());
  BackendPool* pool = chosen ? pools_.find(target.pools[*chosen]) : nullptr;
  if (!pool) return exchange.on_connect_failed(ResponseFlag::kUh, 503, "no_healthy_upstream");
  exchange.endpoint_index = *chosen;
  pool->acquire(exchange);
}

// ---- what is written down -------------------------------------------------------------------

void DataPlane::count_response(int status) {
  responses_[status >= 100 && status < 600 ? status / 100 : 0]->add();
}

void DataPlane::log_exchange(const Exchange& exchange) {
  const RequestHead& request = exchange.request();
  AccessRecord record;
  record.start = exchange.started_wall;
  record.method = request.method;
  record.path = exchange.original_path.empty() ? request.path : exchange.original_path;
  record.version = request.version;
  record.status = exchange.status();
  record.flags = exchange.flags();
  record.request_body_bytes = exchange.request_bytes();
  record.response_body_bytes = exchange.response_bytes();
  record.duration = timers().now() - exchange.started();
  record.backend_time = exchange.backend_time();
  record.forwarded_for = request.fields.find(Name::kXForwardedFor).value_or(std::string_view());
  record.user_agent = request.fields.find(Name::kUserAgent).value_or(std::string_view());
  record.request_id = request.fields.find(Name::kXRequestId).value_or(std::string_view());
  record.authority = request.authority;
  record.endpoint = exchange.endpoint;
  std::string local, remote;
  if (access_log_format_ == AccessLogFormat::kJson) {
    record.code_details = !exchange.detail().empty() ? exchange.detail()
                          : exchange.backend_time()  ? std::string_view("via_upstream")
                                                     : std::string_view("direct_response");
    if (exchange.route) {
      const auto& view = static_cast<const View&>(*exchange.snapshot);
      record.route_name = exchange.route->name();
      if (!exchange.route->options->split.empty())
        record.backend_name = view.targets[exchange.target].backend->name;
    }
    if (const FrontendConnection* from = frontends_.find(exchange.frontend())) {
      local = from->facts().local.to_string();
      remote = from->facts().peer.to_string();
      record.local_address = local;
      record.remote_address = remote;
      record.server_name = from->server_name();
    }
  }
  access_log_->append(record);
}

}  // namespace gatehouse::proxy
