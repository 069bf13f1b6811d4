// Guesses from the timeline against a search by hand, and what makes a step carry them, on times that the
// test makes.
#include <random>

#include "check.h"
#include "engine/draft_choice.h"
#include "engine/draft_index.h"

namespace k2 {
namespace {

DraftIndex::Match SearchByHand(const std::vector<int32_t>& tokens) {
  for (const size_t least : {3, 2}) {
    for (size_t next = tokens.size(); next-- > 1;) {
      size_t length = 0;
      while (length < std::min(next, DraftIndex::kMostLength) &&
             tokens[next - 1 - length] == tokens[tokens.size() - 1 - length])
        ++length;
      if (length >= least) return {next, length};
    }
  }
  return {};
}

// Steps of n rows take `plain` and `row` more for each further one.
void Measure(StepTimes& times, double plain, double row, size_t most = 8) {
  for (size_t rows = 1; rows <= most; ++rows)
    times.Add(rows, static_cast<int64_t>(plain + row * static_cast<double>(rows - 1)));
}

}  // namespace

TEST(DraftIndexFindsWhatASearchFinds) {
  std::mt19937 random(3);
  for (const uint32_t alphabet : {2u, 4u, 12u}) {
    DraftIndex index;
    std::vector<int32_t> tokens;
    int found = 0;
    for (int step = 0; step < 1500; ++step) {
      if (random() % 20 == 0) {
        const size_t count =
            tokens.empty() ? 0 : tokens.size() - random() % std::min<size_t>(tokens.size(), 9);
        index.Truncate(tokens, count);
        tokens.resize(count);
      }
      if (random() % 300 == 0) {
        const size_t count = random() % (tokens.size() + 1);
        index.Truncate(tokens, count);
        tokens.resize(count);
      }
      for (uint32_t i = random() % 3; i > 0; --i) tokens.push_back(static_cast<int32_t>(random() % alphabet));
      index.Extend(tokens);
      const DraftIndex::Match expected = SearchByHand(tokens), got = index.Find(tokens);
      // The rarer a sequence is, the less can stand in its slot.
      EXPECT(got.length == expected.length && (got.length == 0 || got.next == expected.next));
      found += got.length > 0;
    }
    EXPECT(found > 300);
  }
}

TEST(DraftIndexKnowsOnlyTheTimelineThatItWasShown) {
  DraftIndex index;
  const std::vector<int32_t> tokens{1, 2, 3, 4, 1, 2, 3};
  EXPECT(index.Find(tokens).length == 0);
  index.Extend(tokens);
  EXPECT(index.Find(tokens).next == 3 && index.Find(tokens).length == 3);
  index.Clear();
  EXPECT(index.size() == 0 && index.Find(tokens).length == 0);
  EXPECT(index.Find({}).length == 0);
}

TEST(DraftGoesOnWithItselfAtTheEnd) {
  const std::vector<int32_t> tokens{9, 1, 2, 3, 1, 2, 3};
  std::vector<int32_t> draft{7};
  CopyDraft(tokens, {4, 3}, 8, draft);
  EXPECT((draft == std::vector<int32_t>{7, 1, 2, 3, 1, 2, 3, 1, 2}));
  draft.clear();
  CopyDraft(tokens, {1, 2}, 2, draft);
  EXPECT((draft == std::vector<int32_t>{1, 2}));
}

TEST(DraftRecordLearnsByLength) {
  DraftRecord record;
  EXPECT(record.Acceptance(2) == 0 && record.Acceptance(32) == 0);
  for (int i = 0; i < 100; ++i) record.Add(2, i % 4 == 0), record.Add(12, i % 10 != 0);
  EXPECT_NEAR(record.Acceptance(2), 0.25, 0.1);
  EXPECT_NEAR(record.Acceptance(4), 0.25, 0.1);
  EXPECT_NEAR(record.Acceptance(12), 0.9, 0.1);
  EXPECT(record.Acceptance(32) == record.Acceptance(12));  // nothing better is known of it
  for (int i = 0; i < 60; ++i) record.Add(12, false);
  EXPECT(record.Acceptance(12) < 0.3);
}

TEST(DraftsAreCarriedWhereTheyPay) {
  StepTimes times;
  EXPECT(ChooseDraft(times, 1, 7) == 0);  // a plain step first
  times.Add(1, 1'000'000);
  // Goes to more rows step by step, and not at all without hope.
  EXPECT(ChooseDraft(times, 0.95, 7) == 1);
  EXPECT(ChooseDraft(times, 0.2, 7) == 0);
  times.Add(2, 1'100'000);
  EXPECT(ChooseDraft(times, 0.95, 7) == 3);
  Measure(times, 1e6, 1e5);
  EXPECT(ChooseDraft(times, 0.95, 7) == 7);
  EXPECT(ChooseDraft(times, 0.95, 4) == 4);
  EXPECT(ChooseDraft(times, 0.95, 0) == 0);
  const size_t some = ChooseDraft(times, 0.5, 7);
  EXPECT(some > 0 && some < 4);
  EXPECT(ChooseDraft(times, 0.1, 7) == 0);
  // Rows that cost as much as steps pay never.
  StepTimes dear;
  Measure(dear, 1e6, 1e6);
  EXPECT(ChooseDraft(dear, 1, 7) == 0);
  // What a plain step takes is measured again from time to time, and what was too dear is tried again.
  for (int i = 0; i < 64; ++i) times.Add(8, 1'700'000);
  EXPECT(ChooseDraft(times, 0.95, 7) == 0);
  times.Add(1, 1'000'000);
  EXPECT(ChooseDraft(times, 0.95, 7) == 7);
  for (int i = 0; i < 512; ++i) dear.Add(1, 1'000'000);
  EXPECT(ChooseDraft(dear, 1, 7) == 1);
}

// A decode of 20,000 tokens on a clock: guesses come true with some chance, further rows cost what they do in
// a model whose decoding is bound by reading experts.
TEST(DraftsLoseNothingOnTextThatDoesNotRepeat) {
  for (const double chance : {0.0, 0.1, 0.3, 0.9, 0.98}) {
    for (const double row : {0.05, 0.65, 1.0}) {
      std::mt19937 random(5);
      const auto comes = [&] { return static_cast<double>(random() % 10000) < chance * 10000; };
      StepTimes times;
      DraftRecord record;
      double ns = 0;
      int tokens = 0;
      while (tokens < 20000) {
        const size_t carried = ChooseDraft(times, record.Acceptance(4), kMostDraft);
        const double step = 1e6 * (1 + row * static_cast<double>(carried));
        times.Add(carried + 1, static_cast<int64_t>(step));
        ns += step;
        for (size_t i = 0; i <= carried; ++i) {
          ++tokens;
          const bool came = comes();
          record.Add(4, came);
          if (!came) break;
        }
      }
      const double gain = 1e6 * tokens / ns;
      EXPECT(gain > 0.985);
      if (chance == 0.98 && row == 0.05) EXPECT(gain > 4.5);
      if (chance == 0.98 && row == 0.65) EXPECT(gain > 1.25);
      if (chance == 0.9 && row == 0.05) EXPECT(gain > 3);
    }
  }
}

}  // namespace k2
