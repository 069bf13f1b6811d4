// How long steps of decoding take, by their number of rows: measured by the engine itself as it goes, since
// it depends on the machine, the model, the contexts, and what else runs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>

namespace k2 {

class StepTimes {
 public:
  // A step of that many rows of decoding and nothing else took `ns`.
  void Add(size_t rows, int64_t ns);
  // A step with rows of decoding and of prefills took `ns`: without the latter it would have taken no more.
  void AddMixed(size_t rows, int64_t ns);

  // Smoothed nanoseconds of such a step; 0 where none was measured in the latest `age` steps.
  double Recent(size_t rows, int64_t age = std::numeric_limits<int64_t>::max()) const;

 private:
  struct Entry {
    double ns = 0;  // 0: never measured
    int64_t step = 0;
  };
  // Up to kExact rows each number has its entry, beyond that each doubling.
  static constexpr size_t kExact = 8;
  static size_t Index(size_t rows);

  std::array<Entry, 24> entries_;
  int64_t steps_ = 0;
};

}  // namespace k2
