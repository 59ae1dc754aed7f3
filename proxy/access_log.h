#pragma once
// Where access log lines go: a file, standard output or standard error. Lines are collected and
// written together: when 64 KiB are ready, or half a second after the first. The loop is never held
// up: a pipe or socket gets what it takes at once, and lines that find 1 MiB of others still
// waiting are dropped and counted. One per loop: all append to the same file, but to a pipe or
// socket, which takes long lines in pieces, only the first loop's writes, and the others pass their
// lines on to it.

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "daemon/base/error.h"
#include "daemon/base/metrics.h"
#include "daemon/base/timer_queue.h"
#include "proxy/access_log_line.h"

namespace gatehouse::proxy {

class AccessLog {
 public:
  static constexpr std::size_t kWriteBytes = 64 * 1024;
  static constexpr std::size_t kWaitingBytesMax = 1024 * 1024;
  static constexpr Duration kDelayMax = std::chrono::milliseconds(500);

  /// Takes whole lines instead of a sink that is no file.
  using Pass = std::function<void(std::string lines)>;

  /// `path` is "stdout", "stderr" or a file, which is created 0640 and appended to. `timers` and
  /// `metrics` outlive the log. With kOff nothing is opened.
  static Result<std::unique_ptr<AccessLog>> open(AccessLogFormat format, std::string path,
                                                 TimerQueue& timers, Metrics& metrics,
                                                 Pass pass = nullptr);
  ~AccessLog();  // writes what the sink takes
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;

  bool is_on() const { return format_ != AccessLogFormat::kOff; }
  void append(const AccessRecord& record);
  /// Whole lines that another log passed on: written at once, they have waited there.
  void write(std::string_view lines);
  /// Writes what is waiting, as far as the sink takes it now.
  void flush();
  /// After a rotation: writes what is waiting to the old file, then opens the path anew. When that
  /// fails the old file stays in use. Nothing to do for stdout and stderr.
  Result<void> reopen();

  std::size_t waiting_bytes() const { return waiting_.size(); }

 private:
  enum class Sink : std::uint8_t { kFile, kSocket, kPipe };

  AccessLog(AccessLogFormat format, std::string path, TimerQueue& timers, Metrics& metrics,
            Pass pass);
  std::optional<int> standard_descriptor() const;
  Result<void> open_sink();
  void close_sink();
  /// One system call for what the sink takes of `bytes` now; -1 with errno, EAGAIN: nothing.
  ssize_t write_some(std::string_view bytes) const;
  void note_failure(int error_number);

  const AccessLogFormat format_;
  const std::string path_;
  const Pass pass_;
  Counter& dropped_;
  AccessLogLine line_;
  std::string waiting_;
  int descriptor_ = -1;
  bool owns_descriptor_ = false;
  bool is_stuck_ = false;  // the last write failed: the timer tries again
  Sink sink_ = Sink::kFile;
  Timer timer_;
};

}  // namespace gatehouse::proxy
