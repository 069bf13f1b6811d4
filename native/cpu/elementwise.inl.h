// Row functions on vectors; included behind vectors_<isa>.inl.h and vector_math.inl.h.
// Bound: reading and writing the row in L1 or L2. Error: a few units in the last place of f32.

// The squares are added in 4 vectors of lanes, whose order depends on n alone; the last n % kLanes one by
// one.
inline void RmsNormRow(const float* x, const float* w, int64_t n, double eps, float* y) {
  constexpr int kChains = 4;
  const int64_t whole = n / kLanes * kLanes;
  Floats sums[kChains] = {Fill(0), Fill(0), Fill(0), Fill(0)};
  int64_t i = 0;
  for (; i + kChains * kLanes <= whole; i += kChains * kLanes) {
    for (int c = 0; c < kChains; ++c) {
      const Floats v = Load(x + i + c * kLanes);
      sums[c] = MultiplyAdd(v, v, sums[c]);
    }
  }
  for (; i < whole; i += kLanes) sums[0] = MultiplyAdd(Load(x + i), Load(x + i), sums[0]);
  double squares = Sum(Add(Add(sums[0], sums[1]), Add(sums[2], sums[3])));
  for (; i < n; ++i) squares += double{x[i]} * x[i];
  const float factor = static_cast<float>(1.0 / __builtin_sqrt(squares / static_cast<double>(n) + eps));

  for (i = 0; i < whole; i += kLanes)
    Store(y + i, Multiply(Load(w + i), Multiply(Load(x + i), Fill(factor))));
  for (; i < n; ++i) y[i] = w[i] * (x[i] * factor);
}

inline void SwiGluRow(const float* gate, const float* up, int64_t n, float* y) {
  const int64_t whole = n / kLanes * kLanes;
  const Floats one = Fill(1.0f);
  for (int64_t i = 0; i < whole; i += kLanes) {
    const Floats g = Load(gate + i);
    const Floats silu = Divide(g, Add(one, ExpOf(Subtract(Fill(0), g))));
    Store(y + i, Multiply(silu, Load(up + i)));
  }
  for (int64_t i = whole; i < n; ++i) y[i] = Silu(gate[i]) * up[i];
}

inline void AddRow(const float* x, int64_t n, float* y) {
  const int64_t whole = n / kLanes * kLanes;
  for (int64_t i = 0; i < whole; i += kLanes) Store(y + i, Add(Load(y + i), Load(x + i)));
  for (int64_t i = whole; i < n; ++i) y[i] += x[i];
}

inline void DecodeToFloats(const Weight& w, int64_t i, float* out) { DecodePadded(w, i, w.columns, out); }

constexpr ElementwiseKernels kElementwiseKernels = {
    .decode = DecodeToFloats, .rms_norm = RmsNormRow, .swiglu = SwiGluRow, .add = AddRow};
