// The seam between the model and the devices: one object per device, used on the engine thread only.
// Fine ops are named after the lines of the paper; coarse ones have a composed default (composed.cc), so that
// a new backend is correct on its first day and fast later.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/buffer.h"
#include "base/status.h"
#include "ops/params.h"

namespace k2 {

// The sizes that a backend must know before the first op.
struct BackendShapes {
  int64_t hidden, heads, kv_rank, nope_dim, rope_dim, value_dim;
  int64_t experts, chosen;  // 0 for a dense model
  int64_t expert_width;     // F of a routed expert
  int64_t dense_width;      // F of the widest dense or shared feed-forward
  int64_t widest_input;     // most columns of any weight
  int64_t batch_tokens;     // most rows of any call
};

class Backend {
 public:
  virtual ~Backend() = default;

  virtual const char* name() const = 0;
  // Which kernels it uses, for `k2 inspect` and tests.
  virtual std::string kernels() const = 0;
  // The part of that which decides about bits: equal names, equal results.
  virtual std::string kernel_set() const { return kernels(); }

  // Takes scratch memory. Called once, before any op.
  virtual Status Prepare(const BackendShapes& shapes);
  // Bytes that Prepare takes, for the memory forecast.
  virtual int64_t ScratchBytes(const BackendShapes& shapes) const;

  // Told the bytes of all weights that stay mapped, before the first op. kOutOfMemory where they must fit
  // into a memory of the device's own, and do not.
  virtual Status HoldWeights(int64_t bytes) {
    (void)bytes;
    return {};
  }

  // Bytes of one cached token in one layer; a page holds the tokens of a layer one after the other.
  virtual int64_t CacheBytesPerToken(const BackendShapes& shapes) const = 0;

  // Begins a step. Ops ask `keep_going` (null: nothing) on the calling thread, as often as they can; it
  // outlives the step. Once the answer was no, this op and all later ones of the step may leave anything
  // undone, must not believe what earlier ones should have written, and Synchronize says kAborted.
  virtual void BeginStep(const std::function<bool()>* keep_going) { (void)keep_going; }

  virtual void Embed(const EmbedParams&) = 0;
  virtual void RmsNorm(const RmsNormParams&) = 0;
  virtual void Linear(const LinearParams&) = 0;
  virtual void Rope(const RopeParams&) = 0;
  virtual void AppendKv(const AppendKvParams&) = 0;
  virtual void LatentAttention(const LatentAttentionParams&) = 0;
  virtual void Router(const RouterParams&) = 0;
  virtual void SwiGlu(const SwiGluParams&) = 0;
  virtual void Add(const AddParams&) = 0;

  virtual void FeedForward(const FeedForwardParams&);
  virtual void RoutedExperts(const RoutedExpertsParams&);

  // First failure since the step began: a device's own, or that the step was stopped.
  virtual Status Synchronize() { return {}; }

 protected:
  // Scratch of the composed ops: gate and up rows, gathered inputs and outputs.
  Tensor scratch_gate_, scratch_up_, scratch_in_, scratch_out_;

 private:
  AlignedBuffer composed_scratch_;
};

// What the inputs of INT4 weights are rounded to before they are multiplied.
enum class Activations : uint8_t {
  k16Bit,
  kInt8,  // faster in long prefills, and less exact
};

struct BackendOptions {
  int threads = 1;
  std::string isa = {};  // forces a kernel set; empty: the best that the CPU has
  Activations activations = Activations::k16Bit;
  CacheType cache_type = CacheType::kBf16;
  // Most memory for copies of routed experts in a form that the backend reads faster. Above 0, all weights
  // must stay where they are.
  int64_t expert_copy_bytes = 0;
};

using MakeBackend = Result<std::unique_ptr<Backend>> (*)(const BackendOptions&);

// One row per backend that this build knows, absent ones included, so that callers need no conditions.
struct BackendEntry {
  const char* name;
  MakeBackend make;
  // Empty when usable here, otherwise why not.
  std::string (*absent_because)();
  // Names for BackendOptions::isa that work on this machine, best first, separated by spaces.
  std::string (*kernel_sets)();
};

std::span<const BackendEntry> Backends();
// Null when there is no such name.
const BackendEntry* FindBackend(const std::string& name);

}  // namespace k2
