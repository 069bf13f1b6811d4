#include "base/tensor.h"

namespace k2 {

void DecodeRow(const Weight& weight, int64_t i, float* out) {
  const uint8_t* row = weight.data + i * weight.row_bytes();
  const int64_t scale_columns = weight.scale_columns();
  switch (weight.storage) {
    case Storage::kBf16:
    case Storage::kF16:
    case Storage::kF32:
      for (int64_t k = 0; k < weight.columns; ++k) out[k] = LoadAsFloat(row, weight.storage, k);
      return;
    case Storage::kF8E4m3: {
      const int64_t first_scale = i / weight.block_rows * scale_columns;
      for (int64_t k = 0; k < weight.columns; ++k) {
        const float scale =
            LoadAsFloat(weight.scales, weight.scale_storage, first_scale + k / weight.block_columns);
        out[k] = E4m3ToFloat(row[k]) * scale;
      }
      return;
    }
    case Storage::kInt4:
      for (int64_t k = 0; k < weight.columns; ++k) {
        const int nibble = (row[k / 2] >> (4 * (k & 1))) & 0xf;
        const float scale =
            LoadAsFloat(weight.scales, weight.scale_storage, i * scale_columns + k / weight.block_columns);
        out[k] = static_cast<float>(nibble - 8) * scale;
      }
      return;
  }
}

}  // namespace k2
