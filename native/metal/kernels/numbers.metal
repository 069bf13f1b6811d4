// Numbers: the formats of checkpoints as bits, and exp. Everything is float, and every product that is added is a
// written fma, so that no compiler decides about rounding.

enum StorageKind : uint { kBf16 = 0, kF16 = 1, kF32 = 2, kF8E4m3 = 3, kInt4 = 4 };

inline float Bf16Value(uint bits) { return as_type<float>(bits << 16); }

inline float F16Value(uint bits) {
  const uint sign = (bits & 0x8000u) << 16, exponent = bits >> 10 & 0x1fu, mantissa = bits & 0x3ffu;
  if (exponent == 0x1fu) return as_type<float>(sign | 0x7f800000u | mantissa << 13);
  if (exponent != 0u) return as_type<float>(sign | (exponent + 112u) << 23 | mantissa << 13);
  return as_type<float>(sign | as_type<uint>(float(mantissa) * as_type<float>(0x33800000u)));  // 2^-24
}

inline float E4m3Value(uint bits) {
  const uint sign = (bits & 0x80u) << 24, exponent = bits >> 3 & 0xfu, mantissa = bits & 0x7u;
  if ((bits & 0x7fu) == 0x7fu) return as_type<float>(sign | 0x7fc00000u);
  if (exponent != 0u) return as_type<float>(sign | (exponent + 120u) << 23 | mantissa << 20);
  return as_type<float>(sign | as_type<uint>(float(mantissa) * as_type<float>(0x3b000000u)));  // 2^-9
}

// To nearest, ties to even; NaN stays NaN.
inline ushort RoundToBf16(float value) {
  const uint bits = as_type<uint>(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return ushort(bits >> 16 | 0x40u);
  return ushort((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

// Little-endian numbers at any address: safetensors promises no alignment.
inline uint TwoBytes(WeightBytes at) { return uint(at[0]) | uint(at[1]) << 8; }
inline uint FourBytes(WeightBytes at) { return TwoBytes(at) | TwoBytes(at + 2) << 16; }

// Number `index` of a plain array.
inline float PlainNumber(WeightBytes data, uint storage, bool is_aligned, ulong index) {
  if (storage == kF32) {
    WeightBytes at = data + index * 4;
    return as_type<float>(is_aligned ? *(device const uint*)(at) : FourBytes(at));
  }
  WeightBytes at = data + index * 2;
  const uint bits = is_aligned ? uint(*(device const ushort*)(at)) : TwoBytes(at);
  return storage == kBf16 ? Bf16Value(bits) : F16Value(bits);
}

// As native/base/fast_math.h, with its error (2e-7 of the result): 0 for -infinity, NaN for NaN.
inline float Exp(float x) {
  if (!(x == x)) return x;
  const float bounded = min(max(x, -104.0f), 89.0f);
  const float rounder = 12582912.0f;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  const float n = fma(bounded, 1.44269504088896341f, rounder) - rounder;
  const float r = fma(n, 2.12194440e-4f, fma(n, -0.693359375f, bounded));
  float p = 1.9875691500e-4f;
  p = fma(p, r, 1.3981999507e-3f);
  p = fma(p, r, 8.3334519073e-3f);
  p = fma(p, r, 4.1665795894e-2f);
  p = fma(p, r, 1.6666665459e-1f);
  p = fma(p, r, 5.0000001201e-1f);
  p = fma(p, r * r, r) + 1.0f;
  // In two steps, since 2^n itself may lie outside of the normal range where the product does not.
  const int whole = int(n), half_way = whole / 2;
  return p * as_type<float>(uint(half_way + 127) << 23) * as_type<float>(uint(whole - half_way + 127) << 23);
}

inline float Silu(float x) { return x / (1.0f + Exp(-x)); }
