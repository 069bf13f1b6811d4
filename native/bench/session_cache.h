// Cached rows of a synthetic session: random latents and rope keys, appended by the backend itself.
#pragma once

#include <algorithm>

#include "bench/bench.h"
#include "model/kv_cache.h"

namespace k2::bench {

// What is appended at every position: random numbers that have no more than 16 bits, as the cache holds them,
// and no outliers, as latents are normalised.
class Latents {
 public:
  Latents(const ModelSpec& spec, int64_t positions, uint64_t seed)
      : latent_(positions, spec.kv_rank, seed, 1, false),
        rope_key_(positions, spec.rope_dim, seed + 1, 1, false) {
    for (const Tensor& x : {latent(), rope_key()}) {
      for (int64_t i = 0; i < x.rows * x.columns; ++i) x.data[i] = Bf16ToFloat(FloatToBf16(x.data[i]));
    }
  }
  Tensor latent() const { return latent_.tensor(); }
  Tensor rope_key() const { return rope_key_.tensor(); }

 private:
  Activations latent_, rope_key_;
};

// A cache whose first latents.rows positions hold them in every layer; `past` of those count as computed.
inline Result<KvCache> FilledCache(Bench& bench, int64_t layers, const Latents& latents, int64_t past) {
  KvCache cache(layers, bench.backend().CacheBytesPerToken(bench.shapes()));
  const int64_t positions = latents.latent().rows;
  K2_RETURN_IF_ERROR(cache.Reserve(positions));
  for (int64_t layer = 0; layer < layers; ++layer) {
    for (int64_t first = 0; first < positions; first += bench.batch_tokens()) {
      const int64_t count = std::min(bench.batch_tokens(), positions - first);
      const Segment segment{.first_row = 0,
                            .rows = count,
                            .first_position = first,
                            .form = AttentionForm::kAbsorbed,
                            .cache = cache.Layer(layer)};
      const Tensor latent = latents.latent(), key = latents.rope_key();
      bench.backend().AppendKv({.latent = {latent.row(first), count, latent.columns, latent.stride},
                                .rope_key = {key.row(first), count, key.columns, key.stride},
                                .segments = {&segment, 1}});
    }
  }
  cache.Commit(past, AttentionForm::kAbsorbed);
  return cache;
}

// What attention of one layer must do at least in that form; a multiply-add counts as two.
inline double AttentionOperations(const ModelSpec& s, int64_t sessions, int64_t rows_each, int64_t context,
                                  AttentionForm form) {
  const double rows = static_cast<double>(rows_each), past = static_cast<double>(context);
  const double seen = past + (rows + 1) / 2;
  const double rank = static_cast<double>(s.kv_rank), rope = static_cast<double>(s.rope_dim);
  const double nope = static_cast<double>(s.nope_dim), value = static_cast<double>(s.value_dim);
  const double kv_b = 2 * rank * (nope + value);
  const double absorbed = rows * (kv_b + seen * (4 * rank + 2 * rope));
  const double expanded = (past + rows) * kv_b + rows * seen * 2 * (nope + rope + value);
  return static_cast<double>(sessions * s.heads) * (form == AttentionForm::kAbsorbed ? absorbed : expanded);
}

}  // namespace k2::bench
