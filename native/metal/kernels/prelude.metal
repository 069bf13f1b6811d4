// Stands before all other kernel files where Apple's compiler reads them. The emulator of the tests puts its own
// words in the place of these (test/native/metal/shim.h); every other file is the same text for both.
#include <metal_stdlib>
using namespace metal;

#pragma METAL fp math_mode(safe)

template <typename T>
using Buffer = device T*;
typedef device const uchar* WeightBytes;

// Where a thread stands. All kernels have the same parameters: their arguments, then these.
#define K2_POSITION                                                                           \
  uint3 group [[threadgroup_position_in_grid]], uint thread_index [[thread_index_in_threadgroup]], \
      uint lane [[thread_index_in_simdgroup]], uint simd_index [[simdgroup_index_in_threadgroup]]

// Memory of a threadgroup, declared at the top of a kernel.
#define K2_THREADGROUP(type, name, count) threadgroup type name[count]

// Makes a kernel known to the host: by its own name, or an instance of a template by a given one.
#define K2_KERNEL(function)
#define K2_KERNEL_OF(name, function, ...) \
  template [[host_name(name)]] [[kernel]] decltype(function<__VA_ARGS__>) function<__VA_ARGS__>;
