// The engine under its own thread: many sessions at once, aborts and disposals at random moments, failed
// allocations. Runs under the address and undefined-behaviour sanitizers too.
#include "engine/engine.h"

#include <chrono>
#include <future>
#include <random>

#include "check.h"
#include "engine_calls.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using test::Ids;
using test::Load;
using test::MakeTinyModel;
using test::PrefillAndWait;
using test::SameBits;
using test::TakeAndWait;
using test::TinyModel;

std::vector<float> Evaluate(const TinyModel& model, EngineOptions options, const std::vector<int32_t>& ids) {
  const std::shared_ptr<Engine> engine = Load(model, options);
  std::vector<float> logits(ids.size() * static_cast<size_t>(model.spec.vocab));
  if (engine == nullptr) return logits;
  const Status status = PrefillAndWait(*engine, engine->CreateSession().value(), ids, logits.data());
  if (!status.ok()) test::Fail(__FILE__, __LINE__, status.message());
  return logits;
}

}  // namespace

TEST(EngineSameBitsForEveryCutAndThreadCount) {
  for (Storage storage : {Storage::kBf16, Storage::kF8E4m3, Storage::kInt4}) {
    const TinyModel model = MakeTinyModel(storage, storage);
    const std::vector<int32_t> ids = Ids(model, 70, 5);
    for (AttentionChoice attention : {AttentionChoice::kAbsorbed, AttentionChoice::kExpanded}) {
      EngineOptions options{.device = "cpu", .threads = 1, .attention = attention};
      const std::vector<float> whole = Evaluate(model, options, ids);
      for (int64_t batch : {1, 13, 64}) {
        options.batch_tokens = batch;
        options.threads = 2;
        EXPECT(SameBits(whole, Evaluate(model, options, ids)));
      }
    }
  }
}

TEST(EngineManySessionsAtOnce) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .threads = 2, .batch_tokens = 20});
  if (engine == nullptr) return;
  const std::vector<int32_t> ids = Ids(model, 50, 3);
  const size_t size = ids.size() * static_cast<size_t>(model.spec.vocab);
  std::vector<std::vector<float>> logits(8, std::vector<float>(size));
  std::vector<std::promise<Status>> done(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    const Status begun = engine->Prefill(engine->CreateSession().value(), ids, logits[i].data(),
                                         [&done, i](Status s) { done[i].set_value(std::move(s)); });
    EXPECT(begun.ok());
  }
  for (std::promise<Status>& promise : done) EXPECT(promise.get_future().get().ok());
  for (const std::vector<float>& other : logits) EXPECT(SameBits(logits[0], other));
}

TEST(EngineAbortsAndDisposalsAtRandomMoments) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  std::mt19937 random(11);
  for (int round = 0; round < 30; ++round) {
    const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .threads = 2, .batch_tokens = 8});
    if (engine == nullptr) return;
    std::atomic<int> settled{0};
    int begun = 0;
    std::vector<std::shared_ptr<Session>> sessions;
    for (int i = 0; i < 5; ++i) {
      const std::shared_ptr<Session> session = engine->CreateSession().value();
      sessions.push_back(session);
      const Status status =
          engine->Prefill(session, Ids(model, 40, 1), nullptr, [&settled](Status) { ++settled; });
      begun += status.ok();
    }
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 3000));
    engine->Abort(sessions[random() % 5]);
    engine->DisposeSession(sessions[random() % 5]);
    if (random() % 2) {
      Result<std::shared_ptr<Session>> extra = engine->CreateSession();
      EXPECT(extra.ok());
      begun += engine->Prefill(extra.value(), {1, 2, 3}, nullptr, [&settled](Status) { ++settled; }).ok();
    }
    std::promise<void> disposed;
    engine->Dispose([&](Status) { disposed.set_value(); });
    disposed.get_future().get();
    EXPECT(settled.load() == begun);
    EXPECT(!engine->CreateSession().ok());
  }
}

TEST(EngineTakesBackWhatWasNotRead) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::shared_ptr<Engine> engine =
      Load(model, {.device = "cpu", .threads = 1, .attention = AttentionChoice::kAbsorbed});
  if (engine == nullptr) return;
  const std::vector<int32_t> ids = Ids(model, 10, 2);
  const auto decode = [&](const std::shared_ptr<Session>& session, int64_t wanted) {
    SamplingOptions options;
    options.max_tokens = 60;
    options.temperature = 0.8;
    options.seed = 9;
    EXPECT(engine->StartDecode(session, options).ok());
    std::vector<int32_t> read;
    while (static_cast<int64_t>(read.size()) < wanted) {
      const TokenDelivery delivery = TakeAndWait(*engine, session);
      EXPECT(delivery.status.ok() && !delivery.tokens.empty());
      if (delivery.tokens.empty()) break;
      for (const SampledToken& token : delivery.tokens) read.push_back(token.id);
    }
    read.resize(static_cast<size_t>(wanted));
    std::promise<void> stopped;
    EXPECT(engine->StopDecode(session, wanted, [&](Status) { stopped.set_value(); }).ok());
    stopped.get_future().get();
    return read;
  };
  const std::shared_ptr<Session> one = engine->CreateSession().value(), two = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, one, ids, nullptr).ok());
  EXPECT(PrefillAndWait(*engine, two, ids, nullptr).ok());
  const std::vector<int32_t> whole = decode(one, 50);
  std::vector<int32_t> pieces;
  for (int64_t n : {0, 1, 7, 0, 20, 22}) {
    const std::vector<int32_t> piece = decode(two, n);
    pieces.insert(pieces.end(), piece.begin(), piece.end());
    EXPECT(two->position.load() == static_cast<int64_t>(ids.size() + pieces.size()));
  }
  EXPECT(pieces == whole);
}

TEST(EngineSurvivesEveryFailedAllocation) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::vector<int32_t> ids = Ids(model, 200, 4);
  const size_t before = AllocatedBytes();
  bool clean = false;
  for (int k = 1; k < 200 && !clean; ++k) {
    FailAllocationForTest(k);
    Result<std::shared_ptr<Engine>> created =
        Engine::Create(model.spec, {.device = "cpu"}, model.paths, model.rows);
    std::promise<Status> loaded;
    EXPECT(created.value()->Load(nullptr, [&](Status s) { loaded.set_value(std::move(s)); }).ok());
    Status status = loaded.get_future().get();
    if (status.ok()) {
      const std::shared_ptr<Session> session = created.value()->CreateSession().value();
      status = PrefillAndWait(*created.value(), session, ids, nullptr);
      if (!status.ok()) {
        // The session is as it was, and works once there is memory.
        FailAllocationForTest(0);
        EXPECT(session->position.load() == 0);
        EXPECT(PrefillAndWait(*created.value(), session, ids, nullptr).ok());
      } else {
        clean = true;
      }
    }
    FailAllocationForTest(0);
    EXPECT(status.ok() || status.code() == ErrorCode::kOutOfMemory);
  }
  EXPECT(clean);
  EXPECT(AllocatedBytes() == before);
}

TEST(EngineGivesCachedPagesBackAtTheEnd) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const size_t before = AllocatedBytes();
  const EngineOptions options{.device = "cpu", .prefix_cache_bytes = 1 << 20};
  const std::shared_ptr<Engine> engine = Load(model, options);
  if (engine == nullptr) return;
  const size_t loaded = AllocatedBytes();
  const size_t page = static_cast<size_t>(KvCache::kPageTokens *
                                          PlanMemory(model.spec, options).value().cache_bytes_per_token);
  const std::vector<int32_t> ids = Ids(model, 200, 4);
  for (int i = 0; i < 3; ++i) {
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    EXPECT(PrefillAndWait(*engine, session, ids, nullptr).ok());
    EXPECT(session->cached_tokens.load() == (i == 0 ? 0 : 192));
    // Three whole pages that all share, and the rest of the session's own.
    EXPECT(AllocatedBytes() == loaded + 4 * page);
    engine->DisposeSession(session);
    // Jobs are done in order, and this one takes no memory.
    std::promise<void> disposed;
    EXPECT(engine->Rewind(engine->CreateSession().value(), 0, [&](Status) { disposed.set_value(); }).ok());
    disposed.get_future().get();
    EXPECT(AllocatedBytes() == loaded + 3 * page);
  }
  engine->Stop();
  EXPECT(AllocatedBytes() == before);
}

TEST(EngineSharesNoPageOfAStepThatFailed) {
  TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  // A NaN in the embedding of token 5.
  std::FILE* file = std::fopen(model.paths[0].c_str(), "r+b");
  const uint16_t nan = 0x7fc0;
  std::fseek(file, static_cast<long>(model.rows[0].offset) + 2 * 5 * static_cast<long>(model.spec.hidden),
             SEEK_SET);
  EXPECT(std::fwrite(&nan, sizeof nan, 1, file) == 1);
  std::fclose(file);
  const std::shared_ptr<Engine> engine =
      Load(model, {.device = "cpu", .batch_tokens = 32, .prefix_cache_bytes = 1 << 20});
  if (engine == nullptr) return;
  std::vector<int32_t> ids(200, 7);
  ids[10] = 5;
  for (int i = 0; i < 2; ++i) {
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    EXPECT(PrefillAndWait(*engine, session, ids, nullptr).code() == ErrorCode::kNumericalFault);
    EXPECT(session->cached_tokens.load() == 0);
    engine->DisposeSession(session);
  }
}

TEST(EngineMemoryPlanIsWhatItTakes) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  for (const char* device : {"cpu", "reference"}) {
    const EngineOptions options{.device = device, .threads = 2, .batch_tokens = 100};
    const size_t before = AllocatedBytes();
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    const Result<MemoryPlan> plan = PlanMemory(model.spec, options);
    const double planned = static_cast<double>(plan.value().scratch_bytes);
    EXPECT_NEAR(static_cast<double>(AllocatedBytes() - before), planned, 0.05 * planned);
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    const size_t loaded = AllocatedBytes();
    EXPECT(PrefillAndWait(*engine, session, Ids(model, 130, 1), nullptr).ok());
    EXPECT(static_cast<int64_t>(AllocatedBytes() - loaded) ==
           3 * plan.value().page_tokens * plan.value().cache_bytes_per_token);
  }
}

}  // namespace k2
