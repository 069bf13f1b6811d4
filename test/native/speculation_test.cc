// Decoding with guessed rows against decoding without them: the same calls, and everything that they show.
#include <future>

#include "check.h"
#include "engine_calls.h"
#include "temporary_folder.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using test::Ids;
using test::Load;
using test::PrefillAndWait;
using test::TakeAndWait;
using test::TinyModel;
using Shared = std::shared_ptr<Session>;

constexpr int64_t kVocab = 300;
constexpr int64_t kContext = 260;

// Between `least` and `most` of the bytes "abc".
std::shared_ptr<const GrammarProgram> Letters(double least, double most) {
  const std::vector<double> code{2, 0, 0, 0, 14, 0, 0, 0, 0, 6, 0, least, most};
  const std::vector<uint32_t> nodes{0, 9}, rules{1}, heights{0};
  return GrammarProgram::Read({code, nodes, rules, heights, {}, {}}, kVocab).value();
}

TokenBytes AllBytes() {
  TokenBytes tokens;
  tokens.offsets.push_back(0);
  for (int byte = 0; byte < 256; ++byte) {
    tokens.pool.push_back(static_cast<uint8_t>(byte));
    tokens.offsets.push_back(static_cast<uint32_t>(byte) + 1);
  }
  return tokens;
}

// What calls show, in one list of bytes.
class Log {
 public:
  template <typename T>
  void Add(const T& value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  template <typename T>
  void AddAll(const std::vector<T>& values) {
    Add(values.size());
    for (const T& value : values) Add(value);
  }
  void AddText(const std::string& text) { bytes_ += text; }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

// Calls of one engine, drawn from a seed.
class Script {
 public:
  Script(const TinyModel& model, Engine& engine, uint32_t seed)
      : model_(model), engine_(engine), random_(seed) {}

  std::string Run(const std::string& file) {
    Shared session = engine_.CreateSession(true).value();
    Prefill(session);
    for (int call = 0; call < 24; ++call) {
      switch (Draw(8)) {
        case 0:
          Prefill(session);
          break;
        case 1: {
          std::promise<void> done;
          const int64_t position = 1 + Draw(static_cast<uint32_t>(session->position.load()));
          EXPECT(engine_.Rewind(session, position, [&](Status) { done.set_value(); }).ok());
          done.get_future().get();
          break;
        }
        case 2: {
          std::promise<Shared> copy;
          EXPECT(
              engine_.Fork(session, [&](Engine::SessionResult fork) { copy.set_value(fork.value()); }).ok());
          const Shared other = copy.get_future().get();
          Decode(Draw(2) ? other : session);
          Evaluate(Draw(2) ? other : session);
          if (Draw(2)) session = other;
          break;
        }
        default:
          Decode(session);
      }
      Show(session);
    }
    EXPECT(test::SaveAndWait(engine_, session, file).ok());
    log_.AddText(test::ReadBytes(file));
    // What the session shared with others.
    const Shared other = engine_.CreateSession().value();
    EXPECT(PrefillAndWait(engine_, other, session->tokens, nullptr).ok());
    log_.Add(other->cached_tokens.load());
    Evaluate(session);
    drafted += session->timings.drafted_tokens.load();
    accepted += session->timings.accepted_tokens.load();
    return log_.bytes();
  }

  int64_t drafted = 0, accepted = 0;

 private:
  uint32_t Draw(uint32_t below) { return random_() % below; }

  void Prefill(const Shared& session) {
    std::vector<int32_t> ids;
    for (uint32_t i = 1 + Draw(90); i > 0; --i) ids.push_back(static_cast<int32_t>('a' + Draw(3)));
    const int64_t room = kContext - session->position.load();
    ids.resize(std::min(ids.size(), static_cast<size_t>(room)));
    EXPECT(PrefillAndWait(engine_, session, ids, nullptr).ok());
    log_.Add(session->cached_tokens.load());
  }

  void Evaluate(const Shared& session) {
    if (session->position.load() + 5 > kContext) return;
    std::vector<float> logits(5 * static_cast<size_t>(kVocab));
    EXPECT(PrefillAndWait(engine_, session, Ids(model_, 5, 8), logits.data()).ok());
    log_.AddAll(logits);
  }

  void Decode(const Shared& session) {
    SamplingOptions options;
    options.max_tokens = Draw(40);
    options.temperature = Draw(3) == 0 ? 0 : 0.3 + 0.1 * Draw(8);
    options.seed = Draw(3);
    options.top_k = Draw(3) == 0 ? 2 : 0;
    options.repetition_penalty = Draw(3) == 0 ? 1.05 : 1;
    options.frequency_penalty = Draw(3) == 0 ? 0.05 : 0;
    options.penalty_tokens = Draw(2) ? 20 : 0;
    options.top_logprobs = Draw(3);
    options.logprobs = Draw(2) == 0;
    if (Draw(3) == 0) options.stop_tokens = {'b', 299};
    GrammarStart grammar;
    if (Draw(2)) {
      // Few tokens that may come: guesses are often right, and often wrong.
      options.mask.assign((kVocab + 31) / 32, 0);
      for (int id : {'a', 'b', 'c'}) options.mask[static_cast<size_t>(id) >> 5] |= 1u << (id & 31);
    } else {
      grammar.program = Letters(Draw(12), 12 + Draw(20));
    }
    const int64_t drafted_before = session->timings.drafted_tokens.load();
    const int64_t room = std::min(options.max_tokens, kContext - session->position.load());
    EXPECT(engine_.StartDecode(session, options, grammar).ok());
    int64_t produced = 0;
    for (;;) {
      const TokenDelivery delivery = TakeAndWait(engine_, session);
      EXPECT(delivery.status.ok());
      for (const SampledToken& token : delivery.tokens) {
        ++produced;
        log_.Add(token.id);
        log_.Add(token.logprob);
        log_.AddAll(token.top_ids);
        log_.AddAll(token.top_logprobs);
      }
      if (delivery.end == DecodeEnd::kRunning && delivery.status.ok()) continue;
      log_.Add(delivery.end);
      break;
    }
    // The end is told before the job below is begun, and the consumer may have read less.
    const int64_t kept = Draw(2) ? produced : Draw(static_cast<uint32_t>(produced) + 1);
    std::promise<void> stopped;
    EXPECT(engine_.StopDecode(session, kept, [&](Status) { stopped.set_value(); }).ok());
    stopped.get_future().get();
    // Each step yields a token of its own, so a guess is for the others.
    EXPECT(session->timings.drafted_tokens.load() - drafted_before <=
           static_cast<int64_t>(kMostDraft) * std::max<int64_t>(room - 1, 0));
    if (room <= 1) EXPECT(session->timings.drafted_tokens.load() == drafted_before);
    Show(session);
  }

  void Show(const Shared& session) {
    log_.AddAll(session->tokens);
    log_.Add(session->pending);
    log_.Add(session->position.load());
    log_.Add(session->cache.length());
    log_.Add(session->cache.pages().size());
    log_.Add(session->logits != nullptr);
    if (session->logits != nullptr) log_.AddAll(*session->logits);
    log_.Add(session->timings.decode_tokens.load());
    const int64_t count = session->cache.length(), width = session->cache.trace()->width();
    std::vector<uint16_t> experts(static_cast<size_t>(count * width));
    std::vector<float> weights(experts.size());
    std::vector<uint8_t> known(static_cast<size_t>(count));
    session->cache.trace()->Read(0, {experts.data(), weights.data(), known.data(), count});
    log_.AddAll(experts);
    log_.AddAll(weights);
    log_.AddAll(known);
  }

  const TinyModel& model_;
  Engine& engine_;
  std::mt19937 random_;
  Log log_;
};

}  // namespace

TEST(SpeculationChangesNothingThatCallsShow) {
  const TinyModel model = test::MakeTinyModel(Storage::kBf16, Storage::kInt4, 1, kVocab);
  const test::TemporaryFolder folder;
  int64_t drafted = 0, accepted = 0;
  for (uint32_t seed = 1; seed <= 12; ++seed) {
    std::string plain;
    for (const Speculation speculation : {Speculation::kOff, Speculation::kAlways, Speculation::kAuto}) {
      EngineOptions options{.device = "cpu", .threads = 1, .context_tokens = kContext};
      options.batch_tokens = seed % 3 == 0 ? 5 : 512;
      options.attention = seed % 2 ? AttentionChoice::kAbsorbed : AttentionChoice::kAuto;
      options.prefix_cache_bytes = 1 << 22;
      options.speculation = speculation;
      const std::shared_ptr<Engine> engine = Load(model, options);
      if (engine == nullptr) return;
      EXPECT(engine->SetVocabulary(AllBytes()).ok());
      Script script(model, *engine, seed);
      const std::string shown = script.Run(folder / "session");
      if (speculation == Speculation::kOff) {
        EXPECT(script.drafted == 0);
        plain = shown;
        continue;
      }
      EXPECT(shown == plain);
      EXPECT(script.accepted <= script.drafted);
      if (speculation == Speculation::kAlways) {
        drafted += script.drafted;
        accepted += script.accepted;
      }
    }
  }
  EXPECT(accepted > 100 && drafted > accepted + 100);
}

TEST(SpeculationBesideOthersChangesNothing) {
  const TinyModel model = test::MakeTinyModel(Storage::kBf16, Storage::kInt4);
  std::vector<std::vector<int32_t>> answers[2];
  for (const bool guesses : {false, true}) {
    EngineOptions options{.device = "cpu", .threads = 2, .batch_tokens = 12};
    options.speculation = guesses ? Speculation::kAlways : Speculation::kOff;
    const std::shared_ptr<Engine> engine = Load(model, options);
    if (engine == nullptr) return;
    std::vector<Shared> sessions;
    for (uint32_t i = 0; i < 4; ++i) {
      sessions.push_back(engine->CreateSession().value());
      EXPECT(PrefillAndWait(*engine, sessions[i], Ids(model, 20, i), nullptr).ok());
      SamplingOptions sampling;
      sampling.max_tokens = 200;
      sampling.temperature = 0.5;
      sampling.top_k = 2;
      sampling.seed = i;
      EXPECT(engine->StartDecode(sessions[i], sampling).ok());
    }
    int64_t drafted = 0;
    for (const Shared& session : sessions) {
      std::vector<int32_t>& answer = answers[guesses].emplace_back();
      for (;;) {
        const TokenDelivery delivery = TakeAndWait(*engine, session);
        for (const SampledToken& token : delivery.tokens) answer.push_back(token.id);
        if (delivery.end != DecodeEnd::kRunning || !delivery.status.ok()) break;
      }
      EXPECT(answer.size() == 200);
      drafted += session->timings.drafted_tokens.load();
    }
    EXPECT(guesses == (drafted > 0));
  }
  EXPECT(answers[0] == answers[1]);
}

// Two sessions whose every guess is right begin in the same moment and end in the same step: there are no
// rows that one would have to wait for because of the other.
TEST(SpeculationLeavesTheOthersOfAStepAlone) {
  const TinyModel model = test::MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::shared_ptr<Engine> engine = Load(model, {.device = "cpu", .threads = 1});
  if (engine == nullptr) return;
  SamplingOptions sampling;
  sampling.max_tokens = 30;
  sampling.mask.assign(3, 0);
  sampling.mask[0] = 1u << 7;
  const auto finish = [&](const Shared& session) {
    while (TakeAndWait(*engine, session).end == DecodeEnd::kRunning) {
    }
    std::promise<void> stopped;
    EXPECT(engine->StopDecode(session, 30, [&](Status) { stopped.set_value(); }).ok());
    stopped.get_future().get();
  };
  std::vector<Shared> sessions;
  for (int i = 0; i < 2; ++i) {
    sessions.push_back(engine->CreateSession().value());
    EXPECT(PrefillAndWait(*engine, sessions[i], {1, 2, 7, 7, 7}, nullptr).ok());
    for (int round = 0; round < 4; ++round) {  // alone: learns that guesses are right, and what steps take
      EXPECT(engine->StartDecode(sessions[i], sampling).ok());
      finish(sessions[i]);
    }
    EXPECT(sessions[i]->record.Acceptance(32) > 0.9);
  }
  const int64_t before[2] = {sessions[0]->timings.drafted_tokens.load(),
                             sessions[1]->timings.drafted_tokens.load()};
  // On the engine's own thread, between two steps.
  std::promise<bool> begun;
  EXPECT(engine
             ->Rewind(engine->CreateSession().value(), 0,
                      [&](Status) {
                        bool both = true;
                        for (const Shared& session : sessions)
                          both &= engine->StartDecode(session, sampling).ok();
                        begun.set_value(both);
                      })
             .ok());
  EXPECT(begun.get_future().get());
  for (size_t i = 0; i < 2; ++i) {
    finish(sessions[i]);
    EXPECT(sessions[i]->timings.drafted_tokens.load() == before[i]);
  }
}

// A guess needs a page more than the pending token, and there is none: it is dropped, and nothing else is.
TEST(SpeculationDoesWithoutWhereMemoryEnds) {
  const TinyModel model = test::MakeTinyModel(Storage::kBf16, Storage::kInt4);
  EngineOptions options{.device = "cpu", .threads = 1};
  options.speculation = Speculation::kAlways;
  const std::shared_ptr<Engine> engine = Load(model, options);
  if (engine == nullptr) return;
  // The pending token is at position 62 of the page, and 7 guessed ones reach into the next.
  const std::vector<int32_t> ids(62, 7);
  SamplingOptions sampling;
  sampling.max_tokens = 2;
  sampling.temperature = 0;
  sampling.mask.assign(3, 0);
  sampling.mask[0] = 1u << 7;
  const Shared session = engine->CreateSession().value();
  EXPECT(PrefillAndWait(*engine, session, ids, nullptr).ok());
  sampling.max_tokens = 12;
  FailAllocationForTest(1);
  EXPECT(engine->StartDecode(session, sampling).ok());
  size_t tokens = 0;
  for (;;) {
    const TokenDelivery delivery = TakeAndWait(*engine, session);
    EXPECT(delivery.status.ok());
    tokens += delivery.tokens.size();
    if (delivery.end != DecodeEnd::kRunning || !delivery.status.ok()) break;
  }
  FailAllocationForTest(0);
  EXPECT(tokens == 12);
  EXPECT(session->timings.accepted_tokens.load() > 0);
}

}  // namespace k2
