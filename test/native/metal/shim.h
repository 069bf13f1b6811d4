// The words of Metal in C++, for the emulator: what native/metal/kernels/prelude.metal and metal_stdlib are
// to Apple's compiler. Included after all other headers, since words such as `thread` are macros from here
// on.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <source_location>

#include "gpu/emulator.h"

// Attributes of Metal mean nothing here; the parameters of a kernel may go unused.
#pragma GCC diagnostic ignored "-Wattributes"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-function"

namespace k2::msl {

using uchar = uint8_t;
using ushort = uint16_t;
using uint = uint32_t;
using ulong = uint64_t;
using Where = std::source_location;

struct uint3 {
  uint x, y, z;
};

template <typename T>
using Buffer = T*;

// Bytes of a checkpoint: reading one, or a number at its address, is counted.
class WeightBytes {
 public:
  WeightBytes() = default;
  explicit WeightBytes(const uchar* at) : at_(at) {}
  explicit operator bool() const { return at_ != nullptr; }
  WeightBytes operator+(ulong bytes) const { return WeightBytes(at_ + bytes); }
  uchar operator[](ulong i) const {
    Count(at_ + i, 1);
    return at_[i];
  }
  // For *(device const T*)(bytes).
  template <typename T>
  explicit operator const T*() const {
    Count(at_, sizeof(T));
    return reinterpret_cast<const T*>(at_);
  }

 private:
  static void Count(const uchar* at, size_t bytes) {
    if (emulator::ReadCounts::current != nullptr) emulator::ReadCounts::current->Count(at, bytes);
  }
  const uchar* at_;
};

template <typename To, typename From>
To as_type(From value) {
  return std::bit_cast<To>(value);
}

template <typename T>
T min(T a, T b) {
  return b < a ? b : a;
}
template <typename T>
T max(T a, T b) {
  return a < b ? b : a;
}
inline float min(float a, float b) { return std::fmin(a, b); }
inline float max(float a, float b) { return std::fmax(a, b); }
inline float fma(float a, float b, float c) { return std::fma(a, b, c); }
inline float sqrt(float x) { return std::sqrt(x); }

inline float simd_sum(float x, Where where = Where::current()) {
  return std::bit_cast<float>(emulator::MeetLanes(emulator::SimdOp::kSum, std::bit_cast<uint>(x), 0, where));
}
inline float simd_max(float x, Where where = Where::current()) {
  return std::bit_cast<float>(
      emulator::MeetLanes(emulator::SimdOp::kMaxFloat, std::bit_cast<uint>(x), 0, where));
}
inline uint simd_max(uint x, Where where = Where::current()) {
  return emulator::MeetLanes(emulator::SimdOp::kMax, x, 0, where);
}
inline uint simd_min(uint x, Where where = Where::current()) {
  return emulator::MeetLanes(emulator::SimdOp::kMin, x, 0, where);
}
inline float simd_shuffle(float x, ushort lane, Where where = Where::current()) {
  return std::bit_cast<float>(
      emulator::MeetLanes(emulator::SimdOp::kShuffle, std::bit_cast<uint>(x), lane, where));
}

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
inline void threadgroup_barrier(mem_flags, Where where = Where::current()) { emulator::MeetThreads(where); }
inline void simdgroup_barrier(mem_flags, Where where = Where::current()) {
  emulator::MeetLanes(emulator::SimdOp::kBarrier, 0, 0, where);
}

// Fits a kernel to the emulator's form, whatever its arguments are.
template <auto function>
struct Wrapped;
template <typename Arguments, void (*function)(Arguments&, uint3, uint, uint, uint)>
struct Wrapped<function> {
  static void Call(const void* arguments, const emulator::Position& p) {
    Arguments copy = *static_cast<const Arguments*>(arguments);
    function(copy, {p.group[0], p.group[1], p.group[2]}, p.thread, p.lane, p.simdgroup);
  }
};

}  // namespace k2::msl

#define device
#define constant
#define threadgroup
#define thread
#define kernel

#define K2_POSITION uint3 group, uint thread_index, uint lane, uint simd_index
#define K2_THREADGROUP(type, name, count) \
  type* const name = static_cast<type*>(::k2::emulator::ThreadgroupArray((count) * sizeof(type)))
#define K2_JOIN_WORDS(a, b) a##b
#define K2_JOIN(a, b) K2_JOIN_WORDS(a, b)
#define K2_KERNEL(function) \
  static const ::k2::emulator::Registration registration_##function(#function, Wrapped<function>::Call);
#define K2_KERNEL_OF(name, function, ...)                                                  \
  static const ::k2::emulator::Registration K2_JOIN(registration_of_kernel_, __COUNTER__)( \
      name, Wrapped<function<__VA_ARGS__>>::Call);
