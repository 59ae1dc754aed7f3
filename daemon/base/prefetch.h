#pragma once
// A hint to the processor. Where many objects share the work of a turn, each is out of the first
// caches when its time comes, and telling some steps ahead hides the way from memory.

#include <cstddef>

namespace gatehouse {

/// Begins to load an object, or that many bytes of one larger than its type. Never faults, whatever
/// it points to.
template <class T>
void prefetch(const T* object, std::size_t bytes = sizeof(T)) {
  constexpr std::size_t kLine = 64;
  const char* const first = reinterpret_cast<const char*>(object);
  for (std::size_t at = 0; at < bytes; at += kLine) __builtin_prefetch(first + at);
}

}  // namespace gatehouse
