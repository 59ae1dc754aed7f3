// How long a request of 12 fields takes to parse, to rule upon and to write. Not part of ctest:
//   cmake --preset release -DGATEHOUSE_BENCH=ON && cmake --build --preset release &&
//   build/release/http1_parser_bench

#include "proxy/protocol/http1_parser.h"

#include <benchmark/benchmark.h>

#include <string_view>

#include "daemon/base/clock.h"
#include "proxy/protocol/headers.h"
#include "proxy/protocol/http1_client_session.h"
#include "proxy/protocol/http1_server_session.h"

namespace gatehouse::proxy {
namespace {

constexpr std::string_view kRequest =
    "GET /api/v1/items?page=2&size=50 HTTP/1.1\r\n"
    "Host: www.mydomain.com\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n"
    "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
    "Accept-Language: en-US,en;q=0.5\r\n"
    "Accept-Encoding: gzip, deflate, br\r\n"
    "Referer: https://www.mydomain.com/start\r\n"
    "Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n"
    "Connection: keep-alive\r\n"
    "Cache-Control: no-cache\r\n"
    "Sec-Fetch-Dest: document\r\n"
    "Sec-Fetch-Mode: navigate\r\n"
    "Upgrade-Insecure-Requests: 1\r\n\r\n";
constexpr std::string_view kResponse =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5\r\n"
    "Date: Sat, 01 Aug 2026 10:00:00 GMT\r\nServer: x\r\nCache-Control: no-store\r\n\r\nhello";

void ParseRequest(benchmark::State& state) {
  Http1Parser parser(Http1Parser::Role::kRequest, {});
  for (auto _ : state) {
    std::string_view input = kRequest;
    benchmark::DoNotOptimize(parser.next(input));
  }
}
BENCHMARK(ParseRequest);

/// Hands a request from one session to the other and the answer back, as an exchange does.
class Relay final : public ServerEvents, public ClientEvents {
 public:
  StreamToken on_request(StreamId stream, RequestHead& head, bool ended) override {
    std::swap(request, head);
    ForwardingFacts facts;
    facts.peer_ip = "192.0.2.7";
    facts.scheme = "https";
    facts.request_id = "c0ffee00-0000-4000-8000-000000000000";
    apply_forwarding(request, facts);
    frontend_stream = stream;
    backend->send_request(request, ended, 1);
    return 1;
  }
  void on_request_body(StreamToken, std::string_view) override {}
  void on_request_end(StreamToken, const Fields*) override {}
  void on_response_taken(StreamToken, std::size_t) override {}
  void on_closed(StreamToken, Reset) override {}
  void on_refused(const RequestHead&, int, std::string_view) override {}
  void on_interim(StreamToken, ResponseHead&) override {}
  void on_response(StreamToken, ResponseHead& head, bool ended) override {
    frontend->send_response(frontend_stream, head, ended);
  }
  void on_response_body(StreamToken, std::string_view bytes) override {
    frontend->send_body(frontend_stream, bytes);
  }
  void on_response_end(StreamToken, const Fields* trailers) override {
    frontend->send_end(frontend_stream, trailers);
  }
  void on_request_taken(StreamToken, std::size_t) override {}
  void on_failed(StreamToken, const Failure&) override {}

  Http1ServerSession* frontend = nullptr;
  Http1ClientSession* backend = nullptr;
  StreamId frontend_stream = 0;
  RequestHead request;
};

void WholeExchange(benchmark::State& state) {
  const SystemClock clock;
  Limits limits;
  Relay relay;
  Http1ServerSession frontend(limits, clock, relay, "https");
  Http1ClientSession backend(limits, relay);
  relay.frontend = &frontend;
  relay.backend = &backend;
  FlatBuffer out;
  for (auto _ : state) {
    frontend.feed(kRequest);
    backend.produce(out, 16384);
    out.clear();
    backend.feed(kResponse);
    frontend.produce(out, 16384);
    benchmark::DoNotOptimize(out.size());
    out.clear();
  }
}
BENCHMARK(WholeExchange);

}  // namespace
}  // namespace gatehouse::proxy

BENCHMARK_MAIN();
