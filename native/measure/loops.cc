#include "measure/loops.h"

#include <cstring>
#include <vector>

#include "base/cpu_features.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if defined(__clang__)
#define K2_UNROLL _Pragma("clang loop unroll(full)")
#else
#define K2_UNROLL _Pragma("GCC unroll 16")
#endif
// Makes a value opaque, so that nothing is folded, moved out of a loop, or found equal to another.
#if defined(__aarch64__)
#define K2_HIDE(value) asm volatile("" : "+w"(value))
#elif defined(__x86_64__)
#define K2_HIDE(value) asm volatile("" : "+x"(value))
#else
#define K2_HIDE(value) asm volatile("" : "+m"(value))
#endif

namespace k2 {
namespace {

// 12 independent sums hide the latency of the multiply-add that is timed, and fit 16 registers.
constexpr int kSums = 12;

float PortableF32(int64_t iterations) {
  float sums[kSums] = {}, a = 0.5f, b = 0.25f;
  K2_UNROLL
  for (float& sum : sums) K2_HIDE(sum);
  for (int64_t i = 0; i < iterations; ++i) {
    K2_HIDE(a);
    K2_HIDE(b);
    K2_UNROLL
    for (int k = 0; k < kSums; ++k) sums[k] += a * b;
  }
  float total = 0;
  for (float sum : sums) total += sum;
  return total;
}

[[maybe_unused]] uint64_t SumPortable(const uint8_t* data, size_t size) {
  uint64_t sums[8] = {}, word;
  for (size_t i = 0; i + 64 <= size; i += 64) {
    for (size_t k = 0; k < 8; ++k) {
      std::memcpy(&word, data + i + 8 * k, 8);
      sums[k] += word;
    }
  }
  for (int k = 1; k < 8; ++k) sums[0] += sums[k];
  return sums[0];
}

#if defined(__x86_64__)

__attribute__((target("avx512f"))) uint64_t SumAvx512(const uint8_t* data, size_t size) {
  __m512i sums[8];
  K2_UNROLL
  for (int k = 0; k < 8; ++k) sums[k] = _mm512_setzero_si512();
  for (size_t i = 0; i + 512 <= size; i += 512) {
    K2_UNROLL
    for (int k = 0; k < 8; ++k) sums[k] = _mm512_add_epi64(sums[k], _mm512_loadu_si512(data + i + 64 * k));
  }
  for (int k = 1; k < 8; ++k) sums[0] = _mm512_add_epi64(sums[0], sums[k]);
  uint64_t words[8], total = 0;
  _mm512_storeu_si512(words, sums[0]);
  for (uint64_t word : words) total += word;
  return total;
}

__attribute__((target("avx2"))) uint64_t SumAvx2(const uint8_t* data, size_t size) {
  __m256i sums[8];
  K2_UNROLL
  for (int k = 0; k < 8; ++k) sums[k] = _mm256_setzero_si256();
  for (size_t i = 0; i + 256 <= size; i += 256) {
    K2_UNROLL
    for (int k = 0; k < 8; ++k) {
      const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(data + i + 32 * k));
      sums[k] = _mm256_add_epi64(sums[k], words);
    }
  }
  for (int k = 1; k < 8; ++k) sums[0] = _mm256_add_epi64(sums[0], sums[k]);
  uint64_t words[4], total = 0;
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), sums[0]);
  for (uint64_t word : words) total += word;
  return total;
}

#endif

#if defined(__x86_64__) || K2_HAS_NEON_DOTS

#define K2_ARITHMETIC(NAME, FEATURES, SUM, ZERO, OPERAND, MULTIPLY_ADD) \
  __attribute__((target(FEATURES))) float NAME(int64_t iterations) {    \
    SUM sums[kSums];                                                    \
    K2_UNROLL                                                           \
    for (int k = 0; k < kSums; ++k) {                                   \
      sums[k] = ZERO;                                                   \
      K2_HIDE(sums[k]);                                                 \
    }                                                                   \
    auto a = OPERAND, b = OPERAND;                                      \
    for (int64_t i = 0; i < iterations; ++i) {                          \
      K2_HIDE(a);                                                       \
      K2_HIDE(b);                                                       \
      K2_UNROLL                                                         \
      for (int k = 0; k < kSums; ++k) sums[k] = MULTIPLY_ADD;           \
    }                                                                   \
    float total = 0, first;                                             \
    for (int k = 0; k < kSums; ++k) {                                   \
      std::memcpy(&first, &sums[k], sizeof(first));                     \
      total += first;                                                   \
    }                                                                   \
    return total;                                                       \
  }

#endif

#if defined(__x86_64__)

K2_ARITHMETIC(F32Avx2, "avx2,fma", __m256, _mm256_setzero_ps(), _mm256_set1_ps(0.5f),
              _mm256_fmadd_ps(a, b, sums[k]))
K2_ARITHMETIC(F32Avx512, "avx512f", __m512, _mm512_setzero_ps(), _mm512_set1_ps(0.5f),
              _mm512_fmadd_ps(a, b, sums[k]))
K2_ARITHMETIC(Int8Vnni, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512(), _mm512_set1_epi32(0x03030303),
              _mm512_dpbusd_epi32(sums[k], a, b))
K2_ARITHMETIC(Int8AvxVnni, "avx2,avxvnni", __m256i, _mm256_setzero_si256(), _mm256_set1_epi32(0x03030303),
              _mm256_dpbusd_avx_epi32(sums[k], a, b))
K2_ARITHMETIC(Bf16Dot, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(), _mm512_set1_epi32(0x3f803f80),
              _mm512_dpbf16_ps(sums[k], (__m512bh)a, (__m512bh)b))

#elif defined(__aarch64__)

uint64_t SumNeon(const uint8_t* data, size_t size) {
  uint64x2_t sums[8];
  K2_UNROLL
  for (int k = 0; k < 8; ++k) sums[k] = vdupq_n_u64(0);
  for (size_t i = 0; i + 128 <= size; i += 128) {
    K2_UNROLL
    for (int k = 0; k < 8; ++k)
      sums[k] = vaddq_u64(sums[k], vreinterpretq_u64_u8(vld1q_u8(data + i + 16 * k)));
  }
  for (int k = 1; k < 8; ++k) sums[0] = vaddq_u64(sums[0], sums[k]);
  return vgetq_lane_u64(sums[0], 0) + vgetq_lane_u64(sums[0], 1);
}

float F32Neon(int64_t iterations) {
  float32x4_t sums[kSums], a = vdupq_n_f32(0.5f), b = a;
  K2_UNROLL
  for (int k = 0; k < kSums; ++k) {
    sums[k] = vdupq_n_f32(0);
    K2_HIDE(sums[k]);
  }
  for (int64_t i = 0; i < iterations; ++i) {
    K2_HIDE(a);
    K2_HIDE(b);
    K2_UNROLL
    for (int k = 0; k < kSums; ++k) sums[k] = vfmaq_f32(sums[k], a, b);
  }
  for (int k = 1; k < kSums; ++k) sums[0] = vaddq_f32(sums[0], sums[k]);
  return vaddvq_f32(sums[0]);
}

#endif

#if K2_HAS_NEON_DOTS

K2_ARITHMETIC(Int8Dotprod, "arch=armv8.2-a+dotprod", int32x4_t, vdupq_n_s32(0), vdupq_n_s8(3),
              vdotq_s32(sums[k], a, b))
K2_ARITHMETIC(Int8Matrix, "arch=armv8.2-a+i8mm", int32x4_t, vdupq_n_s32(0), vdupq_n_s8(3),
              vmmlaq_s32(sums[k], a, b))
// Pi rather than 1: g++ 12 writes a bfloat16 1 as an immediate of half precision, which is another number.
K2_ARITHMETIC(Bf16Neon, "arch=armv8.2-a+bf16", float32x4_t, vdupq_n_f32(0),
              vreinterpretq_bf16_u16(vdupq_n_u16(0x4049)), vbfdotq_f32(sums[k], a, b))

#endif

std::vector<Arithmetic> Detect() {
  std::vector<Arithmetic> found;
  const auto add = [&](bool here, const char* name, int operations, float (*loop)(int64_t)) {
    if (here) found.push_back({name, static_cast<double>(2 * kSums * operations), loop});
  };
#if defined(__x86_64__)
  const CpuFeatures& cpu = DetectCpu();
  add(cpu.avx512_vnni, "int8-vnni", 64, Int8Vnni);
  add(cpu.avx512_bf16, "bf16-dot", 32, Bf16Dot);
  add(cpu.avx_vnni, "int8-avx-vnni", 32, Int8AvxVnni);
  add(cpu.avx512, "f32-avx512", 16, F32Avx512);
  add(cpu.avx2_fma, "f32-avx2", 8, F32Avx2);
#elif defined(__aarch64__)
#if K2_HAS_NEON_DOTS
  add(DetectCpu().neon_i8mm, "int8-i8mm", 32, Int8Matrix);
  add(DetectCpu().neon_dotprod, "int8-dotprod", 16, Int8Dotprod);
  add(DetectCpu().neon_bf16, "bf16-neon", 8, Bf16Neon);
#endif
  add(true, "f32-neon", 4, F32Neon);
#endif
  add(true, "f32-portable", 1, PortableF32);
  return found;
}

}  // namespace

uint64_t SumWords(const uint8_t* data, size_t size) {
#if defined(__x86_64__)
  if (DetectCpu().avx512) return SumAvx512(data, size);
  return DetectCpu().avx2_fma ? SumAvx2(data, size) : SumPortable(data, size);
#elif defined(__aarch64__)
  return SumNeon(data, size);
#else
  return SumPortable(data, size);
#endif
}

std::span<const Arithmetic> Arithmetics() {
  static const std::vector<Arithmetic> found = Detect();
  return found;
}

const Arithmetic* FindArithmetic(const char* name) {
  for (const Arithmetic& one : Arithmetics()) {
    if (std::strcmp(one.name, name) == 0) return &one;
  }
  return nullptr;
}

KernelArithmetic ArithmeticOfKernels(const char* isa, bool int8_activations) {
  struct Row {
    const char *isa, *name,
        *bytes;  // bytes: what it multiplies INT4 weights and bytes with; null: nothing fast
    int planes;  // of 16-bit activations; 0: none, they are multiplied as BF16 weights are
  };
  static constexpr Row kRows[] = {
      {"avx512-bf16", "bf16-dot", "int8-vnni", 0},
      {"avx512-vnni", "f32-avx512", "int8-vnni", 2},
      {"avx512", "f32-avx512", nullptr, 0},
      {"avx2-vnni", "f32-avx2", "int8-avx-vnni", 2},
      {"avx2", "f32-avx2", nullptr, 0},
      {"neon-bf16", "bf16-neon", "int8-i8mm", 0},
      {"neon-i8mm", "f32-neon", "int8-i8mm", 2},
      {"neon-dotprod", "f32-neon", "int8-dotprod", 2},
      {"neon", "f32-neon", nullptr, 0},
  };
  for (const Row& row : kRows) {
    if (std::strcmp(row.isa, isa) != 0) continue;
    if (row.bytes != nullptr && int8_activations) return {row.name, row.bytes, 1};
    if (row.planes != 0) return {row.name, row.bytes, row.planes};
    return {row.name, row.name, 1};
  }
  return {"f32-portable", "f32-portable", 1};
}

}  // namespace k2
