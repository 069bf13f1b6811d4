#include "cpu/attention_rows.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/dtype.h"

namespace k2 {
namespace {

// Smaller groups count as zeros: their reciprocals may overflow.
constexpr float kLeastScaled = 0x1p-100f;

// Returns the scale.
float Quantise(const float* x, int64_t n, int8_t* out) {
  float largest = 0;
  bool is_finite = true;
  for (int64_t i = 0; i < n; ++i) {
    largest = std::max(largest, std::fabs(x[i]));
    is_finite &= std::isfinite(x[i]);
  }
  if (!is_finite || largest < kLeastScaled) {
    std::fill(out, out + n, int8_t{0});
    return is_finite ? 0 : std::numeric_limits<float>::quiet_NaN();
  }
  const float inverse = 127.0f / largest;
  constexpr float kRounder = 0x1.8p23f;  // adding and subtracting it rounds to the nearest integer
  for (int64_t i = 0; i < n; ++i) out[i] = static_cast<int8_t>((x[i] * inverse + kRounder) - kRounder);
  return largest / 127.0f;
}

}  // namespace

void WriteBf16Row(const AttentionSizes& sizes, const float* latent, const float* key, uint8_t* row) {
  uint16_t* out = reinterpret_cast<uint16_t*>(row);
  for (int64_t k = 0; k < sizes.rank; ++k) out[k] = FloatToBf16(latent[k]);
  for (int64_t k = 0; k < sizes.rope; ++k) out[sizes.rank + k] = FloatToBf16(key[k]);
  std::fill(out + sizes.rank + sizes.rope, out + sizes.cache_width(), uint16_t{0});
}

void WriteInt8Row(const AttentionSizes& sizes, const float* latent, const float* key, uint8_t* row) {
  float* scales = reinterpret_cast<float*>(row);
  uint16_t* keys = reinterpret_cast<uint16_t*>(row + sizes.key_offset());
  int8_t* latents = reinterpret_cast<int8_t*>(row + sizes.latent_offset());
  for (int64_t k = 0; k < sizes.rope; ++k) keys[k] = FloatToBf16(key[k]);
  for (int64_t k = 0; k < sizes.rank; k += kLatentGroup) {
    *scales++ = Quantise(latent + k, std::min(kLatentGroup, sizes.rank - k), latents + k);
  }
  std::fill(row + sizes.latent_offset() + sizes.rank, row + sizes.row_bytes(), uint8_t{0});
}

}  // namespace k2
