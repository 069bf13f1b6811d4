// What tells a checkpoint from all others, at the price of a few thousand small reads: its specification, the
// shape and format of every weight, and samples of their bytes. Neither paths nor shards nor the options of
// an engine have a part in it.
#pragma once

#include "base/sha256.h"
#include "model/weights.h"

namespace k2 {

// Most blocks that are sampled, and the bytes of one.
inline constexpr int64_t kFingerprintBlocks = 4096;
inline constexpr int64_t kFingerprintBlockBytes = 4096;

// Reads from the mapped files; kIo where that failed. Any thread.
Result<Sha256Digest> FingerprintOf(const ModelSpec& spec, const Weights& weights);

}  // namespace k2
