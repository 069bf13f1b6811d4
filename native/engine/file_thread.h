// The one thread of an engine that waits for disks, so that neither the engine's thread nor JavaScript's
// does. It starts with the first job. What somebody waits for with a computation at a standstill is urgent:
// it goes before all other jobs, and between the blocks of a long one.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace k2 {

class FileThread {
 public:
  using Job = std::function<void()>;

  FileThread() = default;
  FileThread(const FileThread&) = delete;
  FileThread& operator=(const FileThread&) = delete;
  ~FileThread() { Stop(); }

  // False and nothing done: stopped already, or the system has no thread or memory to give.
  bool Add(Job job) { return Push(jobs_, std::move(job)); }
  bool AddUrgent(Job job) { return Push(urgent_, std::move(job)); }

  // For a job that is not urgent itself, between its blocks.
  void ServeUrgent();

  // Runs what was added, ends the thread and waits for it.
  void Stop();

 private:
  bool Push(std::deque<Job>& jobs, Job job);
  void Run();

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job> jobs_, urgent_;  // guarded by mutex_
  bool stopped_ = false;           // guarded by mutex_
  std::thread thread_;
};

}  // namespace k2
