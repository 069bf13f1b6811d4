// Non-owning views: Tensor for activations (float rows), Weight for a matrix as the checkpoint stores it.
#pragma once

#include <cstdint>

#include "base/dtype.h"

namespace k2 {

// [rows, columns] floats; row i starts at data + i * stride. Activations are float everywhere at the seam:
// a backend rounds to the 16-bit form its kernels multiply with, so that form is nobody else's business.
struct Tensor {
  float* data = nullptr;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;

  float* row(int64_t i) const { return data + i * stride; }
  // The first `n` rows.
  Tensor Rows(int64_t n) const { return {data, n, columns, stride}; }
  // Rows [first, first + n).
  Tensor Rows(int64_t first, int64_t n) const { return {row(first), n, columns, stride}; }
  // Columns [first, first + n) of every row.
  Tensor Columns(int64_t first, int64_t n) const { return {data + first, rows, n, stride}; }
};

// A weight [rows, columns] in the layout of the file (mapped, possibly unaligned).
//   plain    data: rows * columns numbers
//   F8_E4M3  scales: [ceil(rows / block_rows), ceil(columns / block_columns)]
//   INT4     data: rows * ceil(columns / 8) little-endian words of 8 nibbles;
//            scales: [rows, columns / block_columns], block_columns a multiple of 32 or all columns
// Vectors (norms, biases) are weights with one row.
struct Weight {
  Storage storage = Storage::kF32;
  Storage scale_storage = Storage::kF32;
  int32_t block_rows = 0;
  int32_t block_columns = 0;
  int64_t rows = 0;
  int64_t columns = 0;
  const uint8_t* data = nullptr;  // null: the checkpoint has no such weight
  const uint8_t* scales = nullptr;
  int32_t file = -1;  // index of the mapped file, for messages
  // INT4 in the form of the CPU backend (cpu/interleave.h) instead of the file's; its scales are in `data`.
  bool interleaved = false;

  bool present() const { return data != nullptr; }
  int64_t scale_columns() const {
    return block_columns > 0 ? (columns + block_columns - 1) / block_columns : 0;
  }
  int64_t row_bytes() const {
    return storage == Storage::kInt4 ? (columns + 7) / 8 * 4 : columns * StorageBytes(storage);
  }
  // 0 without scales.
  int64_t scale_bytes() const {
    return block_rows > 0
               ? (rows + block_rows - 1) / block_rows * scale_columns() * StorageBytes(scale_storage)
               : 0;
  }
};

// Row i of `weight` as exact floats (the product value * scale is rounded once, to float).
void DecodeRow(const Weight& weight, int64_t i, float* out);

}  // namespace k2
