// The router of every backend: each rule of RouterParams, ties, and numbers that are not numbers.
#include <cmath>
#include <limits>

#include "check.h"
#include "conformance.h"

namespace k2::test {
namespace {

struct RouterCase {
  std::string name;
  Matrix logits;
  std::unique_ptr<StoredWeight> bias;
  RouterParams p = {};

  BackendShapes shapes() const {
    BackendShapes s = SmallShapes();
    s.experts = p.experts;
    s.chosen = p.chosen;
    return s;
  }

  // Ids, then weights, as the columns of y.
  void Run(Backend& b, int64_t first, int64_t count, Tensor y) const {
    Matrix part = logits.Rows(first, count);
    std::vector<int32_t> ids(static_cast<size_t>(count * p.chosen), -1);
    std::vector<float> weights(ids.size(), std::numeric_limits<float>::quiet_NaN());
    RouterParams call = p;
    call.logits = part.tensor();
    call.bias = bias == nullptr ? nullptr : &bias->weight();
    call.expert_ids = ids.data();
    call.expert_weights = weights.data();
    b.Router(call);
    for (int64_t t = 0; t < count; ++t) {
      for (int64_t j = 0; j < p.chosen; ++j) {
        const size_t at = static_cast<size_t>(t * p.chosen + j);
        y.row(first + t)[j] = static_cast<float>(ids[at]);
        y.row(first + t)[p.chosen + j] = weights[at];
      }
    }
  }
};

RouterCase RandomCase(Draws& draws) {
  RouterCase c{.name = {}, .logits = Matrix(0, 0, 0), .bias = nullptr};
  RouterParams& p = c.p;
  p.groups = draws.Next() < 0.5 ? 1 : draws.Between(2, 8);
  const int64_t group_size = draws.Between(p.groups == 1 ? 8 : 2, 48);
  p.experts = p.groups * group_size;
  p.top_groups = draws.Between(1, p.groups);
  p.chosen = draws.Between(1, std::min<int64_t>(8, p.top_groups * group_size));
  p.routing = static_cast<Routing>(draws.Between(0, 2));
  p.scoring = draws.Next() < 0.5 ? Scoring::kSigmoid : Scoring::kSoftmax;
  p.normalize = draws.Next() < 0.5;
  p.routed_scaling = draws.Next() < 0.5 ? 1.0 : 2.827;
  c.logits = Matrix(draws.Between(1, 40), p.experts, 0);
  // Coarse steps in half of the cases: many exact ties.
  const bool coarse = draws.Next() < 0.5;
  for (float& z : c.logits.data) {
    z = static_cast<float>(12 * draws.Next() - 6);
    if (coarse) z = std::round(z);
  }
  if (p.routing == Routing::kNoAuxTc && draws.Next() < 0.8) {
    const Coding codings[] = {{Storage::kF32}, {Storage::kBf16}, {Storage::kF16}};
    c.bias = std::make_unique<StoredWeight>(codings[draws.Between(0, 2)], 1, p.experts, draws.Seed());
    if (coarse) c.bias->Zero();
  }
  c.name = "router " + std::to_string(p.experts) + " experts in " + std::to_string(p.groups) +
           " groups, kind " + std::to_string(static_cast<int>(p.routing)) + (coarse ? ", ties" : "");
  return c;
}

TEST(conformance_router) {
  Draws draws(20);
  for (int round = 0; round < 150; ++round) {
    const RouterCase c = RandomCase(draws);
    Conform({.name = c.name,
             .shapes = c.shapes(),
             .rows = c.logits.rows,
             .columns = 2 * c.p.chosen,
             .run = [&](Backend& b, int64_t first, int64_t count, Tensor y) { c.Run(b, first, count, y); },
             .tolerance = [&](int64_t, int64_t n) { return n < c.p.chosen ? 0.0 : 4e-6; }});
  }
}

// Rows and weights worked out by hand from the rules of RouterParams, so that the reference is checked too.
TEST(conformance_router_by_hand) {
  const auto check = [](RouterCase c, std::vector<float> expected, const char* what) {
    std::vector<Subject> subjects = MakeSubjects(c.shapes(), 1);
    subjects.push_back({"reference", MakeReference(c.shapes())});
    for (const Subject& s : subjects) {
      Matrix y(1, 2 * c.p.chosen, 0);
      c.Run(*s.backend, 0, 1, y.tensor());
      for (size_t i = 0; i < expected.size(); ++i) {
        if (!(std::fabs(y.data[i] - expected[i]) <= 1e-5f)) {
          Fail(__FILE__, __LINE__,
               s.name + ", " + what + ": number " + std::to_string(i) + " is " + std::to_string(y.data[i]) +
                   ", expected " + std::to_string(expected[i]));
        }
      }
    }
  };
  const auto make = [](std::vector<float> logits, RouterParams p) {
    RouterCase c{.name = "by hand",
                 .logits = Matrix(1, static_cast<int64_t>(logits.size()), 0),
                 .bias = nullptr,
                 .p = p};
    c.logits.data = std::move(logits);
    c.p.experts = c.logits.columns;
    return c;
  };
  const float half = 0.5f, s1 = 0.7310586f, s2 = 0.8807971f;  // sigmoids of 0, 1, 2
  RouterParams v3 = {};
  v3.chosen = 2;
  v3.groups = v3.top_groups = 1;
  v3.scoring = Scoring::kSigmoid;
  v3.routing = Routing::kNoAuxTc;
  v3.normalize = true;
  v3.routed_scaling = 2.0;
  check(make({0, 2, 1, 0}, v3), {1, 2, 2 * s2 / (s1 + s2), 2 * s1 / (s1 + s2)}, "normalised, then scaled");
  check(make({1, 1, 1, 1}, v3), {0, 1, 1, 1}, "ties to the lower id");
  v3.normalize = false;
  check(make({0, 2, 1, 0}, v3), {1, 2, 2 * s2, 2 * s1}, "scaled only");
  // Group scores are sums of the two largest: 0.5 + 0.5 against 0.88 + almost nothing.
  v3.groups = 2;
  check(make({0, 0, 2, -20}, v3), {0, 1, 2 * half, 2 * half}, "groups by their two largest");
  RouterParams v2 = {};
  v2.chosen = v2.groups = 2;
  v2.top_groups = 1;
  v2.scoring = Scoring::kSoftmax;
  v2.routing = Routing::kGroupLimitedGreedy;
  v2.routed_scaling = 16.0;
  const float e = std::exp(1.0f), sum = 3 + e;
  check(make({0, 0, 1, 0}, v2), {2, 3, 16 * e / sum, 16 / sum}, "groups by their largest");
  v2.normalize = true;
  check(make({0, 0, 1, 0}, v2), {2, 3, e / (e + 1), 1 / (e + 1)}, "normalised instead of scaled");
  v2.routing = Routing::kGreedy;
  check(make({0, 0, 1, 0}, v2), {0, 2, 1 / (e + 1), e / (e + 1)}, "greedy knows no groups");
  v2.chosen = 1;
  check(make({0, 0, 1, 0}, v2), {2, 16 * e / sum}, "a single expert is scaled, never normalised");
}

TEST(conformance_router_survives_nan) {
  Draws draws(21);
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  for (int round = 0; round < 60; ++round) {
    RouterCase c = RandomCase(draws);
    for (float& z : c.logits.data) {
      const double kind = draws.Next();
      z = round % 4 == 0 || kind < 0.4 ? nan : kind < 0.5 ? infinity : kind < 0.6 ? -infinity : z;
    }
    for (const Subject& s : MakeSubjects(c.shapes(), 2)) {
      Matrix y(c.logits.rows, 2 * c.p.chosen, -1);
      c.Run(*s.backend, 0, c.logits.rows, y.tensor());
      for (int64_t t = 0; t < y.rows; ++t) {
        bool has_nan = false;
        for (int64_t e = 0; e < c.p.experts; ++e) has_nan |= std::isnan(c.logits.at(t, e));
        for (int64_t j = 0; j < c.p.chosen; ++j) {
          EXPECT(!has_nan || std::isnan(y.at(t, c.p.chosen + j)));  // never a quiet choice of the others
          EXPECT(y.at(t, j) >= 0 && y.at(t, j) < static_cast<float>(c.p.experts));
          EXPECT(j == 0 || y.at(t, j) > y.at(t, j - 1));
        }
      }
    }
  }
}

}  // namespace
}  // namespace k2::test
