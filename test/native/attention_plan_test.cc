// The cut of absorbed attention into tasks: all of the work once, and evenly for any number of threads. What
// threads have to do is counted, not timed.
#include "cpu/attention_plan.h"

#include <algorithm>
#include <map>
#include <string>
#include <tuple>

#include "check.h"
#include "conformance.h"

namespace k2::test {
namespace {

struct Rows {
  int64_t past, rows;
};

std::vector<Segment> SegmentsOf(const std::vector<Rows>& sessions) {
  std::vector<Segment> segments;
  int64_t first_row = 0;
  for (const Rows& session : sessions) {
    segments.push_back({.first_row = first_row,
                        .rows = session.rows,
                        .first_position = session.past,
                        .form = AttentionForm::kAbsorbed,
                        .cache = {}});
    first_row += session.rows;
  }
  return segments;
}

// Scores that a tile of queries of the task has to form.
int64_t WorkOf(const AbsorbedTask& task) {
  int64_t work = 0;
  for (int64_t t = 0; t < task.rows; ++t) {
    const int64_t end = std::min(task.end, task.first_position + t + 1);
    work += std::max<int64_t>(end - task.start, 0) * task.heads;
  }
  return work;
}

// The most that one of `threads` has to do, over what each would have if they shared it evenly; each takes
// the next task when it is done with one.
double Imbalance(const std::vector<Rows>& sessions, int64_t heads, int threads) {
  AbsorbedPlan plan;
  plan.Prepare(heads, threads, {}, {});
  const std::vector<Segment> segments = SegmentsOf(sessions);
  plan.Begin(segments);
  int64_t longest = 0, total = 0;
  while (plan.NextStep()) {
    while (plan.NextWave()) {
      std::vector<int64_t> done(static_cast<size_t>(threads), 0);
      for (const AbsorbedTask& task : plan.tasks()) {
        *std::min_element(done.begin(), done.end()) += WorkOf(task);
        total += WorkOf(task);
      }
      longest += *std::max_element(done.begin(), done.end());
    }
  }
  return static_cast<double>(longest * threads) / static_cast<double>(total);
}

TEST(attention_plan_covers_everything_once) {
  Draws draws(50);
  for (int round = 0; round < 40; ++round) {
    std::vector<Rows> sessions;
    for (int64_t i = draws.Between(1, 9); i > 0; --i)
      sessions.push_back({draws.Between(0, 3000), draws.Next() < 0.5 ? 1 : draws.Between(1, 40)});
    std::vector<Segment> segments = SegmentsOf(sessions);
    segments[0].form = draws.Next() < 0.2 ? AttentionForm::kExpanded : AttentionForm::kAbsorbed;
    const int64_t heads = draws.Between(1, 70), padded = PadTo(heads, kQueryTile);
    const int threads = static_cast<int>(draws.Between(1, 100));
    AbsorbedPlan plan;
    plan.Prepare(heads, threads, {}, {});
    plan.Begin(segments);
    // By row of the call and head: how far it has been summed.
    std::map<std::pair<int64_t, int64_t>, int64_t> seen;
    while (plan.NextStep()) {
      EXPECT(static_cast<int64_t>(plan.numbers().size()) <= kStepRows);
      while (plan.NextWave()) {
        std::map<std::tuple<int64_t, int64_t, int64_t>, int64_t> summed;
        for (const AbsorbedTask& task : plan.tasks()) {
          EXPECT(task.rows * task.heads <= kTaskQueries && task.heads % kQueryTile == 0);
          EXPECT(task.start == 0 ||
                 (task.start % kPositionSplit == 0 && task.end - task.start <= kPositionSplit));
          EXPECT(task.start == 0 || task.sums_row + task.rows <= AbsorbedPlan::MemoryRows(threads));
          for (int64_t t = 0; t < task.rows; ++t) {
            for (int64_t h = task.first_head; h < task.first_head + task.heads; ++h)
              ++summed[{task.step_row + t, h, task.start}];
          }
        }
        for (const AbsorbedSplit& split : plan.splits()) {
          for (int64_t t = 0; t < split.part->rows; ++t) {
            const int64_t number = plan.numbers()[static_cast<size_t>(split.part->step_row + t)];
            for (int64_t h = 0; h < padded; ++h) {
              EXPECT((summed[{split.part->step_row + t, h, split.start}]) == 1);
              int64_t& end = seen[{number, h}];
              EXPECT(end == split.start);
              end = split.end;
            }
          }
        }
      }
    }
    int64_t rows = 0;
    for (const Segment& segment : segments) {
      for (int64_t t = 0; segment.form == AttentionForm::kAbsorbed && t < segment.rows; ++t, ++rows) {
        for (int64_t h = 0; h < padded; ++h)
          EXPECT((seen[{segment.first_row + t, h}]) > segment.first_position + t);
      }
    }
    EXPECT(static_cast<int64_t>(seen.size()) == rows * padded);
  }
}

TEST(attention_plan_is_balanced) {
  const struct {
    const char* name;
    std::vector<Rows> sessions;
  } loads[] = {{"one session", {{20000, 1}}},
               {"one long session", {{262143, 1}}},
               {"a long and seven short ones",
                {{30000, 1}, {90, 1}, {700, 1}, {1500, 1}, {10, 1}, {2000, 1}, {333, 1}, {5000, 1}}},
               {"32 sessions", std::vector<Rows>(32, {1023, 1})},
               {"a call of 128 rows", {{4096, 128}}}};
  for (const auto& load : loads) {
    for (const int threads : {1, 2, 3, 8, 16, 32, 48, 64, 96}) {
      const double imbalance = Imbalance(load.sessions, 64, threads);
      if (imbalance <= 1.25) continue;
      Fail(__FILE__, __LINE__,
           std::string(load.name) + " with " + std::to_string(threads) +
               " threads: " + std::to_string(imbalance) + " of an even share");
    }
  }
  // Short contexts: one tile of heads is the least task.
  EXPECT(Imbalance({{1023, 1}}, 64, 2) <= 1.01);
  EXPECT(Imbalance({{699, 1}}, 64, 2) <= 1.1);
  EXPECT(Imbalance({{1023, 1}}, 64, 16) <= 1.01);
}

}  // namespace
}  // namespace k2::test
