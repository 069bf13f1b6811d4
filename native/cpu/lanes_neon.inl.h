// 16 rows in four NEON registers.

constexpr int kQuarters = 4;

struct F {
  float32x4_t quarter[kQuarters];
};
struct U {
  uint32x4_t quarter[kQuarters];
};

constexpr int kWords = 4;
constexpr int kSideBySideSteps = 1;

#define K2_QUARTERS(q) K2_UNROLL for (int q = 0; q < kQuarters; ++q)

K2_INLINE F Zero() {
  const float32x4_t zero = vdupq_n_f32(0);
  return {{zero, zero, zero, zero}};
}
K2_INLINE F Load(const float* from) {
  return {{vld1q_f32(from), vld1q_f32(from + 4), vld1q_f32(from + 8), vld1q_f32(from + 12)}};
}
K2_INLINE void Store(float* to, F value) { K2_QUARTERS(q) vst1q_f32(to + 4 * q, value.quarter[q]); }
K2_INLINE F AsFloats(U word) {
  F r;
  K2_QUARTERS(q) r.quarter[q] = vreinterpretq_f32_u32(word.quarter[q]);
  return r;
}
K2_INLINE F Fma(F a, F b, F c) {
  K2_QUARTERS(q) c.quarter[q] = vfmaq_f32(c.quarter[q], a.quarter[q], b.quarter[q]);
  return c;
}
K2_INLINE F FmaBroadcast(F line, const uint8_t* x, F sum) {
  float value;
  __builtin_memcpy(&value, x, 4);
  K2_QUARTERS(q) sum.quarter[q] = vfmaq_n_f32(sum.quarter[q], line.quarter[q], value);
  return sum;
}

K2_INLINE uint32x4_t LowHalves(uint32x4_t a, uint32x4_t b) {
  return vreinterpretq_u32_u64(vtrn1q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}
K2_INLINE uint32x4_t HighHalves(uint32x4_t a, uint32x4_t b) {
  return vreinterpretq_u32_u64(vtrn2q_u64(vreinterpretq_u64_u32(a), vreinterpretq_u64_u32(b)));
}

// Four 4 x 4 matrices of words, mirrored at their diagonals.
K2_INLINE void LoadTransposed(const uint8_t* const* rows, int64_t offset, U* out) {
  K2_QUARTERS(q) {
    uint32x4_t row[4];
    K2_UNROLL
    for (int i = 0; i < 4; ++i) row[i] = vreinterpretq_u32_u8(vld1q_u8(rows[4 * q + i] + offset));
    const uint32x4_t even01 = vtrn1q_u32(row[0], row[1]), odd01 = vtrn2q_u32(row[0], row[1]);
    const uint32x4_t even23 = vtrn1q_u32(row[2], row[3]), odd23 = vtrn2q_u32(row[2], row[3]);
    out[0].quarter[q] = LowHalves(even01, even23);
    out[1].quarter[q] = LowHalves(odd01, odd23);
    out[2].quarter[q] = HighHalves(even01, even23);
    out[3].quarter[q] = HighHalves(odd01, odd23);
  }
}

// Flipping the top bit of a nibble makes it two's complement; shifts up and down then extend its sign.
K2_INLINE F DecodeInt4(U word, int i) {
  const int32x4_t up = vdupq_n_s32(28 - 4 * i);
  F r;
  K2_QUARTERS(q) {
    const int32x4_t flipped = vreinterpretq_s32_u32(veorq_u32(word.quarter[q], vdupq_n_u32(0x88888888u)));
    r.quarter[q] = vcvtq_f32_s32(vshrq_n_s32(vshlq_s32(flipped, up), 28));
  }
  return r;
}

// The bits of exponent and mantissa, moved to their place in an f32, are the value times 2^-120, subnormals
// too.
K2_INLINE F DecodeF8(U word, int i) {
  const int32x4_t down = vdupq_n_s32(-8 * i);
  F r;
  K2_QUARTERS(q) {
    const uint32x4_t byte = vshlq_u32(word.quarter[q], down);
    const uint32x4_t magnitude = vandq_u32(byte, vdupq_n_u32(0x7f));
    const uint32x4_t sign = vandq_u32(vshlq_n_u32(byte, 24), vdupq_n_u32(0x80000000u));
    const float32x4_t scaled = vmulq_n_f32(vreinterpretq_f32_u32(vshlq_n_u32(magnitude, 20)), 0x1p120f);
    const uint32x4_t nan = vandq_u32(vceqq_u32(magnitude, vdupq_n_u32(0x7f)), vdupq_n_u32(0x7fc00000u));
    r.quarter[q] = vreinterpretq_f32_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), vorrq_u32(nan, sign)));
  }
  return r;
}

K2_INLINE F DecodeBf16(U word, int i) {
  F r;
  K2_QUARTERS(q) {
    const uint32x4_t bits =
        i == 0 ? vshlq_n_u32(word.quarter[q], 16) : vandq_u32(word.quarter[q], vdupq_n_u32(0xffff0000u));
    r.quarter[q] = vreinterpretq_f32_u32(bits);
  }
  return r;
}

K2_INLINE F DecodeF16(U word, int i) {
  const int32x4_t down = vdupq_n_s32(-16 * i);
  F r;
  K2_QUARTERS(q) {
    r.quarter[q] = vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(vshlq_u32(word.quarter[q], down))));
  }
  return r;
}

// Nearest bf16, ties to even, as f32; NaN stays NaN.
K2_INLINE F RoundToBf16(F value) {
  F r;
  K2_QUARTERS(q) {
    const uint32x4_t bits = vreinterpretq_u32_f32(value.quarter[q]);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1));
    const uint32x4_t rounded = vaddq_u32(bits, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t quiet = vorrq_u32(bits, vdupq_n_u32(0x400000));
    const uint32x4_t number = vceqq_f32(value.quarter[q], value.quarter[q]);
    r.quarter[q] =
        vreinterpretq_f32_u32(vandq_u32(vbslq_u32(number, rounded, quiet), vdupq_n_u32(0xffff0000u)));
  }
  return r;
}
