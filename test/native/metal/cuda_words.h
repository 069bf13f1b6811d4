// The words of Metal for nvcc, a third compiler of the kernels' text (test/metal.test.ts). It makes code of
// all of it, as functions of the device; nothing here runs.

#define inline __device__ inline

typedef unsigned char uchar;
template <typename T>
using Buffer = T*;
typedef const uchar* WeightBytes;

template <typename To, typename From>
inline To as_type(From value) {
  return __builtin_bit_cast(To, value);
}

inline float simd_shuffle(float x, ushort lane) { return __shfl_sync(~0u, x, lane); }
inline float simd_sum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}
inline float simd_max(float x) {
  for (int step = 16; step > 0; step /= 2) x = max(x, __shfl_xor_sync(~0u, x, step));
  return x;
}
inline uint simd_max(uint x) { return __reduce_max_sync(~0u, x); }
inline uint simd_min(uint x) { return __reduce_min_sync(~0u, x); }

enum class mem_flags { mem_none, mem_device, mem_threadgroup };
inline void threadgroup_barrier(mem_flags) { __syncthreads(); }
inline void simdgroup_barrier(mem_flags) { __syncwarp(); }

#define K2_POSITION uint3 group, uint thread_index, uint lane, uint simd_index
#define K2_THREADGROUP(type, name, count) __shared__ type name[count]
#define K2_KERNEL(function)
#define K2_KERNEL_OF(name, function, ...) \
  template __global__ decltype(function<__VA_ARGS__>) function<__VA_ARGS__>;
