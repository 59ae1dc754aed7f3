#include "daemon/net/job_thread.h"

#include <pthread.h>

#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>

#include "daemon/base/error.h"

namespace gatehouse::net {

struct JobThread::State {
  struct Job {
    std::function<void()> work, done;
  };

  explicit State(Loop& given) : loop(given) {}

  Loop& loop;
  std::mutex guard;
  std::condition_variable changed;
  std::deque<Job> jobs;      // guarded
  bool is_stopping = false;  // guarded
  std::thread thread;

  /// An exception that escapes a job ends the process: there is nobody to hand it to.
  void run(const std::string& name) noexcept {
    pthread_setname_np(pthread_self(), name.c_str());
    std::unique_lock lock(guard);
    while (true) {
      changed.wait(lock, [this] { return is_stopping || !jobs.empty(); });
      if (jobs.empty()) return;
      Job job = std::move(jobs.front());
      jobs.pop_front();
      lock.unlock();
      job.work();
      job.work = nullptr;  // What it captured goes before the answer is given.
      if (job.done) loop.post(std::move(job.done));
      lock.lock();
    }
  }
};

JobThread::JobThread(Loop& loop) : loop_(loop) {}

JobThread JobThread::inline_for_tests(Loop& loop) { return JobThread(loop); }

JobThread::JobThread(Loop& loop, const std::string& name)
    : loop_(loop), state_(std::make_unique<State>(loop)) {
  // Signals are for the loop's thread: a new thread starts with the mask of the one that makes it.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  state_->thread =
      std::thread([state = state_.get(), shown = name.substr(0, 15)] { state->run(shown); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

JobThread::~JobThread() { stop(); }

void JobThread::post(std::function<void()> job, std::function<void()> done_on_loop) {
  if (!state_) {
    loop_.post([work = std::move(job), done = std::move(done_on_loop), &loop = loop_] {
      work();
      if (done) loop.post(done);
    });
    return;
  }
  {
    const std::lock_guard lock(state_->guard);
    check(!state_->is_stopping, "a job for a thread that was stopped");
    state_->jobs.push_back({std::move(job), std::move(done_on_loop)});
  }
  state_->changed.notify_one();
}

void JobThread::stop() {
  if (!state_ || !state_->thread.joinable()) return;
  {
    const std::lock_guard lock(state_->guard);
    state_->is_stopping = true;
  }
  state_->changed.notify_one();
  state_->thread.join();
}

}  // namespace gatehouse::net
