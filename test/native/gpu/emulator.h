// Runs kernels of GPUs on the processor: one fiber per thread, threadgroups one after the other in a drawn
// order. Barriers and simd functions are meeting points; between two of them the threads of a threadgroup run
// in a drawn order, one far ahead of the others, so that a missing barrier gives wrong numbers or a fault.
// What Metal leaves undefined is a fault here: meeting points that not all threads reach, or different ones.
#pragma once

#include <cstdint>
#include <source_location>
#include <string>
#include <vector>

namespace k2::emulator {

struct Position {
  uint32_t group[3];
  uint32_t thread, lane, simdgroup;
};

struct Kernel {
  std::string name;
  void (*body)(const void* arguments, const Position& position);
};

// All kernels of the program, in no order.
std::vector<Kernel>& Kernels();
// Null when there is no such name.
const Kernel* FindKernel(const std::string& name);

struct Registration {
  Registration(const char* name, void (*body)(const void*, const Position&)) {
    Kernels().push_back({name, body});
  }
};

struct Launch {
  const Kernel* kernel;
  const void* arguments;
  uint32_t groups[3];
  uint32_t threads;  // of a threadgroup; a multiple of 32
  uint64_t seed = 1;
};

// Empty, or what was wrong with the kernel.
std::string Run(const Launch& launch);

// How often each byte of some ranges was read through WeightBytes, as long as the object lives.
class ReadCounts {
 public:
  ReadCounts();
  ~ReadCounts();
  ReadCounts(const ReadCounts&) = delete;

  void Watch(const void* data, size_t bytes);
  // The times that all bytes of the range that begins at `data` were read; -1 when they differ.
  int64_t Times(const void* data) const;
  // Bytes read in all watched ranges, and outside of them.
  uint64_t watched_bytes() const { return watched_bytes_; }
  uint64_t other_bytes() const { return other_bytes_; }

  void Count(const uint8_t* at, size_t bytes);
  static ReadCounts* current;  // null: nobody counts

 private:
  struct Range {
    const uint8_t* data;
    std::vector<uint16_t> times;
  };
  std::vector<Range> ranges_;
  uint64_t watched_bytes_ = 0, other_bytes_ = 0;
};

// What the shim is made of; called by the threads of a kernel.
enum class SimdOp : uint8_t { kSum, kMaxFloat, kMax, kMin, kShuffle, kBarrier };
// Meets the other lanes of the simdgroup. `bits` are a float or a whole number; kShuffle gives that of lane
// `source`.
uint32_t MeetLanes(SimdOp op, uint32_t bits, uint32_t source, const std::source_location& where);
void MeetThreads(const std::source_location& where);
// The next array of the threadgroup's memory; all threads must ask for the same ones in the same order.
void* ThreadgroupArray(size_t bytes);

}  // namespace k2::emulator
