// Latent attention of the reference backend. A page holds rows of [R latent | Dr rope key] floats.
//
// Both forms are those of the DeepSeek-V2 paper; they give the same numbers up to rounding, and
// having both here lets the conformance suite check a backend's forms separately.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/dtype.h"
#include "reference/reference_backend.h"

namespace k2 {
namespace {

float* CacheRow(const CacheView& cache, int64_t position, int64_t width) {
  uint8_t* page = cache.pages[static_cast<size_t>(position / cache.page_tokens)];
  return reinterpret_cast<float*>(page) + position % cache.page_tokens * width;
}

// What int8 with a scale for each group of columns, read as bf16, makes of a latent. Groups below 2^-100 are
// zeros, groups with NaN or infinity are NaN.
void RoundToInt8(float* latent, int64_t rank) {
  for (int64_t first = 0; first < rank; first += kLatentGroup) {
    const int64_t end = std::min(rank, first + kLatentGroup);
    float largest = 0;
    for (int64_t r = first; r < end; ++r) {
      // Not std::max: NaN must win.
      if (!(std::fabs(latent[r]) <= largest)) largest = std::fabs(latent[r]);
      if (std::isnan(largest)) break;
    }
    for (int64_t r = first; r < end; ++r) {
      if (!std::isfinite(largest)) {
        latent[r] = std::nanf("");
      } else if (largest < 0x1p-100f) {
        latent[r] = 0;
      } else {
        const float steps = std::nearbyint(latent[r] * (127.0f / largest));
        latent[r] = Bf16ToFloat(FloatToBf16(steps * (largest / 127.0f)));
      }
    }
  }
}

void Softmax(std::vector<double>& scores) {
  double largest = scores[0];
  for (double score : scores) largest = std::fmax(largest, score);
  double sum = 0;
  for (double& score : scores) sum += score = std::exp(score - largest);
  for (double& score : scores) score /= sum;
}

// One query head at one position: decides how scores and the value sum are formed.
struct HeadQuery {
  const float* q;                  // [Dn + Dr]
  const std::vector<float>& w_uk;  // [Dn, R]
  const std::vector<float>& w_uv;  // [Dv, R]
  const LatentAttentionParams& p;
};

// score = (q_nope W_UK) . c + q_rope . k,  y = W_UV (sum p c)
void Absorbed(const HeadQuery& head, const std::vector<const float*>& rows, float* y) {
  const LatentAttentionParams& p = head.p;
  const int64_t rank = p.kv_rank;
  std::vector<double> query(static_cast<size_t>(rank), 0.0), mixed(static_cast<size_t>(rank), 0.0);
  for (int64_t d = 0; d < p.nope_dim; ++d) {
    for (int64_t r = 0; r < rank; ++r) {
      query[static_cast<size_t>(r)] += double{head.q[d]} * head.w_uk[static_cast<size_t>(d * rank + r)];
    }
  }
  std::vector<double> scores(rows.size());
  for (size_t s = 0; s < rows.size(); ++s) {
    double sum = 0;
    for (int64_t r = 0; r < rank; ++r) sum += query[static_cast<size_t>(r)] * rows[s][r];
    for (int64_t d = 0; d < p.rope_dim; ++d) sum += double{head.q[p.nope_dim + d]} * rows[s][rank + d];
    scores[s] = sum * p.scale;
  }
  Softmax(scores);
  for (size_t s = 0; s < rows.size(); ++s) {
    for (int64_t r = 0; r < rank; ++r) mixed[static_cast<size_t>(r)] += scores[s] * rows[s][r];
  }
  for (int64_t d = 0; d < p.value_dim; ++d) {
    double sum = 0;
    for (int64_t r = 0; r < rank; ++r)
      sum += mixed[static_cast<size_t>(r)] * head.w_uv[static_cast<size_t>(d * rank + r)];
    y[d] = static_cast<float>(sum);
  }
}

// k_nope = W_UK c, v = W_UV c; score = q . [k_nope | k_rope],  y = sum p v
void Expanded(const HeadQuery& head, const std::vector<const float*>& rows, float* y) {
  const LatentAttentionParams& p = head.p;
  const int64_t rank = p.kv_rank;
  const auto project = [&](const std::vector<float>& w, int64_t d, const float* latent) {
    double sum = 0;
    for (int64_t r = 0; r < rank; ++r) sum += double{w[static_cast<size_t>(d * rank + r)]} * latent[r];
    return sum;
  };
  std::vector<double> scores(rows.size()), mixed(static_cast<size_t>(p.value_dim), 0.0);
  for (size_t s = 0; s < rows.size(); ++s) {
    double sum = 0;
    for (int64_t d = 0; d < p.nope_dim; ++d) sum += head.q[d] * project(head.w_uk, d, rows[s]);
    for (int64_t d = 0; d < p.rope_dim; ++d) sum += double{head.q[p.nope_dim + d]} * rows[s][rank + d];
    scores[s] = sum * p.scale;
  }
  Softmax(scores);
  for (size_t s = 0; s < rows.size(); ++s) {
    for (int64_t d = 0; d < p.value_dim; ++d) {
      mixed[static_cast<size_t>(d)] += scores[s] * project(head.w_uv, d, rows[s]);
    }
  }
  for (int64_t d = 0; d < p.value_dim; ++d) y[d] = static_cast<float>(mixed[static_cast<size_t>(d)]);
}

}  // namespace

void ReferenceBackend::AppendKv(const AppendKvParams& p) {
  const int64_t rank = p.latent.columns, rope_dim = p.rope_key.columns;
  for (const Segment& segment : p.segments) {
    for (int64_t i = 0; i < segment.rows; ++i) {
      float* row = CacheRow(segment.cache, segment.first_position + i, rank + rope_dim);
      std::memcpy(row, p.latent.row(segment.first_row + i), sizeof(float) * static_cast<size_t>(rank));
      if (cache_type_ == CacheType::kInt8) RoundToInt8(row, rank);
      std::memcpy(row + rank, p.rope_key.row(segment.first_row + i),
                  sizeof(float) * static_cast<size_t>(rope_dim));
    }
  }
}

void ReferenceBackend::LatentAttention(const LatentAttentionParams& p) {
  const int64_t rank = p.kv_rank, query_width = p.nope_dim + p.rope_dim;
  std::vector<float> w_uk(static_cast<size_t>(p.nope_dim * rank)),
      w_uv(static_cast<size_t>(p.value_dim * rank));
  std::vector<const float*> rows;
  for (int64_t h = 0; h < p.heads; ++h) {
    const int64_t first = h * (p.nope_dim + p.value_dim);
    for (int64_t d = 0; d < p.nope_dim; ++d)
      DecodeRow(*p.kv_b, first + d, &w_uk[static_cast<size_t>(d * rank)]);
    for (int64_t d = 0; d < p.value_dim; ++d) {
      DecodeRow(*p.kv_b, first + p.nope_dim + d, &w_uv[static_cast<size_t>(d * rank)]);
    }
    for (const Segment& segment : p.segments) {
      for (int64_t i = 0; i < segment.rows; ++i) {
        rows.clear();
        for (int64_t s = 0; s <= segment.first_position + i; ++s) {
          rows.push_back(CacheRow(segment.cache, s, rank + p.rope_dim));
        }
        const HeadQuery head{p.q.row(segment.first_row + i) + h * query_width, w_uk, w_uv, p};
        float* y = p.y.row(segment.first_row + i) + h * p.value_dim;
        segment.form == AttentionForm::kAbsorbed ? Absorbed(head, rows, y) : Expanded(head, rows, y);
      }
    }
  }
}

}  // namespace k2
