// Linear kernels in portable C++: 16 rows as an array that the compiler may keep in whatever vectors it has.
// Products of rounded activations with bf16, FP8 or INT4 weights are exact in f32, so that multiplying and
// adding in two steps rounds no more often than a fused multiply-add would.
#include <cmath>

#include "cpu/linear_region.h"

// Every operation is a loop over 16 lanes already: unrolled around them, the kernels take g++ 12 minutes (8 %
// faster).
#undef K2_UNROLL
#define K2_UNROLL _Pragma("GCC unroll 1")
#define K2_TILE_TOKENS 2

namespace k2 {
namespace scalar {
namespace {

struct F {
  float lane[kBlockRows];
};
struct U {
  uint32_t lane[kBlockRows];
};

constexpr int kWords = 4;
constexpr int kSideBySideSteps = 1;

#define K2_LANES(j) for (int j = 0; j < kBlockRows; ++j)

K2_INLINE F Zero() { return F{}; }
K2_INLINE F Load(const float* from) {
  F r;
  __builtin_memcpy(r.lane, from, sizeof r.lane);
  return r;
}
K2_INLINE void Store(float* to, const F& value) { __builtin_memcpy(to, value.lane, sizeof value.lane); }
K2_INLINE F AsFloats(const U& word) { return std::bit_cast<F>(word); }

K2_INLINE F Fma(const F& a, const F& b, const F& c) {
  F r;
  K2_LANES(j) r.lane[j] = a.lane[j] * b.lane[j] + c.lane[j];
  return r;
}

K2_INLINE F FmaBroadcast(const F& line, const uint8_t* x, const F& sum) {
  float value;
  __builtin_memcpy(&value, x, 4);
  F r;
  K2_LANES(j) r.lane[j] = line.lane[j] * value + sum.lane[j];
  return r;
}

K2_INLINE void LoadTransposed(const uint8_t* const* rows, int64_t offset, U* out) {
  for (int word = 0; word < kWords; ++word) {
    K2_LANES(j) __builtin_memcpy(&out[word].lane[j], rows[j] + offset + 4 * word, 4);
  }
}

K2_INLINE F DecodeInt4(const U& word, int i) {
  F r;
  K2_LANES(j) r.lane[j] = static_cast<float>(static_cast<int>(word.lane[j] >> (4 * i) & 0xf) - 8);
  return r;
}

K2_INLINE F DecodeF8(const U& word, int i) {
  F r;
  K2_LANES(j) r.lane[j] = E4m3ToFloat(static_cast<uint8_t>(word.lane[j] >> (8 * i)));
  return r;
}

K2_INLINE F DecodeBf16(const U& word, int i) {
  F r;
  K2_LANES(j) r.lane[j] = Bf16ToFloat(static_cast<uint16_t>(word.lane[j] >> (16 * i)));
  return r;
}

K2_INLINE F DecodeF16(const U& word, int i) {
  F r;
  K2_LANES(j) r.lane[j] = F16ToFloat(static_cast<uint16_t>(word.lane[j] >> (16 * i)));
  return r;
}

K2_INLINE F RoundToBf16(const F& value) {
  F r;
  K2_LANES(j) r.lane[j] = Bf16ToFloat(FloatToBf16(value.lane[j]));
  return r;
}

constexpr bool kTwoPlanes = false;
constexpr int kPlaneSums = 2, kPlaneBlocks = 1;

K2_INLINE U Map(const U& x, uint32_t mask, int shift) {
  U r;
  K2_LANES(j) r.lane[j] = x.lane[j] >> shift & mask;
  return r;
}
K2_INLINE U LowNibbles(const U& word) { return Map(word, 0x0f0f0f0f, 0); }
K2_INLINE U HighNibbles(const U& word) { return Map(word, 0x0f0f0f0f, 4); }
K2_INLINE U LoadLine(const float* from) { return std::bit_cast<U>(Load(from)); }
K2_INLINE U NoSum() { return U{}; }
K2_INLINE U StartSum(const int32_t* start) {
  U r;
  K2_LANES(j) r.lane[j] = static_cast<uint32_t>(*start);
  return r;
}
// Lanes wrap around as two's complement does, so signs need no care.
K2_INLINE U DotBytes(const U& sum, const U& line, const int8_t* x) {
  U r;
  K2_LANES(j) {
    r.lane[j] = sum.lane[j];
    for (int i = 0; i < 4; ++i) r.lane[j] += (line.lane[j] >> (8 * i) & 0xff) * static_cast<uint32_t>(x[i]);
  }
  return r;
}
K2_INLINE U TotalOf(const U& sum, const int32_t*) { return sum; }
K2_INLINE U AddTimes128(const U& low, const U& high) {
  U r;
  K2_LANES(j) r.lane[j] = low.lane[j] + (high.lane[j] << 7);
  return r;
}
K2_INLINE F ToFloats(const U& sum) {
  F r;
  K2_LANES(j) r.lane[j] = static_cast<float>(static_cast<int32_t>(sum.lane[j]));
  return r;
}
K2_INLINE F TimesBroadcast(const F& a, const float* x) {
  F r;
  K2_LANES(j) r.lane[j] = a.lane[j] * *x;
  return r;
}

#include "cpu/linear_body.inl.h"
#include "cpu/linear_pack.inl.h"

}  // namespace

K2_LINEAR_KERNELS(kLinearKernels, Isa::kScalar, kTwoPlanes)

}  // namespace scalar
}  // namespace k2
