#include "engine/draft_choice.h"

#include <algorithm>
#include <bit>

namespace k2 {
namespace {

// After so many guesses half of what was known is forgotten.
constexpr double kMemory = 32;
// Gains below this are within what measured times vary by.
constexpr double kLeastGain = 1.05;
// Steps after which a measured time is too old: that of plain steps, and that of others, which are then tried
// again.
constexpr int64_t kPlainAge = 64, kDraftAge = 512;
// What a further row is taken to add to a plain step as long as none was measured.
constexpr double kAssumedRow = 0.25;

}  // namespace

size_t DraftRecord::Class(size_t length) {
  return std::min<size_t>(static_cast<size_t>(std::bit_width(std::max<size_t>(length, 2) - 1)) - 1, 4);
}

void DraftRecord::Add(size_t length, bool came) {
  Count& count = counts_[Class(length)];
  count.all += 1;
  count.came += came;
  if (count.all < kMemory) return;
  count.all /= 2;
  count.came /= 2;
}

double DraftRecord::Acceptance(size_t length) const {
  double best = 0;
  for (size_t i = 0; i <= Class(length); ++i) best = std::max(best, counts_[i].came / counts_[i].all);
  return best;
}

size_t ChooseDraft(const StepTimes& times, double acceptance, size_t most) {
  const double plain = times.Recent(1, kPlainAge);
  if (plain == 0) return 0;
  std::array<double, kMostDraft + 2> ns{0, plain};  // by rows; 0: not measured
  size_t measured = 1;
  for (size_t rows = 2; rows < ns.size(); ++rows) {
    ns[rows] = times.Recent(rows, kDraftAge);
    if (ns[rows] > 0) measured = rows;
  }
  const double row =
      measured == 1 ? kAssumedRow * plain : (ns[measured] - plain) / static_cast<double>(measured - 1);
  // Goes to more rows than were ever measured in small steps, so that a wrong guess at their cost is cheap.
  most = std::min({most, kMostDraft, 2 * measured - 1});
  size_t best = 0;
  double best_gain = kLeastGain, tokens = 1, chance = 1;
  for (size_t draft = 1; draft <= most; ++draft) {
    chance *= acceptance;
    tokens += chance;
    const double estimate = plain + row * static_cast<double>(draft);
    const double step = std::max(ns[draft + 1] > 0 ? ns[draft + 1] : estimate, plain);
    const double gain = tokens * plain / step;
    if (gain <= best_gain) continue;
    best = draft;
    best_gain = gain;
  }
  return best;
}

}  // namespace k2
