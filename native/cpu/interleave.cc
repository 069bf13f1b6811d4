#include "cpu/interleave.h"

#include "cpu/linear_kernels.h"

namespace k2 {

int64_t InterleavedBytes(const Weight& w) {
  const bool has_form = w.storage == Storage::kInt4 && !w.interleaved && w.scale_storage == Storage::kBf16 &&
                        w.block_columns == kStepColumns && w.columns % kStepColumns == 0;
  return has_form ? (w.rows + kBlockRows - 1) / kBlockRows * InterleavedBlockBytes(w.columns) : 0;
}

Weight AsInterleaved(const Weight& w, const uint8_t* data) {
  Weight interleaved = w;
  interleaved.interleaved = true;
  interleaved.data = data;
  interleaved.scales = nullptr;
  return interleaved;
}

}  // namespace k2
