// What a router costs: building it and its memory, and a lookup with 1 and with 10,000 vhosts.

#include <benchmark/benchmark.h>
#include <malloc.h>

#include <memory>
#include <string>
#include <vector>

#include "proxy/routing/certificate_table.h"
#include "proxy/routing/path.h"
#include "proxy/routing/router.h"

namespace gatehouse::proxy {
namespace {

std::string host(std::int64_t index) { return "host-" + std::to_string(index) + ".example.com"; }

/// `vhosts` of 10 routes each: eight prefixes, a regex that all share, and one of its own in every
/// tenth vhost; else what matches all.
std::shared_ptr<const Options> make_options(std::int64_t vhosts) {
  auto options = std::make_shared<Options>();
  options->backends.resize(4);
  for (std::int64_t i = 0; i < vhosts; ++i) {
    Vhost vhost;
    vhost.hosts = {host(i)};
    for (std::size_t r = 0; r < 10; ++r) {
      Route route;
      route.name = host(i) + "/" + std::to_string(r);
      route.match = {PathMatch::Kind::kPrefix, "/service-" + std::to_string(r)};
      if (r == 8) route.match = {PathMatch::Kind::kRegex, "/items/[0-9]+/.*"};
      if (r == 9 && i % 10 == 0)
        route.match = {PathMatch::Kind::kRegex, "/only-" + std::to_string(i) + "/.*"};
      else if (r == 9)
        route.match.kind = PathMatch::Kind::kAny;
      route.split = {{r % 4, 1}};
      vhost.routes.push_back(std::move(route));
    }
    options->vhosts.push_back(std::move(vhost));
  }
  return options;
}

std::size_t heap_bytes() {
  const auto facts = mallinfo2();
  return facts.uordblks + facts.hblkhd;  // what is large comes from mmap
}

void BM_CompileRouter(benchmark::State& state) {
  const auto options = make_options(state.range(0));
  const std::size_t before = heap_bytes();  // once: later rounds find freed blocks counted as used
  const auto kept = Router::compile(options);
  const std::size_t after = heap_bytes();
  for (auto _ : state) benchmark::DoNotOptimize(Router::compile(options));
  state.counters["bytes"] = static_cast<double>(after - before);
}
BENCHMARK(BM_CompileRouter)->Arg(1)->Arg(1000)->Arg(10000)->Unit(benchmark::kMillisecond);

/// Requests go round over all hosts, the worst case for the caches; `ask` gets the authority.
template <class Ask>
void ask_round_robin(benchmark::State& state, Ask ask) {
  std::vector<std::string> authorities;
  for (std::int64_t i = 0; i < state.range(0); ++i) authorities.push_back(host(i) + ":443");
  std::size_t next = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(ask(authorities[next]));
    next = (next + 7919) % authorities.size();
  }
}

/// What the loops below cost without a router: the authorities themselves are cold, too.
void BM_NoLookup(benchmark::State& state) {
  ask_round_robin(state, [](std::string_view authority) { return host_of(authority); });
}
BENCHMARK(BM_NoLookup)->Arg(1)->Arg(10000);

void BM_VhostFor(benchmark::State& state) {
  const auto router = *Router::compile(make_options(state.range(0)));
  ask_round_robin(state, [&](std::string_view host) { return router->vhost_for(host); });
}
BENCHMARK(BM_VhostFor)->Arg(1)->Arg(10000);

void BM_MatchPrefix(benchmark::State& state) {
  const auto router = *Router::compile(make_options(state.range(0)));
  RequestHead head;
  head.method = "GET";
  head.path = "/service-3/items?page=2";
  ask_round_robin(state, [&](std::string_view host) {
    head.authority = host;
    return router->match(head);
  });
}
BENCHMARK(BM_MatchPrefix)->Arg(1)->Arg(1000)->Arg(10000);

void BM_MatchRegex(benchmark::State& state) {
  const auto router = *Router::compile(make_options(1));
  RequestHead head;
  head.authority = host(0);
  head.path = "/items/123/detail";
  for (auto _ : state) benchmark::DoNotOptimize(router->match(head));
}
BENCHMARK(BM_MatchRegex);

void BM_NormalisePath(benchmark::State& state, const char* target) {
  std::string room;
  for (auto _ : state) benchmark::DoNotOptimize(normalise_path(target, room));
}
BENCHMARK_CAPTURE(BM_NormalisePath, normal, "/api/v1/customers/12345/orders?page=2&size=100");
BENCHMARK_CAPTURE(BM_NormalisePath, rewritten, "/api/v1/../v2/./customers/%2e%2e/orders?page=2");

void BM_CertificateTableWithOneMore(benchmark::State& state) {
  std::vector<HostCertificate> hosts;
  std::vector<net::CredentialPtr> credentials;
  for (std::int64_t i = 0; i < state.range(0); ++i) {
    hosts.push_back({host(i), host(i)});
    auto credential = std::make_shared<net::Credential>();
    credential->name = host(i);
    credentials.push_back(std::move(credential));
  }
  auto table = CertificateTable::build(hosts, credentials);
  for (auto _ : state) table = table->with(credentials.front());
}
BENCHMARK(BM_CertificateTableWithOneMore)->Arg(1)->Arg(10000);

}  // namespace
}  // namespace gatehouse::proxy

BENCHMARK_MAIN();
