// INT4 weights whose rows lie interleaved by 16, the form that is read fastest: one stream instead of 16, and
// nothing to transpose. Each block of 16 rows is a row of chunks
//   64 columns   8 words of 8 columns: [word][16 rows] of 4 bytes; then [16 rows] of 4 bytes: the scales of
//                the first and of the second 32 columns in bf16
// of 576 bytes, 4.5 bits a weight as in the checkpoint. The numbers are the same, so products have the same
// bits. Past the last column there are zeros; past the last row, anything.
#pragma once

#include <cstdint>

#include "base/tensor.h"

namespace k2 {

constexpr int64_t kChunkColumns = 64;
constexpr int64_t kChunkWordBytes = 8 * 16 * 4;
constexpr int64_t kChunkBytes = kChunkWordBytes + 16 * 4;

// Of one block of 16 rows.
constexpr int64_t InterleavedBlockBytes(int64_t columns) {
  return (columns + kChunkColumns - 1) / kChunkColumns * kChunkBytes;
}

// Of the whole weight; 0 where it has no such form: only INT4 in groups of 32 with scales in bf16 has one.
int64_t InterleavedBytes(const Weight& w);

// The weight as it is once its blocks have been written to `data` by LinearKernels::interleave.
Weight AsInterleaved(const Weight& w, const uint8_t* data);

}  // namespace k2
