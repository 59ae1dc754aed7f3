#include "proxy/access_log.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <utility>

#include "daemon/base/log.h"

namespace gatehouse::proxy {

AccessLog::AccessLog(AccessLogFormat format, std::string path, TimerQueue& timers, Metrics& metrics,
                     Pass pass)
    : format_(format),
      path_(std::move(path)),
      pass_(std::move(pass)),
      dropped_(metrics.counter("gatehouse_access_log_dropped_lines_total",
                               "Access log lines that their sink did not take in time.")),
      timer_(timers, [this] { flush(); }) {}

Result<std::unique_ptr<AccessLog>> AccessLog::open(AccessLogFormat format, std::string path,
                                                   TimerQueue& timers, Metrics& metrics,
                                                   Pass pass) {
  std::unique_ptr<AccessLog> log(
      new AccessLog(format, std::move(path), timers, metrics, std::move(pass)));
  if (log->is_on())
    if (auto opened = log->open_sink(); !opened) return std::move(opened).error();
  return log;
}

AccessLog::~AccessLog() {
  flush();
  close_sink();
}

std::optional<int> AccessLog::standard_descriptor() const {
  if (path_ == "stdout" || path_ == "/dev/stdout") return STDOUT_FILENO;
  if (path_ == "stderr" || path_ == "/dev/stderr") return STDERR_FILENO;
  return std::nullopt;
}

Result<void> AccessLog::open_sink() {
  const auto standard = standard_descriptor();
  const bool is_standard = standard.has_value();
  // O_NONBLOCK: a FIFO that nobody reads must not hold us up.
  constexpr int kHow = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK;
  const int descriptor = standard ? *standard : ::open(path_.c_str(), kHow, 0640);
  if (descriptor < 0) return errno_error("opening access log " + path_, errno);
  struct stat facts {};
  if (fstat(descriptor, &facts) != 0) {
    const int error_number = errno;
    if (!is_standard) ::close(descriptor);
    return errno_error("opening access log " + path_, error_number);
  }
  close_sink();
  descriptor_ = descriptor;
  owns_descriptor_ = !is_standard;
  sink_ = S_ISREG(facts.st_mode)    ? Sink::kFile
          : S_ISSOCK(facts.st_mode) ? Sink::kSocket
                                    : Sink::kPipe;
  return {};
}

void AccessLog::close_sink() {
  if (owns_descriptor_) ::close(descriptor_);
  descriptor_ = -1;
  owns_descriptor_ = false;
}

void AccessLog::append(const AccessRecord& record) {
  if (!is_on()) return;
  if (waiting_bytes() >= kWaitingBytesMax) return dropped_.add();
  line_.append(format_, record, waiting_);
  if (waiting_bytes() >= kWriteBytes && !is_stuck_)
    flush();
  else if (!timer_.is_armed())
    timer_.arm(kDelayMax);  // so that no line waits longer
}

void AccessLog::write(std::string_view lines) {
  if (!is_on()) return;
  if (waiting_bytes() >= kWaitingBytesMax)
    return dropped_.add(static_cast<std::uint64_t>(std::count(lines.begin(), lines.end(), '\n')));
  waiting_ += lines;
  if (!is_stuck_) flush();
}

void AccessLog::flush() {
  timer_.cancel();
  if (pass_ && sink_ != Sink::kFile) {
    if (!waiting_.empty()) pass_(std::exchange(waiting_, {}));
    return;
  }
  std::size_t written = 0;
  while (written < waiting_.size()) {
    const ssize_t took = write_some(std::string_view(waiting_).substr(written));
    if (took >= 0) {
      written += static_cast<std::size_t>(took);
      is_stuck_ = false;
    } else if (errno != EINTR) {
      note_failure(errno);
      break;
    }
  }
  waiting_.erase(0, written);
  if (!waiting_.empty()) timer_.arm(kDelayMax);  // tries again
}

ssize_t AccessLog::write_some(std::string_view bytes) const {
  if (sink_ == Sink::kFile) return ::write(descriptor_, bytes.data(), bytes.size());
  if (sink_ == Sink::kSocket)  // the journal's
    return ::send(descriptor_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  // Others share the open file behind standard output, so it cannot be made non-blocking. A pipe
  // that polls writable takes PIPE_BUF bytes at once and in one piece (pipe(7)): whole lines, then,
  // when they fit.
  pollfd wait{descriptor_, POLLOUT, 0};
  if (::poll(&wait, 1, 0) == 0 || (wait.revents & POLLERR) != 0) {
    errno =
        wait.revents == 0 ? EAGAIN : EPIPE;  // found here, a pipe without reader signals nothing
    return -1;
  }
  bytes = bytes.substr(0, PIPE_BUF);
  if (const auto line_end = bytes.rfind('\n'); line_end != bytes.npos)
    bytes = bytes.substr(0, line_end + 1);
  return ::write(descriptor_, bytes.data(), bytes.size());
}

void AccessLog::note_failure(int error_number) {
  const bool was_stuck = std::exchange(is_stuck_, true);
  if (was_stuck || error_number == EAGAIN) return;
  log(Level::kWarn, "access_log.failed")
      .with("path", path_)
      .with("error", errno_error("writing", error_number).message);
}

Result<void> AccessLog::reopen() {
  if (!is_on() || standard_descriptor()) return {};
  flush();
  return open_sink();
}

}  // namespace gatehouse::proxy
