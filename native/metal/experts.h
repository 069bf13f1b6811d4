// The feed-forward blocks: a single one, and the chosen ones of many.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "metal/encoder.h"
#include "ops/backend.h"

namespace k2::metal {

class Experts {
 public:
  static int64_t ScratchBytes(const BackendShapes& shapes);
  Status Prepare(const BackendShapes& shapes, Device& device);

  void FeedForward(const FeedForwardParams& p, Encoder& encoder) const;
  void RoutedExperts(const RoutedExpertsParams& p, Encoder& encoder);
  // Nothing that was dispatched runs any more.
  void Finished() { retired_.clear(); }

 private:
  // The experts of a layer as the kernels see them. Kept, since resolving a thousand weights takes longer
  // than the layer.
  struct Table {
    std::vector<const uint8_t*> weights;  // by which a table is known again
    std::unique_ptr<DeviceMemory> memory;
    std::vector<ExpertArguments> experts;
    bool is_lasting = false;
  };
  const Table* TableOf(std::span<const Expert> experts, Encoder& encoder);

  // Into hidden_: silu(gate x) * up x of all pairs.
  void GateUp(ExpertsArguments a, std::span<const ExpertArguments> experts, int64_t width, bool is_tiled,
              Encoder& encoder) const;

  Device* device_ = nullptr;
  std::unique_ptr<DeviceMemory> scratch_;
  Address hidden_ = 0;  // [pairs, F]
  Address out_ = 0;     // [pairs, max(D, F)]
  Address sorted_ = 0, tiles_ = 0;
  std::map<const Expert*, Table> tables_;
  std::vector<std::unique_ptr<DeviceMemory>> retired_;  // what was dispatched may still read it
};

// Dispatches the product with one weight; shared with Linear.
void EncodeLinear(const WeightArguments& w, Storage storage, Address x, int64_t x_stride, Address y,
                  int64_t y_stride, int64_t tokens, Encoder& encoder);

}  // namespace k2::metal
