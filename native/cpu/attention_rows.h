// Writing of cached rows, in the layouts of attention.h.
#pragma once

#include "cpu/attention_kernels.h"

namespace k2 {

// latent[rank] and key[rope] into the row_bytes() bytes of `row`.
void WriteBf16Row(const AttentionSizes& sizes, const float* latent, const float* key, uint8_t* row);

// The largest magnitude of a group becomes 127. A group that holds NaN or infinity is read back as NaN.
void WriteInt8Row(const AttentionSizes& sizes, const float* latent, const float* key, uint8_t* row);

}  // namespace k2
