// The ops whose numbers stand alone, and the norm.

// Blocks are (columns, rows of y), unless a kernel says otherwise.
K2_DEVICE uint ColumnOf(const Position& at) { return at.block_x * kRowThreads + at.thread; }

template <typename Format>
K2_DEVICE void Embed(const EmbedArguments& a, const Position& at) {
  const uint column = ColumnOf(at);
  if (column >= a.columns) return;
  const uint row = uint(a.ids[at.block_y]), at_word = column / Format::kInWord;
  const uint word = LoadWord(a.table.data + ulong(row) * a.table.row_bytes + ulong(at_word) * 4);
  float value = Format::OfWord(word, column % Format::kInWord);
  if (Format::kIsScaled) value *= ScaleAt(a.table, row, column);
  a.y[ulong(at.block_y) * a.y_stride + column] = value;
}
K2_KERNELS_OF_FORMATS(k2_embed, Embed, EmbedArguments, kRowThreads)

// Blocks are rows. A thread adds the squares of its columns, then warps are added in order.
K2_DEVICE void RmsNorm(const NormArguments& a, const Position& at) {
  constexpr uint kWarps = kRowThreads / kLanes;
  K2_SHARED(float, sums, kWarps);
  const float* x = a.x + ulong(at.block_x) * a.x_stride;
  float* y = a.y + ulong(at.block_x) * a.y_stride;
  float squares = 0.0f;
  for (uint i = at.thread; i < a.columns; i += kRowThreads) squares = fmaf(x[i], x[i], squares);
  squares = SumOfLanes(squares);
  if (at.lane == 0) sums[at.warp] = squares;
  SyncThreads();
  float sum = 0.0f;
  for (uint i = 0; i < kWarps; ++i) sum += sums[i];
  const float factor = 1.0f / sqrtf(sum / float(a.columns) + a.eps);
  for (uint i = at.thread; i < a.columns; i += kRowThreads) {
    y[i] = PlainNumber(a.w.data, a.w.storage, i) * (x[i] * factor);
  }
}
K2_KERNEL(k2_rms_norm, RmsNorm, NormArguments, kRowThreads)

// Columns of y behind those of x become zeros.
K2_DEVICE void RoundRows(const RoundArguments& a, const Position& at) {
  const uint column = ColumnOf(at);
  if (column >= a.y_stride) return;
  const float value = column < a.columns ? a.x[ulong(at.block_y) * a.x_stride + column] : 0.0f;
  a.y[ulong(at.block_y) * a.y_stride + column] = RoundToBf16(value);
}
K2_KERNEL(k2_round_rows, RoundRows, RoundArguments, kRowThreads)

// Blocks are (pairs of the heads' rope parts, rows).
K2_DEVICE void Rope(const RopeArguments& a, const Position& at) {
  const uint pairs = a.rope_dim / 2, index = ColumnOf(at);
  if (index >= a.heads * pairs) return;
  const uint head = index / pairs, pair = index % pairs;
  float* x = a.x + ulong(at.block_y) * a.x_stride + (head + 1) * a.head_width - a.rope_dim + 2 * pair;
  const float* turn = a.turns + (ulong(at.block_y) * pairs + pair) * 2;
  const float first = x[0], second = x[1];
  x[0] = fmaf(first, turn[0], -(second * turn[1]));
  x[1] = fmaf(first, turn[1], second * turn[0]);
}
K2_KERNEL(k2_rope, Rope, RopeArguments, kRowThreads)

K2_DEVICE void SwiGlu(const RowsArguments& a, const Position& at) {
  const uint column = ColumnOf(at);
  if (column >= a.columns) return;
  const float gate = a.a[ulong(at.block_y) * a.a_stride + column];
  const float up = a.b[ulong(at.block_y) * a.b_stride + column];
  a.y[ulong(at.block_y) * a.y_stride + column] = Silu(gate) * up;
}
K2_KERNEL(k2_swiglu, SwiGlu, RowsArguments, kRowThreads)

K2_DEVICE void Add(const RowsArguments& a, const Position& at) {
  const uint column = ColumnOf(at);
  if (column >= a.columns) return;
  a.y[ulong(at.block_y) * a.y_stride + column] += a.a[ulong(at.block_y) * a.a_stride + column];
}
K2_KERNEL(k2_add, Add, RowsArguments, kRowThreads)
