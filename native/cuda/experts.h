// The products with weights: one by itself, the feed-forward of a single expert, and the chosen ones of many.
#pragma once

#include <map>
#include <vector>

#include "cuda/encoder.h"
#include "ops/backend.h"

namespace k2::cuda {

class Experts {
 public:
  static int64_t ScratchBytes(const BackendShapes& shapes);
  Status Prepare(const BackendShapes& shapes, Device& device);

  void Linear(const LinearParams& p, Encoder& encoder) const;
  void FeedForward(const FeedForwardParams& p, Encoder& encoder) const;
  void RoutedExperts(const RoutedExpertsParams& p, Encoder& encoder);
  // Nothing that was launched runs any more.
  void Finished() { retired_.clear(); }

 private:
  // The experts of a layer as the kernels see them. Kept, since resolving a thousand weights takes longer
  // than the layer.
  struct Table {
    std::vector<const uint8_t*> weights;  // by which a table is known again
    DeviceMemory memory;
    std::vector<ExpertArguments> experts;
    bool is_lasting = false;
  };
  const Table* TableOf(std::span<const Expert> experts, Encoder& encoder);

  // x in rounded_, as tensor cores take it; returns the length of a row there.
  uint Round(Address x, int64_t stride, int64_t columns, int64_t rows, Encoder& encoder) const;
  // a.y of all pairs: one part of the experts times a.x.
  void Part(ExpertsArguments a, std::span<const ExpertArguments> experts, int64_t columns, int64_t rows_of_x,
            Encoder& encoder) const;
  // Into hidden_: silu(gate x) * up x of all pairs.
  void GateUp(ExpertsArguments a, std::span<const ExpertArguments> experts, int64_t columns, int64_t width,
              int64_t rows_of_x, Encoder& encoder) const;

  DeviceMemory scratch_;
  Address hidden_ = 0;   // [pairs, F]
  Address out_ = 0;      // [pairs, max(D, F)]
  Address rounded_ = 0;  // BF16: [T, widest input] or [pairs, F]
  Address sorted_ = 0, tiles_ = 0;
  std::map<const Expert*, Table> tables_;
  std::vector<DeviceMemory> retired_;  // what was launched may still read it
};

}  // namespace k2::cuda
