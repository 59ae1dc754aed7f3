#pragma once
// A queue of bytes as a chain of pooled blocks: bodies on their way from one connection to another.
// Blocks come from a free list of the thread, so steady traffic allocates nothing. Moving a Buffer
// moves blocks, not bytes. Not bounded here: the credit of the exchange bounds what is appended.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace gatehouse {

class Buffer {
 public:
  static constexpr std::size_t kBlockBytes = 4096 - 24;

  Buffer() = default;
  Buffer(Buffer&& other) noexcept { take(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    if (this != &other) {
      clear();
      take(other);
    }
    return *this;
  }
  ~Buffer() { clear(); }

  bool empty() const { return size_ == 0; }
  std::size_t size() const { return size_; }

  /// Copies the bytes in.
  void append(std::string_view bytes);
  /// Moves the other's blocks behind ours; the other is empty then.
  void append(Buffer&& other);

  /// The first contiguous piece; empty only when the buffer is.
  std::string_view front() const {
    return first_ ? std::string_view(first_->bytes + first_->begin, first_->end - first_->begin)
                  : std::string_view();
  }
  /// Drops the first `size` bytes; size <= size().
  void consume(std::size_t size);
  void clear();

  std::string to_string() const;

  /// Blocks alive in this thread (not those on the free list): for leak tests and metrics.
  static std::size_t blocks_in_use();

 private:
  struct Block {
    Block* next;
    std::uint32_t begin, end;
    char bytes[kBlockBytes];
  };
  struct Pool;
  static Pool& pool();
  void take(Buffer& other) {
    first_ = other.first_;
    last_ = other.last_;
    size_ = other.size_;
    other.first_ = other.last_ = nullptr;
    other.size_ = 0;
  }

  Block* first_ = nullptr;
  Block* last_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace gatehouse
