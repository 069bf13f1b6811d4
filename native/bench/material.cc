#include "bench/material.h"

#include <algorithm>
#include <cstring>

#include "base/rng.h"

namespace k2::bench {
namespace {

// Tensors of a safetensors file begin at multiples of 8, not of a cache line.
constexpr size_t kMisalignment = 8;
constexpr size_t kPoolNumbers = 1 << 21;

// Copies pieces of `pool` from changing places: quick, and no two weights are alike.
void FillFrom(const std::vector<uint8_t>& pool, PageBuffer& buffer) {
  uint64_t draw = 0;
  for (size_t at = 0; at < buffer.size();) {
    const size_t from = static_cast<size_t>(UniformAt(7, draw++) * static_cast<double>(pool.size() / 4)) * 2;
    const size_t bytes = std::min(pool.size() - from, buffer.size() - at);
    std::memcpy(buffer.data() + at, pool.data() + from, bytes);
    at += bytes;
  }
}

// The standard deviation that keeps the size of a vector of K2's hidden size.
constexpr float kSpread = 0.0118f;

std::vector<uint8_t> Bf16Pool(bool are_scales) {
  std::vector<uint8_t> pool(2 * kPoolNumbers);
  for (size_t i = 0; i < kPoolNumbers; ++i) {
    const float uniform = static_cast<float>(UniformAt(are_scales ? 1 : 2, i));
    // Nibbles that take all 16 values alike have a standard deviation of 4.6.
    const float value = are_scales ? kSpread / 4.6f * (0.5f + uniform) : kSpread * 3.46f * (uniform - 0.5f);
    const uint16_t bits = FloatToBf16(value);
    std::memcpy(&pool[2 * i], &bits, 2);
  }
  return pool;
}

std::vector<uint8_t> BytePool() {
  std::vector<uint8_t> pool(2 * kPoolNumbers);
  uint64_t state = 88172645463325252u;
  for (size_t i = 0; i < pool.size(); i += 8) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    std::memcpy(&pool[i], &state, 8);
  }
  return pool;
}

}  // namespace

Result<Material> Material::Create(int64_t plain_bytes, int64_t int4_bytes, Pages pages) {
  Material material;
  const auto map = [&](PageBuffer& buffer, int64_t bytes) -> Status {
    Result<PageBuffer> mapped = PageBuffer::Map(static_cast<size_t>(bytes), pages);
    if (mapped.ok()) buffer = std::move(mapped.value());
    return mapped.status();
  };
  K2_RETURN_IF_ERROR(map(material.plain_, plain_bytes));
  K2_RETURN_IF_ERROR(map(material.nibbles_, int4_bytes));
  K2_RETURN_IF_ERROR(map(material.scales_, int4_bytes / 8 + 4096));
  material.ones_.assign(1 << 16, FloatToBf16(1));
  return material;
}

void Material::Rewind() { plain_at_ = int4_at_ = 0; }

Weight Material::Bf16(int64_t rows, int64_t columns) {
  if (!plain_filled_) FillFrom(Bf16Pool(false), plain_);
  plain_filled_ = true;
  Weight weight{.storage = Storage::kBf16, .rows = rows, .columns = columns};
  const size_t bytes = static_cast<size_t>(rows * weight.row_bytes());
  if (plain_at_ + bytes + kMisalignment > plain_.size()) plain_at_ = 0;
  weight.data = plain_.data() + plain_at_ + kMisalignment;
  plain_at_ += (bytes + kMisalignment + 63) / 64 * 64;
  return weight;
}

Weight Material::Int4(int64_t rows, int64_t columns) {
  if (!int4_filled_) {
    FillFrom(BytePool(), nibbles_);
    FillFrom(Bf16Pool(true), scales_);
  }
  int4_filled_ = true;
  Weight weight{.storage = Storage::kInt4,
                .scale_storage = Storage::kBf16,
                .block_rows = 1,
                .block_columns = 32,
                .rows = rows,
                .columns = columns};
  const size_t bytes = static_cast<size_t>(rows * weight.row_bytes());
  if (int4_at_ + bytes + kMisalignment > nibbles_.size()) int4_at_ = 0;
  weight.data = nibbles_.data() + int4_at_ + kMisalignment;
  weight.scales = scales_.data() + int4_at_ / 8 + kMisalignment;
  int4_at_ += (bytes + kMisalignment + 511) / 512 * 512;
  return weight;
}

Weight Material::Norm(int64_t columns) {
  return {.storage = Storage::kBf16,
          .rows = 1,
          .columns = columns,
          .data = reinterpret_cast<const uint8_t*>(ones_.data())};
}

int64_t BytesOf(const Weight& weight) {
  return weight.rows * (weight.row_bytes() + weight.scale_columns() * StorageBytes(weight.scale_storage));
}

void AddParts(const Weight& weight, std::vector<MemoryPart>& parts) {
  parts.push_back({weight.data, static_cast<size_t>(weight.rows * weight.row_bytes())});
  const size_t scales =
      static_cast<size_t>(weight.rows * weight.scale_columns() * StorageBytes(weight.scale_storage));
  if (weight.scales != nullptr) parts.push_back({weight.scales, scales});
}

Weight RowsOf(const Weight& weight, int64_t first, int64_t count) {
  Weight part = weight;
  part.rows = count;
  part.data += first * weight.row_bytes();
  if (weight.scales != nullptr)
    part.scales += first * weight.scale_columns() * StorageBytes(weight.scale_storage);
  return part;
}

Activations::Activations(int64_t rows, int64_t columns, uint64_t seed, float scale, bool has_outliers)
    : rows_(rows), columns_(columns), data_(static_cast<size_t>(rows * columns)) {
  for (size_t i = 0; i < data_.size(); ++i) {
    // One draw of 53 bits gives four of 13.
    const uint64_t bits = static_cast<uint64_t>(UniformAt(seed, i) * 0x1p53);
    float sum = -2;
    for (int part = 0; part < 4; ++part) sum += static_cast<float>(bits >> (13 * part) & 0x1fff) * 0x1p-13f;
    data_[i] = sum * scale * (has_outliers && bits % 51 == 0 ? 50.0f : 1.7f);
  }
}

}  // namespace k2::bench
