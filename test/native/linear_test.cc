// The CPU backend's linears: every dtype and instruction set against a double sum over the activations that
// the kernel multiplies with, at every remainder of K, N and T; and the same bits whatever stands beside a
// row.
#include "cpu/linear.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "base/rng.h"
#include "check.h"
#include "cpu/linear_scratch.h"
#include "linear_cases.h"

namespace k2::test {
namespace {

constexpr int64_t kColumns[] = {1, 7, 31, 32, 33, 96, 100, 160, 1056};
constexpr int64_t kRows[] = {1, 5, 16, 17, 50};
constexpr int64_t kTokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 17};

struct Linears {
  Linears(Isa isa, int threads, int64_t columns, int64_t tokens)
      : pool(std::move(ThreadPool::Create(threads).value())), scratch(LinearKernelsFor(isa), *pool) {
    BackendShapes shapes = {};
    shapes.hidden = shapes.widest_input = columns;
    shapes.batch_tokens = tokens;
    EXPECT(scratch.Prepare(shapes).ok());
  }

  Matrix Run(const Matrix& x, const Weight& w, bool full_precision = false) {
    Matrix y(x.rows, w.rows, std::numeric_limits<float>::quiet_NaN());
    CpuLinear(scratch, {.x = x.tensor(), .w = &w, .y = y.tensor(), .full_precision = full_precision});
    return y;
  }

  std::unique_ptr<ThreadPool> pool;
  LinearScratch scratch;
};

// Whether the kernels round x to bf16 for this weight.
bool Rounds(Isa isa, const Weight& w, bool full_precision) {
  return LinearKernelsFor(isa).format(w, full_precision) != ActivationFormat::kFloat;
}

void CheckAgainstDouble(Isa isa, const Matrix& x, const StoredWeight& stored, bool full_precision,
                        const Matrix& y) {
  const Weight& w = stored.weight();
  const bool rounds = Rounds(isa, w, full_precision);
  std::vector<float> row(static_cast<size_t>(w.columns));
  std::vector<double> activations(x.data.size());
  for (size_t i = 0; i < x.data.size(); ++i) {
    activations[i] = rounds ? Bf16ToFloat(FloatToBf16(x.data[i])) : x.data[i];
  }
  const double eps = 0x1p-24 * (kStepColumns + static_cast<double>(w.columns) / kStepColumns + 4);
  int wrong = 0;
  for (int64_t n = 0; n < w.rows; ++n) {
    DecodeRow(w, n, row.data());
    for (int64_t t = 0; t < x.rows; ++t) {
      double sum = 0, magnitude = 0;
      for (int64_t k = 0; k < w.columns; ++k) {
        const double product =
            activations[static_cast<size_t>(t * w.columns + k)] * row[static_cast<size_t>(k)];
        sum += product;
        magnitude += std::fabs(product);
      }
      // The last term: results too small to be normal numbers.
      if (!(std::fabs(y.at(t, n) - sum) <= eps * magnitude + 0x1p-120)) ++wrong;
    }
  }
  if (wrong != 0) {
    Fail(__FILE__, __LINE__,
         std::string(IsaName(isa)) + " " + StorageName(w.storage) + " block " +
             std::to_string(w.block_columns) + " K=" + std::to_string(w.columns) +
             " N=" + std::to_string(w.rows) + " T=" + std::to_string(x.rows) +
             (full_precision ? " full precision" : "") + ": " + std::to_string(wrong) + " wrong numbers");
  }
}

// The most tokens against the sum, fewer against the most: a row's bits do not depend on its company.
TEST(linear_matches_a_double_sum) {
  constexpr int64_t kMostTokens = 64;
  for (Isa isa : SupportedIsas()) {
    for (int64_t columns : kColumns) {
      Linears linears(isa, 2, columns, kMostTokens);
      const Matrix x = RandomActivations(kMostTokens, columns, 3);
      for (const Coding& coding : Codings(columns)) {
        for (int64_t rows : kRows) {
          const StoredWeight stored(coding, rows, columns,
                                    /*seed=*/static_cast<uint64_t>(rows + 1000 * columns));
          for (bool full_precision : {false, true}) {
            const Matrix y = linears.Run(x, stored.weight(), full_precision);
            CheckAgainstDouble(isa, x, stored, full_precision, y);
            for (int64_t tokens : kTokens) {
              const int64_t first = (rows + columns) % (kMostTokens + 1 - tokens);
              const Matrix part = linears.Run(x.Rows(first, tokens), stored.weight(), full_precision);
              EXPECT(SameBits(part, y.Rows(first, tokens)));
            }
          }
        }
      }
    }
  }
}

TEST(linear_of_true_width) {
  for (Isa isa : SupportedIsas()) {
    constexpr int64_t kWidth = 7168;
    Linears linears(isa, 2, kWidth, 9);
    for (const Coding& coding : Codings(kWidth)) {
      const StoredWeight stored(coding, 33, kWidth, 5);
      for (int64_t tokens : {1, 2, 9}) {
        const Matrix x = RandomActivations(tokens, kWidth, 6);
        CheckAgainstDouble(isa, x, stored, false, linears.Run(x, stored.weight()));
      }
    }
  }
}

TEST(linear_has_the_same_bits_for_any_threads_and_slabs) {
  for (Isa isa : SupportedIsas()) {
    Linears one(isa, 1, 1056, 64), two(isa, 2, 1056, 64), slabs(isa, 3, 1056, 5);
    for (const Coding& coding : Codings(1056)) {
      const StoredWeight stored(coding, 100, 1056, 7);
      const Matrix x = RandomActivations(64, 1056, 8);
      for (bool full_precision : {false, true}) {
        const Matrix y = two.Run(x, stored.weight(), full_precision);
        EXPECT(SameBits(y, one.Run(x, stored.weight(), full_precision)));
        EXPECT(SameBits(y, slabs.Run(x, stored.weight(), full_precision)));
      }
    }
  }
}

TEST(linear_takes_strided_rows) {
  for (Isa isa : SupportedIsas()) {
    Linears linears(isa, 1, 96, 8);
    for (const Coding& coding : Codings(96)) {
      const StoredWeight stored(coding, 20, 96, 9);
      const Matrix wide = RandomActivations(8, 200, 10);
      Matrix x(8, 96, 0), y(8, 50, -1);
      for (int64_t t = 0; t < 8; ++t) std::copy_n(wide.tensor().row(t) + 30, 96, x.tensor().row(t));
      CpuLinear(linears.scratch,
                {.x = wide.tensor().Columns(30, 96), .w = &stored.weight(), .y = y.tensor().Columns(7, 20)});
      const Matrix expected = linears.Run(x, stored.weight());
      for (int64_t t = 0; t < 8; ++t) {
        for (int64_t n = 0; n < 50; ++n) {
          EXPECT(y.at(t, n) == (n >= 7 && n < 27 ? expected.at(t, n - 7) : -1.0f));
        }
      }
    }
  }
}

TEST(linear_lets_nan_and_infinity_through) {
  const float infinity = std::numeric_limits<float>::infinity();
  for (Isa isa : SupportedIsas()) {
    Linears linears(isa, 1, 100, 3);
    for (const Coding& coding : Codings(100)) {
      StoredWeight stored(coding, 17, 100, 11);
      Matrix x = RandomActivations(3, 100, 12);
      x.tensor().row(0)[99] = std::nanf("");
      x.tensor().row(1)[40] = infinity;
      const Matrix y = linears.Run(x, stored.weight());
      std::vector<float> row(100);
      for (int64_t n = 0; n < 17; ++n) {
        DecodeRow(stored.weight(), n, row.data());
        EXPECT(std::isnan(y.at(0, n)));
        EXPECT(row[40] == 0 ? std::isnan(y.at(1, n)) : y.at(1, n) == std::copysign(infinity, row[40]));
        EXPECT(std::isfinite(y.at(2, n)));
      }
      stored.Zero();
      const Matrix zero = linears.Run(x.Rows(2, 1), stored.weight());
      for (int64_t n = 0; n < 17; ++n) EXPECT(zero.at(0, n) == 0);
    }
  }
}

// Every code of the small formats, NaN included, times one.
TEST(linear_decodes_every_code) {
  for (Isa isa : SupportedIsas()) {
    Linears linears(isa, 1, 256, 1);
    for (const Coding& coding : Codings(256)) {
      if (coding.storage == Storage::kF32) continue;
      const bool half = StorageBytes(coding.storage) == 2;
      StoredWeight stored(coding, half ? 65536 / 256 : 17, 256, 13);
      stored.FillWithCodes();
      std::vector<float> row(256);
      for (int64_t k = 0; k < 256; k += 17) {
        Matrix x(1, 256, 0);
        x.tensor().row(0)[k] = 1;
        const Matrix y = linears.Run(x, stored.weight());
        for (int64_t n = 0; n < stored.weight().rows; ++n) {
          DecodeRow(stored.weight(), n, row.data());
          bool finite = true;
          for (float w : row) finite = finite && std::isfinite(w);
          if (!finite) {
            EXPECT(std::isnan(y.at(0, n)));
          } else if (std::fabs(row[static_cast<size_t>(k)]) >= 0x1p-126f) {
            EXPECT(y.at(0, n) == row[static_cast<size_t>(k)]);
          } else {
            EXPECT(std::fabs(y.at(0, n)) < 0x1p-126f);  // bf16 dot products take subnormals as zero
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace k2::test
