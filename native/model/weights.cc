#include "model/weights.h"

#include <cmath>

namespace k2 {
namespace {

struct Shape {
  int64_t rows, columns;
};

Shape SlotShape(const ModelSpec& s, WeightSlot slot) {
  const int64_t query_width = s.heads * (s.nope_dim + s.rope_dim);
  switch (slot) {
    case WeightSlot::kEmbed:
    case WeightSlot::kHead:
      return {s.vocab, s.hidden};
    case WeightSlot::kFinalNorm:
    case WeightSlot::kInputNorm:
    case WeightSlot::kPostAttentionNorm:
      return {1, s.hidden};
    case WeightSlot::kQ:
      return {query_width, s.hidden};
    case WeightSlot::kQA:
      return {s.q_rank, s.hidden};
    case WeightSlot::kQANorm:
      return {1, s.q_rank};
    case WeightSlot::kQB:
      return {query_width, s.q_rank};
    case WeightSlot::kKvA:
      return {s.kv_rank + s.rope_dim, s.hidden};
    case WeightSlot::kKvANorm:
      return {1, s.kv_rank};
    case WeightSlot::kKvB:
      return {s.heads * (s.nope_dim + s.value_dim), s.kv_rank};
    case WeightSlot::kO:
      return {s.hidden, s.heads * s.value_dim};
    case WeightSlot::kDenseGate:
    case WeightSlot::kDenseUp:
      return {s.dense_width, s.hidden};
    case WeightSlot::kDenseDown:
      return {s.hidden, s.dense_width};
    case WeightSlot::kRouter:
      return {s.experts, s.hidden};
    case WeightSlot::kRouterBias:
      return {1, s.experts};
    case WeightSlot::kSharedGate:
    case WeightSlot::kSharedUp:
      return {s.shared_width(), s.hidden};
    case WeightSlot::kSharedDown:
      return {s.hidden, s.shared_width()};
    case WeightSlot::kExpertGate:
    case WeightSlot::kExpertUp:
      return {s.expert_width, s.hidden};
    case WeightSlot::kExpertDown:
      return {s.hidden, s.expert_width};
    case WeightSlot::kCount:
      break;
  }
  return {0, 0};
}

// Where a weight of this slot lives. Null when layer or expert does not exist or cannot hold it.
Weight* Place(const ModelSpec& spec, Weights& weights, WeightSlot slot, int64_t layer, int64_t expert) {
  switch (slot) {
    case WeightSlot::kEmbed:
      return &weights.embed;
    case WeightSlot::kFinalNorm:
      return &weights.final_norm;
    case WeightSlot::kHead:
      return &weights.head;
    default:
      break;
  }
  if (layer < 0 || layer >= spec.layers) return nullptr;
  LayerWeights& l = weights.layers[static_cast<size_t>(layer)];
  switch (slot) {
    case WeightSlot::kInputNorm:
      return &l.input_norm;
    case WeightSlot::kPostAttentionNorm:
      return &l.post_attention_norm;
    case WeightSlot::kQ:
      return &l.q;
    case WeightSlot::kQA:
      return &l.q_a;
    case WeightSlot::kQANorm:
      return &l.q_a_norm;
    case WeightSlot::kQB:
      return &l.q_b;
    case WeightSlot::kKvA:
      return &l.kv_a;
    case WeightSlot::kKvANorm:
      return &l.kv_a_norm;
    case WeightSlot::kKvB:
      return &l.kv_b;
    case WeightSlot::kO:
      return &l.o;
    case WeightSlot::kDenseGate:
      return l.moe ? nullptr : &l.gate;
    case WeightSlot::kDenseUp:
      return l.moe ? nullptr : &l.up;
    case WeightSlot::kDenseDown:
      return l.moe ? nullptr : &l.down;
    case WeightSlot::kSharedGate:
      return l.moe ? &l.gate : nullptr;
    case WeightSlot::kSharedUp:
      return l.moe ? &l.up : nullptr;
    case WeightSlot::kSharedDown:
      return l.moe ? &l.down : nullptr;
    case WeightSlot::kRouter:
      return l.moe ? &l.router : nullptr;
    case WeightSlot::kRouterBias:
      return l.moe ? &l.router_bias : nullptr;
    default:
      break;
  }
  if (!l.moe || expert < 0 || expert >= spec.experts) return nullptr;
  const int64_t part = static_cast<int64_t>(slot) - static_cast<int64_t>(WeightSlot::kExpertGate);
  return &l.expert_weights[static_cast<size_t>(expert * 3 + part)];
}

Status Malformed(size_t row, const std::string& what) {
  return Status(ErrorCode::kInvalidCheckpoint, "Expected " + what + " in row " + std::to_string(row) +
                                                   " of the weight table, got something else");
}

// The bytes [offset, offset + bytes) of a file, when they exist and are exactly `expected`.
const uint8_t* Bytes(const Weights& weights, double file, double offset, double bytes, int64_t expected) {
  if (!(file >= 0 && file < static_cast<double>(weights.files.size()))) return nullptr;
  const MappedFile& mapped = weights.files[static_cast<size_t>(file)];
  const double size = static_cast<double>(mapped.size());
  if (!(offset >= 0 && bytes >= 0 && offset <= size && bytes <= size - offset)) return nullptr;
  if (bytes != static_cast<double>(expected)) return nullptr;
  return mapped.data() + static_cast<uint64_t>(offset);
}

Result<Weight> ReadRow(const ModelSpec& spec, const Weights& weights, const WeightRow& row, size_t index) {
  const WeightSlot slot = static_cast<WeightSlot>(static_cast<int>(row.slot));
  const Shape shape = SlotShape(spec, slot);
  if (row.rows != static_cast<double>(shape.rows) || row.columns != static_cast<double>(shape.columns)) {
    return Malformed(index,
                     "shape [" + std::to_string(shape.rows) + ", " + std::to_string(shape.columns) + "]");
  }
  if (!(row.storage >= 0 && row.storage <= static_cast<double>(Storage::kInt4)))
    return Malformed(index, "a storage");
  Weight weight;
  weight.storage = static_cast<Storage>(static_cast<int>(row.storage));
  weight.rows = shape.rows;
  weight.columns = shape.columns;
  weight.file = static_cast<int32_t>(row.file);
  weight.data = Bytes(weights, row.file, row.offset, row.bytes, shape.rows * weight.row_bytes());
  if (weight.data == nullptr) return Malformed(index, "bytes inside the file that fit the shape");

  if (weight.storage == Storage::kF8E4m3 || weight.storage == Storage::kInt4) {
    const bool int4 = weight.storage == Storage::kInt4;
    if (!(row.block_columns >= 1 && row.block_columns <= static_cast<double>(INT32_MAX) &&
          row.block_rows >= 1 && row.block_rows <= static_cast<double>(INT32_MAX))) {
      return Malformed(index, "positive block sizes");
    }
    weight.block_rows = int4 ? 1 : static_cast<int32_t>(row.block_rows);
    weight.block_columns = static_cast<int32_t>(row.block_columns);
    if (int4 && weight.block_columns % 32 != 0 && weight.block_columns < weight.columns) {
      return Malformed(index, "an INT4 group that is a multiple of 32 or the whole row");
    }
    if (!(row.scale_storage >= 0 && row.scale_storage <= static_cast<double>(Storage::kF32))) {
      return Malformed(index, "a scale storage");
    }
    weight.scale_storage = static_cast<Storage>(static_cast<int>(row.scale_storage));
    weight.scales = Bytes(weights, row.scale_file, row.scale_offset, row.scale_bytes, weight.scale_bytes());
    if (weight.scales == nullptr) return Malformed(index, "scales inside the file that fit the shape");
  }
  return weight;
}

Status CheckComplete(const ModelSpec& spec, const Weights& weights) {
  const auto missing = [](const std::string& name) {
    return Status(ErrorCode::kInvalidCheckpoint, "Expected a weight for " + name + ", got none");
  };
  if (!weights.embed.present()) return missing("the embedding");
  if (!weights.final_norm.present()) return missing("the final norm");
  if (!weights.head.present()) return missing("the head");
  for (size_t i = 0; i < weights.layers.size(); ++i) {
    const LayerWeights& l = weights.layers[i];
    const bool query =
        spec.q_rank > 0 ? l.q_a.present() && l.q_a_norm.present() && l.q_b.present() : l.q.present();
    const bool attention = l.input_norm.present() && l.post_attention_norm.present() && l.kv_a.present() &&
                           l.kv_a_norm.present() && l.kv_b.present() && l.o.present();
    if (!query || !attention) return missing("the attention of layer " + std::to_string(i));
    const bool feed_forward = l.gate.present() && l.up.present() && l.down.present();
    if (!feed_forward && (!l.moe || spec.shared_experts > 0)) {
      return missing("the feed-forward of layer " + std::to_string(i));
    }
    if (!l.moe) continue;
    if (!l.router.present()) return missing("the router of layer " + std::to_string(i));
    for (size_t e = 0; e < l.expert_weights.size(); ++e) {
      if (!l.expert_weights[e].present()) {
        return missing("expert " + std::to_string(e / 3) + " of layer " + std::to_string(i));
      }
    }
  }
  return {};
}

}  // namespace

Status Weights::CheckFiles() const {
  for (const MappedFile& file : files) {
    if (file.faulted()) {
      return Status(ErrorCode::kIo,
                    "Expected " + file.path() + " to stay readable, got a page that could not be read");
    }
  }
  return {};
}

Result<std::unique_ptr<Weights>> LoadWeights(const ModelSpec& spec, const std::vector<std::string>& paths,
                                             std::span<const WeightRow> rows, const LoadProgress& progress) {
  auto weights = std::make_unique<Weights>();
  weights->files.reserve(paths.size());
  uint64_t total_bytes = 0, done_bytes = 0;
  for (const std::string& path : paths) {
    Result<MappedFile> file = MappedFile::Open(path);
    if (!file.ok()) return file.status();
    weights->files.push_back(std::move(file.value()));
    total_bytes += weights->files.back().size();
  }
  // Mapping is instant; what takes time at 70,000 weights is proving the table, so progress follows its rows.
  const auto report = [&](size_t row) {
    done_bytes = rows.empty() ? total_bytes : total_bytes / rows.size() * row;
    return progress == nullptr || progress(row == rows.size() ? total_bytes : done_bytes, total_bytes);
  };
  const Status aborted(ErrorCode::kAborted, "Expected loading to finish, got an abort");
  weights->layers.resize(static_cast<size_t>(spec.layers));
  for (int64_t i = 0; i < spec.layers; ++i) {
    LayerWeights& layer = weights->layers[static_cast<size_t>(i)];
    layer.moe = spec.IsMoeLayer(i);
    if (layer.moe) layer.expert_weights.resize(static_cast<size_t>(spec.experts) * 3);
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    const WeightRow& row = rows[i];
    if (i % 8192 == 0 && !report(i)) return aborted;
    if (!(row.slot >= 0 && row.slot < static_cast<double>(WeightSlot::kCount)))
      return Malformed(i, "a weight slot");
    if (!(std::fabs(row.layer) < 1e6 && std::fabs(row.expert) < 1e6))
      return Malformed(i, "a layer and an expert");
    const WeightSlot slot = static_cast<WeightSlot>(static_cast<int>(row.slot));
    Weight* place =
        Place(spec, *weights, slot, static_cast<int64_t>(row.layer), static_cast<int64_t>(row.expert));
    if (place == nullptr || place->present()) return Malformed(i, "a weight that the model has, once");
    Result<Weight> weight = ReadRow(spec, *weights, row, i);
    if (!weight.ok()) return weight.status();
    *place = weight.value();
  }
  if (!report(rows.size())) return aborted;
  K2_RETURN_IF_ERROR(CheckComplete(spec, *weights));
  for (LayerWeights& layer : weights->layers) {
    for (size_t e = 0; e + 2 < layer.expert_weights.size(); e += 3) {
      layer.experts.push_back(
          {&layer.expert_weights[e], &layer.expert_weights[e + 1], &layer.expert_weights[e + 2]});
    }
  }
  return weights;
}

}  // namespace k2
