#pragma once
// One contiguous queue of bytes: what a connection still has to write, or has read but not parsed.
// Holds no memory when empty. For bodies that move between connections, see Buffer.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string_view>

namespace gatehouse {

class FlatBuffer {
 public:
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
    bytes_.reset();
    capacity_ = begin_ = end_ = 0;
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

  std::unique_ptr<char[]> bytes_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
};

}  // namespace gatehouse
