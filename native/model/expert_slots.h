// Which experts are in memory, and which of them gives its place to another: the bookkeeping of ExpertStore,
// without bytes or threads.
//
// Layers are visited in order, pass after pass. An expert that was used in the latest visit of its layer is
// the most likely one to be used in the next, and the longer it went unused the less so. So the one goes that
// went unused for the most visits of its layer; among equal ones the one whose layer comes again last. The
// second part matters where memory holds less than a pass uses: evicting by time of use alone would then give
// up each expert just before its layer comes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace k2 {

class ExpertSlots {
 public:
  static constexpr int32_t kNone = -1;

  // `layers` counts those with experts. All memory is taken here.
  ExpertSlots(int64_t layers, int64_t experts, int64_t slots);

  // Layer `layer` is about to use the experts `needed`, ascending, and computes them in that order.
  void Visit(int64_t layer, std::span<const int32_t> needed);
  // The running visit is done with the expert.
  void Computed(int32_t expert);

  // Of the running visit, and not yet computed.
  bool IsNeeded(int64_t layer, int32_t expert) const;
  int32_t Find(int64_t layer, int32_t expert) const { return slot_of_[Index(layer, expert)]; }

  // A slot for an expert that has none: a free one, or that of the expert that goes; kNone when all others
  // are held or matter more. The expert is needed by the running visit, or a guess of what the next visit of
  // its layer needs: a guess takes no slot of an expert that its layer used when it ran last.
  int32_t Take(int64_t layer, int32_t expert, bool is_guess);
  // Empties a slot that is not held.
  void Drop(int32_t slot);

  // A held slot keeps its expert.
  void Hold(int32_t slot) { ++slots_[static_cast<size_t>(slot)].holds; }
  void Release(int32_t slot) { --slots_[static_cast<size_t>(slot)].holds; }

  struct Slot {
    int32_t layer = kNone, expert = kNone;  // kNone: free
    int64_t last_visit = 0;                 // of its layer, that used it
    int32_t holds = 0;
    bool is_guess = false;  // nobody has needed it yet
  };
  const Slot& slot(int32_t i) const { return slots_[static_cast<size_t>(i)]; }
  int64_t size() const { return static_cast<int64_t>(slots_.size()); }
  // Guesses that gave their place away, or were dropped, before anybody needed them.
  int64_t wasted_guesses() const { return wasted_guesses_; }
  // Experts of the layer that have a slot.
  int64_t count(int64_t layer) const { return counts_[static_cast<size_t>(layer)]; }

 private:
  // The larger, the sooner it goes; compared as a pair.
  struct Rank {
    int64_t unused_visits;  // 0: the running visit needs it
    int64_t distance;       // until its layer, or within the running visit its turn, comes
    bool operator>(const Rank& other) const {
      return unused_visits != other.unused_visits ? unused_visits > other.unused_visits
                                                  : distance > other.distance;
    }
  };

  size_t Index(int64_t layer, int32_t expert) const { return static_cast<size_t>(layer * experts_ + expert); }
  Rank RankOf(const Slot& slot) const;

  const int64_t layers_, experts_;
  std::vector<Slot> slots_;
  std::vector<int32_t> slot_of_;    // [layers, experts]
  std::vector<int64_t> visits_;     // [layers]
  std::vector<int64_t> counts_;     // [layers]
  std::vector<uint8_t> is_needed_;  // [experts] of the running visit
  int64_t layer_ = 0;               // of the running visit
  int64_t wasted_guesses_ = 0;
};

}  // namespace k2
