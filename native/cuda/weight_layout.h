// The form in which the device holds a weight: rows that start at multiples of 16 bytes, for products in
// float and gathers, or tiles of 16 rows and 64 columns, in which each lane of a warp finds its operands of
// tensor operations in 16 bytes (cuda/kernels/formats.inl.h). No number changes.
#pragma once

#include <cstdint>

#include "base/tensor.h"

namespace k2::cuda {

enum class Layout : uint8_t { kRows, kTiles };

// Tiles are for formats whose numbers are BF16 exactly, and scales that hold for 32 columns.
bool CanBeTiled(const Weight& weight);

// A weight is laid out piece by piece: rows one by one, or 16 at a time, the last ones filled up.
int64_t Pieces(const Weight& weight, Layout layout);
int64_t PieceBytes(const Weight& weight, Layout layout);
void LayOut(const Weight& weight, Layout layout, int64_t piece, uint8_t* to);

}  // namespace k2::cuda
