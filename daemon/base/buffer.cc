#include "daemon/base/buffer.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "daemon/base/error.h"

namespace gatehouse {

/// The thread's free list. It keeps at most 1 MiB: what a burst left behind goes back to malloc.
struct Buffer::Pool {
  static constexpr std::size_t kKeep = 256;
  Block* free = nullptr;
  std::size_t kept = 0;
  std::size_t in_use = 0;

  Block* get() {
    ++in_use;
    Block* block = free;
    if (block) {
      free = block->next;
      --kept;
    } else {
      block = new Block;  // NOLINT: owned by the chain that it joins.
    }
    block->next = nullptr;
    block->begin = block->end = 0;
    return block;
  }
  void put(Block* block) {
    --in_use;
    if (kept == kKeep) {
      delete block;
      return;
    }
    block->next = free;
    free = block;
    ++kept;
  }
  ~Pool() {
    while (free) delete std::exchange(free, free->next);
  }
};

Buffer::Pool& Buffer::pool() {
  static thread_local Pool pool;
  return pool;
}

std::size_t Buffer::blocks_in_use() { return pool().in_use; }

void Buffer::append(std::string_view bytes) {
  while (!bytes.empty()) {
    if (!last_ || last_->end == kBlockBytes) {
      Block* block = pool().get();
      (last_ ? last_->next : first_) = block;
      last_ = block;
    }
    const std::size_t fits = std::min(bytes.size(), kBlockBytes - last_->end);
    std::memcpy(last_->bytes + last_->end, bytes.data(), fits);
    last_->end += static_cast<std::uint32_t>(fits);
    size_ += fits;
    bytes.remove_prefix(fits);
  }
}

void Buffer::append(Buffer&& other) {
  if (other.empty()) return;
  (last_ ? last_->next : first_) = other.first_;
  last_ = other.last_;
  size_ += other.size_;
  other.first_ = other.last_ = nullptr;
  other.size_ = 0;
}

void Buffer::consume(std::size_t size) {
  check(size <= size_, "consuming more than the buffer holds");
  size_ -= size;
  while (size > 0) {
    const std::size_t here = std::min<std::size_t>(size, first_->end - first_->begin);
    first_->begin += static_cast<std::uint32_t>(here);
    size -= here;
    if (first_->begin != first_->end) break;
    Block* done = first_;
    first_ = done->next;
    if (!first_) last_ = nullptr;
    pool().put(done);
  }
}

void Buffer::clear() {
  while (first_) {
    Block* next = first_->next;
    pool().put(first_);
    first_ = next;
  }
  last_ = nullptr;
  size_ = 0;
}

std::string Buffer::to_string() const {
  std::string all;
  all.reserve(size_);
  for (const Block* block = first_; block; block = block->next)
    all.append(block->bytes + block->begin, block->end - block->begin);
  return all;
}

}  // namespace gatehouse
