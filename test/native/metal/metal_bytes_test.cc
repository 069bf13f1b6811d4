// What the Metal kernels read, counted byte by byte: a decode step reads every byte of the weights that it
// needs once, and an INT4 weight of K2 takes 4.5 bits. And the numbers at the true row lengths of K2, where
// the tolerances are those of float sums: nothing is rounded to 16 bits.
#include <cmath>
#include <numeric>

#include "check.h"
#include "conformance_attention.h"
#include "emulated_device.h"
#include "gpu/emulator.h"
#include "metal/metal_backend.h"

namespace k2::test {
namespace {

constexpr Coding kInt4 = {Storage::kInt4, Storage::kBf16, 1, 32};
constexpr Coding kBf16 = {Storage::kBf16};
constexpr Coding kFp8 = {Storage::kF8E4m3, Storage::kF32, 128, 128};

BackendShapes K2Shapes() {
  return {.hidden = 7168,
          .heads = 64,
          .kv_rank = 512,
          .nope_dim = 128,
          .rope_dim = 64,
          .value_dim = 128,
          .experts = 2,
          .chosen = 1,
          .expert_width = 2048,
          .dense_width = 2048,
          .widest_input = 18432,
          .batch_tokens = 8};
}

std::unique_ptr<Backend> MakeMetal() {
  std::unique_ptr<Backend> backend = MakeEmulatedMetal(1, When::kAtOnce);
  EXPECT(backend->Prepare(K2Shapes()).ok());
  return backend;
}

void Watch(emulator::ReadCounts& counts, const StoredWeight& stored) {
  const Weight& w = stored.weight();
  counts.Watch(w.data, static_cast<size_t>(w.rows * w.row_bytes()));
  if (w.scales == nullptr || w.block_columns == 0) return;
  const int64_t scale_rows = (w.rows + w.block_rows - 1) / w.block_rows;
  counts.Watch(w.scales, static_cast<size_t>(scale_rows * w.scale_columns() * StorageBytes(w.scale_storage)));
}

void ExpectWithin(const char* what, const Matrix& y, int64_t row, const Bounded& expected) {
  for (size_t n = 0; n < expected.value.size(); ++n) {
    const double error = std::fabs(y.at(row, static_cast<int64_t>(n)) - expected.value[n]);
    if (error <= expected.bound[n]) continue;
    return Fail(__FILE__, __LINE__,
                std::string(what) + ": number " + std::to_string(n) + " is off by " + std::to_string(error) +
                    ", allowed " + std::to_string(expected.bound[n]));
  }
}

TEST(metal_linear_of_k2_row_lengths) {
  const std::unique_ptr<Backend> metal = MakeMetal();
  for (const int64_t columns : {512, 1536, 7168, 8192, 18432}) {
    for (const Coding& coding : {kBf16, kFp8, kInt4}) {
      const StoredWeight w(coding, 21, columns, static_cast<uint64_t>(columns));
      const Matrix x = RandomActivations(6, columns, 5);
      for (const int64_t tokens : {1, 6}) {
        Matrix y(tokens, 21, NAN);
        emulator::ReadCounts counts;
        Watch(counts, w);
        const Matrix part = x.Rows(0, tokens);
        metal->Linear({.x = part.tensor(), .w = &w.weight(), .y = y.tensor()});
        EXPECT(metal->Synchronize().ok());
        EXPECT(counts.Times(w.weight().data) == (tokens == 1 ? 1 : 2));  // 6 tokens are two tiles
        if (coding.storage == Storage::kInt4)
          EXPECT(counts.Times(w.weight().scales) == (tokens == 1 ? 1 : 2));
        EXPECT(counts.other_bytes() == 0);
        for (int64_t t = 0; t < tokens; ++t) {
          const Bounded exact = Exactly(x.tensor().row(t), columns);
          ExpectWithin("linear", y, t, LinearBounded(exact, w.weight(), true));
        }
      }
    }
  }
}

// One expert of two, with rows of the lengths given.
void ExpectExpertBytes(int64_t hidden, int64_t width) {
  const std::unique_ptr<Backend> metal = MakeMetal();
  std::vector<std::unique_ptr<StoredWeight>> weights;
  std::vector<Expert> experts;
  for (int e = 0; e < 2; ++e) {
    const auto add = [&](int64_t rows, int64_t columns) {
      weights.push_back(std::make_unique<StoredWeight>(kInt4, rows, columns, weights.size() + 1));
      return &weights.back()->weight();
    };
    const Weight *gate = add(width, hidden), *up = add(width, hidden);
    experts.push_back({gate, up, add(hidden, width)});
  }
  const Matrix x = RandomActivations(1, hidden, 3);
  Matrix y(1, hidden, 0.25f);
  const int32_t id = 1;
  const float weight = 0.5f;
  emulator::ReadCounts counts;
  for (const auto& w : weights) Watch(counts, *w);
  metal->RoutedExperts({.x = x.tensor(),
                        .expert_ids = &id,
                        .expert_weights = &weight,
                        .chosen = 1,
                        .experts = experts,
                        .y = y.tensor()});
  EXPECT(metal->Synchronize().ok());
  for (size_t i = 0; i < weights.size(); ++i) {
    const int64_t times = i < 3 ? 0 : 1;  // of an expert that nobody chose, nothing
    EXPECT(counts.Times(weights[i]->weight().data) == times);
    EXPECT(counts.Times(weights[i]->weight().scales) == times);
  }
  EXPECT(counts.other_bytes() == 0);
  EXPECT(8.0 * static_cast<double>(counts.watched_bytes()) == 4.5 * 3 * static_cast<double>(hidden * width));

  const Bounded out =
      FeedForwardBounded(Exactly(x.data.data(), hidden), *experts[1].gate, *experts[1].up, *experts[1].down);
  for (int64_t n = 0; n < hidden; ++n) {
    const size_t i = static_cast<size_t>(n);
    EXPECT_NEAR(y.at(0, n), 0.25 + 0.5 * out.value[i], 0.5 * out.bound[i] + 1e-6);
  }
}

TEST(metal_experts_read_four_and_a_half_bits_a_weight) {
  ExpectExpertBytes(7168, 64);
  ExpectExpertBytes(64, 2048);
}

// A decoded token reads W_UK and W_UV once, for all heads, and gives the numbers of the reference.
TEST(metal_attention_of_k2_shapes) {
  Draws draws(40);
  AttentionCase c({64, 128, 64, 128, 512, 64}, {{20, 1, AttentionForm::kAbsorbed}}, kBf16, 0.05, draws);
  const std::unique_ptr<Backend> metal = MakeMetal(), reference = MakeReference(K2Shapes());
  Matrix y(1, 64 * 128, NAN), expected(1, 64 * 128, NAN);
  Caches caches(c, *metal), expected_caches(c, *reference);
  caches.AppendAll();
  EXPECT(metal->Synchronize().ok());
  emulator::ReadCounts counts;
  Watch(counts, c.kv_b);
  caches.Attend(0, 1, y.tensor());
  EXPECT(metal->Synchronize().ok());
  EXPECT(counts.Times(c.kv_b.weight().data) == 1);
  expected_caches.AppendAll();
  expected_caches.Attend(0, 1, expected.tensor());
  const std::vector<double> bounds = AttentionBounds(c);
  for (size_t i = 0; i < bounds.size(); ++i) EXPECT_NEAR(y.data[i], expected.data[i], bounds[i]);
}

}  // namespace
}  // namespace k2::test
