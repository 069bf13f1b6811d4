#include "tiny_model.h"

#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

namespace k2::test {
namespace {

class Writer {
 public:
  Writer(TinyModel* model, uint32_t seed) : model_(model), random_(seed) {}

  void Add(WeightSlot slot, int64_t layer, int64_t expert, Storage storage, int64_t rows, int64_t columns,
           float spread) {
    WeightRow row{};
    row.slot = static_cast<double>(slot);
    row.layer = static_cast<double>(layer);
    row.expert = static_cast<double>(expert);
    row.storage = static_cast<double>(storage);
    row.rows = static_cast<double>(rows);
    row.columns = static_cast<double>(columns);
    row.scale_file = row.scale_offset = row.scale_bytes = row.scale_storage = row.block_rows =
        row.block_columns = -1;
    row.offset = static_cast<double>(bytes_.size());
    const bool norm = spread == 0;
    if (storage == Storage::kInt4 || storage == Storage::kF8E4m3) {
      for (int64_t i = 0, n = rows * (storage == Storage::kInt4 ? (columns + 7) / 8 * 4 : columns); i < n;
           ++i) {
        const uint8_t byte = static_cast<uint8_t>(random_());
        // 0x7f and 0xff are NaN in e4m3.
        bytes_.push_back(storage == Storage::kF8E4m3 && (byte & 0x7f) == 0x7f ? 0 : byte);
      }
      row.bytes = static_cast<double>(bytes_.size()) - row.offset;
      row.block_rows = storage == Storage::kInt4 ? 1 : 16;
      row.block_columns = 32;
      row.scale_file = 0;
      row.scale_offset = static_cast<double>(bytes_.size());
      row.scale_storage = static_cast<double>(Storage::kF32);
      const int64_t scale_rows =
          (rows + static_cast<int64_t>(row.block_rows) - 1) / static_cast<int64_t>(row.block_rows);
      const float scale = storage == Storage::kInt4 ? spread / 4 : spread / 100;
      for (int64_t i = 0; i < scale_rows * ((columns + 31) / 32); ++i) Append(scale);
      row.scale_bytes = static_cast<double>(bytes_.size()) - row.scale_offset;
    } else {
      std::normal_distribution<float> normal(0, spread);
      for (int64_t i = 0; i < rows * columns; ++i) {
        const float value = norm ? 1.0f : normal(random_);
        storage == Storage::kF32 ? Append(value) : Append(FloatToBf16(value));
      }
      row.bytes = static_cast<double>(bytes_.size()) - row.offset;
    }
    model_->rows.push_back(row);
  }

  bool Save() {
    char path[] = "/tmp/k2-tiny-XXXXXX";
    const int file = mkstemp(path);
    if (file < 0) return false;
    const bool written = write(file, bytes_.data(), bytes_.size()) == static_cast<ssize_t>(bytes_.size());
    close(file);
    model_->paths.push_back(path);
    return written;
  }

 private:
  template <typename T>
  void Append(T value) {
    const size_t at = bytes_.size();
    bytes_.resize(at + sizeof(T));
    std::memcpy(&bytes_[at], &value, sizeof(T));
  }

  TinyModel* model_;
  std::mt19937 random_;
  std::vector<uint8_t> bytes_;
};

}  // namespace

TinyModel::~TinyModel() {
  for (const std::string& path : paths) unlink(path.c_str());
}

TinyModel MakeTinyModel(Storage attention, Storage experts, uint32_t seed, int64_t vocab) {
  TinyModel model;
  ModelSpec& s = model.spec;
  s.hidden = 64;
  s.layers = 3;
  s.heads = 3;
  s.q_rank = 32;
  s.kv_rank = 40;
  s.nope_dim = 16;
  s.rope_dim = 8;
  s.value_dim = 24;
  s.vocab = vocab;
  s.dense_width = 96;
  s.expert_width = 32;
  s.experts = 6;
  s.chosen = 2;
  s.shared_experts = 1;
  s.first_dense_layers = 1;
  s.routed_scaling = 1.5;
  s.yarn_factor = 4;
  s.yarn_original_positions = 64;
  s.yarn_mscale_all_dim = 1;

  Writer w(&model, seed);
  const auto spread = [](int64_t columns) { return 1.5f / std::sqrt(static_cast<float>(columns)); };
  const auto linear = [&](WeightSlot slot, int64_t layer, int64_t expert, Storage storage, int64_t rows,
                          int64_t columns) {
    w.Add(slot, layer, expert, storage, rows, columns, spread(columns));
  };
  const auto norm = [&](WeightSlot slot, int64_t layer, int64_t n) {
    w.Add(slot, layer, -1, Storage::kBf16, 1, n, 0);
  };
  const Storage plain = Storage::kBf16;
  w.Add(WeightSlot::kEmbed, -1, -1, plain, s.vocab, s.hidden, 1);
  norm(WeightSlot::kFinalNorm, -1, s.hidden);
  linear(WeightSlot::kHead, -1, -1, plain, s.vocab, s.hidden);
  for (int64_t l = 0; l < s.layers; ++l) {
    norm(WeightSlot::kInputNorm, l, s.hidden);
    norm(WeightSlot::kPostAttentionNorm, l, s.hidden);
    linear(WeightSlot::kQA, l, -1, attention, s.q_rank, s.hidden);
    norm(WeightSlot::kQANorm, l, s.q_rank);
    linear(WeightSlot::kQB, l, -1, attention, s.heads * (s.nope_dim + s.rope_dim), s.q_rank);
    linear(WeightSlot::kKvA, l, -1, attention, s.kv_rank + s.rope_dim, s.hidden);
    norm(WeightSlot::kKvANorm, l, s.kv_rank);
    linear(WeightSlot::kKvB, l, -1, plain, s.heads * (s.nope_dim + s.value_dim), s.kv_rank);
    linear(WeightSlot::kO, l, -1, plain, s.hidden, s.heads * s.value_dim);
    const bool moe = s.IsMoeLayer(l);
    const int64_t width = moe ? s.shared_width() : s.dense_width;
    linear(moe ? WeightSlot::kSharedGate : WeightSlot::kDenseGate, l, -1, plain, width, s.hidden);
    linear(moe ? WeightSlot::kSharedUp : WeightSlot::kDenseUp, l, -1, plain, width, s.hidden);
    linear(moe ? WeightSlot::kSharedDown : WeightSlot::kDenseDown, l, -1, plain, s.hidden, width);
    if (!moe) continue;
    linear(WeightSlot::kRouter, l, -1, plain, s.experts, s.hidden);
    w.Add(WeightSlot::kRouterBias, l, -1, Storage::kF32, 1, s.experts, 0.05f);
    for (int64_t e = 0; e < s.experts; ++e) {
      linear(WeightSlot::kExpertGate, l, e, experts, s.expert_width, s.hidden);
      linear(WeightSlot::kExpertUp, l, e, experts, s.expert_width, s.hidden);
      linear(WeightSlot::kExpertDown, l, e, experts, s.hidden, s.expert_width);
    }
  }
  if (!w.Save()) model.rows.clear();  // every use fails then, and says that weights are missing
  return model;
}

}  // namespace k2::test
