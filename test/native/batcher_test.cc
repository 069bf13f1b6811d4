// Who gets how many rows of a step: sessions without a model, on a clock that the test makes, and an engine.
#include "engine/batcher.h"

#include <cmath>
#include <map>

#include "check.h"
#include "engine_calls.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using Active = std::vector<std::shared_ptr<Session>>;

std::shared_ptr<Session> Prefilling(size_t ids) {
  auto session = std::make_shared<Session>(KvCache(1, 16));
  session->prefill.emplace().ids.resize(ids);
  return session;
}

std::shared_ptr<Session> Decoding() {
  auto session = std::make_shared<Session>(KvCache(1, 16));
  session->decode.emplace();
  return session;
}

// A step that takes what `cost` says; sessions whose prefill is done leave.
struct Clock {
  explicit Clock(double (*takes)(size_t, size_t), size_t rows_of_a_step = 512)
      : cost(takes), most(rows_of_a_step) {}

  Batcher batcher;
  double (*cost)(size_t decode_rows, size_t prefill_rows);
  size_t most;
  size_t decode_rows = 0, prefill_rows = 0;  // of the latest step
  std::map<Session*, size_t> rows;           // of the latest step

  void Step(Active& active) {
    decode_rows = prefill_rows = 0;
    rows.clear();
    for (const StepPart& part : batcher.Plan(active, most)) {
      EXPECT(part.ids > 0 && rows.count(part.session.get()) == 0);
      rows[part.session.get()] = part.ids;
      if (part.session->prefill) {
        prefill_rows += part.ids;
        part.session->prefill->done += part.ids;
        EXPECT(part.session->prefill->done <= part.session->prefill->ids.size());
      } else {
        EXPECT(part.ids == 1);
        ++decode_rows;
      }
    }
    EXPECT(decode_rows + prefill_rows > 0 && decode_rows + prefill_rows <= most);
    batcher.Record(decode_rows, prefill_rows, std::llround(cost(decode_rows, prefill_rows)));
    std::erase_if(active, [](const std::shared_ptr<Session>& session) {
      return session->prefill && session->prefill->done == session->prefill->ids.size();
    });
  }
};

// Experts that rows share make the next row cheaper; long contexts make it dearer.
double Concave(size_t decode, size_t prefill) {
  return 1e6 * std::pow(decode, 0.6) + 4e5 * std::pow(prefill, 0.7);
}
double Convex(size_t decode, size_t prefill) {
  return 1e6 * std::pow(decode, 0.6) + 1e3 * std::pow(prefill, 1.6);
}
double Heavy(size_t decode, size_t prefill) {
  return 1e6 * static_cast<double>(decode) + 5e6 * static_cast<double>(prefill);
}

}  // namespace

TEST(BatcherGivesAPromptAloneTheWholeStep) {
  Clock clock(Heavy);
  Active active{Prefilling(2000)};
  for (size_t left = 2000; left > 0; left -= std::min<size_t>(left, 512)) {
    EXPECT(active.size() == 1);
    clock.Step(active);
    EXPECT(clock.prefill_rows == std::min<size_t>(left, 512));
  }
  EXPECT(active.empty());
}

TEST(BatcherBoundsAStepWhileOthersDecode) {
  for (const auto cost : {Concave, Convex}) {
    Clock clock(cost);
    Active active{Prefilling(60000), Decoding(), Decoding()};
    const double alone = cost(2, 0);
    size_t last = 0, mixed = 0, pure = 0, rows = 0;
    while (active.size() == 3) {
      clock.Step(active);
      EXPECT(clock.decode_rows == 2);
      if (clock.prefill_rows == 0) {
        ++pure;
        continue;
      }
      // Begins low, and comes near the bound from there.
      EXPECT(clock.prefill_rows <= (mixed == 0 ? PrefillPace::kLeastRows : 2 * last));
      EXPECT(cost(2, clock.prefill_rows) <= 1.5 * PrefillPace::kMostSlowdown * alone);
      if (mixed >= 10 && active.size() == 3)
        EXPECT_NEAR(cost(2, clock.prefill_rows), PrefillPace::kMostSlowdown * alone, 0.3 * alone);
      last = clock.prefill_rows;
      rows += last;
      ++mixed;
    }
    EXPECT(rows == 60000);
    // What decoding takes alone is measured now and then, and seldom.
    EXPECT(pure >= 2 && pure <= 1 + (mixed + pure) / 60);
    // Alone again, a prompt has the whole step.
    Active next{Prefilling(512)};
    clock.Step(next);
    EXPECT(next.empty());
  }
}

TEST(BatcherStarvesNoSide) {
  // Rows that are far beyond the bound: a few go in each step all the same.
  Clock clock(Heavy);
  Active active{Decoding(), Prefilling(800)};
  int steps = 0;
  for (; active.size() == 2; ++steps) {
    clock.Step(active);
    EXPECT(clock.decode_rows == 1);
    EXPECT(clock.prefill_rows == 0 || clock.prefill_rows == PrefillPace::kLeastRows);
  }
  EXPECT(steps <= 800 / static_cast<int>(PrefillPace::kLeastRows) + 5);
  // Steps that are too small for all that have work.
  for (const size_t most : {1, 2, 3, 8}) {
    Clock small(Concave, most);
    Active many;
    for (int i = 0; i < 12; ++i) many.push_back(i % 3 == 0 ? Prefilling(100000) : Decoding());
    std::map<Session*, int> served;
    const int rounds = 400;
    for (int i = 0; i < rounds; ++i) {
      small.Step(many);
      for (const auto& [session, ids] : small.rows) ++served[session];
    }
    for (const auto& session : many)
      EXPECT(served[session.get()] >= static_cast<int>(most) * rounds / 12 / 4);
  }
}

TEST(BatcherLetsShortPromptsPassLongOnes) {
  Clock clock(Concave);
  const auto steps_until_done = [&](Active& active, const std::shared_ptr<Session>& prompt) {
    for (int steps = 1; steps < 10000; ++steps) {
      clock.Step(active);
      if (std::find(active.begin(), active.end(), prompt) == active.end()) return steps;
    }
    return 10000;
  };
  {
    Active active{Prefilling(100000), Prefilling(100000), Prefilling(250)};
    EXPECT(steps_until_done(active, active[2]) == 1);
    // The long ones share what is left: each has at least a quarter.
    clock.Step(active);
    for (const auto& [session, rows] : clock.rows) EXPECT(rows >= 128);
  }
  {
    clock.cost = Heavy;  // kLeastRows a step
    Active active{Decoding(), Prefilling(100000)};
    for (int i = 0; i < 20; ++i) clock.Step(active);
    active.push_back(Prefilling(40));
    EXPECT(steps_until_done(active, active.back()) <=
           40 / (static_cast<int>(PrefillPace::kLeastRows) / 2) + 1);
    // Short ones do not stop the long one, even if more of them come than can be done.
    const size_t before = active[1]->prefill->done;
    for (int i = 0; i < 50; ++i) {
      active.push_back(Prefilling(40));
      for (int j = 0; j < 2; ++j) clock.Step(active);
    }
    EXPECT(active[1]->prefill->done >= before + 5);
  }
}

// The reader of a decode sees between its tokens how far the prefill of the other session has come.
TEST(BatcherLetsAnEngineDecodeWhileItPrefills) {
  const test::TinyModel model = test::MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::shared_ptr<Engine> engine =
      test::Load(model, {.device = "cpu", .threads = 2, .attention = AttentionChoice::kAbsorbed});
  if (engine == nullptr) return;
  const std::vector<int32_t> prompt = test::Ids(model, 20, 3), ids = test::Ids(model, 1500, 4);
  const size_t size = ids.size() * static_cast<size_t>(model.spec.vocab);
  SamplingOptions options;
  options.max_tokens = 400;
  options.seed = 5;

  std::vector<int32_t> tokens[2];
  std::vector<float> logits[2] = {std::vector<float>(size), std::vector<float>(size)};
  std::vector<int64_t> seen;  // ids in the cache of the other session, after each token
  for (const bool together : {false, true}) {
    const std::shared_ptr<Session> reader = engine->CreateSession().value();
    const std::shared_ptr<Session> other = engine->CreateSession().value();
    EXPECT(test::PrefillAndWait(*engine, reader, prompt, nullptr).ok());
    std::promise<Status> prefilled;
    std::promise<void> ended;
    std::function<void(TokenDelivery)> take = [&](TokenDelivery delivery) {
      for (const SampledToken& token : delivery.tokens) tokens[together].push_back(token.id);
      if (together) seen.push_back(other->timings.prefill_tokens.load());
      if (delivery.end != DecodeEnd::kRunning) return ended.set_value();
      if (!engine->Take(reader, take).ok()) ended.set_value();
    };
    const auto prefill = [&] {
      const Status begun = engine->Prefill(other, ids, logits[together].data(),
                                           [&](Status status) { prefilled.set_value(std::move(status)); });
      EXPECT(begun.ok());
    };
    EXPECT(engine->StartDecode(reader, options).ok());
    if (together) prefill();
    EXPECT(engine->Take(reader, take).ok());
    ended.get_future().get();
    if (!together) prefill();
    EXPECT(prefilled.get_future().get().ok());
    std::promise<void> stopped;
    EXPECT(engine->StopDecode(reader, 400, [&](Status) { stopped.set_value(); }).ok());
    stopped.get_future().get();
  }
  EXPECT(tokens[0].size() == 400 && tokens[0] == tokens[1]);
  EXPECT(test::SameBits(logits[0], logits[1]));
  EXPECT(seen.back() > 0);
  size_t most = PrefillPace::kLeastRows;
  for (size_t i = 1; i < seen.size() && seen[i] < 1500; ++i) {
    const size_t rows = static_cast<size_t>(seen[i] - seen[i - 1]);
    EXPECT(rows <= most);
    most = std::max(most, 2 * rows);
  }
}

}  // namespace k2
