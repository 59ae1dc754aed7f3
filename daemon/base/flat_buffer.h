#pragma once
// One contiguous queue of bytes: what a connection still has to write, or has read but not parsed.
// Holds no memory when empty. For bodies that move between connections, see Buffer.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

namespace gatehouse {

class FlatBuffer {
 public:
  FlatBuffer() = default;
  FlatBuffer(FlatBuffer&& other) noexcept { swap(other); }
  FlatBuffer& operator=(FlatBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  void swap(FlatBuffer& other) noexcept {
    std::swap(bytes_, other.bytes_);
    std::swap(capacity_, other.capacity_);
    std::swap(begin_, other.begin_);
    std::swap(end_, other.end_);
  }

  bool empty() const { return begin_ == end_; }
  std::size_t size() const { return end_ - begin_; }
  const char* data() const { return bytes_.get() + begin_; }
  std::string_view view() const { return {data(), size()}; }

  void append(std::string_view bytes) {
    if (bytes.empty()) return;
    std::memcpy(prepare(bytes.size()), bytes.data(), bytes.size());
    end_ += bytes.size();
  }
  void append(char byte) {
    *prepare(1) = byte;
    ++end_;
  }
  /// Room for at least `size` bytes behind the end; call commit() with what was written there.
  char* prepare(std::size_t size) {
    if (capacity_ - end_ < size) grow(size);
    return bytes_.get() + end_;
  }
  void commit(std::size_t size) { end_ += size; }
  void consume(std::size_t size) {
    begin_ += size;
    if (begin_ == end_) begin_ = end_ = 0;
  }
  void clear() { begin_ = end_ = 0; }
  /// Gives the memory back when empty: for connections that go idle.
  void release() {
    if (!empty()) return;
    if (capacity_ == kLentBytes) give_back(std::move(bytes_));
    bytes_.reset();
    capacity_ = begin_ = end_ = 0;
  }
  /// For what is filled and emptied within a turn: an empty buffer without memory takes a large
  /// block of the thread's, so that a steady load neither allocates nor grows. release() gives it
  /// back, and so does keep_rest(), which leaves what could not be written in a block of its size.
  void borrow() {
    if (capacity_ != 0) return;
    bytes_ = lend();
    capacity_ = kLentBytes;
  }
  void keep_rest() {
    if (capacity_ != kLentBytes || empty()) return release();
    FlatBuffer rest;
    rest.append(view());
    clear();
    release();
    *this = std::move(rest);
  }
  std::size_t capacity() const { return capacity_; }

 private:
  void grow(std::size_t size) {
    const std::size_t held = end_ - begin_;
    if (capacity_ - held >= size && begin_ >= held) {  // Cheap to move down.
      std::memcpy(bytes_.get(), bytes_.get() + begin_, held);
    } else {
      std::size_t capacity = capacity_ ? capacity_ : 512;
      while (capacity < held + size) capacity *= 2;
      auto bytes = std::make_unique_for_overwrite<char[]>(capacity);
      if (held) std::memcpy(bytes.get(), bytes_.get() + begin_, held);
      bytes_ = std::move(bytes);
      capacity_ = capacity;
    }
    begin_ = 0;
    end_ = held;
  }

  /// An output of 128 KiB, and a frame or record beyond it.
  static constexpr std::size_t kLentBytes = 160 * 1024;
  using Block = std::unique_ptr<char[]>;
  static std::vector<Block>& spare() {
    static thread_local std::vector<Block> blocks;
    return blocks;
  }
  static Block lend() {
    if (spare().empty()) return std::make_unique_for_overwrite<char[]>(kLentBytes);
    Block block = std::move(spare().back());
    spare().pop_back();
    return block;
  }
  static void give_back(Block block) {
    if (spare().size() < 2) spare().push_back(std::move(block));
  }

  Block bytes_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace gatehouse
