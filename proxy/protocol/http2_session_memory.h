#pragma once
// Where nghttp2 gets the memory of one session from. All of it is malloc's, with small blocks kept
// by the thread for the next stream, but for the one buffer that the library keeps for outgoing
// frames: at 16.4 KiB it is two thirds of a session, and an idle connection needs none of it. It
// gets pages of its own, which go back to the kernel when the session is quiet (PERFORMANCE.md
// section 2, "Idle memory"). madvise() is the only system call made here. Outlives the nghttp2
// session.

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

  /// Gives the frame buffer's pages back; what is in it is lost, so only when no frame is half out.
  void discard_frame_buffer();

  /// Bytes handed out and not released, the frame buffer apart.
  std::size_t heap_bytes() const { return heap_bytes_; }
  /// How much of the frame buffer is backed by memory now.
  std::size_t frame_buffer_resident_bytes() const;

 private:
  char* frame_buffer_ = nullptr;
  std::size_t heap_bytes_ = 0;
};

}  // namespace gatehouse::proxy
