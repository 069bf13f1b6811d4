// Embedding, norm, linear, rope, SwiGLU, add and the feed-forward blocks of every backend.
#include <cmath>

#include "check.h"
#include "conformance.h"

namespace k2::test {
namespace {

// INT4 weights are also multiplied with int8 activations.
std::vector<Activations> ActivationsOf(const Coding& coding) {
  if (coding.storage != Storage::kInt4) return {Activations::k16Bit};
  return {Activations::k16Bit, Activations::kInt8};
}
const char* NameOf(Activations activations) { return activations == Activations::kInt8 ? " int8" : ""; }

constexpr int64_t kWidths[] = {1, 2, 7, 16, 31, 33, 64, 96, 129, 576, 1000};

TEST(conformance_embed) {
  Draws draws(1);
  for (int64_t columns : {1, 31, 64, 96, 200}) {
    for (const Coding& coding : Codings(columns)) {
      const StoredWeight table(coding, 50, columns, draws.Seed());
      std::vector<int32_t> ids(static_cast<size_t>(draws.Between(1, 40)));
      for (int32_t& id : ids) id = static_cast<int32_t>(draws.Between(0, 49));
      ids.front() = 49;
      Conform({.name = std::string("embed ") + StorageName(coding.storage) + " " + std::to_string(columns),
               .shapes = SmallShapes(),
               .rows = static_cast<int64_t>(ids.size()),
               .columns = columns,
               .run =
                   [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                     b.Embed({.ids = {ids.data() + first, static_cast<size_t>(count)},
                              .table = &table.weight(),
                              .y = {y.row(first), count, y.columns, y.stride}});
                   },
               .tolerance = [](int64_t, int64_t) { return 0.0; }});
    }
  }
}

TEST(conformance_rms_norm) {
  Draws draws(2);
  for (int64_t columns : kWidths) {
    for (const bool in_place : {false, true}) {
      for (const Storage storage : {Storage::kBf16, Storage::kF32}) {
        const Matrix x = RandomActivations(draws.Between(1, 20), columns, draws.Seed());
        const StoredWeight w({storage}, 1, columns, draws.Seed());
        const double eps = draws.Next() < 0.5 ? 1e-6 : 1e-2;
        std::vector<float> weight(static_cast<size_t>(columns));
        DecodeRow(w.weight(), 0, weight.data());
        Conform({.name = "rms_norm " + std::to_string(columns) + (in_place ? " in place" : ""),
                 .shapes = SmallShapes(),
                 .rows = x.rows,
                 .columns = columns,
                 .run =
                     [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                       const Tensor out{y.row(first), count, y.columns, y.stride};
                       Matrix part = x.Rows(first, count);
                       for (int64_t t = 0; in_place && t < count; ++t) {
                         std::memcpy(out.row(t), part.tensor().row(t), sizeof(float) * part.columns);
                       }
                       b.RmsNorm(
                           {.x = in_place ? out : part.tensor(), .w = &w.weight(), .eps = eps, .y = out});
                     },
                 .tolerance =
                     [&](int64_t t, int64_t n) {
                       double squares = 0;
                       for (int64_t k = 0; k < columns; ++k) squares += double{x.at(t, k)} * x.at(t, k);
                       const double factor = 1 / std::sqrt(squares / static_cast<double>(columns) + eps);
                       return 0x1p-20 * std::fabs(weight[static_cast<size_t>(n)] * x.at(t, n) * factor);
                     }});
      }
    }
  }
}

TEST(conformance_linear) {
  Draws draws(3);
  for (int64_t columns : kWidths) {
    for (const Coding& coding : Codings(columns)) {
      const bool full_precision = draws.Next() < 0.3;
      const Matrix x = RandomActivations(draws.Between(1, 40), columns, draws.Seed());
      const StoredWeight w(coding, draws.Between(1, 70), columns, draws.Seed());
      for (const Activations activations : ActivationsOf(coding)) {
        std::vector<Bounded> bounds;
        for (int64_t t = 0; t < x.rows; ++t) {
          bounds.push_back(LinearBounded(Exactly(&x.data[static_cast<size_t>(t * columns)], columns),
                                         w.weight(), full_precision, activations));
        }
        Conform({.name = std::string("linear ") + StorageName(coding.storage) + " [" +
                         std::to_string(x.rows) + ", " + std::to_string(columns) + "]" +
                         (full_precision ? " full precision" : "") + NameOf(activations),
                 .shapes = SmallShapes(),
                 .rows = x.rows,
                 .columns = w.weight().rows,
                 .run =
                     [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                       Matrix part = x.Rows(first, count);
                       b.Linear({.x = part.tensor(),
                                 .w = &w.weight(),
                                 .y = {y.row(first), count, y.columns, y.stride},
                                 .full_precision = full_precision});
                     },
                 .tolerance =
                     [&](int64_t t, int64_t n) {
                       return bounds[static_cast<size_t>(t)].bound[static_cast<size_t>(n)];
                     },
                 .activations = activations});
      }
    }
  }
}

TEST(conformance_rope) {
  Draws draws(4);
  for (int round = 0; round < 12; ++round) {
    const int64_t heads = draws.Between(1, 6), rope = 2 * draws.Between(1, 70),
                  nope = draws.Between(0, 1) * 24;
    const int64_t width = nope + rope;
    const double magnitude = draws.Next() < 0.5 ? 1.0 : 1.3;
    const Matrix x = RandomActivations(draws.Between(1, 30), heads * width, draws.Seed());
    std::vector<int64_t> positions;
    for (int64_t t = 0; t < x.rows; ++t) positions.push_back(draws.Between(0, 1 << draws.Between(0, 18)));
    std::vector<double> frequencies;
    for (int64_t i = 0; i < rope / 2; ++i) {
      frequencies.push_back(std::pow(50000.0, -2.0 * static_cast<double>(i) / static_cast<double>(rope)));
    }
    Conform({.name = "rope " + std::to_string(heads) + " heads of " + std::to_string(nope) + " + " +
                     std::to_string(rope),
             .shapes = SmallShapes(),
             .rows = x.rows,
             .columns = heads * width,
             .run =
                 [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                   const Tensor out{y.row(first), count, y.columns, y.stride};
                   for (int64_t t = 0; t < count; ++t) {
                     std::memcpy(out.row(t), x.tensor().row(first + t), sizeof(float) * x.columns);
                   }
                   b.Rope({.x = out,
                           .heads = heads,
                           .head_width = width,
                           .positions = {positions.data() + first, static_cast<size_t>(count)},
                           .inverse_frequencies = frequencies,
                           .magnitude = magnitude});
                 },
             .tolerance =
                 [&](int64_t t, int64_t n) {
                   const int64_t in_head = n % width;
                   if (in_head < nope) return 0.0;
                   const int64_t pair = n - (in_head - nope) % 2;
                   return 0x1p-22 * magnitude * (std::fabs(x.at(t, pair)) + std::fabs(x.at(t, pair + 1)));
                 }});
  }
}

TEST(conformance_swiglu) {
  Draws draws(5);
  for (int64_t columns : kWidths) {
    for (const bool in_place : {false, true}) {
      Matrix gate = RandomActivations(draws.Between(1, 30), columns, draws.Seed());
      const Matrix up = RandomActivations(gate.rows, columns, draws.Seed());
      gate.data[0] = -200;  // where e^-x overflows
      gate.data[gate.data.size() - 1] = 200;
      Conform({.name = "swiglu " + std::to_string(columns) + (in_place ? " in place" : ""),
               .shapes = SmallShapes(),
               .rows = gate.rows,
               .columns = columns,
               .run =
                   [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                     Matrix gates = gate.Rows(first, count), ups = up.Rows(first, count);
                     const Tensor out{y.row(first), count, y.columns, y.stride};
                     for (int64_t t = 0; in_place && t < count; ++t) {
                       std::memcpy(out.row(t), gates.tensor().row(t), sizeof(float) * gates.columns);
                     }
                     b.SwiGlu({.gate = in_place ? out : gates.tensor(), .up = ups.tensor(), .y = out});
                   },
               .tolerance =
                   [&](int64_t t, int64_t n) {
                     const double g = gate.at(t, n), u = up.at(t, n);
                     return 0x1p-20 * std::fabs(g / (1 + std::exp(-g)) * u) + 0x1p-120;
                   }});
    }
  }
}

TEST(conformance_add) {
  Draws draws(6);
  for (int64_t columns : kWidths) {
    const Matrix x = RandomActivations(draws.Between(1, 30), columns, draws.Seed());
    const Matrix start = RandomActivations(x.rows, columns, draws.Seed());
    Conform({.name = "add " + std::to_string(columns),
             .shapes = SmallShapes(),
             .rows = x.rows,
             .columns = columns,
             .run =
                 [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                   const Tensor out{y.row(first), count, y.columns, y.stride};
                   for (int64_t t = 0; t < count; ++t) {
                     std::memcpy(out.row(t), start.tensor().row(first + t), sizeof(float) * start.columns);
                   }
                   Matrix part = x.Rows(first, count);
                   b.Add({.x = part.tensor(), .y = out});
                 },
             .tolerance = [](int64_t, int64_t) { return 0.0; }});
  }
}

// Gate, up and down of one expert or dense block.
struct ExpertWeights {
  ExpertWeights(const Coding& coding, int64_t hidden, int64_t width, Draws& draws)
      : gate(coding, width, hidden, draws.Seed()),
        up(coding, width, hidden, draws.Seed()),
        down(Fitting(coding, width), hidden, width, draws.Seed()) {}

  // Per-channel INT4 has one group of all columns, which are others for `down`.
  static Coding Fitting(Coding coding, int64_t width) {
    if (coding.storage == Storage::kInt4 && coding.block_columns != 32)
      coding.block_columns = static_cast<int32_t>(width);
    return coding;
  }
  Expert expert() const { return {&gate.weight(), &up.weight(), &down.weight()}; }

  StoredWeight gate, up, down;
};

TEST(conformance_feed_forward) {
  Draws draws(7);
  for (const auto& [hidden, width] :
       {std::pair<int64_t, int64_t>{64, 96}, {96, 160}, {33, 20}, {33, 40}, {64, 32}}) {
    for (const Coding& coding : Codings(hidden)) {
      if (coding.block_columns == 96 || coding.block_columns == 128) continue;
      const Matrix x = RandomActivations(draws.Between(1, 20), hidden, draws.Seed());
      const ExpertWeights w(coding, hidden, width, draws);
      for (const Activations activations : ActivationsOf(coding)) {
        std::vector<Bounded> bounds;
        for (int64_t t = 0; t < x.rows; ++t) {
          bounds.push_back(FeedForwardBounded(Exactly(&x.data[static_cast<size_t>(t * hidden)], hidden),
                                              w.gate.weight(), w.up.weight(), w.down.weight(), activations));
        }
        BackendShapes shapes = SmallShapes();
        shapes.hidden = hidden;
        shapes.dense_width = width;
        Conform({.name = std::string("feed_forward ") + StorageName(coding.storage) + " " +
                         std::to_string(hidden) + " x " + std::to_string(width) + NameOf(activations),
                 .shapes = shapes,
                 .rows = x.rows,
                 .columns = hidden,
                 .run =
                     [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                       Matrix part = x.Rows(first, count);
                       b.FeedForward({.x = part.tensor(),
                                      .weights = w.expert(),
                                      .y = {y.row(first), count, y.columns, y.stride}});
                     },
                 .tolerance =
                     [&](int64_t t, int64_t n) {
                       return bounds[static_cast<size_t>(t)].bound[static_cast<size_t>(n)];
                     },
                 .activations = activations});
      }
    }
  }
}

// The experts of the range alone have numbers: whoever looks at the others' ends the program.
void RunRange(Backend& backend, RoutedExpertsParams p) {
  std::vector<Weight> weights;
  for (const Expert& expert : p.experts) {
    for (const Weight* w : {expert.gate, expert.up, expert.down}) {
      const int32_t e = static_cast<int32_t>(weights.size() / 3);
      weights.push_back(*w);
      if (e < p.first_expert || e >= p.end_expert) weights.back().data = weights.back().scales = nullptr;
    }
  }
  std::vector<Expert> experts;
  for (size_t i = 0; i < weights.size(); i += 3)
    experts.push_back({&weights[i], &weights[i + 1], &weights[i + 2]});
  p.experts = experts;
  backend.RoutedExperts(p);
}

TEST(conformance_routed_experts) {
  Draws draws(8);
  constexpr int64_t kExperts = 6;
  for (const auto& [hidden, width] : {std::pair<int64_t, int64_t>{64, 96}, {96, 64}, {33, 20}, {33, 40}}) {
    for (const Coding& coding : Codings(hidden)) {
      if (coding.block_columns == 96 || coding.block_columns == 128) continue;
      const int64_t chosen = draws.Between(1, 4);
      const Matrix x = RandomActivations(draws.Between(1, 40), hidden, draws.Seed());
      const Matrix start = RandomActivations(x.rows, hidden, draws.Seed());
      std::vector<std::unique_ptr<ExpertWeights>> weights;
      std::vector<Expert> experts;
      for (int64_t e = 0; e < kExperts; ++e) {
        weights.push_back(std::make_unique<ExpertWeights>(coding, hidden, width, draws));
        experts.push_back(weights.back()->expert());
      }
      std::vector<int32_t> ids;
      std::vector<float> shares;
      for (int64_t t = 0; t < x.rows; ++t) {
        // Every third row takes the same experts, so that some have many rows and some none.
        for (int64_t e = 0, left = chosen; left > 0; ++e) {
          if (t % 3 != 0 && draws.Next() * static_cast<double>(kExperts - e) > static_cast<double>(left))
            continue;
          ids.push_back(static_cast<int32_t>(e));
          shares.push_back(static_cast<float>(draws.Next()));
          --left;
        }
      }
      for (const Activations activations : ActivationsOf(coding)) {
        std::vector<double> bounds(static_cast<size_t>(x.rows * hidden), 0.0);
        for (int64_t t = 0; t < x.rows; ++t) {
          const Bounded row = Exactly(&x.data[static_cast<size_t>(t * hidden)], hidden);
          for (int64_t j = 0; j < chosen; ++j) {
            const size_t at = static_cast<size_t>(t * chosen + j);
            const Expert& expert = experts[static_cast<size_t>(ids[at])];
            const Bounded y = FeedForwardBounded(row, *expert.gate, *expert.up, *expert.down, activations);
            for (int64_t n = 0; n < hidden; ++n) {
              const size_t i = static_cast<size_t>(n);
              bounds[static_cast<size_t>(t * hidden + n)] +=
                  shares[at] * (y.bound[i] + kSumming * std::fabs(y.value[i])) +
                  kSumming * std::fabs(start.at(t, n));
            }
          }
        }
        BackendShapes shapes = SmallShapes();
        shapes.hidden = hidden;
        shapes.experts = kExperts;
        shapes.chosen = chosen;
        shapes.expert_width = width;
        Conform(
            {.name = std::string("routed_experts ") + StorageName(coding.storage) + " " +
                     std::to_string(hidden) + " x " + std::to_string(width) + ", " + std::to_string(x.rows) +
                     " rows" + NameOf(activations),
             .shapes = shapes,
             .rows = x.rows,
             .columns = hidden,
             .run =
                 [&](Backend& b, int64_t first, int64_t count, Tensor y) {
                   const Tensor out{y.row(first), count, y.columns, y.stride};
                   for (int64_t t = 0; t < count; ++t) {
                     std::memcpy(out.row(t), start.tensor().row(first + t), sizeof(float) * start.columns);
                   }
                   Matrix part = x.Rows(first, count);
                   b.RoutedExperts({.x = part.tensor(),
                                    .expert_ids = ids.data() + first * chosen,
                                    .expert_weights = shares.data() + first * chosen,
                                    .chosen = chosen,
                                    .experts = experts,
                                    .y = out});
                   Matrix ranged = start.Rows(first, count);
                   for (const auto& [begin, end] : {std::pair{0, 2}, {2, 3}, {3, int{kExperts}}}) {
                     RunRange(b, {.x = part.tensor(),
                                  .expert_ids = ids.data() + first * chosen,
                                  .expert_weights = shares.data() + first * chosen,
                                  .chosen = chosen,
                                  .experts = experts,
                                  .first_expert = begin,
                                  .end_expert = end,
                                  .y = ranged.tensor()});
                   }
                   for (int64_t t = 0; t < count; ++t) {
                     EXPECT(std::memcmp(ranged.tensor().row(t), out.row(t), sizeof(float) * start.columns) ==
                            0);
                   }
                 },
             .tolerance = [&](int64_t t, int64_t n) { return bounds[static_cast<size_t>(t * hidden + n)]; },
             .activations = activations});
      }
    }
  }
}

}  // namespace
}  // namespace k2::test
