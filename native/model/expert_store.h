// The routed experts of a checkpoint that is larger than memory: a fixed number of slots of memory, each with
// the matrices of one expert as the file has them, filled by threads that read past the page cache. A layer
// computes its experts in ascending id, as many at a time as have arrived, while the others are still being
// read; bits do not depend on how many that are.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/buffer.h"
#include "model/expert_layout.h"
#include "model/expert_reader.h"
#include "model/expert_slots.h"
#include "model/weights.h"

namespace k2 {

// Sums since loading; any thread.
struct ExpertCounters {
  std::atomic<int64_t> hits{0};    // uses of an expert that was in memory, or on its way as a guess
  std::atomic<int64_t> misses{0};  // uses that had to be read
  std::atomic<int64_t> guesses{0}, used_guesses{0}, wasted_guesses{0};
  std::atomic<int64_t> read_bytes{0};
  std::atomic<int64_t> read_ns{0};  // time during which at least one read was under way
  std::atomic<int64_t> waits{0};    // how often a layer had nothing to compute for want of an expert,
  std::atomic<int64_t> wait_ns{0};  // and for how long
  std::atomic<int64_t> memory_bytes{0};
};

class ExpertStore {
 public:
  // Experts with ids in [first, end); empty: the layer is done.
  struct Round {
    int32_t first = 0, end = 0;
    bool empty() const { return first == end; }
  };

  // As many slots as `memory_bytes` holds, at most one for each expert, and at least as many as a token uses:
  // kInvalidArgument naming expertMemory where that is too little, or where the model has no experts.
  // `weights` and `counters` outlive the store.
  static Result<std::unique_ptr<ExpertStore>> Create(const ModelSpec& spec, const Weights& weights,
                                                     int64_t memory_bytes, ExpertCounters* counters);
  // Waits for the reads that are under way.
  ~ExpertStore() = default;

  // All below: engine thread. Layers are those of the model.

  // The experts of a layer; their numbers are there for those of the running round alone.
  std::span<const Expert> experts(int64_t layer) const { return layers_[static_cast<size_t>(layer)].views; }

  // The layer is about to use the experts `ids`, in any order and as often as they come. Next will give
  // `least` of them at once where so many are left and half of the slots hold them.
  void Begin(int64_t layer, std::span<const int32_t> ids, int64_t least);
  // Waits until the next experts have arrived; those of the round before may give way from here on. kIo
  // naming expert and file; kAborted once `keep_going`, which is asked every few milliseconds, says no. After
  // either the visit is over.
  Result<Round> Next(const std::function<bool()>& keep_going);
  // Experts that the layer is likely to use when it comes next, to be read while there is nothing else to
  // read.
  void Guess(int64_t layer, std::span<const int32_t> ids);
  // Whether there is anything to guess: an expert of the layer that is not in memory.
  bool MayGuess(int64_t layer) const;

  int64_t slots() const { return slots_.size(); }

 private:
  struct Layer {
    int64_t moe_index = ExpertSlots::kNone;
    std::vector<Weight> matrices;       // [E * 3] as they lie in slots
    std::vector<Expert> views;          // [E]
    std::vector<ExpertLayout> layouts;  // [E]
  };

  ExpertStore(const ModelSpec& spec, std::vector<Layer> layers, int64_t slots, ExpertCounters* counters)
      : layers_(std::move(layers)), counters_(counters), slots_(spec.MoeLayers(), spec.experts, slots) {}

  static std::vector<Layer> LayOut(const ModelSpec& spec, const Weights& weights);

  // All below: the caller holds the lock.
  void Admit();
  void StartReading(int32_t slot, int64_t layer, int32_t expert, bool is_guess);
  void ReadDone(int32_t slot, int result, int32_t file);
  size_t ReadyFrom(size_t first) const;
  int32_t SlotOf(int32_t expert) const;
  void EndRound();
  void EndVisit();
  void Publish();

  std::vector<Layer> layers_;
  ExpertCounters* const counters_;
  AlignedBuffer memory_;
  uint8_t* first_slot_ = nullptr;
  uint64_t slot_bytes_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  // Guarded by mutex_.
  ExpertSlots slots_;
  std::vector<uint8_t> is_ready_;   // [slots] all of it has been read
  std::vector<uint8_t> is_miss_;    // [slots] read because a visit needed it, which has not computed it yet
  std::vector<uint8_t> is_wanted_;  // [experts]
  // The running visit: what it needs, ascending. A round is [round_, next_); those before admitted_ have
  // slots.
  std::vector<int32_t> needed_;
  size_t round_ = 0, next_ = 0, admitted_ = 0;
  size_t least_ = 1;
  int64_t layer_ = 0;
  struct {
    int result = 0;
    int32_t file = 0, expert = 0;
  } failure_;

  std::unique_ptr<ExpertReader> reader_;  // last: its threads use all of the above
};

}  // namespace k2
