// PROXY headers from peers that are believed. Whatever the bytes are:
//  - what was read from the whole is what is read from the header alone, and the bytes behind it
//    change nothing; every shorter prefix is incomplete, so no split can change the verdict;
//  - what we say of the addresses that were read is read back as the same addresses.

#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "proxy/protocol/proxy_protocol.h"

namespace gatehouse::proxy {
namespace {

using State = ProxyHeaderReading::State;

void require(bool holds) {
  if (!holds) std::abort();
}

bool is_same(const ProxyHeaderReading& a, const ProxyHeaderReading& b) {
  if (a.state != b.state || a.size != b.size) return false;
  if (!a.addresses || !b.addresses) return !a.addresses && !b.addresses;
  return a.addresses->source == b.addresses->source &&
         a.addresses->destination == b.addresses->destination;
}

void judge(std::string_view input) {
  const ProxyHeaderReading whole = read_proxy_header(input);
  if (whole.state != State::kComplete) {
    // Once malformed, always malformed; until then, incomplete.
    bool was_malformed = false;
    for (std::size_t size = 0; size <= input.size() && size <= 512; ++size) {
      const State state = read_proxy_header(input.substr(0, size)).state;
      require(state != State::kComplete);
      require(!was_malformed || state == State::kMalformed);
      was_malformed = state == State::kMalformed;
    }
    return;
  }
  require(whole.size <= input.size() && whole.size <= kProxyHeaderBytesMax);
  require(is_same(whole, read_proxy_header(input.substr(0, whole.size))));
  for (std::size_t size = 0; size < whole.size && size <= 512; ++size)
    require(read_proxy_header(input.substr(0, size)).state == State::kIncomplete);
  if (!whole.addresses || whole.addresses->source.is_unix()) return;
  ProxyFacts facts;
  facts.is_tls = true;
  facts.server_name = input.substr(0, 200);
  for (const std::string& said :
       {proxy_header_v1(*whole.addresses), proxy_header_v2(*whole.addresses, facts)}) {
    const ProxyHeaderReading again = read_proxy_header(said);
    require(again.state == State::kComplete && again.size == said.size() && again.addresses);
    require(again.addresses->source == whole.addresses->source &&
            again.addresses->destination == whole.addresses->destination);
  }
}

}  // namespace
}  // namespace gatehouse::proxy

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  gatehouse::proxy::judge({reinterpret_cast<const char*>(data), size});
  return 0;
}
