// Attention operands where products are formed in f32: cached bf16 rows are widened as they are loaded.

// What a query, or a row of kv_b, is held in while cached rows are multiplied with it.
using Operand = float;
using Operands = Floats;
constexpr int kOperandLanes = kLanes;

inline Operands LoadOperands(const Operand* x) { return Load(x); }
inline Operands LoadRow(const uint16_t* row) { return LoadBf16(row); }
inline Floats Dot(Operands a, Operands b, Floats sum) { return MultiplyAdd(a, b, sum); }

inline void ToOperands(const float* x, int64_t n, Operand* out) {
  memcpy(out, x, sizeof(float) * static_cast<size_t>(n));
}

// y[i] = x[i] * scale rounded to bf16, for kColumnPad numbers. Products are NaN, zeros or normal numbers.
inline void StoreScaled(uint16_t* y, const int8_t* x, float scale) {
  float scaled[kColumnPad];
  for (int i = 0; i < kColumnPad; i += kLanes) Store(scaled + i, Multiply(LoadInt8(x + i), Fill(scale)));
  for (int i = 0; i < kColumnPad; i += 8) StoreBf16x8(y + i, scaled + i);
}

// Softmax weights of one cached position.
using Share = float;
constexpr int kShareRows = 1;

// Stores the weights at x[flat], x[flat + 1], ... of [rows, 8] and returns them as they will be multiplied.
inline Floats StoreShares(Share* out, int64_t flat, Floats x) {
  Store(out + flat, x);
  return x;
}
inline Operands BroadcastShare(const Share* x) { return Fill(*x); }

// kColumnVectors * kLanes columns of kShareRows cached rows.
inline void LoadColumns(const uint16_t* const* rows, int64_t column, Operands* out) {
#pragma GCC unroll 2
  for (int v = 0; v < kColumnVectors; ++v) out[v] = LoadBf16(rows[0] + column + v * kLanes);
}
// The sums that belong to them.
inline void LoadSums(const float* x, Floats* out) {
#pragma GCC unroll 2
  for (int v = 0; v < kColumnVectors; ++v) out[v] = Load(x + v * kLanes);
}
inline void StoreSums(float* x, const Floats* sums) {
#pragma GCC unroll 2
  for (int v = 0; v < kColumnVectors; ++v) Store(x + v * kLanes, sums[v]);
}
