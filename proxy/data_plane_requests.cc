// Where a request goes, and what is written down about it. The other half of DataPlane.

#include <chrono>

#include "daemon/base/log.h"
#include "daemon/base/prefetch.h"
#include "proxy/data_plane.h"
#include "proxy/protocol/grpc.h"
#include "proxy/protocol/headers.h"
#include "proxy/protocol/local_reply.h"
#include "proxy/protocol/request_id.h"
#include "proxy/protocol/upgrade.h"
#include "proxy/routing/client_address.h"
#include "proxy/routing/path.h"

namespace gatehouse::proxy {

namespace {
/// RFC 8470 section 4: a request that comes before the handshake's end may be a repetition. Only
/// what the route holds to be safe goes on, marked; all else waits.
bool may_go_early(const Exchange& exchange, const Route& route) {
  const RequestHead& request = exchange.request();
  return route.allows_early_data && (request.method == "GET" || request.method == "HEAD") &&
         exchange.has_request_ended() && request.upgrade.empty();
}
}  // namespace

// ---- ConnectionHost -------------------------------------------------------------------------

Exchange& DataPlane::new_exchange() {
  std::unique_ptr<Exchange> exchange;
  if (spare_exchanges_.empty()) {
    exchange = std::make_unique<Exchange>(*this, timers());
  } else {
    exchange = std::move(spare_exchanges_.back());
    spare_exchanges_.pop_back();
    if (!spare_exchanges_.empty()) prefetch(spare_exchanges_.back().get());
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
  note_refusal(from, status);
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

bool DataPlane::on_response_head(Exchange& exchange, ResponseHead& head) {
  if (drops_response(exchange, head)) return false;
  edit_response(exchange, head);
  if (exchange.wish.is_sticky) set_sticky_cookie(exchange, head);  // Whatever was edited.
  return true;
}

void DataPlane::on_exchange_done(Exchange& exchange) {
  end_retry(exchange);
  if (std::exchange(exchange.is_counted, false)) budget_of(exchange).end_request();
  count_response(exchange.status());
  durations_.observe(std::chrono::duration<double>(timers().now() - exchange.started()).count());
  if (exchange.flags().any() || exchange.status() == 408) note_spoiled(exchange);
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
  if (overload_.actions().refuses_requests) {
    shed_requests_.add();
    if (request.version != HttpVersion::kHttp2) from.session()->drain();  // "connection: close"
    return exchange.reply(503, ResponseFlag::kOm, "overload");
  }
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
  if (facts.is_tls && !from.meets(vhost->tls_policy.get()))
    return exchange.reply(421, ResponseFlag::kNone, "misdirected_request");
  std::optional<net::IpAddress> client;
  if (vhost->looks_at_client) {
    client = client_address(facts.peer, request.fields, router.options().trusted_proxies);
    if (!vhost->admits(client ? &*client : nullptr))
      return exchange.reply(403, ResponseFlag::kNone, "rbac_access_denied");
  }
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
  if (const auto shown = from.client_certificate(); !shown.empty())
    request.fields.add("x-forwarded-client-cert", shown);

  const CompiledRoute* route =
      vhost->find({path_of(request.path), request, client ? &*client : nullptr});
  if (!route) return exchange.reply(404, ResponseFlag::kNr, "route_not_found");
  exchange.route = route;
  act(exchange, *route, from);
}

/// DESIGN.md "HTTP-01": our own tokens (in a cluster: any), else a constant 404; never forwarded.
bool DataPlane::answer_challenge(Exchange& exchange) {
  const RequestHead& request = exchange.request();
  const auto answer = challenges_.http_answer(request.authority, request.path);
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
  head.fields.add("x-content-type-options", "nosniff");
  exchange.reply(head, *answer);
  return true;
}

void DataPlane::redirect(Exchange& exchange, int status, std::string location) {
  LocalReply own = make_redirect(status, location);
  exchange.reply(own.head, own.body);
}

void DataPlane::act(Exchange& exchange, const CompiledRoute& route, FrontendConnection& from) {
  const Route& options = *route.options;
  if (options.redirect) return redirect(exchange, options.redirect->status, location_of(exchange));
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
  switch (settle_upgrade(exchange.request(), options.allows_upgrade, !exchange.has_request_ended(),
                         tools_.random)) {
    case UpgradeVerdict::kNone:
    case UpgradeVerdict::kForward: break;
    case UpgradeVerdict::kRefused:
      return exchange.reply(403, ResponseFlag::kNone, "upgrade_failed");
    case UpgradeVerdict::kHasBody:
      return exchange.reply(400, ResponseFlag::kNone, "upgrade_with_body");
  }
  exchange.target = route.choose_backend(tools_.random);
  const Backend& backend = *view_->targets[exchange.target].backend;
  const Limits& bounds = limits();
  const RequestHead& request = exchange.request();
  const std::uint64_t body_bytes =
      options.rules ? options.rules->body_bytes.value_or(bounds.body_bytes) : bounds.body_bytes;
  if (body_bytes != 0 && request.content_length.value_or(0) > body_bytes)
    return exchange.reply(413, ResponseFlag::kNone, "request_payload_too_large");
  read_wish(exchange, backend);  // By what the client sent.
  edit_request(exchange);
  const bool is_grpc = request.is_grpc();  // Streams that may be silent for days.
  ExchangeTimeouts timeouts;
  timeouts.response = is_grpc ? Duration::zero() : backend.timeouts.response;
  timeouts.stall = bounds.stall_timeout;
  timeouts.body_period = bounds.header_timeout;
  const bool is_open_ended = is_grpc || !request.upgrade.empty();
  timeouts.body_rate = is_open_ended ? 0 : bounds.body_rate;
  timeouts.body_bytes = request.upgrade.empty() ? body_bytes : 0;
  bound_attempts(exchange, timeouts);
  exchange.awaits_handshake = from.is_early() && !may_go_early(exchange, options);
  if (exchange.awaits_handshake)
    from.hold(exchange.id());
  else if (from.is_early())
    exchange.request().fields.set("early-data", "1");
  exchange.go_to_backend(timeouts);
  send_to_host(exchange);
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
  record.authority =
      exchange.original_authority.empty() ? request.authority : exchange.original_authority;
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
