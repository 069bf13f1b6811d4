// The kernels as nvcc reads them. The emulator of the tests puts its own words in the place of these
// (test/native/cuda/shim.h); every other file is the same text for both.
#include <cstdint>

namespace {

using uint = unsigned int;
using ushort = unsigned short;
using ulong = unsigned long long;
template <typename T>
using Buffer = T*;
using WeightBytes = const unsigned char*;

#include "arguments.inl.h"

#define K2_DEVICE __device__ __forceinline__
#define K2_SHARED(type, name, count) __shared__ type name[count]
#define K2_UNROLL _Pragma("unroll")
#define K2_UNROLL_BY(count) _Pragma(K2_TEXT(unroll count))
#define K2_TEXT(text) #text
// Makes a kernel known to the host by its name. `function` may stand in parentheses, as a template must.
#define K2_KERNEL(name, function, Arguments, threads)                                                       \
  extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Arguments arguments) { \
    (function)(arguments, Here());                                                                          \
  }

// Where a thread stands.
struct Position {
  uint block_x, block_y, block_z;
  uint thread, lane, warp;
};
K2_DEVICE Position Here() {
  return {blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, threadIdx.x % kLanes, threadIdx.x / kLanes};
}

// 16 bytes.
struct Words {
  uint x, y, z, w;
};
K2_DEVICE Words LoadWords(WeightBytes at) {
  const uint4 words = __ldg(reinterpret_cast<const uint4*>(at));
  return {words.x, words.y, words.z, words.w};
}
K2_DEVICE uint LoadWord(WeightBytes at) { return __ldg(reinterpret_cast<const uint*>(at)); }
K2_DEVICE uint LoadHalf(WeightBytes at) { return __ldg(reinterpret_cast<const ushort*>(at)); }
K2_DEVICE Words LoadInput(const ushort* at) { return LoadWords(reinterpret_cast<WeightBytes>(at)); }

K2_DEVICE float AsFloat(uint bits) { return __uint_as_float(bits); }
K2_DEVICE uint AsUint(float value) { return __float_as_uint(value); }

K2_DEVICE float F16Value(uint bits) {
  float value;
  asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(static_cast<ushort>(bits)));
  return value;
}

K2_DEVICE void SyncThreads() { __syncthreads(); }
K2_DEVICE void SyncLanes() { __syncwarp(); }
K2_DEVICE float Shuffle(float value, uint lane) {
  return __shfl_sync(0xffffffffu, value, static_cast<int>(lane));
}
// Neighbours are added first, in the same order for every lane.
K2_DEVICE float SumOfLanes(float x) {
  K2_UNROLL for (int step = 1; step < kLanes; step *= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}
K2_DEVICE float MaxOfLanes(float x) {
  K2_UNROLL for (int step = 1; step < kLanes; step *= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, step));
  return x;
}
K2_DEVICE uint MaxOfLanes(uint x) { return __reduce_max_sync(0xffffffffu, x); }
K2_DEVICE uint MinOfLanes(uint x) { return __reduce_min_sync(0xffffffffu, x); }

// a * b + c of two BF16 numbers each, rounded once.
K2_DEVICE uint FmaBf16Pair(uint a, uint b, uint c) {
  uint d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
}

// d += a b: [16, 16] by [16, 8] in BF16, sums in float.
K2_DEVICE void MultiplyTiles(float (&d)[4], const uint (&a)[4], uint b0, uint b1, const Position&) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

#include "kernels.inl.h"

}  // namespace
