#pragma once
// Where nghttp2 gets the memory of one session from. All of it is malloc's, with small blocks kept
// by the thread for the next stream, but for two blocks of which an idle connection needs nothing:
// the buffer that the library keeps for outgoing frames (16.4 KiB, two thirds of a session), and
// its table of streams (4 KiB, all zeros while there are none). They get pages of their own, which
// go back to the kernel when the session is quiet (PERFORMANCE.md section 2, "Idle memory").
// madvise() is the only system call made here. Outlives the nghttp2 session.

#include <cstddef>

namespace gatehouse::proxy {

class Http2SessionMemory {
 public:
  Http2SessionMemory() = default;
  Http2SessionMemory(const Http2SessionMemory&) = delete;
  Http2SessionMemory& operator=(const Http2SessionMemory&) = delete;

  // What nghttp2 calls; as malloc, calloc, realloc and free.
  char* allocate(std::size_t bytes);
  char* allocate_zeroed(std::size_t count, std::size_t bytes);
  char* resize(char* block, std::size_t bytes);
  void release(char* block);

  /// Gives back the pages of the frame buffer, of which the contents are lost, so only when no
  /// frame is half out; and that of the stream table when all of it is zero, as it reads
  /// afterwards.
  void discard_pages();

  /// Bytes handed out and not released, the pages apart.
  std::size_t heap_bytes() const { return heap_bytes_; }
  /// How much of the pages is backed by memory now.
  std::size_t resident_page_bytes() const;

 private:
  char* pages();
  void release_pages();
  char* table() const;
  bool is_frame_buffer(const char* block) const { return has_frame_buffer_ && block == pages_; }
  bool is_table(const char* block) const { return has_table_ && block == table(); }

  char* pages_ = nullptr;  // the frame buffer's, then the table's; there while one of them is
  bool has_frame_buffer_ = false, has_table_ = false;
  std::size_t heap_bytes_ = 0;
};

}  // namespace gatehouse::proxy
