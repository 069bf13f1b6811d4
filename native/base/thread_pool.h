// The workers of one engine. The engine thread calls For(); it and the workers share the range in chunks.
// What a chunk computes must not depend on which thread takes it, so results never depend on the thread
// count.
//
// Nobody waits for a worker that has taken nothing: one that the system does not let run, because other
// programs want its core, leaves its chunks to the others. Workers spin briefly between calls (an op takes
// microseconds), then park: an idle engine costs no CPU.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "base/status.h"

namespace k2 {

class ThreadPool {
 public:
  // `threads` includes the calling thread; 1 starts no worker.
  static Result<std::unique_ptr<ThreadPool>> Create(int threads);
  ~ThreadPool();

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls work(first, last, thread) for chunks of at most `grain` that cover [0, n); returns when all are
  // done. `thread` is in [0, threads()), for scratch memory; 0 is the calling thread. Only the engine thread
  // calls this; calls do not nest.
  template <typename Work>
  void For(int64_t n, int64_t grain, const Work& work) {
    if (n <= 0) return;
    Run(
        n, grain < 1 ? 1 : grain,
        [](const void* context, int64_t first, int64_t last, int thread) {
          (*static_cast<const Work*>(context))(first, last, thread);
        },
        &work);
  }

  // From now on the calling thread asks `keep_going` between its chunks; null asks nothing. Once the answer
  // was no, chunks that nobody has begun are left out, of the running For and of all later ones, until this
  // is called again.
  void StopWhenNot(const std::function<bool()>* keep_going);
  bool stopped() const { return stopped_.load(std::memory_order_relaxed); }
  // What a chunk asks that takes milliseconds: false when it may end early, because its results are not
  // wanted any more.
  bool KeepGoing(int thread);

 private:
  using WorkFunction = void (*)(const void* context, int64_t first, int64_t last, int thread);

  ThreadPool() = default;
  void Run(int64_t n, int64_t grain, WorkFunction function, const void* context);
  void TakeChunks(int thread);
  void WorkerLoop(int thread);

  std::vector<std::thread> workers_;
  const std::function<bool()>* keep_going_ = nullptr;  // asked by the engine thread

  // One job at a time; written by the engine thread before the job is opened.
  WorkFunction function_ = nullptr;
  const void* context_ = nullptr;
  int64_t n_ = 0;
  int64_t grain_ = 1;

  alignas(64) std::atomic<int64_t> next_{0};    // first index that nobody has taken
  alignas(64) std::atomic<uint32_t> epoch_{0};  // number of the job, which may wrap
  // Workers inside the job, and bit 31 while it is open: one that finds it closed has come too late.
  alignas(64) std::atomic<uint32_t> inside_{0};
  alignas(64) std::atomic<bool> stopped_{false};
  std::atomic<bool> is_ending_{false};
};

}  // namespace k2
