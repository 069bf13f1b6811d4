// What this machine can do at best, so that the speed of a kernel or of a model can be given as a fraction of
// it: rates of reading memory and caches, of arithmetic, and the cost of handing one job to all threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "measure/loops.h"
#include "measure/page_buffer.h"

namespace k2 {

// One timed thing: the median of its repetitions, and the least and greatest.
struct Spread {
  double median = 0, least = 0, greatest = 0;
};
Spread SpreadOf(std::vector<double> values);

struct Rate {
  // "read-2MiB-pages", "read-4KiB-pages", "read-mapped-file", "read-L3", "read-L2", "barrier", or an
  // arithmetic.
  std::string name;
  int threads;
  std::string unit;  // "GB/s", "GFLOP/s" ("GOP/s" of integers), "us"
  Spread value;
};

struct MachineOptions {
  int threads = 1;  // rates are measured with 1, 2, 4, ... and with this many
  int64_t buffer_bytes =
      0;  // of the reads from memory, each of the three in turn; far more than the caches hold
  int repetitions = 5;
  bool is_brief = false;  // only what bounds a model: memory and arithmetic, with all threads
  const std::atomic<bool>* stop = nullptr;  // once set, it ends soon with kAborted
};

struct MachineLimits {
  int64_t cache_bytes;  // of the last level, as the system states it; 0 where it does not
  std::vector<Rate> rates;
};

// Takes seconds, and all of the threads. kOutOfMemory, kIo.
Result<MachineLimits> MeasureMachine(const MachineOptions& options);

// The last level's size, or 0.
int64_t LastCacheBytes();

struct MemoryPart {
  const uint8_t* data;
  size_t size;
};
// Seconds that the threads of `pool` need together for reading all parts once.
double TimeRead(ThreadPool& pool, std::span<const MemoryPart> parts);
// Seconds for `tasks` times `iterations` of a loop, shared out among the threads.
double TimeArithmetic(ThreadPool& pool, const Arithmetic& arithmetic, int64_t tasks, int64_t iterations);

double SecondsNow();

}  // namespace k2
