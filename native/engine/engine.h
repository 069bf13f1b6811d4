// A loaded model and the one thread that computes with it. Calls come in from any thread as jobs; every
// callback is made on the engine thread (Take's also on the caller's, when tokens already wait). Nothing here
// knows Node.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "engine/batcher.h"
#include "engine/file_thread.h"
#include "engine/page_store.h"
#include "engine/prefix_cache.h"
#include "engine/session.h"
#include "engine/session_file.h"
#include "model/kimi_k2.h"

namespace k2 {

// Whether decoding computes rows of guessed tokens: where measured times promise a gain, never, or whenever
// there is a guess (for tests). Changes no result.
enum class Speculation { kAuto, kOff, kAlways };

enum class AttentionChoice { kAuto, kAbsorbed, kExpanded };

struct EngineOptions {
  std::string device = "cpu";
  std::string isa = {};  // empty: the best that the processor has
  Activations activations = Activations::k16Bit;
  int threads = 1;
  int64_t context_tokens = 4096;
  AttentionChoice attention = AttentionChoice::kAuto;
  CacheType cache_type = CacheType::kBf16;
  int64_t batch_tokens = 512;
  int64_t prefix_cache_bytes = 0;           // 0: no prefix cache
  std::string prefix_cache_directory = {};  // empty: none
  int64_t prefix_cache_directory_bytes = int64_t{8} << 30;
  Speculation speculation = Speculation::kAuto;
  int64_t expert_memory_bytes = 0;  // 0: routed experts are used where the files are mapped
  int64_t expert_copy_bytes = 0;    // only for such: most memory for copies that are read faster
};

Status CheckEngineOptions(const EngineOptions& options);
BackendOptions BackendOptionsOf(const EngineOptions& options);

// Sizes that are known before anything is loaded.
struct MemoryPlan {
  int64_t cache_bytes_per_token = 0;  // over all layers
  int64_t page_tokens = 0;
  int64_t scratch_bytes = 0;
};
Result<MemoryPlan> PlanMemory(const ModelSpec& spec, const EngineOptions& options);

// The form of a prefill: a matter of the call's own length, so that no cut by the engine can change a bit.
AttentionForm ChooseForm(const ModelSpec& spec, AttentionChoice choice, int64_t call_tokens);

class Engine {
 public:
  using SessionResult = Result<std::shared_ptr<Session>>;
  using Progress = std::function<void(uint64_t done_bytes, uint64_t total_bytes)>;

  // Does no work. `paths` and `rows` are the resolved checkpoint.
  static Result<std::shared_ptr<Engine>> Create(const ModelSpec& spec, EngineOptions options,
                                                std::vector<std::string> paths, std::vector<WeightRow> rows);
  // Stops and joins.
  ~Engine();

  // Starts the engine thread, which maps the files and then serves. Once.
  Status Load(Progress progress, StatusCallback finish);
  void AbortLoad() { abort_load_.store(true); }

  // What the ordinary tokens stand for, for decoding with a grammar.
  Status SetVocabulary(TokenBytes tokens);

  // With `trace` the session remembers what the router chose; only for a model with experts.
  Result<std::shared_ptr<Session>> CreateSession(bool trace = false);

  // Each fails at once when the session is busy or the engine is not serving; otherwise `finish` is called
  // once.
  Status Prefill(std::shared_ptr<Session> session, std::vector<int32_t> ids, float* logits,
                 StatusCallback finish);
  Status Fork(std::shared_ptr<Session> session, std::function<void(SessionResult)> finish);
  Status Rewind(std::shared_ptr<Session> session, int64_t position, StatusCallback finish);
  // Copies what the router chose at positions [first, first + rows.count) of a session with a trace.
  Status Routing(std::shared_ptr<Session> session, int64_t first, RoutingRows rows, StatusCallback finish);
  // With a grammar only its texts are sampled; SetVocabulary must have been called.
  Status StartDecode(std::shared_ptr<Session> session, SamplingOptions options, GrammarStart grammar = {});
  // Gives the waiting tokens, or waits for some.
  Status Take(const std::shared_ptr<Session>& session, TokensCallback deliver);
  Status StopDecode(std::shared_ptr<Session> session, int64_t kept, StatusCallback finish);
  void Abort(const std::shared_ptr<Session>& session);
  void DisposeSession(std::shared_ptr<Session> session);

  // Writes the session with a text of the caller to `path`; others go on meanwhile (engine_files.cc).
  Status Save(std::shared_ptr<Session> session, std::string path, std::string note, StatusCallback finish);
  // Makes an empty session what Save wrote. On failure it stays empty.
  using RestoreCallback = std::function<void(Status, const std::vector<int32_t>& tokens, std::string note)>;
  Status Restore(std::shared_ptr<Session> session, std::string path, RestoreCallback finish);

  // Ends everything; running calls get invalid-state. `finish` is called on the engine thread, last of all,
  // when the pages that were to be stored are on their way to the disk.
  void Dispose(StatusCallback finish);
  // The same at once, without those pages, and waits.
  void Stop();

  const ModelSpec& spec() const { return spec_; }
  const EngineOptions& options() const { return options_; }
  // Of routed experts read from disk; any thread, also after the model is gone.
  const ExpertCounters& expert_counters() const { return expert_counters_; }

 private:
  enum class Phase { kCreated, kLoading, kServing, kDisposed };
  // A job that finds no memory is told so by `fail`, if its call must be settled; the others go on.
  struct Job {
    std::function<void()> run;
    StatusCallback fail;
  };

  Engine(const ModelSpec& spec, EngineOptions options)
      : spec_(spec), options_(std::move(options)), prefixes_(options_.prefix_cache_bytes) {}

  // Queues a job for the engine thread; refused once the engine is not serving.
  Status Post(std::function<void()> run, StatusCallback fail = nullptr);
  static void RunJob(const Job& job);
  // Takes a session back to where a call began that failed at once.
  StatusCallback Undo(const std::shared_ptr<Session>& session, StatusCallback finish);
  // Marks the session busy for `call`, or says why it cannot begin.
  Status Begin(Session& session, Session::Activity activity, const char* call);

  // Engine thread: lifecycle (engine.cc).
  void ThreadMain(Progress progress, StatusCallback loaded);
  Status LoadModel(const Progress& progress);
  void Serve();
  void Shutdown();
  void Activate(const std::shared_ptr<Session>& session);

  // Engine thread: one forward step for all sessions that have work (engine_step.cc).
  bool HasWork() const;
  void Step();
  void FinishPrefillPart(Session& session, size_t ids, const float* last_logits);
  void SampleNext(Session& session);
  // Adds guessed tokens to the parts that decode (engine_draft.cc).
  void AddGuesses(std::vector<StepPart>& parts);
  size_t Guess(Session& session, bool is_alone, size_t most_rows);
  void FinishDecodeRows(Session& session, size_t rows, const float* logits);
  Status Compute(const std::vector<StepPart>& parts, Batch& batch);
  bool KeepGoing(const std::vector<StepPart>& parts, Batch& batch);
  void HandleAborts();
  void EndDecode(Session& session, DecodeEnd end, Status status);
  void Settle(Session& session, const Status& status);
  void Rollback(Session& session);
  // Offers the whole pages of a sound session to the others.
  void SharePages(Session& session);

  // Engine thread: what files have to do with it (engine_files.cc).
  Status OpenPageStore();
  // Lets the prefill that has just begun wait for the pages that the directory has.
  void LookUpStoredPages(const std::shared_ptr<Session>& session);
  void AdoptStoredPages(Session& session, const std::vector<KvCache::Page>& found);
  void StorePages(Session& session);
  // File thread: hands a job back to the engine thread, also to one that is ending.
  void Return(std::function<void()> run);
  Result<SessionFormat> FormatOfFiles();
  // What ends a running save or restore.
  Status CheckFileCall(const Session& session) const;

  const ModelSpec spec_;
  const EngineOptions options_;
  std::vector<std::string> paths_;
  std::vector<WeightRow> rows_;

  std::thread thread_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Job> jobs_;                         // guarded by mutex_
  Phase phase_ = Phase::kCreated;                 // guarded by mutex_
  std::vector<StatusCallback> on_disposed_;       // guarded by mutex_
  std::vector<std::weak_ptr<Session>> sessions_;  // guarded by mutex_
  std::shared_ptr<ConstraintStore> constraints_;  // guarded by mutex_; null without a vocabulary
  std::atomic<bool> stopping_{false};
  std::atomic<bool> abort_load_{false};
  // Set after a session's abort_requested or disposed, so that a step has one thing to look at.
  std::atomic<bool> interrupted_{false};
  std::atomic<bool> abandon_pages_{false};  // what is not written yet is not written any more

  ExpertCounters expert_counters_;

  // Engine thread.
  std::unique_ptr<KimiK2> model_;
  PrefixCache prefixes_;
  Sampler sampler_;
  Batcher batcher_;
  std::vector<std::shared_ptr<Session>> active_;  // sessions with a task
  bool step_wanted_ = true;                       // by any session of the running step
  std::vector<float> step_logits_;                // [rows of decoding and sessions that prefill, V]
  uint64_t lookups_ = 0;
  int64_t bytes_to_store_ = 0;  // pages that wait for the file thread

  // File thread; its jobs end before the model does.
  std::unique_ptr<PageStore> page_store_;  // null without a directory
  std::optional<Result<Sha256Digest>> fingerprint_;
  FileThread files_;
};

}  // namespace k2
