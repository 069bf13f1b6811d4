// The weights of a model as views into mapped files, built from the numeric table that TypeScript resolved.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/mapped_file.h"
#include "base/tensor.h"
#include "model/spec.h"

namespace k2 {

// The order is part of the contract with TypeScript (lib/addon/contract.ts, enum WeightSlot).
enum class WeightSlot {
  kEmbed,
  kFinalNorm,
  kHead,
  kInputNorm,
  kPostAttentionNorm,
  kQ,
  kQA,
  kQANorm,
  kQB,
  kKvA,
  kKvANorm,
  kKvB,
  kO,
  kDenseGate,
  kDenseUp,
  kDenseDown,
  kRouter,
  kRouterBias,
  kSharedGate,
  kSharedUp,
  kSharedDown,
  kExpertGate,
  kExpertUp,
  kExpertDown,
  kCount,
};

// Shapes in letters of docs/shapes.md.
struct LayerWeights {
  Weight input_norm;                   // [1, D]
  Weight post_attention_norm;          // [1, D]
  Weight q;                            // [H (Dn + Dr), D], without q rank
  Weight q_a, q_a_norm, q_b;           // [Rq, D], [1, Rq], [H (Dn + Dr), Rq]
  Weight kv_a;                         // [R + Dr, D]
  Weight kv_a_norm;                    // [1, R]
  Weight kv_b;                         // [H (Dn + Dv), R]
  Weight o;                            // [D, H Dv]
  Weight gate, up, down;               // the dense feed-forward, or the shared experts as one
  Weight router;                       // [E, D]
  Weight router_bias;                  // [1, E]
  std::vector<Weight> expert_weights;  // [E * 3]: gate, up, down of expert 0, ...
  std::vector<Expert> experts;         // [E] views into expert_weights
  bool moe = false;
};

struct Weights {
  Weight embed;       // [V, D]
  Weight final_norm;  // [1, D]
  Weight head;        // [V, D]
  std::vector<LayerWeights> layers;
  std::vector<MappedFile> files;

  // Names the first mapped file that lost a page; ok when none did.
  Status CheckFiles() const;
};

// Columns of the table, in the order of lib/addon/contract.ts, enum WeightField. Absent values are -1.
struct WeightRow {
  double slot, layer, expert, storage, rows, columns, file, offset, bytes;
  double scale_file, scale_offset, scale_bytes, scale_storage, block_rows, block_columns;
};
static_assert(sizeof(WeightRow) == 15 * sizeof(double));

// Told the bytes mapped so far and in all; false ends loading with kAborted.
using LoadProgress = std::function<bool(uint64_t done_bytes, uint64_t total_bytes)>;

// Maps the files and proves every row: known slot, shape as the specification wants it, bytes inside the
// file.
Result<std::unique_ptr<Weights>> LoadWeights(const ModelSpec& spec, const std::vector<std::string>& paths,
                                             std::span<const WeightRow> rows, const LoadProgress& progress);

}  // namespace k2
