// Latent attention and its cache. A page holds rows of [R latent | Dr rope key] in BF16. Both forms of the
// seam are computed as the absorbed one, so that a row has the same bits however its call was long.
#pragma once

#include <vector>

#include "cuda/encoder.h"
#include "ops/backend.h"

namespace k2::cuda {

class Attention {
 public:
  static int64_t CacheBytesPerToken(const BackendShapes& shapes);
  static int64_t ScratchBytes(const BackendShapes& shapes);
  Status Prepare(const BackendShapes& shapes, Device& device);

  void AppendKv(const AppendKvParams& p, Encoder& encoder) const;
  void LatentAttention(const LatentAttentionParams& p, Encoder& encoder) const;

 private:
  // Some rows of the call, from projected query to values.
  void Pass(const LatentAttentionParams& p, AttentionArguments& arguments, std::vector<AttentionRow>& rows,
            const std::vector<int64_t>& positions, Encoder& encoder) const;

  DeviceMemory scratch_;
};

}  // namespace k2::cuda
