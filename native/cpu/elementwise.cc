#include "cpu/elementwise.h"

#include <algorithm>
#include <cmath>

namespace k2 {
namespace {

// Numbers below which a call is not worth waking a second thread.
constexpr int64_t kNumbersPerChunk = 16384;

template <typename Row>
void ForRows(ThreadPool& pool, int64_t rows, int64_t columns, const Row& row) {
  const int64_t grain = std::max<int64_t>(1, kNumbersPerChunk / std::max<int64_t>(1, columns));
  pool.For(rows, grain, [&](int64_t first, int64_t last, int) {
    for (int64_t t = first; t < last; ++t) row(t);
  });
}

}  // namespace

int64_t Elementwise::ScratchBytes(const BackendShapes& shapes) {
  return shapes.widest_input * static_cast<int64_t>(sizeof(float));
}

Status Elementwise::Prepare(const BackendShapes& shapes, Isa isa) {
  kernels_ = ElementwiseKernelsFor(isa);
  Result<AlignedBuffer> weight =
      AlignedBuffer::Allocate(static_cast<size_t>(ScratchBytes(shapes)), "the weight of a norm");
  if (!weight.ok()) return weight.status();
  norm_weight_ = std::move(weight.value());
  return {};
}

void Elementwise::Embed(const EmbedParams& p, ThreadPool& pool) const {
  ForRows(pool, p.y.rows, p.y.columns,
          [&](int64_t t) { kernels_.decode(*p.table, p.ids[static_cast<size_t>(t)], p.y.row(t)); });
}

void Elementwise::RmsNorm(const RmsNormParams& p, ThreadPool& pool) const {
  float* w = norm_weight_.as<float>();
  kernels_.decode(*p.w, 0, w);
  ForRows(pool, p.x.rows, p.x.columns,
          [&](int64_t t) { kernels_.rms_norm(p.x.row(t), w, p.x.columns, p.eps, p.y.row(t)); });
}

// A row's angles are computed once for all of its heads, a handful of pairs at a time.
void Elementwise::Rope(const RopeParams& p, ThreadPool& pool) const {
  constexpr int64_t kPairs = 32;
  const int64_t pairs = static_cast<int64_t>(p.inverse_frequencies.size());
  ForRows(pool, p.x.rows, p.heads * pairs * 8, [&](int64_t t) {
    const double position = static_cast<double>(p.positions[static_cast<size_t>(t)]);
    for (int64_t first = 0; first < pairs; first += kPairs) {
      const int64_t n = std::min(kPairs, pairs - first);
      float cosines[kPairs], sines[kPairs];
      for (int64_t i = 0; i < n; ++i) {
        const double angle = position * p.inverse_frequencies[static_cast<size_t>(first + i)];
        cosines[i] = static_cast<float>(std::cos(angle) * p.magnitude);
        sines[i] = static_cast<float>(std::sin(angle) * p.magnitude);
      }
      for (int64_t h = 1; h <= p.heads; ++h) {
        float* x = p.x.row(t) + h * p.head_width - 2 * pairs + 2 * first;
        for (int64_t i = 0; i < n; ++i) {
          const float a = x[2 * i], b = x[2 * i + 1];
          x[2 * i] = a * cosines[i] - b * sines[i];
          x[2 * i + 1] = a * sines[i] + b * cosines[i];
        }
      }
    }
  });
}

void Elementwise::SwiGlu(const SwiGluParams& p, ThreadPool& pool) const {
  ForRows(pool, p.y.rows, p.y.columns,
          [&](int64_t t) { kernels_.swiglu(p.gate.row(t), p.up.row(t), p.y.columns, p.y.row(t)); });
}

void Elementwise::Add(const AddParams& p, ThreadPool& pool) const {
  ForRows(pool, p.y.rows, p.y.columns, [&](int64_t t) { kernels_.add(p.x.row(t), p.y.columns, p.y.row(t)); });
}

}  // namespace k2
