// The suite that every backend must pass, op by op, against the reference backend. A case says how to compute
// some rows of an op's output and how far each number may be from the reference; Conform does the rest:
// every kernel set that runs here, poisoned outputs, and the same bits for one or two threads, for all rows
// at once, for row by row, and for any cut between.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "linear_cases.h"
#include "ops/backend.h"
#include "reference/tolerance.h"

namespace k2::test {

struct Subject {
  std::string name;  // backend and kernel set
  std::unique_ptr<Backend> backend;
};

// All backends that work here except the reference, once per kernel set, prepared for `shapes`.
std::vector<Subject> MakeSubjects(const BackendShapes& shapes, int threads,
                                  CacheType cache_type = CacheType::kBf16,
                                  Activations activations = Activations::k16Bit);
std::unique_ptr<Backend> MakeReference(const BackendShapes& shapes, CacheType cache_type = CacheType::kBf16);

struct OpCase {
  std::string name;
  BackendShapes shapes;
  int64_t rows, columns;  // of the output
  // Computes rows [first, first + count) of the output into the same rows of y. `y` has more columns in
  // memory than in its shape.
  std::function<void(Backend&, int64_t first, int64_t count, Tensor y)> run;
  // The largest |subject - reference| allowed.
  std::function<double(int64_t row, int64_t column)> tolerance;
  Activations activations = Activations::k16Bit;
  CacheType cache_type = CacheType::kBf16;
};

void Conform(const OpCase& op);

// Shapes that fit any op of the suite; a case sets what matters to it.
BackendShapes SmallShapes();

// Random draws of one case.
class Draws {
 public:
  explicit Draws(uint64_t seed) : seed_(seed) {}
  int64_t Between(int64_t low, int64_t high) {  // both included
    return low + static_cast<int64_t>(Next() * static_cast<double>(high - low + 1));
  }
  double Next() { return UniformAt(seed_, counter_++); }
  uint64_t Seed() { return static_cast<uint64_t>(Next() * 1e15); }

 private:
  uint64_t seed_;
  uint64_t counter_ = 0;
};

}  // namespace k2::test
