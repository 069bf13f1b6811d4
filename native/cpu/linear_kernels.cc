// The table of kernel sets, and the parts of a row block that need no vector instructions.
#include "cpu/linear_kernels.h"

#include <algorithm>

#include "base/cpu_features.h"
#include "cpu/interleave.h"

namespace k2 {

// Of each set two tables, in the order of Activations.
namespace scalar {
extern const LinearKernels kLinearKernels[];
}
#if defined(__x86_64__)
namespace avx2 {
extern const LinearKernels kLinearKernels[];
}
namespace avx2_vnni {
extern const LinearKernels kLinearKernels[];
}
namespace avx512 {
extern const LinearKernels kLinearKernels[];
}
namespace avx512_vnni {
extern const LinearKernels kLinearKernels[];
}
namespace avx512_bf16 {
extern const LinearKernels kLinearKernels[];
extern const LinearKernels kVnniKernels[];
}  // namespace avx512_bf16
#elif defined(__aarch64__)
namespace neon {
extern const LinearKernels kLinearKernels[];
}
#if K2_HAS_NEON_DOTS
namespace neon_dotprod {
extern const LinearKernels kLinearKernels[];
}
namespace neon_i8mm {
extern const LinearKernels kLinearKernels[];
}
namespace neon_bf16 {
extern const LinearKernels kLinearKernels[];
}
#endif
#endif

namespace {

const LinearKernels* TablesOf(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2::kLinearKernels;
    case Isa::kAvx2Vnni:
      return avx2_vnni::kLinearKernels;
    case Isa::kAvx512:
      return avx512::kLinearKernels;
    case Isa::kAvx512Vnni:
      return avx512_vnni::kLinearKernels;
    case Isa::kAvx512Bf16:
      return avx512_bf16::kLinearKernels;
    case Isa::kAvx512Bf16Vnni:
      return avx512_bf16::kVnniKernels;
#elif defined(__aarch64__)
    case Isa::kNeon:
      return neon::kLinearKernels;
#if K2_HAS_NEON_DOTS
    case Isa::kNeonDotprod:
      return neon_dotprod::kLinearKernels;
    case Isa::kNeonI8mm:
      return neon_i8mm::kLinearKernels;
    case Isa::kNeonBf16:
      return neon_bf16::kLinearKernels;
#endif
#endif
    default:
      return scalar::kLinearKernels;
  }
}

}  // namespace

const LinearKernels& LinearKernelsFor(Isa isa, Activations activations) {
  return TablesOf(isa)[static_cast<int>(activations)];
}

PrefetchRange RowBlockBytes(const Weight& w, int64_t first_row) {
  if (w.interleaved) {
    const int64_t bytes = InterleavedBlockBytes(w.columns);
    return {w.data + first_row / kBlockRows * bytes, bytes, nullptr, 0};
  }
  const int64_t rows = std::min<int64_t>(kBlockRows, w.rows - first_row);
  PrefetchRange range = {w.data + first_row * w.row_bytes(), rows * w.row_bytes(), nullptr, 0};
  if (w.storage == Storage::kInt4) {
    const int64_t scale_row_bytes = w.scale_columns() * StorageBytes(w.scale_storage);
    range.scales = w.scales + first_row * scale_row_bytes;
    range.scale_bytes = rows * scale_row_bytes;
  }
  return range;
}

bool ScalesInsideSteps(const Weight& w) {
  return w.storage == Storage::kF8E4m3 && w.block_columns % kStepColumns != 0 && w.block_columns < w.columns;
}

void BlockScales(const Weight& w, int64_t first_row, int64_t column, int64_t steps, float* scales) {
  const int64_t scale_columns = w.scale_columns();
  const int64_t last_row = std::min<int64_t>(first_row + kBlockRows, w.rows) - 1;
  const bool same = first_row / w.block_rows == last_row / w.block_rows;
  for (int64_t s = 0; s < steps; ++s) {
    float* out = scales + s * kBlockRows;
    const int64_t block = (column + s * kStepColumns) / w.block_columns;
    if (s > 0 && block == (column + (s - 1) * kStepColumns) / w.block_columns) {
      std::copy_n(out - kBlockRows, kBlockRows, out);
    } else if (same) {
      const int64_t index = first_row / w.block_rows * scale_columns + block;
      std::fill_n(out, kBlockRows, LoadAsFloat(w.scales, w.scale_storage, index));
    } else {
      for (int64_t i = 0; i < kBlockRows; ++i) {
        const int64_t row = std::min(first_row + i, last_row);
        out[i] = LoadAsFloat(w.scales, w.scale_storage, row / w.block_rows * scale_columns + block);
      }
    }
  }
}

void ScalePanel(const Weight& w, int64_t first_row, int64_t column, int64_t columns, float* panel) {
  const int64_t scale_columns = w.scale_columns();
  for (int64_t i = 0; i < kBlockRows; ++i) {
    const int64_t row = std::min<int64_t>(first_row + i, w.rows - 1);
    for (int64_t k = 0; k < columns; ++k) {
      const int64_t index = row / w.block_rows * scale_columns + (column + k) / w.block_columns;
      panel[k * kBlockRows + i] *= LoadAsFloat(w.scales, w.scale_storage, index);
    }
  }
}

}  // namespace k2
