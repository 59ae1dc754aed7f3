#include "daemon/net/tls_bio.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "daemon/net/record_sealer.h"

namespace gatehouse::net {

namespace {

constexpr std::size_t kSpareBlocks = 4;  // kept per thread, so that a steady load allocates nothing

// How OpenSSL asks a BIO whether it protects records, and gives it what they are made of: named in
// a comment of openssl/bio.h, used by OpenSSL's socket BIO for kernel TLS, the same in 3.0 and 3.5.
constexpr int kSetKtls = 72, kSetRecordType = 74, kClearRecordType = 75;
constexpr char kKeyUpdate = 24;  // RFC 8446 section 4

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

/// Records on their way to one socket. Holds no block while it holds no bytes.
class RecordGatherer {
 public:
  explicit RecordGatherer(int descriptor) : descriptor_(descriptor) {}
  RecordGatherer(const RecordGatherer&) = delete;
  RecordGatherer& operator=(const RecordGatherer&) = delete;
  ~RecordGatherer() { give_block(std::move(block_)); }

  int descriptor() const { return descriptor_; }
  std::size_t size() const { return end_ - begin_; }

  bool has_room(std::size_t bytes) const { return kGatherBytes - size() >= bytes; }

  /// Copies in what fits; 0 when full.
  std::size_t append(std::string_view bytes) {
    make_block_for(bytes.size());
    const std::size_t taken = std::min(bytes.size(), kGatherBytes - end_);
    std::memcpy(block_.get() + end_, bytes.data(), taken);
    end_ += taken;
    return taken;
  }

  bool is_sealing() const { return sealer_.has_value(); }
  void start_sealing(RecordSealer sealer) { sealer_.emplace(std::move(sealer)); }
  /// What the next record holds, if not application data.
  void set_record_type(std::uint8_t type) { record_type_ = type; }
  bool is_data_next() const { return record_type_ == SSL3_RT_APPLICATION_DATA; }
  void shrink() {
    if (sealer_) sealer_->shrink();
  }

  /// Makes a record of it; there is room.
  bool seal(std::string_view plain) {
    make_block_for(plain.size() + RecordSealer::kOverhead);
    const std::uint8_t type = std::exchange(record_type_, SSL3_RT_APPLICATION_DATA);
    if (!sealer_->seal(type, plain, block_.get() + end_)) return false;
    end_ += plain.size() + RecordSealer::kOverhead;
    // Behind a KeyUpdate come other keys (RFC 8446 section 7.2). OpenSSL has them: 3.0 goes on by
    // itself, later versions hand them over as they did the first ones.
    if (type == SSL3_RT_HANDSHAKE && plain.front() == kKeyUpdate) sealer_.reset();
    return true;
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
  /// What was not sent yet goes to the front where the room of what was is needed.
  void make_block_for(std::size_t bytes) {
    if (!block_) block_ = take_block();
    if (begin_ == 0 || kGatherBytes - end_ >= bytes) return;
    std::memmove(block_.get(), block_.get() + begin_, size());
    end_ -= begin_;
    begin_ = 0;
  }

  int descriptor_;
  std::uint8_t record_type_ = SSL3_RT_APPLICATION_DATA;
  Block block_;
  std::size_t begin_ = 0, end_ = 0;
  std::optional<RecordSealer> sealer_;  // none: OpenSSL makes the records
};

RecordGatherer& gatherer_of(BIO* bio) { return *static_cast<RecordGatherer*>(BIO_get_data(bio)); }

/// Takes plain text as a record, all of it or nothing.
int write_record(BIO* bio, RecordGatherer& gatherer, std::string_view plain) {
  const std::size_t needed = plain.size() + RecordSealer::kOverhead;
  if (!gatherer.has_room(needed) && gatherer.flush() == FlushState::kFailed) return -1;
  if (gatherer.has_room(needed)) return gatherer.seal(plain) ? static_cast<int>(plain.size()) : -1;
  // OpenSSL comes back with messages of its own, and would with application data, but from where
  // the caller had it the first time. That may be gone: make_room() was not asked.
  if (gatherer.is_data_next()) return -1;
  BIO_set_retry_write(bio);
  return -1;
}

/// Takes the bytes, sending only to make room: the rest goes out at flush_records().
int write_bytes(BIO* bio, const char* bytes, int size) {
  BIO_clear_retry_flags(bio);
  if (size <= 0) return 0;
  RecordGatherer& gatherer = gatherer_of(bio);
  const std::string_view input(bytes, static_cast<std::size_t>(size));
  if (gatherer.is_sealing()) return write_record(bio, gatherer, input);
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

int read_bytes(BIO* bio, char* to, int size) {
  BIO_clear_retry_flags(bio);
  ssize_t got = 0;
  do {
    got = ::recv(gatherer_of(bio).descriptor(), to, static_cast<std::size_t>(size), MSG_DONTWAIT);
  } while (got < 0 && errno == EINTR);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) BIO_set_retry_read(bio);
  if (got == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(got);
}

/// OpenSSL flushes at the end of each handshake flight, never for application data. What the socket
/// does not take stays gathered, and that is a success: the buffering BIO that OpenSSL puts before
/// us during a handshake would lose the word "retry" (3.0), and SSL_get_error would name a failure.
long flush(BIO* bio) {
  BIO_clear_retry_flags(bio);
  return gatherer_of(bio).flush() == FlushState::kFailed ? -1 : 1;
}

/// 1: we protect what is written from now on.
long start_sealing(RecordGatherer& gatherer, const tls_crypto_info& info) {
  auto sealer = RecordSealer::from_kernel_form(info);
  if (!sealer) return 0;
  gatherer.start_sealing(std::move(*sealer));
  return 1;
}

long control(BIO* bio, int command, long number, void* argument) {
  RecordGatherer& gatherer = gatherer_of(bio);
  switch (command) {
    case BIO_CTRL_FLUSH: return flush(bio);
    case BIO_CTRL_WPENDING: return static_cast<long>(gatherer.size());
    case BIO_CTRL_EOF: return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) ? 1 : 0;
    case BIO_C_GET_FD:
      if (argument) *static_cast<int*>(argument) = gatherer.descriptor();
      return gatherer.descriptor();
    case kSetKtls:
      return number != 0 ? start_sealing(gatherer, *static_cast<const tls_crypto_info*>(argument))
                         : 0;  // 0: for reading
    case BIO_CTRL_GET_KTLS_SEND: return gatherer.is_sealing() ? 1 : 0;
    case kSetRecordType: gatherer.set_record_type(static_cast<std::uint8_t>(number)); return 0;
    case kClearRecordType: gatherer.set_record_type(SSL3_RT_APPLICATION_DATA); return 0;
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
      BIO_meth_set_read(method.get(), read_bytes) != 1 ||
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

/// Since 3.2 OpenSSL loses what it has read ahead when the peer changes its keys, once it has asked
/// a BIO for kernel TLS in the reading direction, too, and was told that there is none (seen with
/// 3.5.9). Its own records cost less there.
bool may_seal() {
  static const bool is_before_3_2 = OPENSSL_version_major() == 3 && OPENSSL_version_minor() < 2;
  return is_before_3_2;
}

bool attach_socket(SSL* ssl, int descriptor) {
  if (!method()) return false;
  BioPtr bio(BIO_new(method()));
  if (!bio) return false;
  BIO_set_data(bio.get(), new RecordGatherer(descriptor));
  BIO_set_init(bio.get(), 1);
  SSL_set_bio(ssl, bio.get(),
              bio.get());  // Two references at the price of one: it takes one for both.
  (void)bio.release();
  if (may_seal()) SSL_set_options(ssl, SSL_OP_ENABLE_KTLS);
  return true;
}

FlushState make_room(SSL* ssl) {
  RecordGatherer& gatherer = gatherer_of(gathering_bio(ssl));
  if (gatherer.has_room(kRecordBytesMax)) return FlushState::kDone;
  const FlushState state = gatherer.flush();
  return state == FlushState::kWouldBlock && gatherer.has_room(kRecordBytesMax) ? FlushState::kDone
                                                                                : state;
}

FlushState flush_records(SSL* ssl) { return gatherer_of(gathering_bio(ssl)).flush(); }

std::size_t gathered_bytes(SSL* ssl) { return gatherer_of(gathering_bio(ssl)).size(); }

bool seals_records(SSL* ssl) { return gatherer_of(gathering_bio(ssl)).is_sealing(); }

void shrink_records(SSL* ssl) { gatherer_of(gathering_bio(ssl)).shrink(); }

}  // namespace gatehouse::net
