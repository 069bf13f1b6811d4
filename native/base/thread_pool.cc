#include "base/thread_pool.h"

#include <algorithm>
#include <string>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace k2 {
namespace {

constexpr uint32_t kEndBit = 0x80000000u;

// About 50 us of polling before parking: longer than the gap between two ops, far shorter than a human
// notices.
constexpr int kPausesBeforeYield = 400;
constexpr int kYieldsBeforePark = 60;

inline void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` differs from `old`. Yielding before parking matters when another process wants the
// core: a spinning thread would keep the very thread it waits for from running.
template <typename T>
T WaitForChange(const std::atomic<T>& value, T old) {
  for (int i = 0; i < kPausesBeforeYield; ++i) {
    if (T now = value.load(std::memory_order_acquire); now != old) return now;
    Pause();
  }
  for (int i = 0; i < kYieldsBeforePark; ++i) {
    if (T now = value.load(std::memory_order_acquire); now != old) return now;
    std::this_thread::yield();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

Result<std::unique_ptr<ThreadPool>> ThreadPool::Create(int threads) {
  std::unique_ptr<ThreadPool> pool(new ThreadPool());
  try {
    pool->workers_.reserve(static_cast<size_t>(std::max(threads - 1, 0)));
    for (int i = 1; i < threads; ++i) {
      pool->workers_.emplace_back([worker = pool.get(), i] { worker->WorkerLoop(i); });
    }
  } catch (const std::system_error& error) {
    return Status(ErrorCode::kOutOfMemory,
                  "Expected " + std::to_string(threads) + " threads for the engine, got: " + error.what());
  }
  return pool;
}

ThreadPool::~ThreadPool() {
  epoch_.fetch_or(kEndBit, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::Run(int64_t n, int64_t grain, WorkFunction function, const void* context) {
  if (workers_.empty() || n <= grain) {
    for (int64_t first = 0; first < n; first += grain)
      function(context, first, std::min(first + grain, n), 0);
    return;
  }
  function_ = function;
  context_ = context;
  n_ = n;
  grain_ = grain;
  next_.store(0, std::memory_order_relaxed);
  unfinished_.store(static_cast<int32_t>(workers_.size()), std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  TakeChunks(0);
  for (int32_t left = unfinished_.load(std::memory_order_acquire); left != 0;) {
    left = WaitForChange(unfinished_, left);
  }
}

void ThreadPool::TakeChunks(int thread) {
  for (;;) {
    const int64_t first = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (first >= n_) return;
    function_(context_, first, std::min(first + grain_, n_), thread);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  for (uint32_t seen = 0;;) {
    seen = WaitForChange(epoch_, seen);
    if (seen & kEndBit) return;
    TakeChunks(thread);
    unfinished_.fetch_sub(1, std::memory_order_release);
    unfinished_.notify_all();
  }
}

}  // namespace k2
