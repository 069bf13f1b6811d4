#include "bench/gate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "reference/tolerance.h"

namespace k2::bench {
namespace {

constexpr int64_t kChecked = 16;  // outputs looked at in one place

std::string Place(const char* op, int64_t row, int64_t column) {
  return std::string(op) + " [" + std::to_string(row) + ", " + std::to_string(column) + "]";
}

Tensor RowOf(const Tensor& x, int64_t row) { return {x.row(row), 1, x.columns, x.stride}; }

}  // namespace

std::string CompareRow(const float* actual, const float* expected, std::span<const double> bound,
                       const std::string& where) {
  for (size_t i = 0; i < bound.size(); ++i) {
    // Written so that a NaN is refused too.
    if (std::fabs(double{actual[i]} - expected[i]) <= bound[i]) continue;
    char text[160];
    std::snprintf(text, sizeof(text), "Expected %.7g +- %.2g for number %zu from %s on, got %.7g",
                  double{expected[i]}, bound[i], i, where.c_str(), double{actual[i]});
    return text;
  }
  return {};
}

std::string CheckLinear(Bench& bench, const LinearParams& p) {
  const int64_t count = std::min(kChecked, p.w->rows);
  for (int64_t t : {int64_t{0}, p.x.rows - 1}) {
    const Bounded x = Exactly(p.x.row(t), p.x.columns);
    for (int64_t first : {int64_t{0}, (p.w->rows - count) / 2, p.w->rows - count}) {
      const Weight w = RowsOf(*p.w, first, count);
      float expected[kChecked];
      bench.reference().Linear({.x = RowOf(p.x, t),
                                .w = &w,
                                .y = {expected, 1, count, count},
                                .full_precision = p.full_precision});
      const Bounded y = LinearBounded(x, w, p.full_precision, bench.options().activations);
      std::string wrong = CompareRow(p.y.row(t) + first, expected, y.bound, Place("y", t, first));
      if (!wrong.empty()) return wrong;
    }
  }
  return {};
}

std::string CheckExperts(Bench& bench, const RoutedExpertsParams& p, float start) {
  const int64_t t = p.x.rows - 1, count = std::min(kChecked, p.y.columns);
  const Bounded x = Exactly(p.x.row(t), p.x.columns);
  std::vector<Weight> downs(static_cast<size_t>(p.chosen));
  std::vector<Expert> experts;
  std::vector<int32_t> ids;
  std::vector<double> bound(static_cast<size_t>(count), kSumming * std::fabs(double{start}) * p.chosen);
  for (int64_t j = 0; j < p.chosen; ++j) {
    const Expert& expert = p.experts[static_cast<size_t>(p.expert_ids[t * p.chosen + j])];
    Weight& down = downs[static_cast<size_t>(j)] = RowsOf(*expert.down, 0, count);
    experts.push_back({expert.gate, expert.up, &down});
    ids.push_back(static_cast<int32_t>(j));
    const Bounded y = FeedForwardBounded(x, *expert.gate, *expert.up, down, bench.options().activations);
    for (size_t i = 0; i < bound.size(); ++i) {
      bound[i] += p.expert_weights[t * p.chosen + j] * (y.bound[i] + kSumming * std::fabs(y.value[i]));
    }
  }
  float expected[kChecked];
  std::fill(expected, expected + kChecked, start);
  bench.reference().RoutedExperts({.x = RowOf(p.x, t),
                                   .expert_ids = ids.data(),
                                   .expert_weights = p.expert_weights + t * p.chosen,
                                   .chosen = p.chosen,
                                   .experts = experts,
                                   .y = {expected, 1, count, count}});
  return CompareRow(p.y.row(t), expected, bound, Place("y", t, 0));
}

std::string CheckFeedForward(Bench& bench, const FeedForwardParams& p) {
  const int64_t t = p.x.rows - 1, count = std::min(kChecked, p.y.columns);
  const Weight down = RowsOf(*p.weights.down, 0, count);
  const Bounded y = FeedForwardBounded(Exactly(p.x.row(t), p.x.columns), *p.weights.gate, *p.weights.up, down,
                                       bench.options().activations);
  float expected[kChecked];
  bench.reference().FeedForward({.x = RowOf(p.x, t),
                                 .weights = {p.weights.gate, p.weights.up, &down},
                                 .y = {expected, 1, count, count}});
  return CompareRow(p.y.row(t), expected, y.bound, Place("y", t, 0));
}

namespace {

// W_UK and W_UV of one head as doubles.
std::vector<double> DecodeRows(const Weight& w, int64_t first, int64_t count) {
  std::vector<float> row(static_cast<size_t>(w.columns));
  std::vector<double> rows;
  for (int64_t i = 0; i < count; ++i) {
    DecodeRow(w, first + i, row.data());
    rows.insert(rows.end(), row.begin(), row.end());
  }
  return rows;
}

double Dot(const double* a, const float* b, int64_t n) {
  double sum = 0;
  for (int64_t i = 0; i < n; ++i) sum += a[i] * b[i];
  return sum;
}

// The score of a position and how far rounding may move it: the expanded form rounds query and key, the
// absorbed one the query in the latent's basis.
void AddScore(const LatentAttentionParams& p, AttentionForm form, const float* q,
              const std::vector<double>& w_uk, const std::vector<double>& absorbed, const float* latent,
              const float* key, Bounded& scores) {
  double score = 0, squares = 0;
  if (form == AttentionForm::kAbsorbed) {
    for (int64_t r = 0; r < p.kv_rank; ++r) {
      const double product = absorbed[static_cast<size_t>(r)] * latent[r];
      score += product;
      squares += product * kRounding * product * kRounding;
    }
  } else {
    for (int64_t d = 0; d < p.nope_dim; ++d) {
      const double product = q[d] * Dot(&w_uk[static_cast<size_t>(d * p.kv_rank)], latent, p.kv_rank);
      score += product;
      squares += 2 * product * kRounding * product * kRounding;
    }
  }
  for (int64_t d = 0; d < p.rope_dim; ++d) {
    const double product = double{q[p.nope_dim + d]} * key[d];
    score += product;
    squares += product * kRounding * product * kRounding;
  }
  scores.value.push_back(score * p.scale);
  scores.bound.push_back(std::sqrt(squares) * p.scale);
}

}  // namespace

std::string CheckAttention(Bench& bench, const LatentAttentionParams& p, const CachedRows& cached) {
  const Segment& segment = p.segments.back();
  const int64_t t = segment.first_row + segment.rows - 1, head = p.heads - 1;
  const int64_t positions = segment.first_position + segment.rows;
  const int64_t head_rows = p.nope_dim + p.value_dim, count = std::min<int64_t>(8, p.value_dim);
  const float* q = p.q.row(t) + head * (p.nope_dim + p.rope_dim);

  const std::vector<double> w_uk = DecodeRows(*p.kv_b, head * head_rows, p.nope_dim);
  const std::vector<double> w_uv = DecodeRows(*p.kv_b, head * head_rows + p.nope_dim, count);
  std::vector<double> absorbed(static_cast<size_t>(p.kv_rank), 0.0);
  for (int64_t d = 0; d < p.nope_dim; ++d) {
    for (int64_t r = 0; r < p.kv_rank; ++r)
      absorbed[static_cast<size_t>(r)] += q[d] * w_uk[static_cast<size_t>(d * p.kv_rank + r)];
  }
  Bounded scores;
  for (int64_t s = 0; s < positions; ++s)
    AddScore(p, segment.form, q, w_uk, absorbed, cached.latent.row(s), cached.rope_key.row(s), scores);
  const double largest = *std::max_element(scores.value.begin(), scores.value.end());
  double total = 0;
  for (double& score : scores.value) total += score = std::exp(score - largest);
  std::vector<double> mixed(static_cast<size_t>(p.kv_rank), 0.0);
  for (int64_t s = 0; s < positions; ++s) {
    const double share = scores.value[static_cast<size_t>(s)] /= total;
    for (int64_t r = 0; r < p.kv_rank; ++r) mixed[static_cast<size_t>(r)] += share * cached.latent.row(s)[r];
  }
  // Positions err each by itself: a share by twice the error of its score and by its own rounding. So errors
  // add up as squares; of thousands of positions a plain sum would allow more than the output's size.
  // Rounding the mix of latents, or the values, comes on top.
  std::vector<double> bound(static_cast<size_t>(count), 0.0);
  for (int64_t d = 0; d < count; ++d) {
    const double* w = &w_uv[static_cast<size_t>(d * p.kv_rank)];
    double squares = 0, magnitude = 0, products = 0, y = 0;
    for (int64_t r = 0; r < p.kv_rank; ++r) {
      const double product = w[r] * mixed[static_cast<size_t>(r)];
      y += product;
      products += product * product;
    }
    for (int64_t s = 0; s < positions; ++s) {
      const size_t at = static_cast<size_t>(s);
      const double value = std::fabs(Dot(w, cached.latent.row(s), p.kv_rank));
      const double error = std::expm1(2 * scores.bound[at]) + 2 * kRounding;
      squares += std::pow(scores.value[at] * (value + std::fabs(y)) * error, 2);
      magnitude += scores.value[at] * value;
    }
    bound[static_cast<size_t>(d)] =
        2 * std::sqrt(squares) + kRounding * std::sqrt(products) + 2 * kSumming * magnitude;
  }

  // The reference sees this one row and head.
  const int64_t width = p.kv_rank + p.rope_dim;
  std::vector<float> page(static_cast<size_t>(positions * width));
  uint8_t* const address = reinterpret_cast<uint8_t*>(page.data());
  const CacheView cache{.pages = {&address, 1}, .page_tokens = positions};
  Segment all{.first_row = 0, .rows = positions, .first_position = 0, .form = segment.form, .cache = cache};
  bench.reference().AppendKv({.latent = cached.latent.Rows(positions),
                              .rope_key = cached.rope_key.Rows(positions),
                              .segments = {&all, 1}});
  const Segment last{
      .first_row = 0, .rows = 1, .first_position = positions - 1, .form = segment.form, .cache = cache};
  const Weight kv_b = RowsOf(*p.kv_b, head * head_rows, head_rows);
  std::vector<float> expected(static_cast<size_t>(p.value_dim));
  LatentAttentionParams one = p;
  one.q = {const_cast<float*>(q), 1, p.nope_dim + p.rope_dim, p.q.stride};
  one.kv_b = &kv_b;
  one.heads = 1;
  one.segments = {&last, 1};
  one.y = {expected.data(), 1, p.value_dim, p.value_dim};
  bench.reference().LatentAttention(one);
  return CompareRow(p.y.row(t) + head * p.value_dim, expected.data(), bound,
                    Place("y", t, head * p.value_dim));
}

}  // namespace k2::bench
