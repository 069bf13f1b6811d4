// The dense and elementwise ops of the reference backend.
#include <cmath>

#include "ops/registry.h"
#include "reference/reference_backend.h"

namespace k2 {

void ReferenceBackend::Embed(const EmbedParams& p) {
  for (int64_t t = 0; t < p.y.rows; ++t) DecodeRow(*p.table, p.ids[static_cast<size_t>(t)], p.y.row(t));
}

void ReferenceBackend::RmsNorm(const RmsNormParams& p) {
  weight_row_.resize(static_cast<size_t>(p.w->columns));
  DecodeRow(*p.w, 0, weight_row_.data());
  for (int64_t t = 0; t < p.x.rows; ++t) {
    const float* x = p.x.row(t);
    float* y = p.y.row(t);
    double squares = 0;
    for (int64_t i = 0; i < p.x.columns; ++i) squares += double{x[i]} * x[i];
    const double factor = 1.0 / std::sqrt(squares / static_cast<double>(p.x.columns) + p.eps);
    for (int64_t i = 0; i < p.x.columns; ++i) {
      y[i] = static_cast<float>(weight_row_[static_cast<size_t>(i)] * (x[i] * factor));
    }
  }
}

void ReferenceBackend::Linear(const LinearParams& p) {
  weight_row_.resize(static_cast<size_t>(p.w->columns));
  for (int64_t n = 0; n < p.w->rows; ++n) {
    DecodeRow(*p.w, n, weight_row_.data());
    for (int64_t t = 0; t < p.x.rows; ++t) {
      const float* x = p.x.row(t);
      double sum = 0;
      for (int64_t k = 0; k < p.w->columns; ++k) sum += double{x[k]} * weight_row_[static_cast<size_t>(k)];
      p.y.row(t)[n] = static_cast<float>(sum);
    }
  }
}

void ReferenceBackend::Rope(const RopeParams& p) {
  const int64_t rope_dim = 2 * static_cast<int64_t>(p.inverse_frequencies.size());
  for (int64_t t = 0; t < p.x.rows; ++t) {
    for (int64_t h = 0; h < p.heads; ++h) {
      float* x = p.x.row(t) + (h + 1) * p.head_width - rope_dim;
      for (int64_t i = 0; i < rope_dim / 2; ++i) {
        const double angle = static_cast<double>(p.positions[static_cast<size_t>(t)]) *
                             p.inverse_frequencies[static_cast<size_t>(i)];
        const double c = std::cos(angle) * p.magnitude, s = std::sin(angle) * p.magnitude;
        const double a = x[2 * i], b = x[2 * i + 1];
        x[2 * i] = static_cast<float>(a * c - b * s);
        x[2 * i + 1] = static_cast<float>(a * s + b * c);
      }
    }
  }
}

void ReferenceBackend::SwiGlu(const SwiGluParams& p) {
  for (int64_t t = 0; t < p.y.rows; ++t) {
    for (int64_t i = 0; i < p.y.columns; ++i) {
      const double gate = p.gate.row(t)[i];
      p.y.row(t)[i] = static_cast<float>(gate / (1.0 + std::exp(-gate)) * p.up.row(t)[i]);
    }
  }
}

void ReferenceBackend::Add(const AddParams& p) {
  for (int64_t t = 0; t < p.y.rows; ++t) {
    for (int64_t i = 0; i < p.y.columns; ++i) p.y.row(t)[i] += p.x.row(t)[i];
  }
}

BackendEntry ReferenceBackendEntry() {
  return {.name = "reference",
          .make = [](const BackendOptions& options) -> Result<std::unique_ptr<Backend>> {
            if (options.activations != Activations::k16Bit) {
              return Status(ErrorCode::kInvalidArgument,
                            "Expected 16-bit activations for the reference backend, got int8");
            }
            if (!options.isa.empty() && options.isa != "scalar") {
              return Status(
                  ErrorCode::kInvalidArgument,
                  "Expected \"scalar\" for isa of the reference backend, got \"" + options.isa + "\"");
            }
            return std::unique_ptr<Backend>(std::make_unique<ReferenceBackend>(options.cache_type));
          },
          .absent_because = [] { return std::string(); },
          .kernel_sets = [] { return std::string("scalar"); }};
}

}  // namespace k2
