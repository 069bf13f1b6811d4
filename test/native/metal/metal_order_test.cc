// Ways of the Metal backend that the conformance suite's cases do not take: parts of experts in formats of
// their own, and attention in several passes over the blocks of positions. A row alone goes one way, all rows
// at once the other, and the bits must be the same.
#include <cmath>

#include "check.h"
#include "conformance_attention.h"

namespace k2::test {
namespace {

const Coding kInt4 = {Storage::kInt4, Storage::kBf16, 1, 32};
const Coding kBf16 = {Storage::kBf16};
const Coding kFp8 = {Storage::kF8E4m3, Storage::kF32, 16, 32};

TEST(metal_experts_of_mixed_formats) {
  constexpr int64_t kHidden = 64, kWidth = 96, kExperts = 5, kChosen = 2, kTokens = 21;
  const Coding codings[][3] = {{kInt4, kBf16, kFp8}, {kBf16, kBf16, kInt4}, {kFp8, kInt4, kFp8}};
  std::vector<std::unique_ptr<StoredWeight>> weights;
  std::vector<Expert> experts;
  for (size_t e = 0; e < kExperts; ++e) {
    const auto add = [&](const Coding& coding, int64_t rows, int64_t columns) {
      weights.push_back(std::make_unique<StoredWeight>(coding, rows, columns, weights.size() + 1));
      return &weights.back()->weight();
    };
    const Coding(&of)[3] = codings[e % 3];
    const Weight *gate = add(of[0], kWidth, kHidden), *up = add(of[1], kWidth, kHidden);
    experts.push_back({gate, up, add(of[2], kHidden, kWidth)});
  }
  const Matrix x = RandomActivations(kTokens, kHidden, 8);
  std::vector<int32_t> ids;
  std::vector<float> shares;
  for (int32_t t = 0; t < kTokens; ++t) {
    ids.push_back(t % 3);
    ids.push_back(3 + t % 2);
    shares.insert(shares.end(), {0.25f, 0.5f});
  }
  BackendShapes shapes = SmallShapes();
  shapes.experts = kExperts;
  shapes.chosen = kChosen;
  shapes.expert_width = kWidth;
  Conform({.name = "routed_experts of mixed formats",
           .shapes = shapes,
           .rows = kTokens,
           .columns = kHidden,
           .run =
               [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                 const Tensor out{y.row(first), count, y.columns, y.stride};
                 for (int64_t t = 0; t < count; ++t) std::fill_n(out.row(t), kHidden, 1.0f);
                 const Matrix part = x.Rows(first, count);
                 b.RoutedExperts({.x = part.tensor(),
                                  .expert_ids = ids.data() + first * kChosen,
                                  .expert_weights = shares.data() + first * kChosen,
                                  .chosen = kChosen,
                                  .experts = experts,
                                  .y = out});
               },
           .tolerance =
               [&](int64_t t, int64_t n) {
                 double bound = kSumming;
                 for (size_t j = 0; j < kChosen; ++j) {
                   const size_t at = static_cast<size_t>(t * kChosen) + j;
                   const Expert& e = experts[static_cast<size_t>(ids[at])];
                   const Bounded y =
                       FeedForwardBounded(Exactly(x.tensor().row(t), kHidden), *e.gate, *e.up, *e.down);
                   bound += shares[at] * y.bound[static_cast<size_t>(n)];
                 }
                 return bound;
               }});
}

// 34 rows behind 1010 positions: two or three blocks, of which a pass of 32 rows takes two and one of a row
// alone all.
TEST(metal_attention_in_several_passes) {
  Draws draws(41);
  const AttentionCase c({1, 8, 4, 8, 16, 64}, {{1010, 34, AttentionForm::kAbsorbed}}, kBf16, 0.5, draws);
  const std::vector<double> bounds = AttentionBounds(c);
  Conform({.name = "attention in several passes",
           .shapes = c.shapes(),
           .rows = c.rows,
           .columns = 8,
           .run =
               [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                 Caches caches(c, b);
                 caches.AppendAll();
                 caches.Attend(first, count, y);
               },
           .tolerance = [&](int64_t t, int64_t n) { return bounds[static_cast<size_t>(t * 8 + n)]; }});
}

}  // namespace
}  // namespace k2::test
