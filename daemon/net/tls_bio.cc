#include "daemon/net/tls_bio.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace gatehouse::net {

namespace {

constexpr std::size_t kSpareBlocks = 4;  // kept per thread, so that a steady load allocates nothing

using Block = std::unique_ptr<char[]>;

std::vector<Block>& spare_blocks() {
  thread_local std::vector<Block> blocks;
  return blocks;
}

Block take_block() {
  auto& spare = spare_blocks();
  if (spare.empty()) return std::make_unique_for_overwrite<char[]>(kGatherBytes);
  Block block = std::move(spare.back());
  spare.pop_back();
  return block;
}

void give_block(Block block) {
  if (block && spare_blocks().size() < kSpareBlocks) spare_blocks().push_back(std::move(block));
}

/// Encrypted bytes on their way to one socket. Holds no memory while it holds no bytes.
class RecordGatherer {
 public:
  explicit RecordGatherer(int descriptor) : descriptor_(descriptor) {}
  RecordGatherer(const RecordGatherer&) = delete;
  RecordGatherer& operator=(const RecordGatherer&) = delete;
  ~RecordGatherer() { give_block(std::move(block_)); }

  int descriptor() const { return descriptor_; }
  std::size_t size() const { return end_ - begin_; }

  /// Copies in what fits; 0 when full.
  std::size_t append(std::string_view bytes) {
    if (!block_) block_ = take_block();
    if (kGatherBytes - end_ < bytes.size()) move_down();
    const std::size_t taken = std::min(bytes.size(), kGatherBytes - end_);
    std::memcpy(block_.get() + end_, bytes.data(), taken);
    end_ += taken;
    return taken;
  }

  /// Sends until empty, until the socket takes no more, or until it fails (errno says why).
  FlushState flush() {
    while (begin_ < end_) {
      const ssize_t sent =
          ::send(descriptor_, block_.get() + begin_, end_ - begin_, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (sent >= 0) {
        begin_ += static_cast<std::size_t>(sent);
      } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        return FlushState::kWouldBlock;
      } else if (errno != EINTR) {
        return FlushState::kFailed;
      }
    }
    begin_ = end_ = 0;
    give_block(std::move(block_));
    return FlushState::kDone;
  }

 private:
  /// What was not sent yet goes to the front, so that the room of what was can be used.
  void move_down() {
    if (begin_ == 0) return;
    std::memmove(block_.get(), block_.get() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
  }

  int descriptor_;
  Block block_;
  std::size_t begin_ = 0, end_ = 0;
};

RecordGatherer& gatherer_of(BIO* bio) { return *static_cast<RecordGatherer*>(BIO_get_data(bio)); }

/// Takes the bytes, sending only to make room: the rest goes out at flush_records().
int write_bytes(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  RecordGatherer& gatherer = gatherer_of(bio);
  const std::string_view input(bytes, static_cast<std::size_t>(size));
  std::size_t taken = gatherer.append(input);
  while (taken < input.size()) {
    const std::size_t before = gatherer.size();
    const FlushState state = gatherer.flush();
    if (state == FlushState::kFailed) return -1;
    if (gatherer.size() == before) break;  // Full, and the socket takes nothing.
    taken += gatherer.append(input.substr(taken));
  }
  if (taken > 0) return static_cast<int>(taken);  // OpenSSL comes back with the rest.
  BIO_set_retry_write(bio);                       // SSL_write says SSL_ERROR_WANT_WRITE.
  return -1;
}

/// OpenSSL flushes at the end of each handshake flight, never for application data. What the socket
/// does not take stays gathered, and that is a success: the buffering BIO that OpenSSL puts before
/// us during a handshake would lose the word "retry" (3.0), and SSL_get_error would name a failure.
long flush(BIO* bio) {
  BIO_clear_retry_flags(bio);
  return gatherer_of(bio).flush() == FlushState::kFailed ? -1 : 1;
}

long control(BIO* bio, int command, long, void* argument) {
  switch (command) {
    case BIO_CTRL_FLUSH: return flush(bio);
    case BIO_CTRL_WPENDING: return static_cast<long>(gatherer_of(bio).size());
    case BIO_C_GET_FD:
      if (argument) *static_cast<int*>(argument) = gatherer_of(bio).descriptor();
      return gatherer_of(bio).descriptor();
    default: return 0;
  }
}

int destroy(BIO* bio) {
  delete static_cast<RecordGatherer*>(BIO_get_data(bio));
  BIO_set_data(bio, nullptr);
  return 1;
}

using BioMethodPtr = std::unique_ptr<BIO_METHOD, OpensslFree<BIO_meth_free>>;

BioMethodPtr make_method() {
  const int type = BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR;
  BioMethodPtr method(BIO_meth_new(type, "gathering socket"));
  if (!method || BIO_meth_set_write(method.get(), write_bytes) != 1 ||
      BIO_meth_set_ctrl(method.get(), control) != 1 ||
      BIO_meth_set_destroy(method.get(), destroy) != 1)
    return nullptr;
  return method;
}

const BIO_METHOD* method() {
  static const BioMethodPtr made = make_method();
  return made.get();
}

/// The gathering BIO of `ssl`. During a handshake OpenSSL keeps a buffer of its own before it,
/// which SSL_get_wbio() looks through.
BIO* gathering_bio(SSL* ssl) {
  BIO* bio = SSL_get_wbio(ssl);
  check(bio && BIO_get_data(bio) && BIO_method_name(bio) == std::string_view("gathering socket"),
        "the SSL was not given to attach_socket()");
  return bio;
}

}  // namespace

bool attach_socket(SSL* ssl, int descriptor) {
  if (!method()) return false;
  BioPtr reader(BIO_new_socket(descriptor, BIO_NOCLOSE));
  BioPtr writer(BIO_new(method()));
  if (!reader || !writer) return false;
  BIO_set_data(writer.get(), new RecordGatherer(descriptor));
  BIO_set_init(writer.get(), 1);
  SSL_set0_rbio(ssl, reader.release());
  SSL_set0_wbio(ssl, writer.release());
  return true;
}

FlushState flush_records(SSL* ssl) { return gatherer_of(gathering_bio(ssl)).flush(); }

std::size_t gathered_bytes(SSL* ssl) { return gatherer_of(gathering_bio(ssl)).size(); }

}  // namespace gatehouse::net
