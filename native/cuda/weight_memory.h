// The weights on the device. One of a mapped file is laid out and sent when an op first needs it, and stays;
// any other is sent for one step.
#pragma once

#include <map>
#include <utility>

#include "cuda/arena.h"
#include "cuda/arguments.h"
#include "cuda/weight_layout.h"

namespace k2::cuda {

class WeightMemory {
 public:
  explicit WeightMemory(Device& device);

  // Without data for an absent weight. `is_lasting` becomes false where the addresses hold until EndStep
  // only.
  Result<WeightArguments> Of(const Weight& weight, Layout layout, bool* is_lasting = nullptr);
  void EndStep();

 private:
  Result<WeightArguments> Send(const Weight& weight, Layout layout, Arena& arena);

  using Key = std::pair<const uint8_t*, Layout>;
  Device& device_;
  Arena lasting_, of_step_;
  std::map<Key, WeightArguments> lasting_weights_, weights_of_step_;
};

}  // namespace k2::cuda
