// The words of Metal for clang, which then checks address spaces as Apple's compiler does: a pointer to
// memory of the device, to constants, of a threadgroup, or of a thread is no other of them. Nothing here runs
// (test/metal.test.ts). Metal is C++14, and so is this.

typedef unsigned char uchar;
typedef unsigned short ushort;
typedef unsigned int uint;
typedef unsigned long ulong;
struct uint3 {
  uint x, y, z;
};

#define device __attribute__((address_space(1)))
#define constant __attribute__((address_space(2)))
#define threadgroup __attribute__((address_space(3)))
#define thread

template <typename T>
using Buffer = device T*;
typedef device const uchar* WeightBytes;

// Metal copies a struct from one space to another; clang's C++ needs a name for that.
template <typename T>
T Copied(device const T& from);
template <typename T>
T Copied(constant const T& from);

template <typename To, typename From>
To as_type(From value) {
  return __builtin_bit_cast(To, value);
}
template <typename T>
T min(T a, T b);
template <typename T>
T max(T a, T b);
float fma(float a, float b, float c);
float sqrt(float x);
float simd_sum(float x);
float simd_max(float x);
uint simd_max(uint x);
uint simd_min(uint x);
float simd_shuffle(float x, ushort lane);
enum class mem_flags { mem_none, mem_device, mem_threadgroup };
void threadgroup_barrier(mem_flags flags);
void simdgroup_barrier(mem_flags flags);

#define INFINITY __builtin_inff()
#define NAN __builtin_nanf("")
#define K2_POSITION uint3 group, uint thread_index, uint lane, uint simd_index
#define K2_THREADGROUP(type, name, count) static threadgroup type name[count]
#define K2_KERNEL(function)
#define K2_KERNEL_OF(name, function, ...) template decltype(function<__VA_ARGS__>) function<__VA_ARGS__>;
