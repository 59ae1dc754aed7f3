#include "proxy/protocol/http2_session_memory.h"

#include <malloc.h>
#include <sanitizer/asan_interface.h>
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
// The table of streams as it begins; grown with more than 200 streams it is malloc's, and so it is
// where a version of the library begins with another size.
constexpr std::size_t kTableBytes = kPage;
constexpr std::size_t kPagesBytes = kSlotBytes + kTableBytes;

/// The thread's spare blocks of small sizes. A stream takes four of them and gives them back, and
/// with hundreds of streams open malloc's own cache of seven a size is of no use. What is spare is
/// poison to ASan, all but the link.
class SpareBlocks {
 public:
  ~SpareBlocks() {
    for (Spare* first : first_) {
      while (first) {
        Spare* const next = first->next;
        ASAN_UNPOISON_MEMORY_REGION(first, malloc_usable_size(first));
        std::free(first);
        first = next;
      }
    }
  }

  /// A block of at least that size; null: none is spare.
  char* take(std::size_t bytes) {
    const std::size_t size_class = bytes <= kSmallest ? 0 : (bytes - kSmallest + kStep - 1) / kStep;
    if (size_class >= kClasses || !first_[size_class]) return nullptr;
    Spare* const block = first_[size_class];
    first_[size_class] = block->next;
    const std::size_t usable = malloc_usable_size(block);
    kept_bytes_ -= usable;
    ASAN_UNPOISON_MEMORY_REGION(block, usable);
    return reinterpret_cast<char*>(block);
  }

  /// False: it is to be freed.
  bool keep(char* block, std::size_t usable) {
    if (usable < kSmallest || kept_bytes_ + usable > kKeptMax) return false;
    const std::size_t size_class = (usable - kSmallest) / kStep;
    if (size_class >= kClasses) return false;
    auto* const spare = reinterpret_cast<Spare*>(block);
    spare->next = first_[size_class];
    first_[size_class] = spare;
    kept_bytes_ += usable;
    ASAN_POISON_MEMORY_REGION(block + sizeof(Spare), usable - sizeof(Spare));
    return true;
  }

 private:
  struct Spare {
    Spare* next;
  };
  // glibc's sizes: 24, 40, 56, ...
  static constexpr std::size_t kSmallest = 24, kStep = 16, kClasses = 32;
  static constexpr std::size_t kKeptMax = std::size_t{1} << 20;
  std::array<Spare*, kClasses> first_{};
  std::size_t kept_bytes_ = 0;
};

SpareBlocks& spare_blocks() {
  static thread_local SpareBlocks blocks;
  return blocks;
}

}  // namespace

char* Http2SessionMemory::pages() {
  if (!pages_) pages_ = static_cast<char*>(std::aligned_alloc(kPage, kPagesBytes));
  check(pages_ != nullptr, "out of memory");
  return pages_;
}

void Http2SessionMemory::release_pages() {
  if (has_frame_buffer_ || has_table_) return;
  std::free(pages_);
  pages_ = nullptr;
}

char* Http2SessionMemory::table() const { return pages_ + kSlotBytes; }

char* Http2SessionMemory::allocate(std::size_t bytes) {
  if (!has_frame_buffer_ && bytes >= kFrameBytes && bytes <= kSlotBytes) {
    // The library allocates it first among its size, when the session is made.
    char* const buffer = pages();
    has_frame_buffer_ = true;
    return buffer;
  }
  char* block = spare_blocks().take(bytes);
  if (!block) block = static_cast<char*>(std::malloc(bytes));
  check(block != nullptr, "out of memory");
  heap_bytes_ += malloc_usable_size(block);
  return block;
}

char* Http2SessionMemory::allocate_zeroed(std::size_t count, std::size_t bytes) {
  if (!has_table_ && count > 1 && count * bytes == kTableBytes) {
    (void)pages();
    has_table_ = true;
    std::memset(table(), 0, kTableBytes);
    return table();
  }
  auto* block = static_cast<char*>(std::calloc(count, bytes));
  check(block != nullptr, "out of memory");
  heap_bytes_ += malloc_usable_size(block);
  return block;
}

char* Http2SessionMemory::resize(char* block, std::size_t bytes) {
  if (!block) return allocate(bytes);
  if (is_frame_buffer(block) || is_table(block)) {
    const std::size_t size = is_table(block) ? kTableBytes : kSlotBytes;
    if (bytes <= size) return block;
    auto* larger = static_cast<char*>(std::malloc(bytes));
    check(larger != nullptr, "out of memory");
    heap_bytes_ += malloc_usable_size(larger);
    std::memcpy(larger, block, size);
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
  if (is_frame_buffer(block)) {
    has_frame_buffer_ = false;
    return release_pages();
  }
  if (is_table(block)) {
    has_table_ = false;
    return release_pages();
  }
  const std::size_t usable = malloc_usable_size(block);
  heap_bytes_ -= usable;
  if (!spare_blocks().keep(block, usable)) std::free(block);
}

void Http2SessionMemory::discard_pages() {
  if (!pages_) return;
  static constexpr std::array<char, kTableBytes> kZeros{};
  const bool is_table_in_use = has_table_ && std::memcmp(table(), kZeros.data(), kTableBytes) != 0;
  // Anonymous memory reads as zeros when it is touched again (madvise(2), MADV_DONTNEED).
  (void)::madvise(pages_, is_table_in_use ? kSlotBytes : kPagesBytes, MADV_DONTNEED);
}

std::size_t Http2SessionMemory::resident_page_bytes() const {
  if (!pages_) return 0;
  std::array<unsigned char, kPagesBytes / kPage> pages{};
  if (::mincore(pages_, kPagesBytes, pages.data()) != 0) return kPagesBytes;
  std::size_t resident = 0;
  for (const unsigned char page : pages) resident += (page & 1u) != 0 ? kPage : 0;
  return resident;
}

}  // namespace gatehouse::proxy
