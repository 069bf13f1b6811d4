// A random model in a temporary file, in any stored form, for tests of the model and the engine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/spec.h"
#include "model/weights.h"

namespace k2::test {

struct TinyModel {
  ModelSpec spec;
  std::vector<std::string> paths;
  std::vector<WeightRow> rows;

  TinyModel() = default;
  TinyModel(TinyModel&&) = default;
  ~TinyModel();  // removes the file
};

// One dense layer and two with experts; attention in `attention`, routed experts in `experts`, the rest BF16.
TinyModel MakeTinyModel(Storage attention, Storage experts, uint32_t seed = 1, int64_t vocab = 90);

}  // namespace k2::test
