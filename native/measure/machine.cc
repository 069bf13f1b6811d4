#include "measure/machine.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <fstream>
#include <functional>

namespace k2 {
namespace {

// What the loops compute goes here, so that no compiler finds them useless.
std::atomic<uint64_t> sink{0};

// Small enough that threads end together, large enough that taking one costs nothing.
constexpr size_t kLargestChunk = 1 << 20, kLeastChunk = 1 << 16;
constexpr int64_t kArithmeticIterations = 100000;

// Of one cache as a core sees it. What sysconf says of AMD's L3 is that of the whole socket, hence the files
// first.
int64_t CacheBytes(int level) {
  for (int index = 0; index < 8; ++index) {
    const std::string folder = "/sys/devices/system/cpu/cpu0/cache/index" + std::to_string(index);
    std::ifstream level_file(folder + "/level"), type_file(folder + "/type"), size_file(folder + "/size");
    int found = 0;
    int64_t kibibytes = 0;
    std::string type;
    if (!(level_file >> found) || !(type_file >> type) || !(size_file >> kibibytes)) continue;
    if (found == level && type != "Instruction") return 1024 * kibibytes;
  }
#if defined(_SC_LEVEL3_CACHE_SIZE)
  return std::max<int64_t>(sysconf(level == 2 ? _SC_LEVEL2_CACHE_SIZE : _SC_LEVEL3_CACHE_SIZE), 0);
#else
  return 0;
#endif
}

Rate Measured(std::string name, const char* unit, const ThreadPool& pool, int repetitions,
              const std::function<double()>& measure) {
  std::vector<double> values;
  for (int i = 0; i < repetitions; ++i) values.push_back(measure());
  return {std::move(name), pool.threads(), unit, SpreadOf(std::move(values))};
}

// Every thread reads its own part again and again. A first pass brings it into the cache.
double ReadCached(ThreadPool& pool, const uint8_t* data, int64_t bytes_per_thread) {
  const int64_t rounds = std::max<int64_t>((int64_t{64} << 20) / bytes_per_thread, 1) * pool.threads();
  const auto read = [&](int64_t, int64_t, int thread) {
    sink += SumWords(data + thread * bytes_per_thread, static_cast<size_t>(bytes_per_thread));
  };
  pool.For(4 * pool.threads(), 1, read);
  const double start = SecondsNow();
  pool.For(rounds, 1, read);
  return 1e-9 * static_cast<double>(rounds * bytes_per_thread) / (SecondsNow() - start);
}

// Microseconds of one job that has nothing to do.
double TimeBarrier(ThreadPool& pool) {
  constexpr int kJobs = 2000;
  const auto nothing = [](int64_t, int64_t, int) {};
  const double start = SecondsNow();
  for (int i = 0; i < kJobs; ++i) pool.For(pool.threads() + 1, 1, nothing);
  return 1e6 * (SecondsNow() - start) / kJobs;
}

void MeasureCaches(ThreadPool& pool, const PageBuffer& buffer, int repetitions, std::vector<Rate>& rates) {
  const int64_t threads = pool.threads(), l2 = CacheBytes(2), l3 = CacheBytes(3);
  const auto add = [&](const char* name, int64_t bytes_per_thread) {
    bytes_per_thread = bytes_per_thread / 4096 * 4096;
    if (bytes_per_thread <= 0 || bytes_per_thread * threads > static_cast<int64_t>(buffer.size())) return;
    rates.push_back(Measured(name, "GB/s", pool, repetitions,
                             [&] { return ReadCached(pool, buffer.data(), bytes_per_thread); }));
  };
  // A part of L3 that no L2 holds, and leaves room for the rest of the system.
  if (l3 / threads * 3 / 8 > 2 * l2) add("read-L3", l3 / threads * 3 / 8);
  add("read-L2", l2 / 2);
}

void MeasureArithmetic(ThreadPool& pool, int repetitions, std::vector<Rate>& rates) {
  for (const Arithmetic& one : Arithmetics()) {
    const bool is_integer = std::strncmp(one.name, "int", 3) == 0;
    rates.push_back(Measured(one.name, is_integer ? "GOP/s" : "GFLOP/s", pool, repetitions, [&] {
      const int64_t tasks = 16 * pool.threads();
      return 1e-9 * one.operations * static_cast<double>(tasks * kArithmeticIterations) /
             TimeArithmetic(pool, one, tasks, kArithmeticIterations);
    }));
  }
}

}  // namespace

double SecondsNow() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Spread SpreadOf(std::vector<double> values) {
  if (values.empty()) return {};
  std::sort(values.begin(), values.end());
  const size_t middle = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
  return {median, values.front(), values.back()};
}

int64_t LastCacheBytes() { return CacheBytes(3); }

double TimeRead(ThreadPool& pool, std::span<const MemoryPart> parts) {
  size_t all = 0;
  for (const MemoryPart& part : parts) all += part.size;
  const size_t share = all / static_cast<size_t>(4 * pool.threads()) / 512 * 512;
  const size_t chunk = std::clamp<size_t>(share, kLeastChunk, kLargestChunk);
  std::vector<MemoryPart> chunks;
  for (const MemoryPart& part : parts) {
    for (size_t at = 0; at < part.size; at += chunk)
      chunks.push_back({part.data + at, std::min(chunk, part.size - at)});
  }
  // Many small parts are taken several at a time.
  const size_t grain =
      chunks.empty() ? 1 : std::max<size_t>(kLeastChunk * chunks.size() / std::max<size_t>(all, 1), 1);
  const double start = SecondsNow();
  pool.For(static_cast<int64_t>(chunks.size()), static_cast<int64_t>(grain),
           [&](int64_t first, int64_t last, int) {
             uint64_t sum = 0;
             for (int64_t i = first; i < last; ++i)
               sum += SumWords(chunks[static_cast<size_t>(i)].data, chunks[static_cast<size_t>(i)].size);
             sink += sum;
           });
  return SecondsNow() - start;
}

double TimeArithmetic(ThreadPool& pool, const Arithmetic& arithmetic, int64_t tasks, int64_t iterations) {
  const double start = SecondsNow();
  pool.For(tasks, 1, [&](int64_t, int64_t, int) { sink += arithmetic.loop(iterations) > 0 ? 1 : 0; });
  return SecondsNow() - start;
}

Result<MachineLimits> MeasureMachine(const MachineOptions& options) {
  struct Kind {
    const char* name;
    Pages pages;
  };
  const Kind kinds[] = {{"read-2MiB-pages", Pages::kHuge},
                        {"read-4KiB-pages", Pages::kSmall},
                        {"read-mapped-file", Pages::kFile}};
  const auto is_stopped = [&] { return options.stop != nullptr && options.stop->load(); };
  const Status stopped(ErrorCode::kAborted, "Expected the measurement to finish, got an abort");
  MachineLimits limits{LastCacheBytes(), {}};
  std::vector<int> counts;
  for (int threads = 1; threads < options.threads && !options.is_brief; threads *= 2)
    counts.push_back(threads);
  counts.push_back(options.threads);
  std::vector<std::unique_ptr<ThreadPool>> pools;
  for (int threads : counts) {
    Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(threads);
    if (!pool.ok()) return pool.status();
    pools.push_back(std::move(pool.value()));
  }
  const size_t bytes = static_cast<size_t>(options.buffer_bytes);
  // One buffer at a time, so that the three together take the memory of one.
  for (const Kind& kind : kinds) {
    if (options.is_brief && kind.pages == Pages::kSmall) continue;
    Result<PageBuffer> buffer = PageBuffer::Map(bytes, kind.pages);
    if (!buffer.ok()) return buffer.status();
    std::memset(buffer.value().data(), 1, bytes);
    if (is_stopped()) return stopped;
    const MemoryPart all[] = {{buffer.value().data(), bytes}};
    for (const std::unique_ptr<ThreadPool>& pool : pools) {
      limits.rates.push_back(Measured(kind.name, "GB/s", *pool, options.repetitions, [&] {
        return 1e-9 * static_cast<double>(bytes) / TimeRead(*pool, all);
      }));
      if (kind.pages != Pages::kHuge || options.is_brief) continue;
      MeasureCaches(*pool, buffer.value(), options.repetitions, limits.rates);
    }
  }
  for (const std::unique_ptr<ThreadPool>& pool : pools) {
    if (is_stopped()) return stopped;
    MeasureArithmetic(*pool, options.repetitions, limits.rates);
    if (pool->threads() == 1 || options.is_brief) continue;
    limits.rates.push_back(
        Measured("barrier", "us", *pool, options.repetitions, [&] { return TimeBarrier(*pool); }));
  }
  return limits;
}

}  // namespace k2
