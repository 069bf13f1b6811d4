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
  const int64_t per_task = BlocksPerTask(kBlockRows * w.row_bytes(), x.rows);
  ForAhead(scratch.pool(), (blocks + per_task - 1) / per_task,
           [&](int64_t task, int64_t next_task, int thread) {
             float* const sums = scratch.Sums(thread, 0);
             const int64_t last = std::min(blocks, (task + 1) * per_task);
             for (int64_t block = task * per_task; block < last; ++block) {
               const int64_t next = block + 1 < last ? block + 1 : next_task * per_task;
               const int64_t first_row = block * kBlockRows;
               kernels.row_block({.weight = &w,
                                  .first_row = first_row,
                                  .format = format,
                                  .x = packed.rows,
                                  .x_stride = packed.stride,
                                  .chosen = nullptr,
                                  .count = x.rows,
                                  .out = sums,
                                  .next = next >= 0 ? RowBlockBytes(w, next * kBlockRows) : PrefetchRange{}});
               const int64_t rows = std::min<int64_t>(kBlockRows, w.rows - first_row);
               for (int64_t t = 0; t < x.rows; ++t) {
                 std::memcpy(y.row(t) + first_row, sums + t * kBlockRows,
                             sizeof(float) * static_cast<size_t>(rows));
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
