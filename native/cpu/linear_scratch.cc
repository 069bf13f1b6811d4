#include "cpu/linear_scratch.h"

#include <algorithm>
#include <cstring>

namespace k2 {
int64_t LinearScratch::SlabTokens(const BackendShapes& shapes) {
  return std::clamp<int64_t>(shapes.batch_tokens, 1, kMostSlabTokens);
}

int64_t LinearScratch::PackedRowsBytes(const BackendShapes& shapes) const {
  const ActivationFormat plain = kernels_.format(Weight{.storage = Storage::kBf16}, false);
  const ActivationFormat int4 = kernels_.format(Weight{.storage = Storage::kInt4}, false);
  // An expert's matrices may want both forms of the hidden state at once.
  const int64_t both =
      PackedStride(plain, shapes.hidden) + (int4 == plain ? 0 : PackedStride(int4, shapes.hidden));
  const int64_t row_bytes =
      std::max({PackedStride(plain, shapes.widest_input), PackedStride(int4, shapes.widest_input), both});
  return SlabTokens(shapes) * row_bytes;
}

int64_t LinearScratch::Bytes(const BackendShapes& shapes) const {
  return pool_.threads() * kSums * SlabTokens(shapes) * kBlockRows * static_cast<int64_t>(sizeof(float)) +
         PackedRowsBytes(shapes);
}

Status LinearScratch::Prepare(const BackendShapes& shapes) {
  Result<AlignedBuffer> buffer =
      AlignedBuffer::Allocate(static_cast<size_t>(Bytes(shapes)), "activations of the linears");
  if (!buffer.ok()) return buffer.status();
  buffer_ = std::move(buffer.value());
  slab_tokens_ = SlabTokens(shapes);
  packed_ = buffer_.data();
  sums_ = reinterpret_cast<float*>(packed_ + PackedRowsBytes(shapes));
  return {};
}

void LinearScratch::Begin(const Tensor& x) {
  x_ = x;
  packed_used_ = 0;
  std::fill(std::begin(rows_), std::end(rows_), PackedRows{});
  rows_[static_cast<int>(ActivationFormat::kFloat)] = {reinterpret_cast<const uint8_t*>(x.data),
                                                       x.stride * static_cast<int64_t>(sizeof(float))};
}

PackedRows LinearScratch::Rows(ActivationFormat format) {
  PackedRows& known = rows_[static_cast<int>(format)];
  if (known.rows != nullptr) return known;
  uint8_t* const rows = packed_ + packed_used_;
  const int64_t stride = PackedStride(format, x_.columns);
  const int64_t written = PackedBytes(format, x_.columns);
  packed_used_ += x_.rows * stride;
  const int64_t rows_per_task = std::max<int64_t>(1, 32768 / x_.columns);
  pool_.For(x_.rows, rows_per_task, [&](int64_t first, int64_t last, int) {
    for (int64_t t = first; t < last; ++t) {
      uint8_t* row = rows + t * stride;
      kernels_.pack(format, x_.row(t), x_.columns, row);
      std::memset(row + written, 0, static_cast<size_t>(stride - written));
    }
  });
  known = {rows, stride};
  return known;
}

int64_t BlocksPerTask(int64_t block_bytes, int64_t tokens) {
  constexpr int64_t kTaskBytes = 65536;
  // From about 16 tokens on, the multiply-adds take longer than the bytes.
  const int64_t cost = std::max<int64_t>(1, block_bytes) * std::max<int64_t>(1, tokens / 16);
  return std::max<int64_t>(1, kTaskBytes / cost);
}

}  // namespace k2
