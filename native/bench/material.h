// Synthetic weights with sane values: views into two large arenas, one after the other, so that a weight that
// comes up again was last read hundreds of megabytes ago and no cache holds it.
#pragma once

#include <vector>

#include "base/tensor.h"
#include "measure/machine.h"
#include "ops/params.h"

namespace k2::bench {

class Material {
 public:
  static Result<Material> Create(int64_t plain_bytes, int64_t int4_bytes, Pages pages);

  Weight Bf16(int64_t rows, int64_t columns);
  // Groups of 32 columns with BF16 scales, as published.
  Weight Int4(int64_t rows, int64_t columns);
  // Ones in BF16, for norms.
  Weight Norm(int64_t columns);
  // The next weights are those from the beginning again: two models get the same.
  void Rewind();

 private:
  PageBuffer plain_, nibbles_, scales_;
  std::vector<uint16_t> ones_;
  size_t plain_at_ = 0, int4_at_ = 0;
  bool plain_filled_ = false, int4_filled_ = false;
};

int64_t BytesOf(const Weight& weight);
// The memory of a weight, for a read of the same.
void AddParts(const Weight& weight, std::vector<MemoryPart>& parts);
// Rows [first, first + count) of a plain or INT4 weight.
Weight RowsOf(const Weight& weight, int64_t first, int64_t count);

// [rows, columns] of numbers like those of hidden states: roughly normal with a deviation of `scale`, and one
// in 50 is 30 times as large unless `has_outliers` is false.
class Activations {
 public:
  Activations(int64_t rows, int64_t columns, uint64_t seed, float scale = 1, bool has_outliers = true);
  Tensor tensor() const { return {const_cast<float*>(data_.data()), rows_, columns_, columns_}; }

 private:
  int64_t rows_, columns_;
  std::vector<float> data_;
};

}  // namespace k2::bench
