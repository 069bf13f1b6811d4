// 4 floats in a 128-bit register of aarch64. What each name means: vectors_scalar.inl.h.

using Floats = float32x4_t;
constexpr int kLanes = 4;
constexpr int kScoreRows = 2;
constexpr int kColumnVectors = 2;

inline Floats Fill(float x) { return vdupq_n_f32(x); }
inline Floats Load(const float* x) { return vld1q_f32(x); }
inline void Store(float* y, Floats x) { vst1q_f32(y, x); }
inline Floats Add(Floats a, Floats b) { return vaddq_f32(a, b); }
inline Floats Subtract(Floats a, Floats b) { return vsubq_f32(a, b); }
inline Floats Multiply(Floats a, Floats b) { return vmulq_f32(a, b); }
inline Floats Divide(Floats a, Floats b) { return vdivq_f32(a, b); }
// vminq and vmaxq would give NaN when a is NaN; the compare and select has x86's rule.
inline Floats Minimum(Floats a, Floats b) { return vbslq_f32(vcltq_f32(a, b), a, b); }
inline Floats Maximum(Floats a, Floats b) { return vbslq_f32(vcgtq_f32(a, b), a, b); }
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
inline Floats Round(Floats x) { return vrndnq_f32(x); }

inline Floats PowerOfTwo(int32x4_t n) {
  return vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}
inline Floats TimesPowerOfTwo(Floats x, Floats n) {
  const int32x4_t whole = vcvtq_s32_f32(n), half = vshrq_n_s32(whole, 1);
  return vmulq_f32(vmulq_f32(x, PowerOfTwo(half)), PowerOfTwo(vsubq_s32(whole, half)));
}

inline float Sum(Floats x) { return vaddvq_f32(x); }

inline Floats LoadBf16(const void* x) {
  return vreinterpretq_f32_u32(vshll_n_u16(vreinterpret_u16_u8(vld1_u8(static_cast<const uint8_t*>(x))), 16));
}

// Exponent and mantissa moved to their places in a float are the number times 2^-120, subnormals included.
inline Floats LoadE4m3(const uint8_t* x) {
  uint32_t four;
  memcpy(&four, x, sizeof(four));
  const uint32x4_t byte = vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)))));
  const uint32x4_t magnitude = vandq_u32(byte, vdupq_n_u32(0x7f));
  const uint32x4_t sign = vshlq_n_u32(vandq_u32(byte, vdupq_n_u32(0x80)), 24);
  const Floats scaled = vmulq_f32(vreinterpretq_f32_u32(vshlq_n_u32(magnitude, 20)), vdupq_n_f32(0x1p120f));
  const uint32x4_t nan = vandq_u32(vceqq_u32(magnitude, vdupq_n_u32(0x7f)), vdupq_n_u32(0x7fc00000));
  return vreinterpretq_f32_u32(vorrq_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), nan), sign));
}

inline Floats LoadInt8(const int8_t* x) {
  int32_t four;
  memcpy(&four, x, sizeof(four));
  return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(four))))));
}

inline uint16x4_t RoundToBf16(Floats x) {
  const uint32x4_t bits = vreinterpretq_u32_f32(x), high = vshrq_n_u32(bits, 16);
  const uint32x4_t odd = vandq_u32(high, vdupq_n_u32(1));
  const uint32x4_t rounded = vshrq_n_u32(vaddq_u32(vaddq_u32(bits, vdupq_n_u32(0x7fff)), odd), 16);
  return vmovn_u32(vbslq_u32(vceqq_f32(x, x), rounded, vorrq_u32(high, vdupq_n_u32(0x40))));
}
inline void StoreBf16x8(uint16_t* y, const float* x) {
  vst1q_u16(y, vcombine_u16(RoundToBf16(Load(x)), RoundToBf16(Load(x + 4))));
}

inline void SumEach(const Floats* sums, float* out) {
  for (int i = 0; i < 16; i += 4) {
    Store(out + i, vpaddq_f32(vpaddq_f32(sums[i], sums[i + 1]), vpaddq_f32(sums[i + 2], sums[i + 3])));
  }
}
