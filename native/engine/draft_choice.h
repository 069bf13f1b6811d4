// How many tokens a step should carry on a guess. A guess costs nothing but a lookup until its rows are
// computed, so a session counts how often its guesses are right whether they were carried or not, and the
// engine carries them only where the tokens that they should yield are worth the time that steps of so many
// rows were measured to take (with experts, a further row reads further experts, so it is far from free).
#pragma once

#include <array>
#include <cstddef>

#include "engine/step_times.h"

namespace k2 {

// Most tokens of a guess in one step.
inline constexpr size_t kMostDraft = 7;

// How often guesses of one session were right, by the length of what they were found by: the longer, the
// better.
class DraftRecord {
 public:
  // What was guessed behind `length` common tokens came, or something else did.
  void Add(size_t length, bool came);
  // The part of such guesses that came; 0 before anything is known.
  double Acceptance(size_t length) const;

 private:
  struct Count {
    double came = 0, all = 1;  // one wrong guess to begin with
  };
  static size_t Class(size_t length);
  std::array<Count, 5> counts_;  // of 2, 3-4, 5-8, 9-16 and more tokens
};

// Tokens of a guess, at most `most`, that a step of one session should carry: those that yield the most
// tokens in the time that such steps take. 0 where none do by a clear margin, or where a plain step is to be
// measured again.
size_t ChooseDraft(const StepTimes& times, double acceptance, size_t most);

}  // namespace k2
