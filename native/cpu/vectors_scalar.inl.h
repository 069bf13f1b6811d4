// One float at a time: the portable twin of the vector files, and the list of what each of them offers.
//
// A vectors_<isa>.inl.h is included inside a region that enables the ISA, in a namespace of that ISA, after
// <cstring>, base/dtype.h and base/fast_math.h. Kernel bodies (*.inl.h) written on these names are then
// included behind it, so one body serves every ISA and no ISA's code can leak into another's.

using Floats = float;
constexpr int kLanes = 1;
// Shape of the attention tiles: cached rows per step of the scores, vectors of columns per step of the value
// sum, so that the accumulators of 8 queries stay in registers.
constexpr int kScoreRows = 1;
constexpr int kColumnVectors = 1;

inline Floats Fill(float x) { return x; }
inline Floats Load(const float* x) { return *x; }
inline void Store(float* y, Floats x) { *y = x; }
inline Floats Add(Floats a, Floats b) { return a + b; }
inline Floats Subtract(Floats a, Floats b) { return a - b; }
inline Floats Multiply(Floats a, Floats b) { return a * b; }
inline Floats Divide(Floats a, Floats b) { return a / b; }
// b when one of them is NaN.
inline Floats Minimum(Floats a, Floats b) { return a < b ? a : b; }
inline Floats Maximum(Floats a, Floats b) { return a > b ? a : b; }
// a * b + c
inline Floats MultiplyAdd(Floats a, Floats b, Floats c) { return a * b + c; }
inline Floats Round(Floats x) { return (x + 0x1.8p23f) - 0x1.8p23f; }
// x * 2^n for whole n in [-150, 129].
inline Floats TimesPowerOfTwo(Floats x, Floats n) {
  const int32_t whole = static_cast<int32_t>(n), half = whole / 2;
  const auto power = [](int32_t k) { return std::bit_cast<float>(static_cast<uint32_t>(k + 127) << 23); };
  return x * power(half) * power(whole - half);
}
// The lanes added in a fixed order.
inline float Sum(Floats x) { return x; }

// kLanes numbers of a file as floats; unaligned.
inline Floats LoadBf16(const void* x) { return Bf16ToFloat(LoadUnaligned<uint16_t>(x)); }
inline Floats LoadE4m3(const uint8_t* x) { return E4m3ToFloat(*x); }
inline Floats LoadInt8(const int8_t* x) { return *x; }

// 8 floats, rounded.
inline void StoreBf16x8(uint16_t* y, const float* x) {
  for (int i = 0; i < 8; ++i) y[i] = FloatToBf16(x[i]);
}
// out[i] = sum of the lanes of sums[i], for the 8 * kScoreRows accumulators of a score tile.
inline void SumEach(const Floats* sums, float* out) {
  for (int i = 0; i < 8; ++i) out[i] = sums[i];
}
