// The words of the CUDA kernels in C++, for the emulator: what native/cuda/kernels/kernels.cu is to nvcc.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <source_location>

#include "gpu/emulator.h"

#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wunknown-pragmas"

namespace k2::cuda_text {

using uint = uint32_t;
using ushort = uint16_t;
using ulong = uint64_t;
using Where = std::source_location;
template <typename T>
using Buffer = T*;

// Bytes of a weight: every reading is counted.
class WeightBytes {
 public:
  WeightBytes() = default;
  explicit operator bool() const { return at_ != nullptr; }
  WeightBytes operator+(ulong bytes) const {
    WeightBytes sum;
    sum.at_ = at_ + bytes;
    return sum;
  }
  template <typename T>
  T Load() const {
    if (emulator::ReadCounts::current != nullptr) emulator::ReadCounts::current->Count(at_, sizeof(T));
    return *reinterpret_cast<const T*>(at_);  // a sanitizer sees an address that is no multiple of the size
  }

 private:
  const uint8_t* at_;
};

struct Position {
  uint block_x, block_y, block_z;
  uint thread, lane, warp;
};

struct alignas(16) Words {
  uint x, y, z, w;
};
inline Words LoadWords(WeightBytes at) { return at.Load<Words>(); }
inline uint LoadWord(WeightBytes at) { return at.Load<uint>(); }
inline uint LoadHalf(WeightBytes at) { return at.Load<ushort>(); }
inline Words LoadInput(const ushort* at) { return *reinterpret_cast<const Words*>(at); }

inline float AsFloat(uint bits) { return std::bit_cast<float>(bits); }
inline uint AsUint(float value) { return std::bit_cast<uint>(value); }
inline uint min(uint a, uint b) { return b < a ? b : a; }
using std::fmaf;
using std::fmaxf;
using std::fminf;
inline float sqrtf(float x) { return std::sqrt(x); }

inline void SyncThreads(Where where = Where::current()) { emulator::MeetThreads(where); }
inline void SyncLanes(Where where = Where::current()) {
  emulator::MeetLanes(emulator::SimdOp::kBarrier, 0, 0, where);
}
inline float SumOfLanes(float x, Where where = Where::current()) {
  return AsFloat(emulator::MeetLanes(emulator::SimdOp::kSum, AsUint(x), 0, where));
}
inline float MaxOfLanes(float x, Where where = Where::current()) {
  return AsFloat(emulator::MeetLanes(emulator::SimdOp::kMaxFloat, AsUint(x), 0, where));
}
inline uint MaxOfLanes(uint x, Where where = Where::current()) {
  return emulator::MeetLanes(emulator::SimdOp::kMax, x, 0, where);
}
inline uint MinOfLanes(uint x, Where where = Where::current()) {
  return emulator::MeetLanes(emulator::SimdOp::kMin, x, 0, where);
}
inline float Shuffle(float x, uint lane, Where where = Where::current()) {
  return AsFloat(emulator::MeetLanes(emulator::SimdOp::kShuffle, AsUint(x), lane, where));
}

float F16Value(uint bits);
uint FmaBf16Pair(uint a, uint b, uint c);
// The lanes bring what they hold of the three matrices; each takes its part of the sum.
void MultiplyTiles(float (&d)[4], const uint (&a)[4], uint b0, uint b1, const Position& at,
                   Where where = Where::current());

// Fits a kernel to the emulator's form, whatever its arguments are.
template <typename Arguments, void (*function)(const Arguments&, const Position&)>
void Call(const void* arguments, const emulator::Position& p) {
  Arguments copy;
  std::memcpy(static_cast<void*>(&copy), arguments, sizeof copy);
  function(copy, {p.group[0], p.group[1], p.group[2], p.thread, p.lane, p.simdgroup});
}

}  // namespace k2::cuda_text

#define K2_DEVICE inline
#define K2_SHARED(type, name, count) \
  type* const name = static_cast<type*>(::k2::emulator::ThreadgroupArray((count) * sizeof(type)))
#define K2_UNROLL
#define K2_UNROLL_BY(count)
#define K2_KERNEL(name, function, Arguments, threads) \
  static const ::k2::emulator::Registration registration_##name(#name, Call<Arguments, function>);
