// The CPU backend's linears: every dtype and instruction set against a double sum over the activations that
// the kernel multiplies with, at every remainder of K, N and T; and the same bits whatever stands beside a
// row.
#include "cpu/linear.h"

#include <algorithm>
#include <limits>
#include <memory>

#include "activations_twin.h"
#include "base/rng.h"
#include "check.h"
#include "cpu/interleave.h"
#include "cpu/linear_scratch.h"
#include "linear_cases.h"

namespace k2::test {
namespace {

constexpr int64_t kColumns[] = {1, 7, 31, 32, 33, 96, 100, 160, 1056};
constexpr int64_t kRows[] = {1, 5, 16, 17, 50};
constexpr int64_t kTokens[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 17};

// Every set with 16-bit activations, and with those of 8 bits.
std::vector<LinearKernels> AllKernels() {
  std::vector<LinearKernels> all;
  for (Isa isa : SupportedIsas()) {
    for (const Activations activations : {Activations::k16Bit, Activations::kInt8})
      all.push_back(LinearKernelsFor(isa, activations));
  }
  return all;
}

// The codings whose products the table forms in its own way: int8 activations are for INT4 weights alone.
std::vector<Coding> CodingsOf(const LinearKernels& kernels, int64_t columns) {
  const bool is_int8 = kernels.format({.storage = Storage::kInt4}, false) == ActivationFormat::kBytes;
  std::vector<Coding> codings;
  for (const Coding& coding : Codings(columns)) {
    if (!is_int8 || coding.storage == Storage::kInt4) codings.push_back(coding);
  }
  return codings;
}

struct Linears {
  Linears(const LinearKernels& kernels, int threads, int64_t columns, int64_t tokens)
      : pool(std::move(ThreadPool::Create(threads).value())), scratch(kernels, *pool) {
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

void CheckAgainstDouble(const LinearKernels& kernels, const Matrix& x, const StoredWeight& stored,
                        bool full_precision, const Matrix& y) {
  const Weight& w = stored.weight();
  const ActivationFormat format = kernels.format(w, full_precision);
  std::vector<float> row(static_cast<size_t>(w.columns));
  std::vector<double> activations;
  for (int64_t t = 0; t < x.rows; ++t) {
    const std::vector<double> one = AsMultiplied(format, x.tensor().row(t), x.columns);
    activations.insert(activations.end(), one.begin(), one.end());
  }
  // Sums of integers are exact within a step.
  const double in_step = IsPlanes(format) ? 0 : kStepColumns;
  // Rounding to odd errs by a whole unit of the last place, not by half of one.
  const double unit = kernels.isa == Isa::kNeonBf16 ? 0x1p-23 : 0x1p-24;
  const double eps = unit * (in_step + static_cast<double>(w.columns) / kStepColumns + 4);
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
         std::string(IsaName(kernels.isa)) + (format == ActivationFormat::kBytes ? " int8 " : " ") +
             StorageName(w.storage) + " block " + std::to_string(w.block_columns) + " K=" +
             std::to_string(w.columns) + " N=" + std::to_string(w.rows) + " T=" + std::to_string(x.rows) +
             (full_precision ? " full precision" : "") + ": " + std::to_string(wrong) + " wrong numbers");
  }
}

// The most tokens against the sum, fewer against the most: a row's bits do not depend on its company.
TEST(linear_matches_a_double_sum) {
  constexpr int64_t kMostTokens = 64;
  for (const LinearKernels& kernels : AllKernels()) {
    for (int64_t columns : kColumns) {
      Linears linears(kernels, 2, columns, kMostTokens);
      const Matrix x = RandomActivations(kMostTokens, columns, 3);
      for (const Coding& coding : CodingsOf(kernels, columns)) {
        for (int64_t rows : kRows) {
          const StoredWeight stored(coding, rows, columns,
                                    /*seed=*/static_cast<uint64_t>(rows + 1000 * columns));
          for (bool full_precision : {false, true}) {
            const Matrix y = linears.Run(x, stored.weight(), full_precision);
            CheckAgainstDouble(kernels, x, stored, full_precision, y);
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
  for (const LinearKernels& kernels : AllKernels()) {
    constexpr int64_t kWidth = 7168;
    Linears linears(kernels, 2, kWidth, 9);
    for (const Coding& coding : CodingsOf(kernels, kWidth)) {
      const StoredWeight stored(coding, 33, kWidth, 5);
      for (int64_t tokens : {1, 2, 9}) {
        const Matrix x = RandomActivations(tokens, kWidth, 6);
        CheckAgainstDouble(kernels, x, stored, false, linears.Run(x, stored.weight()));
      }
    }
  }
}

TEST(linear_of_interleaved_rows_has_the_same_bits) {
  for (const LinearKernels& kernels : AllKernels()) {
    for (int64_t columns : kColumns) {
      Linears linears(kernels, 2, columns, 64);
      const Matrix x = RandomActivations(64, columns, 9);
      for (const Coding& coding : CodingsOf(kernels, columns)) {
        for (int64_t rows : kRows) {
          const StoredWeight stored(coding, rows, columns, static_cast<uint64_t>(rows + 7 * columns));
          const int64_t bytes = InterleavedBytes(stored.weight());
          const bool has_form = coding.scale_storage == Storage::kBf16 && coding.block_columns == 32;
          EXPECT((bytes > 0) == (has_form && coding.storage == Storage::kInt4));
          if (bytes == 0) continue;
          // Memory of exactly that size: a sanitizer sees any byte read or written beside it.
          const std::unique_ptr<uint8_t[]> memory(new uint8_t[static_cast<size_t>(bytes)]);
          for (int64_t row = 0, offset = 0; row < rows;
               row += kBlockRows, offset += InterleavedBlockBytes(columns))
            kernels.interleave(stored.weight(), row, memory.get() + offset);
          const Weight interleaved = AsInterleaved(stored.weight(), memory.get());
          EXPECT(InterleavedBytes(interleaved) == 0);
          for (bool full_precision : {false, true}) {
            for (int64_t tokens : kTokens) {
              const Matrix some = x.Rows(0, tokens);
              EXPECT(SameBits(linears.Run(some, interleaved, full_precision),
                              linears.Run(some, stored.weight(), full_precision)));
            }
          }
        }
      }
    }
  }
}

TEST(linear_has_the_same_bits_for_any_threads_and_slabs) {
  for (const LinearKernels& kernels : AllKernels()) {
    Linears one(kernels, 1, 1056, 64), two(kernels, 2, 1056, 64), slabs(kernels, 3, 1056, 5);
    for (const Coding& coding : CodingsOf(kernels, 1056)) {
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
  for (const LinearKernels& kernels : AllKernels()) {
    Linears linears(kernels, 1, 96, 8);
    for (const Coding& coding : CodingsOf(kernels, 96)) {
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
  for (const LinearKernels& kernels : AllKernels()) {
    Linears linears(kernels, 1, 100, 3);
    for (const Coding& coding : CodingsOf(kernels, 100)) {
      StoredWeight stored(coding, 17, 100, 11);
      Matrix x = RandomActivations(3, 100, 12);
      x.tensor().row(0)[99] = std::nanf("");
      x.tensor().row(1)[40] = infinity;
      const Matrix y = linears.Run(x, stored.weight());
      std::vector<float> row(100);
      for (int64_t n = 0; n < 17; ++n) {
        DecodeRow(stored.weight(), n, row.data());
        EXPECT(std::isnan(y.at(0, n)));
        // Integers have no infinity: their scale is NaN.
        const bool is_nan = row[40] == 0 || IsPlanes(kernels.format(stored.weight(), false));
        EXPECT(is_nan ? std::isnan(y.at(1, n)) : y.at(1, n) == std::copysign(infinity, row[40]));
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
  for (const LinearKernels& kernels : AllKernels()) {
    Linears linears(kernels, 1, 256, 1);
    for (const Coding& coding : CodingsOf(kernels, 256)) {
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
          } else if (IsPlanes(kernels.format(stored.weight(), false))) {
            // One is the largest of its step, and its code times the scale is one but for two roundings.
            EXPECT_NEAR(y.at(0, n), row[static_cast<size_t>(k)],
                        0x1p-22 * std::fabs(row[static_cast<size_t>(k)]));
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

// The largest sums that a step can have, of either sign; and steps of numbers that are very small, very
// large, or all zero beside such that are not.
TEST(linear_takes_extreme_steps) {
  const float largest = std::numeric_limits<float>::max();
  for (const LinearKernels& kernels : AllKernels()) {
    Linears linears(kernels, 1, 96, 6);
    for (const uint8_t nibbles : {0x00, 0xff, 0xf0}) {
      StoredWeight stored({Storage::kInt4, Storage::kF32, 1, 32}, 17, 96, 14);
      stored.FillWith(nibbles);
      Matrix x = RandomActivations(6, 96, 15);
      std::fill_n(x.tensor().row(0), 96, 3.0f);
      std::fill_n(x.tensor().row(1), 96, -3.0f);
      for (int64_t k = 0; k < 32; ++k) x.tensor().row(2)[k] *= 0x1p-90f;
      for (int64_t k = 32; k < 64; ++k) x.tensor().row(2)[k] = 0;
      for (int64_t k = 0; k < 32; ++k) x.tensor().row(3)[k] *= 0x1p-110f;
      for (int64_t k = 0; k < 96; ++k) x.tensor().row(4)[k] = largest / 2000 * (k % 3 == 0 ? -1.0f : 0.5f);
      CheckAgainstDouble(kernels, x, stored, false, linears.Run(x, stored.weight()));
    }
  }
}

// The arithmetic of planes has no choice left to a set: all have the same bits. (The portable one does not
// fuse.)
TEST(linear_of_planes_has_the_same_bits_in_every_set) {
  const Matrix x = RandomActivations(9, 1056, 16);
  for (const Coding& coding : Codings(1056)) {
    if (coding.storage != Storage::kInt4) continue;
    const StoredWeight stored(coding, 50, 1056, 17);
    for (const ActivationFormat format : {ActivationFormat::kBytes, ActivationFormat::kBytePairs}) {
      std::vector<Matrix> results;
      for (const LinearKernels& kernels : AllKernels()) {
        if (kernels.isa == Isa::kScalar || kernels.format(stored.weight(), false) != format) continue;
        Linears linears(kernels, 1, 1056, 9);
        results.push_back(linears.Run(x, stored.weight()));
        EXPECT(SameBits(results.back(), results.front()));
      }
    }
  }
}

}  // namespace
}  // namespace k2::test
