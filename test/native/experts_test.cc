// The fused feed-forwards of the CPU backend against a double computation that rounds where they round, in
// every coding of gate, up and down; and the same bits for a row in any company, with any number of threads.
#include "cpu/experts.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>

#include "activations_twin.h"
#include "base/rng.h"
#include "check.h"
#include "cpu/interleave.h"
#include "linear_cases.h"

namespace k2::test {
namespace {

struct Sizes {
  int64_t hidden, width, experts, chosen;
};

struct Model {
  Model(const Sizes& sizes, const std::vector<Coding>& gate, const std::vector<Coding>& up,
        const std::vector<Coding>& down)
      : sizes(sizes) {
    for (int64_t e = 0; e < sizes.experts; ++e) {
      const auto add = [&](const std::vector<Coding>& codings, int64_t rows, int64_t columns) {
        const Coding& coding = codings[static_cast<size_t>(e) % codings.size()];
        weights.push_back(std::make_unique<StoredWeight>(coding, rows, columns, weights.size() + 1));
        return &weights.back()->weight();
      };
      const Weight* g = add(gate, sizes.width, sizes.hidden);
      const Weight* u = add(up, sizes.width, sizes.hidden);
      experts.push_back({g, u, add(down, sizes.hidden, sizes.width)});
    }
  }

  Sizes sizes;
  std::vector<std::unique_ptr<StoredWeight>> weights;
  std::vector<Expert> experts;
};

struct Choice {
  std::vector<int32_t> ids;
  std::vector<float> weights;
};

// Distinct ascending experts for each token.
Choice RandomChoice(const Sizes& sizes, int64_t tokens, uint64_t seed) {
  Choice choice;
  uint64_t counter = 0;
  for (int64_t t = 0; t < tokens; ++t) {
    std::vector<int32_t> all(static_cast<size_t>(sizes.experts));
    std::iota(all.begin(), all.end(), 0);
    for (size_t i = all.size() - 1; i > 0; --i) {
      std::swap(all[i], all[static_cast<size_t>(UniformAt(seed, counter++) * static_cast<double>(i + 1))]);
    }
    all.resize(static_cast<size_t>(sizes.chosen));
    std::sort(all.begin(), all.end());
    for (int32_t id : all) {
      choice.ids.push_back(id);
      choice.weights.push_back(static_cast<float>(0.1 + UniformAt(seed + 1, counter++)));
    }
  }
  return choice;
}

// Every set with 16-bit activations, and with those of 8 bits.
std::vector<LinearKernels> AllKernels() {
  std::vector<LinearKernels> all;
  for (Isa isa : SupportedIsas()) {
    for (const Activations activations : {Activations::k16Bit, Activations::kInt8})
      all.push_back(LinearKernelsFor(isa, activations));
  }
  return all;
}

struct Runner {
  Runner(const LinearKernels& kernels, int threads, const Sizes& sizes, int64_t tokens,
         int64_t copy_bytes = 0)
      : pool(std::move(ThreadPool::Create(threads).value())),
        scratch(kernels, *pool),
        experts(scratch, ElementwiseKernelsFor(kernels.isa), copy_bytes) {
    BackendShapes shapes = {};
    shapes.hidden = sizes.hidden;
    shapes.widest_input = std::max(sizes.hidden, sizes.width);
    shapes.experts = sizes.experts;
    shapes.chosen = sizes.chosen;
    shapes.expert_width = shapes.dense_width = sizes.width;
    shapes.batch_tokens = tokens;
    const size_t before = AllocatedBytes();
    EXPECT(scratch.Prepare(shapes).ok());
    EXPECT(experts.Prepare(shapes).ok());
    EXPECT(AllocatedBytes() - before == static_cast<size_t>(scratch.Bytes(shapes) + experts.Bytes(shapes)));
  }

  Matrix Route(const Model& model, const Matrix& x, const Choice& choice, int64_t first = 0) {
    const int64_t chosen = model.sizes.chosen;
    Matrix y(x.rows, x.columns, 0.5f);
    experts.RoutedExperts({.x = x.tensor(),
                           .expert_ids = choice.ids.data() + first * chosen,
                           .expert_weights = choice.weights.data() + first * chosen,
                           .chosen = chosen,
                           .experts = model.experts,
                           .y = y.tensor()});
    return y;
  }

  Matrix Feed(const Expert& expert, const Matrix& x) {
    Matrix y(x.rows, x.columns, std::nanf(""));
    experts.FeedForward({.x = x.tensor(), .weights = expert, .y = y.tensor()});
    return y;
  }

  std::unique_ptr<ThreadPool> pool;
  LinearScratch scratch;
  CpuExperts experts;
};

using Doubles = std::vector<double>;

// x W^T in double; `magnitude` receives sum |x w| per row.
Doubles Product(const LinearKernels& kernels, const Doubles& x, const Weight& w, Doubles* magnitude) {
  const std::vector<float> floats(x.begin(), x.end());
  const Doubles multiplied = AsMultiplied(kernels.format(w, false), floats.data(), w.columns);
  std::vector<float> row(static_cast<size_t>(w.columns));
  Doubles y(static_cast<size_t>(w.rows));
  magnitude->assign(y.size(), 0);
  for (size_t n = 0; n < y.size(); ++n) {
    DecodeRow(w, static_cast<int64_t>(n), row.data());
    for (size_t k = 0; k < row.size(); ++k) {
      y[n] += multiplied[k] * row[k];
      (*magnitude)[n] += std::fabs(multiplied[k] * row[k]);
    }
  }
  return y;
}

// down(silu(gate x) * up x), and a bound for the error of each of its numbers. The rounding of h may fall the
// other way where h was already a little off: one unit of bf16 on some of the numbers, hence on all in the
// bound; of integers one unit on those that are undecided.
Doubles Expected(const LinearKernels& kernels, const Expert& expert, const float* x, Doubles* bound) {
  const Doubles input(x, x + expert.gate->columns);
  Doubles gate_size, up_size, down_size;
  Doubles h = Product(kernels, input, *expert.gate, &gate_size);
  const Doubles up = Product(kernels, input, *expert.up, &up_size);
  for (size_t i = 0; i < h.size(); ++i) h[i] = h[i] / (1 + std::exp(-h[i])) * up[i];
  const Doubles y = Product(kernels, h, *expert.down, &down_size);
  const ActivationFormat format = kernels.format(*expert.down, false);
  const double rounding = format == ActivationFormat::kFloat || IsPlanes(format)
                              ? 0
                              : 0x1p-8 / std::sqrt(static_cast<double>(h.size()));
  const std::vector<float> floats(h.begin(), h.end());
  const Doubles undecided = Undecided(format, floats.data(), expert.down->columns);
  std::vector<float> row(h.size());
  bound->resize(y.size());
  for (size_t i = 0; i < y.size(); ++i) {
    (*bound)[i] = (rounding + 1e-5) * down_size[i];
    DecodeRow(*expert.down, static_cast<int64_t>(i), row.data());
    for (size_t k = 0; k < row.size(); ++k) (*bound)[i] += undecided[k] * std::fabs(row[k]);
  }
  return y;
}

void CheckRoutes(const LinearKernels& kernels, const Model& model, const Matrix& x, const Choice& choice,
                 const Matrix& y) {
  const size_t width = static_cast<size_t>(x.columns);
  int wrong = 0;
  for (int64_t t = 0; t < x.rows; ++t) {
    Doubles sum(width, 0.5), bound(width, 1e-6);
    for (int64_t j = 0; j < model.sizes.chosen; ++j) {
      const size_t pair = static_cast<size_t>(t * model.sizes.chosen + j);
      Doubles part_bound;
      const Doubles part = Expected(kernels, model.experts[static_cast<size_t>(choice.ids[pair])],
                                    x.tensor().row(t), &part_bound);
      for (size_t d = 0; d < width; ++d) {
        sum[d] += double{choice.weights[pair]} * part[d];
        bound[d] += choice.weights[pair] * part_bound[d];
      }
    }
    for (size_t d = 0; d < width; ++d) {
      if (!(std::fabs(y.at(t, static_cast<int64_t>(d)) - sum[d]) <= bound[d])) ++wrong;
    }
  }
  if (wrong != 0) {
    Fail(__FILE__, __LINE__,
         std::string(IsaName(kernels.isa)) + ": " + std::to_string(wrong) + " of " +
             std::to_string(y.data.size()) + " numbers are wrong, " + std::to_string(x.rows) + " tokens");
  }
}

const Coding kBf16 = {Storage::kBf16};
const Coding kF32 = {Storage::kF32};
const Coding kFp8 = {Storage::kF8E4m3, Storage::kF32, 128, 128};
const Coding kInt4 = {Storage::kInt4, Storage::kBf16, 1, 32};

TEST(routed_experts_match_a_double_computation) {
  const std::vector<std::vector<Coding>> codings[] = {
      {{kInt4}, {kInt4}, {kInt4}},
      {{kBf16}, {kBf16}, {kBf16}},
      {{kFp8}, {kFp8}, {kFp8}},
      {{kF32}, {kF32}, {kF32}},
      {{kInt4, kBf16}, {kBf16, kF32, kInt4}, {kFp8, kInt4, kF32}},  // mixed from expert to expert
  };
  for (const LinearKernels& kernels : AllKernels()) {
    for (const auto& coding : codings) {
      for (const Sizes& sizes : {Sizes{96, 64, 6, 2}, Sizes{160, 32, 9, 4}}) {
        const Model model(sizes, coding[0], coding[1], coding[2]);
        Runner runner(kernels, 2, sizes, 40);
        for (int64_t tokens : {1, 2, 7, 40}) {
          const Matrix x = RandomActivations(tokens, sizes.hidden, static_cast<uint64_t>(tokens));
          const Choice choice = RandomChoice(sizes, tokens, 3);
          CheckRoutes(kernels, model, x, choice, runner.Route(model, x, choice));
        }
      }
    }
  }
}

TEST(feed_forward_matches_a_double_computation) {
  for (const LinearKernels& kernels : AllKernels()) {
    for (const Coding& coding : {kBf16, kFp8, kF32}) {
      for (const Sizes& sizes : {Sizes{96, 64, 1, 1}, Sizes{33, 20, 1, 1}, Sizes{100, 77, 1, 1}}) {
        const Model model(sizes, {coding}, {coding}, {coding});
        Runner runner(kernels, 2, sizes, 20);
        for (int64_t tokens : {1, 3, 20}) {
          const Matrix x = RandomActivations(tokens, sizes.hidden, 5);
          const Matrix y = runner.Feed(model.experts[0], x);
          for (int64_t t = 0; t < tokens; ++t) {
            Doubles bound;
            const Doubles expected = Expected(kernels, model.experts[0], x.tensor().row(t), &bound);
            for (int64_t d = 0; d < sizes.hidden; ++d) {
              EXPECT_NEAR(y.at(t, d), expected[static_cast<size_t>(d)], bound[static_cast<size_t>(d)]);
            }
          }
        }
      }
    }
  }
}

TEST(experts_give_a_row_the_same_bits_in_any_company) {
  const Sizes sizes = {128, 64, 12, 3};
  for (const LinearKernels& kernels : AllKernels()) {
    const Model model(sizes, {kInt4, kBf16}, {kInt4, kBf16}, {kInt4, kF32});
    Runner one(kernels, 1, sizes, 64), two(kernels, 2, sizes, 64), slabs(kernels, 2, sizes, 7);
    const Matrix x = RandomActivations(64, sizes.hidden, 21);
    const Choice choice = RandomChoice(sizes, 64, 22);
    const Matrix y = two.Route(model, x, choice), fed = two.Feed(model.experts[0], x);
    EXPECT(SameBits(y, one.Route(model, x, choice)));
    EXPECT(SameBits(y, slabs.Route(model, x, choice)));
    EXPECT(SameBits(fed, one.Feed(model.experts[0], x)));
    EXPECT(SameBits(fed, slabs.Feed(model.experts[0], x)));
    for (int64_t tokens : {1, 2, 5, 9, 16}) {
      for (int64_t first = 0; first + tokens <= 64; first += 11) {
        const Matrix part = x.Rows(first, tokens);
        EXPECT(SameBits(two.Route(model, part, choice, first), y.Rows(first, tokens)));
        EXPECT(SameBits(one.Feed(model.experts[0], part), fed.Rows(first, tokens)));
      }
    }
  }
}

// Whatever part of them has a copy, and whether it is being made or was made before.
TEST(experts_that_are_copied_have_the_same_bits) {
  const Sizes sizes = {192, 96, 12, 3};
  constexpr int64_t kCopy = 2 * 6 * InterleavedBlockBytes(192) + 12 * InterleavedBlockBytes(96);
  for (const LinearKernels& kernels : AllKernels()) {
    for (const int64_t copies : {12, 5, 1}) {
      Model model(sizes, {kInt4}, {kInt4}, {kInt4});
      Runner plain(kernels, 2, sizes, 64), copying(kernels, 2, sizes, 64, copies * kCopy);
      const Matrix x = RandomActivations(64, sizes.hidden, 41);
      const Choice choice = RandomChoice(sizes, 64, 42);
      const size_t before = AllocatedBytes();
      for (int64_t tokens : {40, 1, 1, 2, 4, 9, 1, 3, 64, 1}) {
        for (int64_t first = 0; first + tokens <= 64; first += 7) {
          const Matrix part = x.Rows(first, tokens);
          EXPECT(
              SameBits(copying.Route(model, part, choice, first), plain.Route(model, part, choice, first)));
        }
      }
      EXPECT(AllocatedBytes() - before == static_cast<size_t>(copies * kCopy));
      if (copies < 12) continue;
      // The copies are what is computed with.
      const Matrix y = plain.Route(model, x, choice);
      for (const auto& weight : model.weights) weight->FillWith(0x99);
      EXPECT(SameBits(copying.Route(model, x, choice), y));
    }
  }
}

// A step that ends in its midst leaves copies that lack blocks.
TEST(experts_do_not_use_a_copy_that_was_stopped) {
  const Sizes sizes = {192, 96, 12, 3};
  const LinearKernels& kernels = LinearKernelsFor(SupportedIsas().front());
  const Model model(sizes, {kInt4}, {kInt4}, {kInt4});
  const Matrix x = RandomActivations(1, sizes.hidden, 43);
  const Choice choice = RandomChoice(sizes, 1, 44);
  Runner plain(kernels, 1, sizes, 1);
  const Matrix y = plain.Route(model, x, choice);
  for (int questions = 0; questions < 20; ++questions) {
    Runner copying(kernels, 1, sizes, 1, int64_t{1} << 20);
    int left = questions;
    const std::function<bool()> keep_going = [&] { return left-- > 0; };
    copying.pool->StopWhenNot(&keep_going);
    (void)copying.Route(model, x, choice);
    copying.pool->StopWhenNot(nullptr);
    EXPECT(SameBits(copying.Route(model, x, choice), y));
  }
}

// The sum over experts is in ascending id, one rounding per expert.
TEST(experts_are_added_in_ascending_id) {
  const Sizes sizes = {32, 32, 8, 4};
  for (const LinearKernels& kernels : AllKernels()) {
    const Model model(sizes, {kBf16}, {kBf16}, {kBf16});
    Runner runner(kernels, 2, sizes, 4);
    const Matrix x = RandomActivations(4, 32, 31);
    const Choice choice = RandomChoice(sizes, 4, 32);
    const Matrix y = runner.Route(model, x, choice);
    for (int64_t t = 0; t < 4; ++t) {
      std::vector<float> sum(32, 0.5f);
      for (int64_t j = 0; j < 4; ++j) {
        const size_t pair = static_cast<size_t>(t * 4 + j);
        const Matrix part = runner.Feed(model.experts[static_cast<size_t>(choice.ids[pair])], x.Rows(t, 1));
        for (int64_t d = 0; d < 32; ++d) {
          const float product = choice.weights[pair] * part.at(0, d);
          sum[static_cast<size_t>(d)] += product;
        }
      }
      EXPECT(std::memcmp(sum.data(), y.Rows(t, 1).data.data(), 32 * sizeof(float)) == 0);
    }
  }
}

TEST(experts_report_memory_that_is_missing) {
  const std::unique_ptr<ThreadPool> pool = std::move(ThreadPool::Create(1).value());
  LinearScratch scratch(LinearKernelsFor(SupportedIsas().front()), *pool);
  CpuExperts experts(scratch, ElementwiseKernelsFor(SupportedIsas().front()), 0);
  BackendShapes shapes = {};
  shapes.hidden = shapes.widest_input = shapes.dense_width = 64;
  shapes.batch_tokens = 8;
  FailAllocationForTest(1);
  EXPECT(scratch.Prepare(shapes).code() == ErrorCode::kOutOfMemory);
  FailAllocationForTest(1);
  EXPECT(experts.Prepare(shapes).code() == ErrorCode::kOutOfMemory);
  FailAllocationForTest(0);
}

}  // namespace
}  // namespace k2::test
