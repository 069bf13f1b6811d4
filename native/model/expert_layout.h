// Where the matrices of an expert lie in the checkpoint's files, and where they come to lie in a slot of
// memory.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "model/expert_reader.h"
#include "model/weights.h"

namespace k2 {

struct ExpertLayout {
  struct Place {
    uint64_t data = 0, scales = 0;  // from the beginning of the slot
  };

  // To be read one behind the other. Parts that are near each other in a file are one extent with what is
  // between them.
  std::vector<Extent> extents;
  std::array<Place, 3> places;  // of gate, up and down
  uint64_t bytes = 0;           // of all extents
};

// `matrices` are gate, up and down as views into the files of `weights`.
ExpertLayout LayOutExpert(const Weights& weights, std::span<const Weight> matrices);

}  // namespace k2
