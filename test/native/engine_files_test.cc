// Sessions that were saved and restored, and the directory of stored pages, under an engine: nothing that an
// engine computes afterwards may show that there was an interruption.
#include <unistd.h>

#include <chrono>
#include <thread>

#include "check.h"
#include "engine/engine.h"
#include "engine_calls.h"
#include "model/fingerprint.h"
#include "temporary_folder.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using test::DecodeAndWait;
using test::Ids;
using test::Load;
using test::MakeTinyModel;
using test::PrefillAndWait;
using test::RestoreAndWait;
using test::SameBits;
using test::SaveAndWait;
using test::TemporaryFolder;
using test::TinyModel;

std::vector<float> EvaluateAndWait(Engine& engine, const std::shared_ptr<Session>& session,
                                   const std::vector<int32_t>& ids) {
  std::vector<float> logits(ids.size() * static_cast<size_t>(engine.spec().vocab));
  EXPECT(PrefillAndWait(engine, session, ids, logits.data()).ok());
  return logits;
}

void RewindAndWait(Engine& engine, const std::shared_ptr<Session>& session, int64_t position) {
  std::promise<Status> done;
  EXPECT(engine.Rewind(session, position, [&](Status s) { done.set_value(std::move(s)); }).ok());
  EXPECT(done.get_future().get().ok());
}

Result<Sha256Digest> FingerprintFrom(const TinyModel& model, const std::vector<std::string>& paths,
                                     const std::vector<WeightRow>& rows) {
  Result<std::unique_ptr<Weights>> weights = LoadWeights(model.spec, paths, rows, nullptr);
  if (!weights.ok()) return weights.status();
  return FingerprintOf(model.spec, *weights.value());
}

}  // namespace

TEST(FileThreadServesWhatIsUrgentFirst) {
  std::string order;
  std::promise<void> entered, added;
  FileThread files;
  EXPECT(files.Add([&] {
    entered.set_value();
    added.get_future().get();
    order += 'a';
    files.ServeUrgent();
    order += 'b';
  }));
  entered.get_future().get();
  for (const char letter : {'c', 'd'}) EXPECT(files.Add([&order, letter] { order += letter; }));
  for (const char letter : {'1', '2'}) EXPECT(files.AddUrgent([&order, letter] { order += letter; }));
  added.set_value();
  // Nothing that was added is lost, and nothing is taken afterwards.
  files.Stop();
  EXPECT(order == "a12bcd");
  EXPECT(!files.Add([&] { order += 'x'; }) && !files.AddUrgent([&] { order += 'y'; }));
  files.Stop();
  EXPECT(order == "a12bcd");
}

TEST(RestoredSessionGoesOnAsIfNothingHadHappened) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  for (const char* device : {"cpu", "reference"}) {
    const EngineOptions options{.device = device, .threads = 1, .batch_tokens = 32};
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    // As sessions end: behind a prefill, a decode, a rewind, on whole pages and between them, empty.
    const std::vector<std::function<void(const std::shared_ptr<Session>&)>> histories = {
        [](const auto&) {},
        [&](const auto& s) { EXPECT(PrefillAndWait(*engine, s, Ids(model, 70, 1), nullptr).ok()); },
        [&](const auto& s) { EXPECT(PrefillAndWait(*engine, s, Ids(model, 128, 1), nullptr).ok()); },
        [&](const auto& s) {
          EXPECT(PrefillAndWait(*engine, s, Ids(model, 60, 1), nullptr).ok());
          DecodeAndWait(*engine, s, 20);
        },
        [&](const auto& s) {
          EXPECT(PrefillAndWait(*engine, s, Ids(model, 70, 1), nullptr).ok());
          RewindAndWait(*engine, s, 65);
        }};
    for (const auto& history : histories) {
      const std::shared_ptr<Session> session = engine->CreateSession().value();
      history(session);
      EXPECT(SaveAndWait(*engine, session, path, "a note").ok());

      EngineOptions others = options;
      others.threads = 2;
      others.batch_tokens = 17;
      others.context_tokens = 1000;
      const std::shared_ptr<Engine> later = Load(model, others);
      if (later == nullptr) return;
      const std::shared_ptr<Session> restored = later->CreateSession().value();
      std::string note;
      EXPECT(RestoreAndWait(*later, restored, path, &note).ok());
      EXPECT(note == "a note" && restored->position.load() == session->position.load());
      EXPECT(restored->tokens == session->tokens);
      // The same once more, to go on with ids first.
      const std::shared_ptr<Session> second = later->CreateSession().value();
      EXPECT(RestoreAndWait(*later, second, path).ok());
      std::promise<std::shared_ptr<Session>> forked;
      EXPECT(engine->Fork(session, [&](Engine::SessionResult fork) { forked.set_value(fork.value()); }).ok());
      const std::shared_ptr<Session> fork = forked.get_future().get();
      const std::vector<int32_t> ids = Ids(model, 5, 7);
      EXPECT(SameBits(EvaluateAndWait(*later, second, ids), EvaluateAndWait(*engine, fork, ids)));

      if (session->position.load() > 0) {
        EXPECT(DecodeAndWait(*later, restored, 12) == DecodeAndWait(*engine, session, 12));
      }
      const std::vector<int32_t> more = Ids(model, 30, 2);
      EXPECT(SameBits(EvaluateAndWait(*later, restored, more), EvaluateAndWait(*engine, session, more)));
      EXPECT(DecodeAndWait(*later, restored, 70) == DecodeAndWait(*engine, session, 70));
    }
  }
}

TEST(RestoreChangesNothingWhereItFails) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  const TinyModel foreign = MakeTinyModel(Storage::kBf16, Storage::kBf16, 2);
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu"}),
                                other = Load(foreign, {.device = "cpu"});
  if (engine == nullptr || other == nullptr) return;
  const std::shared_ptr<Session> saved = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, saved, Ids(model, 100, 1), nullptr).ok());
  EXPECT(SaveAndWait(*engine, saved, path).ok());
  const std::vector<int32_t> ids = Ids(model, 20, 5);
  const std::vector<float> expected = EvaluateAndWait(*other, other->CreateSession().value(), ids);
  const std::shared_ptr<Session> session = other->CreateSession().value();
  EXPECT(RestoreAndWait(*other, session, path).code() == ErrorCode::kIncompatibleFile);
  EXPECT(RestoreAndWait(*other, session, folder / "absent").code() == ErrorCode::kIo);
  const std::shared_ptr<Engine> reference = Load(model, {.device = "reference"});
  if (reference == nullptr) return;
  EXPECT(RestoreAndWait(*reference, reference->CreateSession().value(), path).code() ==
         ErrorCode::kIncompatibleFile);
  const std::shared_ptr<Engine> small = Load(model, {.device = "cpu", .context_tokens = 99});
  if (small == nullptr) return;
  EXPECT(RestoreAndWait(*small, small->CreateSession().value(), path).code() == ErrorCode::kContextFull);
  EXPECT(session->position.load() == 0 && session->cache.length() == 0);
  EXPECT(SameBits(EvaluateAndWait(*other, session, ids), expected));
  // A session with tokens is not overwritten.
  EXPECT(RestoreAndWait(*other, session, path).code() == ErrorCode::kInvalidState);
  EXPECT(session->position.load() == 20);
}

TEST(RestoredNonsenseHarmsItsSessionAlone) {
  // A file that was made to harm: sound in every sum, and nonsense in its rows.
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  const TemporaryFolder folder;
  const std::string path = folder / "session";
  const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .prefix_cache_bytes = 1 << 20});
  const Result<Sha256Digest> fingerprint = FingerprintFrom(model, model.paths, model.rows);
  if (engine == nullptr || !fingerprint.ok()) return;
  const std::vector<int32_t> ids = Ids(model, 20, 5);
  const std::vector<float> expected = EvaluateAndWait(*engine, engine->CreateSession().value(), ids);
  SessionFormat format{.fingerprint = fingerprint.value(),
                       .backend = "cpu",
                       .layers = model.spec.layers,
                       .page_bytes = engine->CreateSession().value()->cache.page_bytes(),
                       .vocab = model.spec.vocab,
                       .context_tokens = 4096};
  std::mt19937 random(4);
  for (int round = 0; round < 20; ++round) {
    SessionContent content;
    const std::vector<int32_t> tokens = Ids(model, 150, static_cast<uint32_t>(100 + round));
    content.tokens = tokens;
    for (int i = 0; i < 3; ++i) {
      auto page = std::make_shared<CachePage>(
          std::move(AlignedBuffer::Allocate(static_cast<size_t>(format.page_bytes), "a page").value()));
      for (size_t b = 0; b < page->bytes.size(); ++b)
        page->bytes.data()[b] = round == 0                     ? 0xff
                                : round % 2 == 1 && b % 2 == 1 ? 0x3f  // numbers of about 1
                                                               : static_cast<uint8_t>(random());
      content.pages.push_back(page);
    }
    EXPECT(WriteSessionFile(path, format, content, [] { return Status(); }).ok());
    const std::shared_ptr<Session> victim = engine->CreateSession().value();
    EXPECT(RestoreAndWait(*engine, victim, path).ok());
    const ErrorCode code = PrefillAndWait(*engine, victim, Ids(model, 60, 2), nullptr).code();
    EXPECT(code == ErrorCode::kNumericalFault || (round > 0 && code == ErrorCode::kOk));
    EXPECT(round % 2 == 0 || code == ErrorCode::kOk);
    if (code == ErrorCode::kOk) {
      std::promise<std::shared_ptr<Session>> forked;
      EXPECT(engine->Fork(victim, [&](Engine::SessionResult fork) { forked.set_value(fork.value()); }).ok());
      engine->DisposeSession(forked.get_future().get());
    }
    engine->DisposeSession(victim);
    // What came from the file is in nobody's cache.
    const std::shared_ptr<Session> other = engine->CreateSession().value();
    EXPECT(PrefillAndWait(*engine, other, tokens, nullptr).ok());
    EXPECT(other->cached_tokens.load() == 0);
  }
  EXPECT(SameBits(EvaluateAndWait(*engine, engine->CreateSession().value(), ids), expected));
}

TEST(FingerprintKnowsTheCheckpointAndNotItsFiles) {
  const TinyModel model = MakeTinyModel(Storage::kF8E4m3, Storage::kInt4);
  const Result<Sha256Digest> digest = FingerprintFrom(model, model.paths, model.rows);
  EXPECT(digest.ok());
  if (!digest.ok()) return;
  // The same weights at other places of a file of another name, in another order of rows.
  const TemporaryFolder folder;
  const std::string bytes = test::ReadBytes(model.paths[0]);
  test::WriteBytes(folder / "moved", std::string(4096, 'x') + bytes);
  std::vector<WeightRow> rows(model.rows.rbegin(), model.rows.rend());
  for (WeightRow& row : rows) {
    row.offset += 4096;
    if (row.scale_offset >= 0) row.scale_offset += 4096;
  }
  const Result<Sha256Digest> moved = FingerprintFrom(model, {folder / "moved"}, rows);
  EXPECT(moved.ok() && moved.value() == digest.value());
  // This model is small enough for every byte to be sampled: each weight and each scale counts.
  for (const WeightRow& row : model.rows) {
    for (const double offset : {row.offset, row.scale_offset}) {
      if (offset < 0) continue;
      std::string changed = bytes;
      changed[static_cast<size_t>(offset)] ^= 1;
      test::WriteBytes(folder / "changed", changed);
      const Result<Sha256Digest> other = FingerprintFrom(model, {folder / "changed"}, model.rows);
      EXPECT(other.ok() && other.value() != digest.value());
    }
  }
  TinyModel turned = MakeTinyModel(Storage::kF8E4m3, Storage::kInt4);
  turned.spec.rope_theta += 1;
  EXPECT(FingerprintFrom(turned, turned.paths, turned.rows).value() != digest.value());
}

TEST(SaveTakesNoSecondCopyAndEndsWithItsSession) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  const TemporaryFolder folder;
  const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .context_tokens = 20000});
  if (engine == nullptr) return;
  const std::shared_ptr<Session> session = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, session, Ids(model, 3000, 1), nullptr).ok());
  const size_t before = AllocatedBytes();
  std::promise<Status> done;
  EXPECT(engine->Save(session, folder / "session", {}, [&](Status s) { done.set_value(std::move(s)); }).ok());
  // Busy until it is done.
  EXPECT(engine->Save(session, folder / "other", {}, [](Status) {}).code() == ErrorCode::kInvalidState);
  EXPECT(PrefillAndWait(*engine, session, {1}, nullptr).code() == ErrorCode::kInvalidState);
  std::future<Status> end = done.get_future();
  while (end.wait_for(std::chrono::microseconds(50)) != std::future_status::ready)
    EXPECT(AllocatedBytes() == before);
  EXPECT(end.get().ok() && folder.Names() == std::vector<std::string>{"session"});

  int ended_early[2] = {};
  for (int round = 0; round < 30; ++round) {
    const std::shared_ptr<Session> victim = engine->CreateSession().value();
    EXPECT(RestoreAndWait(*engine, victim, folder / "session").ok());
    std::promise<Status> ended;
    EXPECT(
        engine->Save(victim, folder / "victim", {}, [&](Status s) { ended.set_value(std::move(s)); }).ok());
    if (round >= 10) std::this_thread::sleep_for(std::chrono::microseconds(round * 80));
    round % 2 == 0 ? engine->DisposeSession(victim) : engine->Abort(victim);
    const ErrorCode code = ended.get_future().get().code();
    EXPECT(code == ErrorCode::kOk ||
           code == (round % 2 == 0 ? ErrorCode::kInvalidState : ErrorCode::kAborted));
    ended_early[round % 2] += code != ErrorCode::kOk;
    for (const std::string& name : folder.Names()) EXPECT(name == "session" || name == "victim");
  }
  EXPECT(ended_early[0] > 0 && ended_early[1] > 0);
}

TEST(EngineEndsWithFilesUnderWay) {
  const TinyModel model = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  const TemporaryFolder folder;
  const size_t before = AllocatedBytes();
  for (int round = 0; round < 20; ++round) {
    const std::shared_ptr<Engine> engine =
        Load(model, {.device = "cpu", .prefix_cache_directory = folder / "pages"});
    if (engine == nullptr) return;
    std::vector<std::shared_ptr<Session>> sessions;
    for (int i = 0; i < 3; ++i) {
      sessions.push_back(engine->CreateSession().value());
      EXPECT(PrefillAndWait(*engine, sessions[static_cast<size_t>(i)],
                            Ids(model, 1000, static_cast<uint32_t>(round * 3 + i)), nullptr)
                 .ok());
    }
    std::atomic<int> settled{0};
    int begun = engine->Save(sessions[0], folder / "a", {}, [&](Status) { ++settled; }).ok();
    begun += engine->Prefill(sessions[1], Ids(model, 500, 4), nullptr, [&](Status) { ++settled; }).ok();
    begun += engine
                 ->Restore(engine->CreateSession().value(), folder / "a",
                           [&](Status, const std::vector<int32_t>&, std::string) { ++settled; })
                 .ok();
    std::this_thread::sleep_for(std::chrono::microseconds(round * 150));
    round % 2 == 0 ? engine->Stop() : engine->Dispose([](Status) {});
    engine->Stop();
    EXPECT(begun == 3 && settled.load() == begun);
    sessions.clear();
  }
  EXPECT(AllocatedBytes() == before);
  for (const std::string& name : folder.Names()) EXPECT(name == "a" || name == "pages");
}

}  // namespace k2
