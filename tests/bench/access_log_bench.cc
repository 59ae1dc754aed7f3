// What a line of the access log costs: formatting alone, and with its share of the writing.

#include <benchmark/benchmark.h>

#include <string>

#include "proxy/access_log.h"
#include "proxy/protocol/request_id.h"

namespace gatehouse::proxy {
namespace {

AccessRecord record() {
  AccessRecord made;
  made.start = WallTime(std::chrono::milliseconds(1785578400123));
  made.method = "GET";
  made.path = "/api/v1/customers/12345/orders?page=2&size=100";
  made.version = HttpVersion::kHttp2;
  made.status = 200;
  made.response_body_bytes = 12345;
  made.duration = std::chrono::milliseconds(17);
  made.backend_time = std::chrono::milliseconds(15);
  made.forwarded_for = "192.0.2.7";
  made.user_agent =
      "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0 "
      "Safari/537.36";
  made.request_id = "11111111-1111-4111-8111-111111111111";
  made.authority = "www.example.com";
  made.endpoint = "10.0.0.1:8080";
  made.code_details = "via_upstream";
  made.backend_name = "hello-v1";
  made.local_address = "203.0.113.1:443";
  made.remote_address = "192.0.2.7:50000";
  made.server_name = "www.example.com";
  made.route_name = "www.example.com/0";
  return made;
}

void BM_FormatLine(benchmark::State& state, AccessLogFormat format) {
  AccessLogLine line;
  AccessRecord made = record();
  std::string out;
  for (auto _ : state) {
    made.start += std::chrono::microseconds(20);  // 50,000 lines a second
    line.append(format, made, out);
    if (out.size() > AccessLog::kWriteBytes) out.clear();
  }
}
BENCHMARK_CAPTURE(BM_FormatLine, envoy, AccessLogFormat::kEnvoy);
BENCHMARK_CAPTURE(BM_FormatLine, json, AccessLogFormat::kJson);

void BM_AppendLine(benchmark::State& state) {
  SystemClock clock;
  TimerQueue timers(clock);
  Metrics metrics;
  auto log = AccessLog::open(AccessLogFormat::kEnvoy, "/dev/null", timers, metrics);
  const AccessRecord made = record();
  for (auto _ : state) (*log)->append(made);
}
BENCHMARK(BM_AppendLine);

void BM_RequestId(benchmark::State& state) {
  SeededRandom random(1);
  for (auto _ : state) benchmark::DoNotOptimize(make_request_id(random));
}
BENCHMARK(BM_RequestId);

}  // namespace
}  // namespace gatehouse::proxy

BENCHMARK_MAIN();
