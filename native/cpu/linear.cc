#include "cpu/linear.h"

#include <algorithm>
#include <cstring>

#include "cpu/for_ahead.h"

namespace k2 {
namespace {

// At most slab_tokens rows.
void LinearSlab(LinearScratch& scratch, const Tensor& x, const Weight& w, bool full_precision,
                const Tensor& y) {
  const LinearKernels& kernels = scratch.kernels();
  const ActivationFormat format = kernels.format(w, full_precision);
  scratch.Begin(x);
  const PackedRows packed = scratch.Rows(format);

  const int64_t blocks = (w.rows + kBlockRows - 1) / kBlockRows;
  const int64_t width = kernels.gains_by_pairs(w, format, x.rows) ? 2 : 1;
  const int64_t per_task = (BlocksPerTask(kBlockRows * w.row_bytes(), x.rows) + width - 1) / width * width;
  ForAhead(scratch.pool(), (blocks + per_task - 1) / per_task,
           [&](int64_t task, int64_t next_task, int thread) {
             const int64_t last = std::min(blocks, (task + 1) * per_task);
             for (int64_t first = task * per_task; first < last; first += width) {
               const int64_t count = std::min(width, last - first);
               const int64_t next_first = first + width < last ? first + width
                                          : next_task >= 0     ? next_task * per_task
                                                               : blocks;
               RowBlock pair[2];
               for (int64_t i = 0; i < count; ++i) {
                 const int64_t next = next_first + i;
                 pair[i] = {.weight = &w,
                            .first_row = (first + i) * kBlockRows,
                            .format = format,
                            .x = packed.rows,
                            .x_stride = packed.stride,
                            .chosen = nullptr,
                            .count = x.rows,
                            .out = scratch.Sums(thread, static_cast<int>(i)),
                            .next = next < blocks ? RowBlockBytes(w, next * kBlockRows) : PrefetchRange{}};
               }
               MultiplyBlocks(kernels, pair, count);
               for (int64_t i = 0; i < count; ++i) {
                 const int64_t first_row = pair[i].first_row;
                 const int64_t rows = std::min<int64_t>(kBlockRows, w.rows - first_row);
                 for (int64_t t = 0; t < x.rows; ++t) {
                   std::memcpy(y.row(t) + first_row, pair[i].out + t * kBlockRows,
                               sizeof(float) * static_cast<size_t>(rows));
                 }
               }
             }
           });
}

}  // namespace

void CpuLinear(LinearScratch& scratch, const LinearParams& p) {
  for (int64_t first = 0; first < p.x.rows; first += scratch.slab_tokens()) {
    const int64_t rows = std::min(scratch.slab_tokens(), p.x.rows - first);
    const Tensor x = {p.x.row(first), rows, p.x.columns, p.x.stride};
    const Tensor y = {p.y.row(first), rows, p.y.columns, p.y.stride};
    LinearSlab(scratch, x, *p.w, p.full_precision, y);
  }
}

}  // namespace k2
