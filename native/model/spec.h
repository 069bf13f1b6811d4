// The model's dimensions and constants, all read from config.json by TypeScript
// (lib/checkpoint/model-config). Letters of docs/shapes.md stand beside the fields.
#pragma once

#include <cstdint>
#include <vector>

#include "base/status.h"
#include "ops/backend.h"

namespace k2 {

struct ModelSpec {
  int64_t hidden = 0;        // D
  int64_t layers = 0;        // L
  int64_t heads = 0;         // H
  int64_t q_rank = 0;        // Rq; 0: the query is projected directly
  int64_t kv_rank = 0;       // R
  int64_t nope_dim = 0;      // Dn
  int64_t rope_dim = 0;      // Dr
  int64_t value_dim = 0;     // Dv
  int64_t vocab = 0;         // V
  int64_t dense_width = 0;   // F of dense layers
  int64_t expert_width = 0;  // F of routed experts
  int64_t experts = 0;       // E; 0: a dense model
  int64_t chosen = 0;        // K
  int64_t shared_experts = 0;
  int64_t first_dense_layers = 0;
  int64_t moe_layer_frequency = 1;
  Scoring scoring = Scoring::kSigmoid;
  Routing routing = Routing::kNoAuxTc;
  int64_t groups = 1;
  int64_t top_groups = 1;
  bool normalize_top_k = true;
  double routed_scaling = 1;
  double norm_eps = 1e-6;
  double latent_norm_eps = 1e-6;
  double rope_theta = 10000;
  double yarn_factor = 0;  // 0: no rope scaling
  double yarn_beta_fast = 32;
  double yarn_beta_slow = 1;
  double yarn_mscale = 1;
  double yarn_mscale_all_dim = 0;
  double yarn_original_positions = 4096;

  bool IsMoeLayer(int64_t layer) const {
    return experts > 0 && layer >= first_dense_layers && layer % moe_layer_frequency == 0;
  }
  // Layers with routed experts.
  int64_t MoeLayers() const;
  int64_t shared_width() const { return shared_experts * expert_width; }
  BackendShapes Shapes(int64_t batch_tokens) const;
};

// Native code trusts no caller: sizes are positive, products fit, counts agree.
Status CheckSpec(const ModelSpec& spec);

// What YaRN makes of the rotary embedding.
struct RopeTable {
  std::vector<double> inverse_frequencies;  // [Dr / 2]
  double magnitude = 1;                     // factor on cos and sin
  double attention_scale = 1;               // (Dn + Dr)^-1/2, times the square of YaRN's m
};

RopeTable MakeRopeTable(const ModelSpec& spec);

}  // namespace k2
