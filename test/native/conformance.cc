#include "conformance.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "check.h"
#include "cuda/mock_driver.h"
#include "metal/emulated_device.h"

namespace k2::test {
namespace {

// Output memory: every number starts as a NaN that no op computes, and every row ends in numbers that nobody
// may touch.
class PoisonedOutput {
 public:
  static constexpr int64_t kGuard = 3;

  PoisonedOutput(int64_t rows, int64_t columns)
      : rows_(rows), columns_(columns), bits_(static_cast<size_t>(rows * (columns + kGuard)), kPoison) {}

  Tensor tensor() { return {reinterpret_cast<float*>(bits_.data()), rows_, columns_, columns_ + kGuard}; }

  // Whether exactly the rows [first, first + count) were written, and those completely.
  bool WrittenExactly(int64_t first, int64_t count) const {
    for (int64_t t = 0; t < rows_; ++t) {
      for (int64_t n = 0; n < columns_ + kGuard; ++n) {
        const bool expected = t >= first && t < first + count && n < columns_;
        if ((Bits(t, n) != kPoison) != expected) return false;
      }
    }
    return true;
  }
  bool SameRows(const PoisonedOutput& other, int64_t first, int64_t count) const {
    const size_t row = static_cast<size_t>(columns_ + kGuard);
    return std::equal(bits_.begin() + first * row, bits_.begin() + (first + count) * row,
                      other.bits_.begin() + first * row);
  }
  float at(int64_t t, int64_t n) const { return std::bit_cast<float>(Bits(t, n)); }

 private:
  static constexpr uint32_t kPoison = 0x7fb01234;
  uint32_t Bits(int64_t t, int64_t n) const {
    return bits_[static_cast<size_t>(t * (columns_ + kGuard) + n)];
  }

  int64_t rows_, columns_;
  std::vector<uint32_t> bits_;
};

PoisonedOutput Compute(const OpCase& op, Backend& backend, int64_t first, int64_t count,
                       const std::string& who) {
  PoisonedOutput output(op.rows, op.columns);
  op.run(backend, first, count, output.tensor());
  if (!backend.Synchronize().ok()) Fail(__FILE__, __LINE__, who + " failed");
  if (!output.WrittenExactly(first, count)) {
    Fail(__FILE__, __LINE__, who + " left numbers unwritten or wrote outside of its rows");
  }
  return output;
}

void CheckTolerance(const OpCase& op, const PoisonedOutput& actual, const PoisonedOutput& expected,
                    const std::string& who) {
  for (int64_t t = 0; t < op.rows; ++t) {
    for (int64_t n = 0; n < op.columns; ++n) {
      const double allowed = op.tolerance(t, n),
                   error = std::fabs(double{actual.at(t, n)} - expected.at(t, n));
      if (error <= allowed || (std::isnan(actual.at(t, n)) && std::isnan(expected.at(t, n)))) continue;
      std::ostringstream message;
      message << who << " gives " << actual.at(t, n) << " at [" << t << ", " << n << "], expected "
              << expected.at(t, n) << " +- " << allowed;
      return Fail(__FILE__, __LINE__, message.str());
    }
  }
}

std::vector<std::string> Words(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

}  // namespace

std::unique_ptr<Backend> MakeReference(const BackendShapes& shapes, CacheType cache_type) {
  Result<std::unique_ptr<Backend>> made = FindBackend("reference")->make({.cache_type = cache_type});
  if (!made.ok() || !made.value()->Prepare(shapes).ok()) return nullptr;
  return std::move(made.value());
}

std::vector<Subject> MakeSubjects(const BackendShapes& shapes, int threads, CacheType cache_type,
                                  Activations activations) {
  std::vector<Subject> subjects;
  for (const BackendEntry& entry : Backends()) {
    if (std::string(entry.name) == "reference" || !entry.absent_because().empty()) continue;
    for (const std::string& set : Words(entry.kernel_sets())) {
      const std::string name = std::string(entry.name) + " " + set;
      Result<std::unique_ptr<Backend>> made =
          entry.make({.threads = threads, .isa = set, .activations = activations, .cache_type = cache_type});
      if (!made.ok() || !made.value()->Prepare(shapes).ok()) {
        Fail(__FILE__, __LINE__, name + " cannot be made: " + made.status().message());
        continue;
      }
      subjects.push_back({name, std::move(made.value())});
    }
  }
  // They keep latents and activations in 16 bits or more.
  if (cache_type != CacheType::kBf16 || activations != Activations::k16Bit) return subjects;
  const char* const left_out = std::getenv("K2_TEST_LEFT_OUT");
  // The emulator has no threads to share work with; another number of them is another order of its own.
  const uint64_t seed = static_cast<uint64_t>(threads);
  const auto add = [&](const char* name, std::unique_ptr<Backend> backend) {
    if (left_out != nullptr && std::strstr(left_out, name) != nullptr) return;
    if (Status status = backend->Prepare(shapes); !status.ok()) {
      Fail(__FILE__, __LINE__, std::string(name) + " cannot be made: " + status.message());
    } else {
      subjects.push_back({name, std::move(backend)});
    }
  };
  add("emulated metal", MakeEmulatedMetal(seed, When::kAtOnce));
  add("emulated cuda", MakeEmulatedCuda(seed, false));
  return subjects;
}

void Conform(const OpCase& op) {
  const std::unique_ptr<Backend> reference = MakeReference(op.shapes, op.cache_type);
  const PoisonedOutput expected = Compute(op, *reference, 0, op.rows, op.name + ": reference");
  std::vector<Subject> ones = MakeSubjects(op.shapes, 1, op.cache_type, op.activations),
                       twos = MakeSubjects(op.shapes, 2, op.cache_type, op.activations);
  for (size_t i = 0; i < ones.size(); ++i) {
    const std::string who = op.name + ": " + ones[i].name;
    Backend &one = *ones[i].backend, &two = *twos[i].backend;
    const PoisonedOutput whole = Compute(op, two, 0, op.rows, who);
    CheckTolerance(op, whole, expected, who);
    const auto same = [&](Backend& backend, int64_t first, int64_t count, const char* what) {
      const PoisonedOutput part = Compute(op, backend, first, count, who);
      if (!part.SameRows(whole, first, count)) Fail(__FILE__, __LINE__, who + " has other bits " + what);
    };
    same(one, 0, op.rows, "with one thread");
    for (int64_t t = 0; t < op.rows; t += std::max<int64_t>(1, op.rows / 7))
      same(two, t, 1, "for a row alone");
    Draws draws(static_cast<uint64_t>(op.rows * 31 + op.columns));
    for (int64_t first = 0, count; first < op.rows; first += count) {
      count = draws.Between(1, op.rows - first);
      same(two, first, count, "for a part of the rows");
    }
  }
}

BackendShapes SmallShapes() {
  return {.hidden = 64,
          .heads = 1,
          .kv_rank = 8,
          .nope_dim = 8,
          .rope_dim = 8,
          .value_dim = 8,
          .experts = 0,
          .chosen = 0,
          .expert_width = 64,
          .dense_width = 64,
          .widest_input = 2048,
          .batch_tokens = 64};
}

}  // namespace k2::test
