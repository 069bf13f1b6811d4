// Cases of latent attention: timelines of several sessions with their caches, and how far rounding to 16 bits
// may move each number of the output.
#pragma once

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "conformance.h"

namespace k2::test {

struct AttentionShape {
  int64_t heads, nope, rope, value, rank, page_tokens;
};

// Tokens of one session: the first `past` are in the cache already, the others are the rows of the call.
struct Timeline {
  int64_t past, rows;
  AttentionForm form;
};

struct AttentionCase {
  AttentionCase(const AttentionShape& shape, std::vector<Timeline> timelines, const Coding& coding,
                double sharpness, Draws& draws)
      : shape(shape),
        timelines(std::move(timelines)),
        kv_b(coding, shape.heads * (shape.nope + shape.value), shape.rank, draws.Seed()),
        scale(sharpness / std::sqrt(static_cast<double>(shape.nope + shape.rope))),
        rows(0),
        q(0, 0, 0),
        latent(0, 0, 0),
        rope_key(0, 0, 0) {
    int64_t tokens = 0;
    for (const Timeline& timeline : this->timelines) {
      first_rows.push_back(rows);
      first_tokens.push_back(tokens);
      rows += timeline.rows;
      tokens += timeline.past + timeline.rows;
    }
    q = RandomActivations(rows, shape.heads * (shape.nope + shape.rope), draws.Seed());
    latent = Rounded(RandomActivations(tokens, shape.rank, draws.Seed()));
    rope_key = Rounded(RandomActivations(tokens, shape.rope, draws.Seed()));
    for (float& x : q.data) x *= 0.3f;
  }

  // The cache stores 16 bits; numbers that have no more leave the rest of the arithmetic as the only error.
  static Matrix Rounded(Matrix m) {
    for (float& x : m.data) x = Bf16ToFloat(FloatToBf16(x));
    return m;
  }

  // Small whole numbers everywhere: queries, keys and values then have no more than 8 bits in either form, so
  // that only the shares of the softmax are rounded.
  void MakeWhole(Draws& draws) {
    is_whole = true;
    const auto fill = [&](Matrix& m, int64_t most) {
      for (float& x : m.data) x = static_cast<float>(draws.Between(-most, most));
    };
    fill(q, 1);
    fill(latent, 2);
    fill(rope_key, 16);
    uint8_t* bytes = const_cast<uint8_t*>(kv_b.weight().data);
    for (int64_t i = 0; i < kv_b.weight().rows * shape.rank; ++i) {
      StoreAs(kv_b.weight().storage, static_cast<float>(draws.Between(-1, 1)), bytes + 2 * i);
    }
  }

  BackendShapes shapes() const {
    BackendShapes s = SmallShapes();
    s.heads = shape.heads;
    s.kv_rank = shape.rank;
    s.nope_dim = shape.nope;
    s.rope_dim = shape.rope;
    s.value_dim = shape.value;
    s.batch_tokens = std::max<int64_t>(64, rows);
    return s;
  }

  AttentionShape shape;
  std::vector<Timeline> timelines;
  StoredWeight kv_b;
  double scale;
  int64_t rows;
  Matrix q, latent, rope_key;  // [rows, ...], [tokens, ...], [tokens, ...]
  std::vector<int64_t> first_rows, first_tokens;
  bool is_whole = false;
  CacheType cache_type = CacheType::kBf16;
};

// The caches of all timelines on one backend; pages start as NaN, so that reading what nobody wrote is seen.
class Caches {
 public:
  Caches(const AttentionCase& c, Backend& b) : case_(c), backend_(b) {
    const int64_t token_bytes = b.CacheBytesPerToken(c.shapes());
    for (const Timeline& timeline : c.timelines) {
      std::vector<std::vector<uint32_t>>& pages = pages_.emplace_back();
      std::vector<uint8_t*>& addresses = addresses_.emplace_back();
      for (int64_t s = 0; s < timeline.past + timeline.rows; s += c.shape.page_tokens) {
        pages.emplace_back(static_cast<size_t>(c.shape.page_tokens * token_bytes / 4 + 16), 0x7fc07fc0u);
        const uintptr_t start = reinterpret_cast<uintptr_t>(pages.back().data());
        addresses.push_back(reinterpret_cast<uint8_t*>((start + 63) / 64 * 64));
      }
    }
  }

  CacheView View(size_t timeline) const {
    return {.pages = addresses_[timeline], .page_tokens = case_.shape.page_tokens};
  }

  // Appends positions [first, first + count) of one timeline.
  void Append(size_t timeline, int64_t first, int64_t count) {
    const int64_t token = case_.first_tokens[timeline] + first;
    const Segment segment{.first_row = 0,
                          .rows = count,
                          .first_position = first,
                          .form = AttentionForm::kAbsorbed,
                          .cache = View(timeline)};
    backend_.AppendKv({.latent = case_.latent.Rows(token, count).tensor(),
                       .rope_key = case_.rope_key.Rows(token, count).tensor(),
                       .segments = {&segment, 1}});
  }
  void AppendAll() {
    for (size_t i = 0; i < case_.timelines.size(); ++i) {
      const Timeline& timeline = case_.timelines[i];
      if (timeline.past > 0) Append(i, 0, timeline.past);
      Append(i, timeline.past, timeline.rows);
    }
  }

  // Attention of rows [first, first + count) of the call into the same rows of y.
  void Attend(int64_t first, int64_t count, Tensor y) const {
    std::vector<Segment> segments;
    for (size_t i = 0; i < case_.timelines.size(); ++i) {
      const Timeline& timeline = case_.timelines[i];
      const int64_t from = std::max<int64_t>(first - case_.first_rows[i], 0);
      const int64_t to = std::min(first + count - case_.first_rows[i], timeline.rows);
      if (from >= to) continue;
      segments.push_back({.first_row = case_.first_rows[i] + from - first,
                          .rows = to - from,
                          .first_position = timeline.past + from,
                          .form = timeline.form,
                          .cache = View(i)});
    }
    const AttentionShape& s = case_.shape;
    const Matrix part = case_.q.Rows(first, count);
    backend_.LatentAttention({.q = part.tensor(),
                              .kv_b = &case_.kv_b.weight(),
                              .heads = s.heads,
                              .nope_dim = s.nope,
                              .rope_dim = s.rope,
                              .value_dim = s.value,
                              .kv_rank = s.rank,
                              .scale = case_.scale,
                              .segments = segments,
                              .y = {y.row(first), count, y.columns, y.stride}});
  }

 private:
  const AttentionCase& case_;
  Backend& backend_;
  std::vector<std::vector<std::vector<uint32_t>>> pages_;
  std::vector<std::vector<uint8_t*>> addresses_;
};

// One head's keys and values of every token, [tokens, Dn + Dv], and how far rounding them (and kv_b, where it
// has more than 16 bits) may move each.
inline Bounded RebuildHead(const AttentionCase& c, int64_t head) {
  const int64_t width = c.shape.nope + c.shape.value;
  std::vector<float> row(static_cast<size_t>(c.shape.rank));
  const size_t numbers = static_cast<size_t>(c.latent.rows * width);
  Bounded rebuilt{.value = std::vector<double>(numbers), .bound = std::vector<double>(numbers)};
  for (int64_t d = 0; d < width; ++d) {
    DecodeRow(c.kv_b.weight(), head * width + d, row.data());
    for (int64_t token = 0; token < c.latent.rows; ++token) {
      double sum = 0, squares = 0;
      for (int64_t r = 0; r < c.shape.rank; ++r) {
        const double product = double{row[static_cast<size_t>(r)]} * c.latent.at(token, r);
        sum += product;
        squares += product * product;
      }
      const bool exact_weight = c.kv_b.weight().storage == Storage::kBf16;
      rebuilt.value[static_cast<size_t>(token * width + d)] = sum;
      rebuilt.bound[static_cast<size_t>(token * width + d)] =
          c.is_whole ? 0 : kRounding * (std::fabs(sum) + (exact_weight ? 0 : std::sqrt(squares)));
    }
  }
  return rebuilt;
}

// q_nope[d] W_UK[h][d] summed: what the absorbed form multiplies latents with.
inline std::vector<double> AbsorbQuery(const AttentionCase& c, int64_t head, const float* q) {
  std::vector<double> absorbed(static_cast<size_t>(c.shape.rank));
  std::vector<float> row(absorbed.size());
  for (int64_t d = 0; d < c.shape.nope; ++d) {
    DecodeRow(c.kv_b.weight(), head * (c.shape.nope + c.shape.value) + d, row.data());
    for (size_t r = 0; r < row.size(); ++r) absorbed[r] += double{q[d]} * row[r];
  }
  return absorbed;
}

// The score of one position (value) and how far either form may be from it (bound): the expanded one rounds
// query and key, the absorbed one the query in the latent's basis, where the terms have other sizes.
inline void AddScore(const AttentionCase& c, const float* q, const std::vector<double>& absorbed,
                     const Bounded& rebuilt, int64_t token, Bounded& scores) {
  const AttentionShape& s = c.shape;
  double score = 0, expanded = 0, latent = 0, rope = 0;
  for (int64_t d = 0; d < s.nope; ++d) {
    const size_t at = static_cast<size_t>(token * (s.nope + s.value) + d);
    score += q[d] * rebuilt.value[at];
    expanded += std::pow(q[d] * rebuilt.value[at] * kRounding, 2) + std::pow(q[d] * rebuilt.bound[at], 2);
  }
  for (int64_t r = 0; r < s.rank; ++r) {
    latent += std::pow(absorbed[static_cast<size_t>(r)] * c.latent.at(token, r) * kRounding, 2);
  }
  for (int64_t d = 0; d < s.rope; ++d) {
    const double product = q[s.nope + d] * c.rope_key.at(token, d);
    score += product;
    rope += std::pow(product * kRounding, 2);
  }
  scores.value.push_back(score * c.scale);
  scores.bound.push_back(c.is_whole ? 0 : std::sqrt(std::max(expanded, latent) + rope) * c.scale);
}

// How far rounding may move y[t][h][d]. Where scores stray by `stray`, a share strays by a factor of at most
// e^(2 stray): its own score, and the sum it is divided by.
inline std::vector<double> AttentionBounds(const AttentionCase& c) {
  const AttentionShape& s = c.shape;
  std::vector<double> bounds(static_cast<size_t>(c.rows * s.heads * s.value));
  for (int64_t h = 0; h < s.heads; ++h) {
    const Bounded rebuilt = RebuildHead(c, h);
    for (size_t i = 0; i < c.timelines.size(); ++i) {
      for (int64_t t = 0; t < c.timelines[i].rows; ++t) {
        const float* q = c.q.tensor().row(c.first_rows[i] + t) + h * (s.nope + s.rope);
        const std::vector<double> absorbed = AbsorbQuery(c, h, q);
        Bounded scores;
        for (int64_t p = 0; p <= c.timelines[i].past + t; ++p) {
          AddScore(c, q, absorbed, rebuilt, c.first_tokens[i] + p, scores);
        }
        const double largest = *std::max_element(scores.value.begin(), scores.value.end());
        const double stray = *std::max_element(scores.bound.begin(), scores.bound.end());
        double total = 0;
        for (double& score : scores.value) total += score = std::exp(score - largest);
        for (int64_t d = 0; d < s.value; ++d) {
          double& bound = bounds[static_cast<size_t>(((c.first_rows[i] + t) * s.heads + h) * s.value + d)];
          for (size_t p = 0; p < scores.value.size(); ++p) {
            const int64_t token = c.first_tokens[i] + static_cast<int64_t>(p);
            const size_t at = static_cast<size_t>(token * (s.nope + s.value) + s.nope + d);
            bound += scores.value[p] / total *
                     (std::fabs(rebuilt.value[at]) * (std::expm1(2 * stray) + kRounding + 2 * kSumming) +
                      rebuilt.bound[at]);
          }
        }
      }
    }
  }
  return bounds;
}

}  // namespace k2::test
