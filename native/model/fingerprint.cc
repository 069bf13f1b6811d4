#include "model/fingerprint.h"

#include <algorithm>
#include <bit>
#include <vector>

namespace k2 {
namespace {

void AddSpec(Sha256& hash, const ModelSpec& s) {
  for (const int64_t number : {s.hidden,
                               s.layers,
                               s.heads,
                               s.q_rank,
                               s.kv_rank,
                               s.nope_dim,
                               s.rope_dim,
                               s.value_dim,
                               s.vocab,
                               s.dense_width,
                               s.expert_width,
                               s.experts,
                               s.chosen,
                               s.shared_experts,
                               s.first_dense_layers,
                               s.moe_layer_frequency,
                               static_cast<int64_t>(s.scoring),
                               static_cast<int64_t>(s.routing),
                               s.groups,
                               s.top_groups,
                               static_cast<int64_t>(s.normalize_top_k)}) {
    hash.AddInteger(static_cast<uint64_t>(number));
  }
  for (const double number :
       {s.routed_scaling, s.norm_eps, s.latent_norm_eps, s.rope_theta, s.yarn_factor, s.yarn_beta_fast,
        s.yarn_beta_slow, s.yarn_mscale, s.yarn_mscale_all_dim, s.yarn_original_positions}) {
    hash.AddInteger(std::bit_cast<uint64_t>(number));
  }
}

// Bytes that lie together in a file.
struct Range {
  const uint8_t* data;
  int64_t bytes;
};

void AddWeight(Sha256& hash, const Weight& w, std::vector<Range>& ranges) {
  for (const int64_t number : {static_cast<int64_t>(w.present()), static_cast<int64_t>(w.storage),
                               static_cast<int64_t>(w.scale_storage), w.rows, w.columns,
                               static_cast<int64_t>(w.block_rows), static_cast<int64_t>(w.block_columns)}) {
    hash.AddInteger(static_cast<uint64_t>(number));
  }
  if (w.present()) ranges.push_back({w.data, w.rows * w.row_bytes()});
  if (w.scales != nullptr) ranges.push_back({w.scales, w.scale_bytes()});
}

// `blocks` of all ranges: several of each where there are more blocks than ranges, else some of the ranges,
// in even steps.
void AddSamples(Sha256& hash, const std::vector<Range>& ranges, int64_t blocks) {
  const int64_t count = static_cast<int64_t>(ranges.size());
  if (count == 0 || blocks <= 0) return;
  const int64_t sampled = std::min(count, blocks), each = blocks / sampled;
  for (int64_t i = 0; i < sampled; ++i) {
    const Range& range = ranges[static_cast<size_t>(i * count / sampled)];
    const int64_t size = std::min(range.bytes, kFingerprintBlockBytes);
    if (range.bytes <= each * kFingerprintBlockBytes) {
      hash.Add(range.data, static_cast<size_t>(range.bytes));
      continue;
    }
    for (int64_t block = 0; block < each; ++block) {
      const int64_t first = each == 1 ? (range.bytes - size) / 2 : (range.bytes - size) / (each - 1) * block;
      hash.Add(range.data + first, static_cast<size_t>(size));
    }
  }
}

}  // namespace

Result<Sha256Digest> FingerprintOf(const ModelSpec& spec, const Weights& weights) {
  Sha256 hash;
  AddSpec(hash, spec);
  // Experts are nearly all of the weights and much alike; a change that leaves them alone must show too.
  std::vector<Range> common, experts;
  for (const Weight* w : {&weights.embed, &weights.final_norm, &weights.head}) AddWeight(hash, *w, common);
  for (const LayerWeights& l : weights.layers) {
    for (const Weight* w :
         {&l.input_norm, &l.post_attention_norm, &l.q, &l.q_a, &l.q_a_norm, &l.q_b, &l.kv_a, &l.kv_a_norm,
          &l.kv_b, &l.o, &l.gate, &l.up, &l.down, &l.router, &l.router_bias}) {
      AddWeight(hash, *w, common);
    }
    for (const Weight& w : l.expert_weights) AddWeight(hash, w, experts);
  }
  const int64_t for_experts = experts.empty() ? 0 : kFingerprintBlocks / 2;
  AddSamples(hash, common, kFingerprintBlocks - for_experts);
  AddSamples(hash, experts, for_experts);
  K2_RETURN_IF_ERROR(weights.CheckFiles());
  return hash.Finish();
}

}  // namespace k2
