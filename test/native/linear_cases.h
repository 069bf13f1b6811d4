// Material for tests of linears: random weights in every stored form, each in memory of exactly its size at
// an odd address (a sanitizer sees any byte read beside it), and activations with outliers.
#pragma once

#include <cstring>
#include <vector>

#include "base/rng.h"
#include "base/tensor.h"

namespace k2::test {

struct Matrix {
  Matrix(int64_t rows, int64_t columns, float value)
      : rows(rows), columns(columns), data(static_cast<size_t>(rows * columns), value) {}

  Tensor tensor() const { return {const_cast<float*>(data.data()), rows, columns, columns}; }
  float at(int64_t t, int64_t n) const { return data[static_cast<size_t>(t * columns + n)]; }
  Matrix Rows(int64_t first, int64_t n) const {
    Matrix part(n, columns, 0);
    std::memcpy(part.data.data(), data.data() + first * columns,
                sizeof(float) * static_cast<size_t>(n * columns));
    return part;
  }

  int64_t rows, columns;
  std::vector<float> data;
};

inline bool SameBits(const Matrix& a, const Matrix& b) {
  return a.data.size() == b.data.size() && std::memcmp(a.data.data(), b.data.data(), 4 * a.data.size()) == 0;
}

// Roughly normal; one in 50 is 30 times as large, as in real hidden states.
inline Matrix RandomActivations(int64_t rows, int64_t columns, uint64_t seed) {
  Matrix x(rows, columns, 0);
  for (size_t i = 0; i < x.data.size(); ++i) {
    const auto draw = [&](uint64_t j) { return UniformAt(seed, 8 * i + j); };
    x.data[i] = static_cast<float>((draw(0) + draw(1) + draw(2) + draw(3) - 2) * (draw(4) < 0.02 ? 50 : 1.7));
  }
  return x;
}

struct Coding {
  Storage storage;
  Storage scale_storage = Storage::kF32;
  int32_t block_rows = 0, block_columns = 0;
};

// What a checkpoint may hold for a weight of that many columns.
inline std::vector<Coding> Codings(int64_t columns) {
  const int32_t all = static_cast<int32_t>(columns);
  std::vector<Coding> codings = {{Storage::kBf16},
                                 {Storage::kF16},
                                 {Storage::kF32},
                                 {Storage::kF8E4m3, Storage::kF32, 128, 128},
                                 {Storage::kF8E4m3, Storage::kBf16, 24, 64},
                                 {Storage::kF8E4m3, Storage::kF32, 10, 20},
                                 {Storage::kInt4, Storage::kBf16, 1, all},
                                 {Storage::kInt4, Storage::kF32, 1, all}};
  if (columns % 32 == 0) codings.push_back({Storage::kInt4, Storage::kBf16, 1, 32});
  if (columns % 32 == 0) codings.push_back({Storage::kInt4, Storage::kF16, 1, 32});
  if (columns % 32 == 0) codings.push_back({Storage::kInt4, Storage::kF32, 1, 32});
  if (columns % 96 == 0) codings.push_back({Storage::kInt4, Storage::kBf16, 1, 96});
  if (columns % 128 == 0) codings.push_back({Storage::kInt4, Storage::kBf16, 1, 128});
  return codings;
}

// Bytes at an odd address whose end is the end of their block of memory.
class OddBytes {
 public:
  explicit OddBytes(size_t size) : memory_(new uint8_t[size + 1]), size_(size) {}
  OddBytes(const OddBytes&) = delete;
  ~OddBytes() { delete[] memory_; }
  uint8_t* data() const { return memory_ + 1; }
  size_t size() const { return size_; }

 private:
  uint8_t* memory_;
  size_t size_;
};

inline uint16_t FloatToF16(float value) {  // normal numbers of moderate size, cut
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const int32_t exponent = static_cast<int32_t>(bits >> 23 & 0xff) - 112;
  if (exponent <= 0) return static_cast<uint16_t>(bits >> 16 & 0x8000);
  return static_cast<uint16_t>((bits >> 16 & 0x8000) | static_cast<uint32_t>(exponent) << 10 |
                               (bits >> 13 & 0x3ff));
}

inline void StoreAs(Storage storage, float value, uint8_t* to) {
  const uint16_t half = storage == Storage::kBf16 ? FloatToBf16(value) : FloatToF16(value);
  if (storage == Storage::kF32) {
    std::memcpy(to, &value, 4);
  } else {
    std::memcpy(to, &half, 2);
  }
}

class StoredWeight {
 public:
  StoredWeight(const Coding& coding, int64_t rows, int64_t columns, uint64_t seed)
      : weight_{coding.storage, coding.scale_storage, coding.block_rows, coding.block_columns, rows, columns},
        bytes_(static_cast<size_t>(rows * weight_.row_bytes())),
        scales_(static_cast<size_t>(Scales() * StorageBytes(coding.scale_storage))) {
    weight_.data = bytes_.data();
    weight_.scales = scales_.data();
    const auto draw = [&](size_t i) { return static_cast<float>(UniformAt(seed, i)); };
    const int64_t bytes = StorageBytes(coding.storage);
    for (size_t i = 0; i < bytes_.size(); ++i) {
      if (bytes <= 1) {
        const uint8_t byte = static_cast<uint8_t>(256 * draw(i));
        bytes_.data()[i] = bytes == 1 && (byte & 0x7f) == 0x7f ? 0 : byte;  // not a NaN
      } else if (i % static_cast<size_t>(bytes) == 0) {
        StoreAs(coding.storage, draw(i) - 0.5f, bytes_.data() + i);
      }
    }
    const size_t scale_bytes = static_cast<size_t>(StorageBytes(coding.scale_storage));
    for (size_t i = 0; i < scales_.size(); i += scale_bytes) {
      StoreAs(coding.scale_storage, 0.01f + draw(i + 1000000007), scales_.data() + i);
    }
  }
  StoredWeight(const StoredWeight&) = delete;

  const Weight& weight() const { return weight_; }

  // The content of a hole in a sparse file.
  void Zero() {
    std::memset(bytes_.data(), 0, bytes_.size());
    std::memset(scales_.data(), 0, scales_.size());
  }

  // Every byte the same, scales of one.
  void FillWith(uint8_t byte) {
    std::memset(bytes_.data(), byte, bytes_.size());
    FillScalesWithOnes();
  }

  // All values of a byte, or of a half word, one after the other; scales of one.
  void FillWithCodes() {
    const bool half = StorageBytes(weight_.storage) == 2;
    for (size_t i = 0; i < bytes_.size(); ++i) {
      bytes_.data()[i] = static_cast<uint8_t>(!half ? i + i / 256 * 7 : i % 2 == 0 ? i / 2 : i / 512);
    }
    FillScalesWithOnes();
  }

 private:
  void FillScalesWithOnes() {
    const size_t scale_bytes = static_cast<size_t>(StorageBytes(weight_.scale_storage));
    for (size_t i = 0; i < scales_.size(); i += scale_bytes)
      StoreAs(weight_.scale_storage, 1, scales_.data() + i);
  }
  int64_t Scales() const {
    const int64_t rows = weight_.block_rows;
    return rows == 0 ? 0 : (weight_.rows + rows - 1) / rows * weight_.scale_columns();
  }

  Weight weight_;
  OddBytes bytes_, scales_;
};

}  // namespace k2::test
