// One struct per op: the contract of a computation. Shapes are in the comments with the letters of
// docs/shapes.md:
//   T tokens in this call   D hidden   H heads   R kv rank   Dn nope   Dr rope   Dv value
//   E experts   K chosen experts   F expert hidden   V vocabulary   S cached positions
// Every op treats its rows independently and adds in an order that depends on the row's own sizes alone, so
// the bits of a row never depend on its neighbours or on the number of threads.
#pragma once

#include <cstdint>
#include <limits>
#include <span>

#include "base/tensor.h"

namespace k2 {

struct EmbedParams {
  std::span<const int32_t> ids;  // [T], each in [0, V)
  const Weight* table;           // [V, D]
  Tensor y;                      // [T, D]
};

// y = w * x / sqrt(mean(x^2) + eps)
struct RmsNormParams {
  Tensor x;         // [T, N]
  const Weight* w;  // [1, N]
  double eps;
  Tensor y;  // [T, N]; may be x itself
};

// y = x W^T
struct LinearParams {
  Tensor x;         // [T, N_in]
  const Weight* w;  // [N_out, N_in]
  Tensor y;         // [T, N_out]; may not alias x
  // The router's logits decide between near-equal experts: x and w are then multiplied as floats, never
  // rounded.
  bool full_precision = false;
};

// Rotates the pairs (2i, 2i+1) of each head's rope part by position * inverse_frequencies[i], then scales by
// `magnitude`.
struct RopeParams {
  Tensor x;  // [T, heads * head_width]; the rope part is the end of each head
  int64_t heads;
  int64_t head_width;
  std::span<const int64_t> positions;           // [T]
  std::span<const double> inverse_frequencies;  // [Dr / 2]
  double magnitude;
};

// What the latents of cached positions are stored in. Rope keys keep 16 bits in either.
enum class CacheType : uint8_t {
  kBf16,  // or more
  kInt8,  // 8 bits, with a scale for every kLatentGroup columns of a position
};
constexpr int64_t kLatentGroup = 128;

// A session's cache in one layer: position s lives in page s / page_tokens. The bytes inside a page belong to
// the backend.
struct CacheView {
  std::span<uint8_t* const> pages;
  int64_t page_tokens;
};

enum class AttentionForm : uint8_t {
  kAbsorbed,  // scores against the latent itself: few tokens
  kExpanded,  // keys and values of each head rebuilt from the latent: many tokens share that cost
};

// Consecutive rows of a batch that belong to one session: positions first_position, first_position + 1, ...
struct Segment {
  int64_t first_row;
  int64_t rows;
  int64_t first_position;
  AttentionForm form;
  CacheView cache;
};

// Stores latent and rotated rope key of each row at its position.
struct AppendKvParams {
  Tensor latent;    // [T, R], normalised
  Tensor rope_key;  // [T, Dr], rotated
  std::span<const Segment> segments;
};

// Causal attention over the cache (which already holds the rows themselves).
//   score(t, s, h) = scale * (q_nope . W_UK[h] c_s + q_rope . k_s),   y[t, h] = W_UV[h] sum_s softmax(score)
//   c_s
struct LatentAttentionParams {
  Tensor q;            // [T, H * (Dn + Dr)], rope part rotated
  const Weight* kv_b;  // [H * (Dn + Dv), R]: per head W_UK, then W_UV
  int64_t heads, nope_dim, rope_dim, value_dim, kv_rank;
  double scale;
  std::span<const Segment> segments;
  Tensor y;  // [T, H * Dv]
};

enum class Scoring : uint8_t { kSigmoid, kSoftmax };
enum class Routing : uint8_t { kNoAuxTc, kGreedy, kGroupLimitedGreedy };

// Scores are the sigmoid or softmax of the logits; the K largest of score + bias are chosen. Unless routing
// is kGreedy, only experts of the top_groups best groups can be: a group counts the sum of its two largest
// (kNoAuxTc) or its largest. The weight of a chosen expert is its score, divided by the sum of the chosen
// scores where `normalize` says so, times routed_scaling; the routings other than kNoAuxTc (DeepSeek-V2) do
// one or the other, and divide only for K > 1. Ties are broken by the lower expert id; ids of a row are
// written in ascending order.
struct RouterParams {
  Tensor logits;       // [T, E]
  const Weight* bias;  // [1, E] selection bias, or an absent weight
  int64_t experts, chosen, groups, top_groups;
  Scoring scoring;
  Routing routing;
  bool normalize;
  double routed_scaling;
  int32_t* expert_ids;    // [T, K]
  float* expert_weights;  // [T, K]
};

struct Expert {
  const Weight* gate;  // [F, D]
  const Weight* up;    // [F, D]
  const Weight* down;  // [D, F]
};

// y += sum over the chosen experts, in ascending id, of weight * down(silu(gate x) * up x). Experts outside
// [first_expert, end_expert) are left out, and only their shapes are looked at: calls with ranges that follow
// one another give the bits of one call with all experts.
struct RoutedExpertsParams {
  Tensor x;                     // [T, D]
  const int32_t* expert_ids;    // [T, K], ascending in a row
  const float* expert_weights;  // [T, K]
  int64_t chosen;
  std::span<const Expert> experts;  // [E]
  int32_t first_expert = 0;
  int32_t end_expert = std::numeric_limits<int32_t>::max();
  Tensor y;  // [T, D]
};

// y = down(silu(gate x) * up x)
struct FeedForwardParams {
  Tensor x;  // [T, D]
  Expert weights;
  Tensor y;  // [T, D]; may not alias x
};

// y = silu(gate) * up
struct SwiGluParams {
  Tensor gate, up, y;  // [T, F]; y may be gate
};

// y += x
struct AddParams {
  Tensor x, y;  // [T, N]
};

}  // namespace k2
