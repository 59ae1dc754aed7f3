#include "proxy/protocol/http2_session_memory.h"

#include <malloc.h>
#include <sys/mman.h>

#include <array>
#include <cstdlib>
#include <cstring>

#include "daemon/base/error.h"

namespace gatehouse::proxy {

namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kFrameBytes = 16 * 1024;           // The frame buffer is a little larger,
constexpr std::size_t kSlotBytes = kFrameBytes + kPage;  // but never more than this.

}  // namespace

char* Http2SessionMemory::allocate(std::size_t bytes) {
  if (!frame_buffer_ && bytes >= kFrameBytes && bytes <= kSlotBytes) {
    // The library allocates it first among its size, when the session is made.
    frame_buffer_ = static_cast<char*>(std::aligned_alloc(kPage, kSlotBytes));
    check(frame_buffer_ != nullptr, "out of memory");
    return frame_buffer_;
  }
  auto* block = static_cast<char*>(std::malloc(bytes));
  check(block != nullptr, "out of memory");
  heap_bytes_ += malloc_usable_size(block);
  return block;
}

char* Http2SessionMemory::allocate_zeroed(std::size_t count, std::size_t bytes) {
  auto* block = static_cast<char*>(std::calloc(count, bytes));
  check(block != nullptr, "out of memory");
  heap_bytes_ += malloc_usable_size(block);
  return block;
}

char* Http2SessionMemory::resize(char* block, std::size_t bytes) {
  if (!block) return allocate(bytes);
  if (block == frame_buffer_) {
    if (bytes <= kSlotBytes) return block;
    auto* larger = static_cast<char*>(std::malloc(bytes));
    check(larger != nullptr, "out of memory");
    heap_bytes_ += malloc_usable_size(larger);
    std::memcpy(larger, block, kSlotBytes);
    release(block);
    return larger;
  }
  heap_bytes_ -= malloc_usable_size(block);
  auto* moved = static_cast<char*>(std::realloc(block, bytes));
  check(moved != nullptr, "out of memory");
  heap_bytes_ += malloc_usable_size(moved);
  return moved;
}

void Http2SessionMemory::release(char* block) {
  if (!block) return;
  if (block == frame_buffer_) {
    frame_buffer_ = nullptr;
  } else {
    heap_bytes_ -= malloc_usable_size(block);
  }
  std::free(block);
}

void Http2SessionMemory::discard_frame_buffer() {
  if (frame_buffer_) (void)::madvise(frame_buffer_, kSlotBytes, MADV_DONTNEED);
}

std::size_t Http2SessionMemory::frame_buffer_resident_bytes() const {
  if (!frame_buffer_) return 0;
  std::array<unsigned char, kSlotBytes / kPage> pages{};
  if (::mincore(frame_buffer_, kSlotBytes, pages.data()) != 0) return kSlotBytes;
  std::size_t resident = 0;
  for (const unsigned char page : pages) resident += (page & 1u) != 0 ? kPage : 0;
  return resident;
}

}  // namespace gatehouse::proxy
