// An engine that the system refuses memory, at every single request for it: each call is settled, and what
// was computed before goes on with the same bits. operator new is replaced for the whole test program, and
// fails when it is told to.
#include <future>

#include "check.h"
#include "engine/engine.h"
#include "engine_calls.h"
#include "failing_new.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using test::Ids;
using test::Load;
using test::MakeTinyModel;
using test::PrefillAndWait;
using test::SameBits;
using test::TinyModel;

TEST(EngineSettlesEveryCallWithoutMemory) {
  test::AllowAllHere(true);
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const EngineOptions options{.device = "cpu", .threads = 1, .prefix_cache_bytes = int64_t{1} << 24};
  const std::shared_ptr<Engine> engine = Load(model, options);
  if (engine == nullptr) return;
  const std::vector<int32_t> ids = Ids(model, 70, 3), more = Ids(model, 9, 4);
  std::vector<float> expected(more.size() * static_cast<size_t>(model.spec.vocab)), got = expected;
  const std::shared_ptr<Session> sound = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, sound, ids, nullptr).ok());
  EXPECT(PrefillAndWait(*engine, sound, more, expected.data()).ok());

  int failures = 0;
  for (int request = 1; request <= 80; ++request) {
    const std::shared_ptr<Session> session = engine->CreateSession().value();
    std::promise<Status> prefilled;
    std::promise<Engine::SessionResult> forked;
    test::FailAtRequest(request);
    const Status begun = engine->Prefill(session, ids, nullptr,
                                         [&](Status status) { prefilled.set_value(std::move(status)); });
    EXPECT(begun.ok());
    const Status status = prefilled.get_future().get();
    failures += !status.ok();
    EXPECT(status.ok() || status.code() == ErrorCode::kOutOfMemory);
    const Status fork =
        engine->Fork(session, [&](Engine::SessionResult result) { forked.set_value(result); });
    EXPECT(fork.ok());
    const Engine::SessionResult copy = forked.get_future().get();
    failures += !copy.ok();
    test::FailAtRequest(0);
    // What failed has left nothing behind.
    if (!status.ok()) {
      EXPECT(session->position.load() == 0);
      EXPECT(PrefillAndWait(*engine, session, ids, nullptr).ok());
    }
    EXPECT(PrefillAndWait(*engine, session, more, got.data()).ok());
    EXPECT(SameBits(expected, got));
    engine->DisposeSession(session);
    if (copy.ok()) engine->DisposeSession(copy.value());
  }
  EXPECT(failures > 3);
  engine->DisposeSession(sound);
  test::AllowAllHere(false);
}

TEST(EngineDecodesEndWithoutMemory) {
  test::AllowAllHere(true);
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .threads = 1});
  if (engine == nullptr) return;
  const std::vector<int32_t> ids = Ids(model, 20, 3), more = Ids(model, 9, 4);
  std::vector<float> expected(more.size() * static_cast<size_t>(model.spec.vocab)), got = expected;
  const std::shared_ptr<Session> session = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, session, ids, nullptr).ok());
  EXPECT(PrefillAndWait(*engine, session, more, expected.data()).ok());
  const auto rewind = [&](int64_t position) {
    std::promise<Status> done;
    EXPECT(engine->Rewind(session, position, [&](Status status) { done.set_value(std::move(status)); }).ok());
    EXPECT(done.get_future().get().ok());
  };

  int failures = 0;
  for (int request = 1; request <= 40; ++request) {
    rewind(static_cast<int64_t>(ids.size()));
    test::FailAtRequest(request);
    SamplingOptions options;
    options.max_tokens = 4;
    EXPECT(engine->StartDecode(session, options).ok());
    int64_t count = 0;
    for (bool ended = false; !ended;) {
      const TokenDelivery delivery = test::TakeAndWait(*engine, session);
      count += static_cast<int64_t>(delivery.tokens.size());
      failures += !delivery.status.ok();
      ended = !delivery.status.ok() || delivery.end != DecodeEnd::kRunning;
    }
    test::FailAtRequest(0);
    std::promise<Status> stopped;
    EXPECT(engine->StopDecode(session, count, [&](Status status) { stopped.set_value(std::move(status)); })
               .ok());
    EXPECT(stopped.get_future().get().ok());
    EXPECT(session->position.load() == static_cast<int64_t>(ids.size()) + count);
    rewind(static_cast<int64_t>(ids.size()));
    EXPECT(PrefillAndWait(*engine, session, more, got.data()).ok());
    EXPECT(SameBits(expected, got));
  }
  EXPECT(failures > 3);
  engine->DisposeSession(session);
  test::AllowAllHere(false);
}

}  // namespace
}  // namespace k2
