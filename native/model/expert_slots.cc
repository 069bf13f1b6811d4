#include "model/expert_slots.h"

#include <algorithm>

namespace k2 {

ExpertSlots::ExpertSlots(int64_t layers, int64_t experts, int64_t slots)
    : layers_(layers),
      experts_(experts),
      slots_(static_cast<size_t>(slots)),
      slot_of_(static_cast<size_t>(layers * experts), kNone),
      visits_(static_cast<size_t>(layers)),
      counts_(static_cast<size_t>(layers)),
      is_needed_(static_cast<size_t>(experts)) {}

void ExpertSlots::Visit(int64_t layer, std::span<const int32_t> needed) {
  layer_ = layer;
  const int64_t visit = ++visits_[static_cast<size_t>(layer)];
  std::fill(is_needed_.begin(), is_needed_.end(), uint8_t{0});
  for (const int32_t expert : needed) {
    is_needed_[static_cast<size_t>(expert)] = 1;
    const int32_t found = Find(layer, expert);
    if (found == kNone) continue;
    slots_[static_cast<size_t>(found)].last_visit = visit;
    slots_[static_cast<size_t>(found)].is_guess = false;
  }
}

void ExpertSlots::Computed(int32_t expert) { is_needed_[static_cast<size_t>(expert)] = 0; }

bool ExpertSlots::IsNeeded(int64_t layer, int32_t expert) const {
  return layer == layer_ && is_needed_[static_cast<size_t>(expert)] != 0;
}

ExpertSlots::Rank ExpertSlots::RankOf(const Slot& slot) const {
  if (IsNeeded(slot.layer, slot.expert)) return {0, slot.expert};
  const int64_t ahead = (slot.layer - layer_ + layers_) % layers_;
  return {visits_[static_cast<size_t>(slot.layer)] + 1 - slot.last_visit, ahead == 0 ? layers_ : ahead};
}

int32_t ExpertSlots::Take(int64_t layer, int32_t expert, bool is_guess) {
  int32_t taken = kNone;
  // What may go ranks above this.
  Rank highest = is_guess ? Rank{1, layers_} : Rank{0, expert};
  for (int32_t i = 0; i < static_cast<int32_t>(slots_.size()); ++i) {
    const Slot& candidate = slots_[static_cast<size_t>(i)];
    if (candidate.holds > 0) continue;
    if (candidate.layer == kNone) {
      taken = i;
      break;
    }
    const Rank rank = RankOf(candidate);
    if (!(rank > highest)) continue;
    highest = rank;
    taken = i;
  }
  if (taken == kNone) return kNone;
  if (slots_[static_cast<size_t>(taken)].layer != kNone) Drop(taken);
  // A guess that its layer does not confirm has gone unused from then on.
  slots_[static_cast<size_t>(taken)] = {.layer = static_cast<int32_t>(layer),
                                        .expert = expert,
                                        .last_visit = visits_[static_cast<size_t>(layer)],
                                        .holds = 0,
                                        .is_guess = is_guess};
  slot_of_[Index(layer, expert)] = taken;
  ++counts_[static_cast<size_t>(layer)];
  return taken;
}

void ExpertSlots::Drop(int32_t slot) {
  Slot& dropped = slots_[static_cast<size_t>(slot)];
  wasted_guesses_ += dropped.is_guess;
  slot_of_[Index(dropped.layer, dropped.expert)] = kNone;
  --counts_[static_cast<size_t>(dropped.layer)];
  dropped = {};
}

}  // namespace k2
