#include "base/thread_pool.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <system_error>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace k2 {
namespace {

constexpr uint32_t kOpenBit = 0x80000000u;

// Longer than the gap between two ops and far shorter than a human notices.
constexpr std::chrono::microseconds kSpinTime{50};
constexpr int kPausesPerLook = 16;

inline void Pause() {
#if defined(__x86_64__)
  _mm_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Waits until `value` differs from `old`: spins, then parks. It never yields. Where other programs want the
// core, a thread that yields gives up the rest of its time slice, and the others wait for it all the longer;
// one that parks leaves its core free for the very thread that it waits for, and is preferred when it wakes.
template <typename T>
T WaitForChange(const std::atomic<T>& value, T old) {
  const auto end = std::chrono::steady_clock::now() + kSpinTime;
  do {
    for (int i = 0; i < kPausesPerLook; ++i) {
      if (T now = value.load(std::memory_order_acquire); now != old) return now;
      Pause();
    }
  } while (std::chrono::steady_clock::now() < end);
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
  is_ending_.store(true, std::memory_order_relaxed);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::StopWhenNot(const std::function<bool()>* keep_going) {
  keep_going_ = keep_going;
  stopped_.store(false, std::memory_order_relaxed);
}

bool ThreadPool::KeepGoing(int thread) {
  if (stopped()) return false;
  if (thread != 0 || keep_going_ == nullptr || (*keep_going_)()) return true;
  stopped_.store(true, std::memory_order_relaxed);
  return false;
}

void ThreadPool::Run(int64_t n, int64_t grain, WorkFunction function, const void* context) {
  if (workers_.empty() || n <= grain) {
    for (int64_t first = 0; first < n && KeepGoing(0); first += grain)
      function(context, first, std::min(first + grain, n), 0);
    return;
  }
  if (!KeepGoing(0)) return;
  function_ = function;
  context_ = context;
  n_ = n;
  grain_ = grain;
  next_.store(0, std::memory_order_relaxed);
  inside_.fetch_or(kOpenBit, std::memory_order_release);
  epoch_.fetch_add(1, std::memory_order_release);
  epoch_.notify_all();
  TakeChunks(0);
  uint32_t inside = inside_.fetch_and(~kOpenBit, std::memory_order_acquire) & ~kOpenBit;
  while (inside != 0) inside = WaitForChange(inside_, inside);
}

void ThreadPool::TakeChunks(int thread) {
  while (KeepGoing(thread)) {
    const int64_t first = next_.fetch_add(grain_, std::memory_order_relaxed);
    if (first >= n_) return;
    function_(context_, first, std::min(first + grain_, n_), thread);
  }
}

void ThreadPool::WorkerLoop(int thread) {
  for (uint32_t seen = 0;;) {
    seen = WaitForChange(epoch_, seen);
    if (is_ending_.load(std::memory_order_relaxed)) return;
    // To enter is to be counted first and then to look: the engine thread closes the job and then counts.
    if (inside_.fetch_add(1, std::memory_order_acquire) & kOpenBit) TakeChunks(thread);
    if (inside_.fetch_sub(1, std::memory_order_release) == 1) inside_.notify_one();
  }
}

}  // namespace k2
