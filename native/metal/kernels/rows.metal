// The ops whose numbers stand alone, the norm, and the product with one weight.

// Groups are (columns, rows of y), unless a kernel says otherwise.
inline uint ColumnOf(uint3 group, uint thread_index) { return group.x * K2_ROW_THREADS + thread_index; }

template <typename Format>
[[kernel]] void Embed(constant EmbedArguments& a [[buffer(0)]], K2_POSITION) {
  const WeightArguments table = a.table;
  const uint column = ColumnOf(group, thread_index);
  if (column >= a.columns) return;
  const uint row = uint(a.ids[group.y]);
  float value = Format::One(table.data + ulong(row) * table.row_bytes, column);
  if (Format::kIsScaled) value *= ScaleAt(table, row, column);
  a.y[ulong(group.y) * a.y_stride + column] = value;
}
K2_KERNEL_OF("embed_bf16", Embed, Bf16Format)
K2_KERNEL_OF("embed_f16", Embed, F16Format)
K2_KERNEL_OF("embed_f32", Embed, F32Format)
K2_KERNEL_OF("embed_fp8", Embed, F8Format)
K2_KERNEL_OF("embed_int4", Embed, Int4Format)

// Groups are rows. A thread adds the squares of its columns, then simdgroups are added in order.
[[kernel]] void RmsNorm(constant NormArguments& a [[buffer(0)]], K2_POSITION) {
  constexpr uint kSimdgroups = K2_ROW_THREADS / K2_LANES;
  K2_THREADGROUP(float, sums, kSimdgroups);
  device const float* x = a.x + ulong(group.x) * a.x_stride;
  device float* y = a.y + ulong(group.x) * a.y_stride;
  float squares = 0.0f;
  for (uint i = thread_index; i < a.columns; i += K2_ROW_THREADS) squares = fma(x[i], x[i], squares);
  squares = simd_sum(squares);
  if (lane == 0) sums[simd_index] = squares;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float sum = 0.0f;
  for (uint i = 0; i < kSimdgroups; ++i) sum += sums[i];
  const float factor = 1.0f / sqrt(sum / float(a.columns) + a.eps);
  for (uint i = thread_index; i < a.columns; i += K2_ROW_THREADS) {
    y[i] = PlainNumber(a.w.data, a.w.storage, a.w.is_aligned != 0, i) * (x[i] * factor);
  }
}
K2_KERNEL(RmsNorm)

// Groups are (pairs of the heads' rope parts, rows).
[[kernel]] void Rope(constant RopeArguments& a [[buffer(0)]], K2_POSITION) {
  const uint pairs = a.rope_dim / 2, index = ColumnOf(group, thread_index);
  if (index >= a.heads * pairs) return;
  const uint head = index / pairs, pair = index % pairs;
  device float* x = a.x + ulong(group.y) * a.x_stride + (head + 1) * a.head_width - a.rope_dim + 2 * pair;
  device const float* turn = a.turns + (ulong(group.y) * pairs + pair) * 2;
  const float first = x[0], second = x[1];
  x[0] = fma(first, turn[0], -(second * turn[1]));
  x[1] = fma(first, turn[1], second * turn[0]);
}
K2_KERNEL(Rope)

[[kernel]] void SwiGlu(constant RowsArguments& a [[buffer(0)]], K2_POSITION) {
  const uint column = ColumnOf(group, thread_index);
  if (column >= a.columns) return;
  const float gate = a.a[ulong(group.y) * a.a_stride + column], up = a.b[ulong(group.y) * a.b_stride + column];
  a.y[ulong(group.y) * a.y_stride + column] = Silu(gate) * up;
}
K2_KERNEL(SwiGlu)

[[kernel]] void Add(constant RowsArguments& a [[buffer(0)]], K2_POSITION) {
  const uint column = ColumnOf(group, thread_index);
  if (column >= a.columns) return;
  a.y[ulong(group.y) * a.y_stride + column] += a.a[ulong(group.y) * a.a_stride + column];
}
K2_KERNEL(Add)

// Groups are (rows of the weight, tiles of tokens).
template <typename Format, uint kTokens>
[[kernel]] void Linear(constant LinearArguments& a [[buffer(0)]], K2_POSITION) {
  const WeightArguments w = a.w;
  const uint row = ProductRow(group.x, simd_index), token = group.y * kTokens;
  if (row >= w.rows) return;
  ulong offsets[kTokens];
  for (uint n = 0; n < kTokens; ++n) offsets[n] = ulong(min(token + n, a.tokens - 1)) * a.x_stride;
  const Products<kTokens> products = Multiply<Format, kTokens>(w, row, w.rows, a.x, offsets, lane);
  if (lane != 0) return;
  for (uint n = 0; n < kTokens && token + n < a.tokens; ++n) {
    device float* y = a.y + ulong(token + n) * a.y_stride + row;
    for (uint r = 0; r < K2_PRODUCT_ROWS && row + r < w.rows; ++r) y[r] = products.of[r][n];
  }
}
K2_KERNELS_OF_FORMATS("linear", Linear)
