// Feed-forwards of the CPU backend, dense, shared and routed: gate, up, SwiGLU and down of all experts of a
// call in two passes over the threads.
#pragma once

#include <span>

#include "base/buffer.h"
#include "cpu/elementwise.h"
#include "cpu/expert_copies.h"
#include "cpu/linear_scratch.h"
#include "ops/backend.h"

namespace k2 {

class CpuExperts {
 public:
  // `scratch` is prepared before the first call; `copy_bytes` is for copies of routed experts.
  CpuExperts(LinearScratch& scratch, const ElementwiseKernels& elementwise, int64_t copy_bytes)
      : scratch_(scratch), elementwise_(elementwise), copies_(copy_bytes) {}

  int64_t Bytes(const BackendShapes& shapes) const;
  Status Prepare(const BackendShapes& shapes);

  void FeedForward(const FeedForwardParams& p);
  void RoutedExperts(const RoutedExpertsParams& p);

 private:
  // One expert and its tokens.
  struct Group {
    const Expert* expert;   // that of the checkpoint or its copy
    const Expert* source;   // what to copy on the way; null: nothing
    const int32_t* tokens;  // [count] rows of x and y; null: 0, 1, 2, ...
    const float* weights;   // [count] what is added to y is multiplied with; null: y is assigned
    int64_t count;
    uint8_t* hidden;        // [count, F] in the format of `down`
    int64_t hidden_stride;  // bytes
  };
  struct Sizes {
    int64_t hidden, groups, first, sorted;  // bytes
  };

  Sizes SizesOf(const BackendShapes& shapes) const;
  int64_t HiddenStride(const Expert& expert) const;
  // The most tokens whose hidden rows fit the memory, at least 1.
  int64_t TokensAtOnce(int64_t hidden_bytes_per_token) const;
  // Fills groups_ with the chosen experts of the range of `p`, in ascending id, for `tokens` rows from
  // `first` on; returns how many.
  int64_t SortByExpert(const RoutedExpertsParams& p, int64_t first, int64_t tokens);
  // Takes the copies of the groups' experts where there are some.
  void UseCopies(std::span<Group> groups);
  void FinishCopies(std::span<const Group> groups);
  void Run(const Tensor& x, const Tensor& y, std::span<const Group> groups);
  void GateAndUp(std::span<const Group> groups);
  void StoreHidden(const Group& group, ActivationFormat format, int64_t first, const float* h,
                   int64_t width) const;
  void Down(std::span<const Group> groups, const Tensor& y);
  static void AddToRows(const Group& group, const RowBlock& block, const Tensor& y);

  LinearScratch& scratch_;
  const ElementwiseKernels elementwise_;
  ExpertCopies copies_;
  AlignedBuffer buffer_;
  uint8_t* hidden_ = nullptr;
  int64_t hidden_bytes_ = 0;
  Group* groups_ = nullptr;           // [experts]
  int64_t* first_ = nullptr;          // [experts + 1] where an expert's tokens begin
  int32_t* sorted_tokens_ = nullptr;  // [slab tokens * chosen]
  float* sorted_weights_ = nullptr;
};

}  // namespace k2
