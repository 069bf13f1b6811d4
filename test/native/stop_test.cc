// Steps that are stopped in their midst, at every moment at which the backend asks whether to go on: nothing
// reads what was left out, and whoever is still wanted gets the bits of an undisturbed step.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <climits>
#include <thread>

#include "base/thread_pool.h"
#include "check.h"
#include "engine_calls.h"
#include "model/expert_store.h"
#include "model/kimi_k2.h"
#include "ops/registry.h"
#include "tiny_model.h"

namespace k2 {
namespace {

using test::Ids;
using test::Load;
using test::MakeTinyModel;
using test::PrefillAndWait;
using test::SameBits;
using test::TinyModel;

// Passes everything on, and puts ids that no model has where the router is to write its own.
class SpoilingBackend final : public Backend {
 public:
  explicit SpoilingBackend(std::unique_ptr<Backend> inner) : inner_(std::move(inner)) {}
  const char* name() const override { return inner_->name(); }
  std::string kernels() const override { return inner_->kernels(); }
  Status Prepare(const BackendShapes& s) override { return inner_->Prepare(s); }
  int64_t ScratchBytes(const BackendShapes& s) const override { return inner_->ScratchBytes(s); }
  int64_t CacheBytesPerToken(const BackendShapes& s) const override { return inner_->CacheBytesPerToken(s); }
  void BeginStep(const std::function<bool()>* keep_going) override { inner_->BeginStep(keep_going); }
  void Embed(const EmbedParams& p) override { inner_->Embed(p); }
  void RmsNorm(const RmsNormParams& p) override { inner_->RmsNorm(p); }
  void Linear(const LinearParams& p) override { inner_->Linear(p); }
  void Rope(const RopeParams& p) override { inner_->Rope(p); }
  void AppendKv(const AppendKvParams& p) override { inner_->AppendKv(p); }
  void LatentAttention(const LatentAttentionParams& p) override { inner_->LatentAttention(p); }
  void Router(const RouterParams& p) override {
    std::fill_n(p.expert_ids, p.logits.rows * p.chosen, INT_MAX);
    inner_->Router(p);
  }
  void SwiGlu(const SwiGluParams& p) override { inner_->SwiGlu(p); }
  void Add(const AddParams& p) override { inner_->Add(p); }
  void FeedForward(const FeedForwardParams& p) override { inner_->FeedForward(p); }
  void RoutedExperts(const RoutedExpertsParams& p) override { inner_->RoutedExperts(p); }
  Status Synchronize() override { return inner_->Synchronize(); }

 private:
  const std::unique_ptr<Backend> inner_;
};

// Where routed experts are: mapped, mapped and copied on the way, or read from disk.
enum class Experts { kMapped, kCopied, kFromDisk };

std::unique_ptr<KimiK2> MakeModel(const TinyModel& tiny, int threads, Experts experts = Experts::kMapped) {
  static ExpertCounters counters;
  constexpr int64_t kMemory = int64_t{1} << 24;
  Result<std::unique_ptr<Weights>> weights = LoadWeights(tiny.spec, tiny.paths, tiny.rows, nullptr);
  std::unique_ptr<ExpertStore> store;
  if (experts == Experts::kFromDisk)
    store = std::move(ExpertStore::Create(tiny.spec, *weights.value(), kMemory, &counters).value());
  Result<std::unique_ptr<Backend>> cpu = FindBackend("cpu")->make(
      {.threads = threads, .expert_copy_bytes = experts == Experts::kCopied ? kMemory : 0});
  return std::move(KimiK2::Create(tiny.spec, std::move(weights.value()),
                                  std::make_unique<SpoilingBackend>(std::move(cpu.value())), 256,
                                  std::move(store))
                       .value());
}

// Calls of one session of a model, with the logits of its last rows.
struct Timeline {
  Timeline(const KimiK2& model, std::vector<int32_t> tokens, int64_t wanted, AttentionForm attention)
      : cache(model.NewCache()),
        ids(std::move(tokens)),
        logits(static_cast<size_t>(wanted * model.spec().vocab), -1.0f),
        form(attention),
        vocab(model.spec().vocab) {
    cache.KeepTrace(model.NewTrace());
    EXPECT(cache.Reserve(static_cast<int64_t>(ids.size())).ok());
  }
  BatchPart Part() {
    const int64_t rows = static_cast<int64_t>(logits.size()) / vocab;
    return {.cache = &cache, .ids = ids, .form = form, .logits = {logits.data(), rows, vocab, vocab}};
  }
  KvCache cache;
  std::vector<int32_t> ids;
  std::vector<float> logits;
  AttentionForm form;
  int64_t vocab;
};

bool Always() { return true; }

}  // namespace

TEST(ThreadPoolStopsBetweenChunks) {
  for (int threads : {1, 3}) {
    const auto pool = ThreadPool::Create(threads);
    for (int64_t grain : {1, 7, 1000}) {
      for (int allowed = 0; allowed < 12; ++allowed) {
        int asked = 0;
        const std::function<bool()> keep_going = [&] { return asked++ < allowed; };
        pool.value()->StopWhenNot(&keep_going);
        std::vector<std::atomic<int>> counts(500);
        const auto work = [&](int64_t first, int64_t last, int thread) {
          for (int64_t i = first; i < last; ++i) ++counts[static_cast<size_t>(i)];
          // Leaves most of the chunks to the calling thread, which asks.
          for (int i = 0; i < 1000 && thread != 0 && pool.value()->KeepGoing(thread); ++i)
            std::this_thread::yield();
        };
        pool.value()->For(500, grain, work);
        const auto done = [&] {
          int64_t sum = 0;
          for (const std::atomic<int>& count : counts) sum += count.load();
          return sum;
        };
        for (const std::atomic<int>& count : counts) EXPECT(count.load() <= 1);
        if (pool.value()->stopped()) {
          EXPECT(asked == allowed + 1);
          EXPECT(done() <= (allowed + threads) * grain);
        } else {
          EXPECT(done() == 500);
        }
        const int64_t before = done();
        const bool was_stopped = pool.value()->stopped();
        pool.value()->For(500, grain, work);
        if (was_stopped) EXPECT(done() == before && asked == allowed + 1);
        pool.value()->StopWhenNot(nullptr);
        EXPECT(!pool.value()->stopped());
        std::atomic<int64_t> all{0};
        pool.value()->For(500, grain, [&](int64_t first, int64_t last, int) { all += last - first; });
        EXPECT(all.load() == 500);
      }
    }
  }
}

TEST(StoppedStepLeavesNothingBehind) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const auto check = [&](int threads, Experts experts) {
    const std::unique_ptr<KimiK2> model = MakeModel(tiny, threads, experts);
    for (AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
      const auto run = [&](Timeline& timeline, const std::function<bool()>& keep_going) {
        Batch batch{.parts = {timeline.Part()}};
        return model->Forward(batch, keep_going);
      };
      Timeline undisturbed(*model, Ids(tiny, 40, 3), 40, form);
      EXPECT(run(undisturbed, Always).ok());
      Timeline stopped(*model, Ids(tiny, 40, 3), 40, form);
      int moments = 0;
      for (bool is_over = false; !is_over; ++moments) {
        int asked = 0;
        const Status status = run(stopped, [&] { return asked++ < moments; });
        is_over = status.ok();
        EXPECT(is_over || status.code() == ErrorCode::kAborted);
        // The backend asks no more, and the model before the next layer.
        EXPECT(is_over || asked <= moments + 2);
        EXPECT(stopped.cache.length() == 0);
        EXPECT(run(stopped, Always).ok());
        EXPECT(SameBits(stopped.logits, undisturbed.logits));
      }
      // Not only before each of the three layers.
      EXPECT(moments > 40);
    }
  };
  for (int threads : {1, 2}) {
    for (Experts experts : {Experts::kMapped, Experts::kCopied, Experts::kFromDisk}) check(threads, experts);
  }
}

// A part that is not wanted any more loses its logits as long as the head has not begun; then its memory is
// never touched, and the other part does not notice.
TEST(StepGoesOnWithoutAPartThatIsNotWanted) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  const std::unique_ptr<KimiK2> model = MakeModel(tiny, 1);  // asks equally often every time
  Timeline alone(*model, Ids(tiny, 20, 3), 20, AttentionForm::kAbsorbed);
  Batch single{.parts = {alone.Part()}};
  EXPECT(model->Forward(single, Always).ok());
  int before_head = 0, in_head = 0;
  for (int moment = 0;; ++moment) {
    Timeline leaving(*model, Ids(tiny, 30, 4), 30, AttentionForm::kAbsorbed);
    Timeline staying(*model, Ids(tiny, 20, 3), 20, AttentionForm::kAbsorbed);
    Batch batch{.parts = {leaving.Part(), staying.Part()}};
    int asked = 0;
    bool was_taken = false;
    const Status status = model->Forward(batch, [&] {
      if (asked++ == moment) {
        was_taken = !batch.writes_logits;
        (was_taken ? before_head : in_head) += 1;
        if (was_taken) batch.parts[0].logits.rows = 0;
      }
      return true;
    });
    EXPECT(status.ok());
    EXPECT(SameBits(staying.logits, alone.logits));
    const bool is_untouched =
        std::all_of(leaving.logits.begin(), leaving.logits.end(), [](float value) { return value == -1.0f; });
    EXPECT(is_untouched == was_taken);
    if (asked <= moment) break;
  }
  EXPECT(before_head > 20 && in_head > 0);
}

// A kernel whose context is long asks between blocks of positions, in either form.
TEST(AttentionStopsWithinATask) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kBf16);
  const std::unique_ptr<KimiK2> model = MakeModel(tiny, 1);
  for (AttentionForm form : {AttentionForm::kAbsorbed, AttentionForm::kExpanded}) {
    const auto asks = [&](int64_t cached) {
      Timeline timeline(*model, Ids(tiny, 1, 5), 1, form);
      for (int64_t done = 0; done < cached; done += 256) {
        timeline.ids = Ids(tiny, 256, 6);
        EXPECT(timeline.cache.Reserve(256).ok());
        Batch batch{.parts = {timeline.Part()}};
        EXPECT(model->Forward(batch, Always).ok());
        timeline.cache.Commit(256, form);
      }
      timeline.ids = Ids(tiny, 1, 5);
      EXPECT(timeline.cache.Reserve(1).ok());
      int asked = 0;
      Batch batch{.parts = {timeline.Part()}};
      EXPECT(model->Forward(batch, [&] { return ++asked > 0; }).ok());
      return asked;
    };
    const int tasks = static_cast<int>(form == AttentionForm::kExpanded ? tiny.spec.heads : 1);
    EXPECT(asks(1024) - asks(0) == 4 * tasks * static_cast<int>(tiny.spec.layers));
  }
}

// The answer to one session's abort changes no bit of those that share its steps, nor of its own next call.
TEST(EngineAbortInASharedStep) {
  const TinyModel tiny = MakeTinyModel(Storage::kBf16, Storage::kInt4);
  const std::shared_ptr<Engine> engine = Load(tiny, {.device = "cpu", .threads = 2, .batch_tokens = 120});
  if (engine == nullptr) return;
  const std::vector<int32_t> ids = Ids(tiny, 60, 8);
  const size_t size = ids.size() * static_cast<size_t>(tiny.spec.vocab);
  std::vector<float> alone(size);
  EXPECT(PrefillAndWait(*engine, engine->CreateSession().value(), ids, alone.data()).ok());
  std::mt19937 random(5);
  for (int round = 0; round < 60; ++round) {
    const std::shared_ptr<Session> leaving = engine->CreateSession().value();
    const std::shared_ptr<Session> staying = engine->CreateSession().value();
    std::vector<float> logits(size);
    std::promise<Status> left, stayed;
    // Never written after the answer: the sanitizers see the memory go with it.
    auto memory = std::make_unique<std::vector<float>>(size);
    EXPECT(engine
               ->Prefill(leaving, ids, memory->data(),
                         [&](Status s) {
                           if (!s.ok()) memory.reset();
                           left.set_value(std::move(s));
                         })
               .ok());
    EXPECT(
        engine->Prefill(staying, ids, logits.data(), [&](Status s) { stayed.set_value(std::move(s)); }).ok());
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 2000));
    round % 3 == 2 ? engine->DisposeSession(leaving) : engine->Abort(leaving);
    const ErrorCode code = left.get_future().get().code();
    EXPECT(code == ErrorCode::kOk ||
           code == (round % 3 == 2 ? ErrorCode::kInvalidState : ErrorCode::kAborted));
    EXPECT(stayed.get_future().get().ok());
    EXPECT(SameBits(logits, alone));
    if (round % 3 == 2 || code == ErrorCode::kOk) continue;
    std::vector<float> again(size);
    EXPECT(PrefillAndWait(*engine, leaving, ids, again.data()).ok());
    EXPECT(SameBits(again, alone));
  }
}

}  // namespace k2
