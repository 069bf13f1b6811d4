#include "engine/file_thread.h"

#include <new>
#include <system_error>
#include <utility>

namespace k2 {
namespace {

// Jobs report lack of memory themselves; this is for one that has no memory left for its report.
void RunJob(const FileThread::Job& job) {
  try {
    job();
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace

bool FileThread::Push(std::deque<Job>& jobs, Job job) {
  std::lock_guard lock(mutex_);
  if (stopped_) return false;
  try {
    if (!thread_.joinable()) thread_ = std::thread([this] { Run(); });
    jobs.push_back(std::move(job));
  } catch (const std::system_error&) {
    return false;
  } catch (const std::bad_alloc&) {
    return false;
  }
  wake_.notify_one();
  return true;
}

void FileThread::Run() {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopped_ || !urgent_.empty() || !jobs_.empty(); });
      std::deque<Job>& next = urgent_.empty() ? jobs_ : urgent_;
      if (next.empty()) return;
      job = std::move(next.front());
      next.pop_front();
    }
    RunJob(job);
  }
}

void FileThread::ServeUrgent() {
  for (;;) {
    Job job;
    {
      std::lock_guard lock(mutex_);
      if (urgent_.empty()) return;
      job = std::move(urgent_.front());
      urgent_.pop_front();
    }
    RunJob(job);
  }
}

void FileThread::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
}

}  // namespace k2
