// Lifecycle of an engine, and the calls that come in from outside.
#include "engine/engine.h"

#include <algorithm>
#include <new>

#include "base/numa.h"

namespace k2 {
namespace {

Status InvalidState(const std::string& expected, const std::string& got) {
  return Status(ErrorCode::kInvalidState, "Expected " + expected + ", got " + got);
}

}  // namespace

Result<std::shared_ptr<Engine>> Engine::Create(const ModelSpec& spec, EngineOptions options,
                                               std::vector<std::string> paths, std::vector<WeightRow> rows) {
  K2_RETURN_IF_ERROR(CheckSpec(spec));
  K2_RETURN_IF_ERROR(CheckEngineOptions(options));
  std::shared_ptr<Engine> engine(new Engine(spec, std::move(options)));
  engine->paths_ = std::move(paths);
  engine->rows_ = std::move(rows);
  return engine;
}

Engine::~Engine() { Stop(); }

Status Engine::Load(Progress progress, StatusCallback finish) {
  std::lock_guard lock(mutex_);
  if (phase_ != Phase::kCreated) return InvalidState("load to be called once", "a second call");
  phase_ = Phase::kLoading;
  try {
    thread_ = std::thread([this, progress = std::move(progress), finish = std::move(finish)]() mutable {
      ThreadMain(std::move(progress), std::move(finish));
    });
  } catch (const std::system_error& error) {
    phase_ = Phase::kCreated;
    return Status(ErrorCode::kOutOfMemory,
                  std::string("Expected a thread for the engine, got: ") + error.what());
  }
  return {};
}

void Engine::ThreadMain(Progress progress, StatusCallback loaded) {
  Status status;
  try {
    status = LoadModel(progress);
  } catch (const std::bad_alloc&) {
    status =
        Status(ErrorCode::kOutOfMemory, "Expected memory for loading the model, got a refusal of the system");
  }
  progress = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (status.ok() && stopping_.load())
      status = InvalidState("the model to live until it is loaded", "dispose");
    if (phase_ == Phase::kLoading && status.ok()) phase_ = Phase::kServing;
  }
  const bool serve = status.ok();
  loaded(std::move(status));
  loaded = nullptr;
  if (serve) Serve();
  Shutdown();
}

Status Engine::LoadModel(const Progress& progress) {
  Result<std::unique_ptr<Weights>> weights =
      LoadWeights(spec_, paths_, rows_, [&](uint64_t done, uint64_t total) {
        if (progress) progress(done, total);
        return !abort_load_.load() && !stopping_.load();
      });
  if (!weights.ok()) return weights.status();
  int64_t weight_bytes = 0;
  for (const WeightRow& row : rows_) {
    const bool is_streamed = options_.expert_memory_bytes > 0 && row.expert >= 0;
    if (!is_streamed) weight_bytes += static_cast<int64_t>(row.bytes + std::max(row.scale_bytes, 0.0));
  }
  rows_ = {};
  // Before the backend starts its threads, which take over where this one puts its memory.
  SpreadMemory(MemoryNodes(kNodeFolder));
  const BackendEntry* entry = FindBackend(options_.device);
  Result<std::unique_ptr<Backend>> backend = entry->make(BackendOptionsOf(options_));
  if (!backend.ok()) return backend.status();
  K2_RETURN_IF_ERROR(backend.value()->HoldWeights(weight_bytes));
  std::unique_ptr<ExpertStore> store;
  if (options_.expert_memory_bytes > 0) {
    Result<std::unique_ptr<ExpertStore>> made =
        ExpertStore::Create(spec_, *weights.value(), options_.expert_memory_bytes, &expert_counters_);
    if (!made.ok()) return made.status();
    store = std::move(made.value());
  }
  Result<std::unique_ptr<KimiK2>> model = KimiK2::Create(
      spec_, std::move(weights.value()), std::move(backend.value()), options_.batch_tokens, std::move(store));
  if (!model.ok()) return model.status();
  model_ = std::move(model.value());
  return OpenPageStore();
}

void Engine::Serve() {
  for (;;) {
    std::vector<Job> jobs;
    {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return stopping_.load() || !jobs_.empty() || HasWork(); });
      jobs.swap(jobs_);
    }
    try {
      for (const Job& job : jobs) RunJob(job);
      if (stopping_.load()) return;
      HandleAborts();
      if (HasWork()) Step();
    } catch (const std::bad_alloc&) {
      const Status status(ErrorCode::kOutOfMemory,
                          "Expected memory for the running calls, got a refusal of the system");
      for (const std::shared_ptr<Session>& session : active_) {
        Settle(*session, status);
        Rollback(*session);
      }
    }
  }
}

// Settles whatever is left, gives all memory back, and reports last of all.
void Engine::Shutdown() {
  std::vector<Job> jobs;
  std::vector<std::weak_ptr<Session>> sessions;
  {
    std::lock_guard lock(mutex_);
    phase_ = Phase::kDisposed;
    jobs.swap(jobs_);
    sessions.swap(sessions_);
  }
  for (const Job& job : jobs) RunJob(job);
  jobs.clear();
  for (const std::shared_ptr<Session>& session : active_) {
    Settle(*session, InvalidState("the model to live until the call ends", "dispose"));
  }
  active_.clear();
  // The jobs of files read pages and weights; what they hand back settles their calls.
  files_.Stop();
  {
    std::lock_guard lock(mutex_);
    jobs.swap(jobs_);
  }
  for (const Job& job : jobs) RunJob(job);
  jobs.clear();
  prefixes_.Clear();
  for (const std::weak_ptr<Session>& weak : sessions) {
    if (const std::shared_ptr<Session> session = weak.lock()) {
      session->cache.Truncate(0);
      session->logits.reset();
    }
  }
  model_.reset();
  std::vector<StatusCallback> callbacks;
  {
    std::lock_guard lock(mutex_);
    callbacks.swap(on_disposed_);
  }
  for (StatusCallback& callback : callbacks) callback({});
}

void Engine::Dispose(StatusCallback finish) {
  {
    std::lock_guard lock(mutex_);
    const bool running = phase_ == Phase::kLoading || phase_ == Phase::kServing || !on_disposed_.empty();
    phase_ = phase_ == Phase::kLoading ? Phase::kLoading : Phase::kDisposed;
    stopping_.store(true);
    if (running) {
      on_disposed_.push_back(std::move(finish));
      wake_.notify_all();
      return;
    }
  }
  finish({});
}

void Engine::Stop() {
  {
    std::lock_guard lock(mutex_);
    stopping_.store(true);
    abandon_pages_.store(true);
    wake_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

Status Engine::Post(std::function<void()> run, StatusCallback fail) {
  std::lock_guard lock(mutex_);
  if (phase_ != Phase::kServing || stopping_.load()) {
    return InvalidState("a loaded model",
                        phase_ == Phase::kDisposed ? "a disposed one" : "one that is not loaded");
  }
  jobs_.push_back({std::move(run), std::move(fail)});
  wake_.notify_all();
  return {};
}

void Engine::RunJob(const Job& job) {
  try {
    job.run();
  } catch (const std::bad_alloc&) {
    const Status status(ErrorCode::kOutOfMemory, "Expected memory for a call, got a refusal of the system");
    if (job.fail) job.fail(status);
  }
}

StatusCallback Engine::Undo(const std::shared_ptr<Session>& session, StatusCallback finish) {
  return [this, session, finish = std::move(finish)](Status status) {
    std::erase(active_, session);
    Rollback(*session);
    session->activity.store(Session::Activity::kIdle);
    finish(std::move(status));
  };
}

Status Engine::Begin(Session& session, Session::Activity activity, const char* call) {
  if (session.faulted.load()) {
    return Status(ErrorCode::kNumericalFault, std::string("Expected a sound session for ") + call +
                                                  ", got one that ended with a numerical fault");
  }
  Session::Activity idle = Session::Activity::kIdle;
  if (!session.activity.compare_exchange_strong(idle, activity)) {
    return InvalidState(std::string("an idle session for ") + call, idle == Session::Activity::kDecoding
                                                                        ? "one that is decoding"
                                                                        : "one with a call under way");
  }
  session.abort_requested.store(false);
  return {};
}

void Engine::Activate(const std::shared_ptr<Session>& session) {
  session->settled = false;
  if (std::find(active_.begin(), active_.end(), session) == active_.end()) active_.push_back(session);
}

Result<std::shared_ptr<Session>> Engine::CreateSession(bool trace) {
  if (trace && spec_.MoeLayers() == 0) {
    return Status(ErrorCode::kInvalidArgument,
                  "Expected a model with routed experts for trace, got one without");
  }
  std::lock_guard lock(mutex_);
  if (phase_ != Phase::kServing || stopping_.load()) return InvalidState("a loaded model", "one that is not");
  auto session = std::make_shared<Session>(model_->NewCache());
  if (trace) session->cache.KeepTrace(model_->NewTrace());
  std::erase_if(sessions_, [](const std::weak_ptr<Session>& weak) { return weak.expired(); });
  sessions_.push_back(session);
  return session;
}

Status Engine::Prefill(std::shared_ptr<Session> session, std::vector<int32_t> ids, float* logits,
                       StatusCallback finish) {
  const char* const call = logits != nullptr ? "evaluate" : "prefill";
  for (int32_t id : ids) {
    if (id < 0 || id >= spec_.vocab) {
      return Status(ErrorCode::kInvalidArgument, "Expected token ids below " + std::to_string(spec_.vocab) +
                                                     " for " + call + ", got " + std::to_string(id));
    }
  }
  K2_RETURN_IF_ERROR(Begin(*session, Session::Activity::kWorking, call));
  const int64_t position = session->position.load();
  Status status;
  if (position + static_cast<int64_t>(ids.size()) > options_.context_tokens) {
    status = Status(ErrorCode::kContextFull,
                    "Expected at most " + std::to_string(options_.context_tokens - position) +
                        " tokens for " + call + " (context of " + std::to_string(options_.context_tokens) +
                        ", position " + std::to_string(position) + "), got " + std::to_string(ids.size()));
  } else {
    StatusCallback fail = Undo(session, finish);
    auto begin = [this, session, ids = std::move(ids), logits, finish = std::move(finish)]() mutable {
      session->cached_tokens.store(0);
      if (ids.empty()) {  // a pending token stays pending
        session->activity.store(Session::Activity::kIdle);
        return finish({});
      }
      PrefillTask task;
      task.ids = std::move(ids);
      if (session->pending) task.ids.insert(task.ids.begin(), session->tokens.back());
      task.unreported = session->pending ? 1 : 0;
      task.logits = logits;
      task.form = ChooseForm(spec_, options_.attention, static_cast<int64_t>(task.ids.size()));
      task.finish = std::move(finish);
      const bool may_share = logits == nullptr && !session->restored;
      const int64_t cached =
          may_share ? prefixes_.Extend(session->cache, session->tokens, task.ids, task.form) : 0;
      task.done = static_cast<size_t>(cached);
      session->cached_tokens.store(std::max<int64_t>(cached - (session->pending ? 1 : 0), 0));
      session->prefill = std::move(task);
      Activate(session);
      if (may_share) LookUpStoredPages(session);
    };
    status = Post(std::move(begin), std::move(fail));
  }
  if (!status.ok()) session->activity.store(Session::Activity::kIdle);
  return status;
}

Status Engine::Fork(std::shared_ptr<Session> session, std::function<void(SessionResult)> finish) {
  K2_RETURN_IF_ERROR(Begin(*session, Session::Activity::kWorking, "fork"));
  const auto fail = [session, finish](Status failure) {
    session->activity.store(Session::Activity::kIdle);
    finish(std::move(failure));
  };
  auto fork = [this, session, finish = std::move(finish)] {
    auto copy = std::make_shared<Session>(session->cache.Fork());
    copy->tokens = session->tokens;
    copy->pending = session->pending;
    copy->restored = session->restored;
    copy->logits = session->logits;
    copy->record = session->record;
    copy->position.store(session->position.load());
    {
      std::lock_guard lock(mutex_);
      sessions_.push_back(copy);
    }
    session->activity.store(Session::Activity::kIdle);
    finish(std::move(copy));
  };
  Status status = Post(std::move(fork), fail);
  if (!status.ok()) session->activity.store(Session::Activity::kIdle);
  return status;
}

Status Engine::Rewind(std::shared_ptr<Session> session, int64_t position, StatusCallback finish) {
  K2_RETURN_IF_ERROR(Begin(*session, Session::Activity::kWorking, "rewind"));
  Status status;
  if (position < 0 || position > session->position.load()) {
    status =
        Status(ErrorCode::kInvalidArgument, "Expected 0.." + std::to_string(session->position.load()) +
                                                " for position of rewind, got " + std::to_string(position));
  } else {
    status = Post([this, session, position, finish = std::move(finish)] {
      if (position < static_cast<int64_t>(session->tokens.size())) {
        SharePages(*session);
        session->ForgetTokens(static_cast<size_t>(position));
        session->pending = false;
        session->cache.Truncate(std::min(position, session->cache.length()));
        session->logits.reset();
        session->position.store(position);
      }
      session->activity.store(Session::Activity::kIdle);
      finish({});
    });
  }
  if (!status.ok()) session->activity.store(Session::Activity::kIdle);
  return status;
}

Status Engine::SetVocabulary(TokenBytes tokens) {
  Result<std::shared_ptr<ConstraintStore>> store = ConstraintStore::Create(std::move(tokens), spec_.vocab);
  if (!store.ok()) return store.status();
  std::lock_guard lock(mutex_);
  constraints_ = std::move(store.value());
  return {};
}

Status Engine::StartDecode(std::shared_ptr<Session> session, SamplingOptions options, GrammarStart grammar) {
  K2_RETURN_IF_ERROR(CheckSampling(options, spec_.vocab));
  std::shared_ptr<ConstraintStore> constraints;
  if (grammar.program != nullptr) {
    std::lock_guard lock(mutex_);
    constraints = constraints_;
    if (constraints == nullptr) return InvalidState("a vocabulary for decoding with a grammar", "none");
  }
  K2_RETURN_IF_ERROR(Begin(*session, Session::Activity::kDecoding, "decode"));
  Status status;
  if (session->position.load() == 0) {
    status = InvalidState("a session with tokens for decode", "an empty one");
  } else {
    {
      std::lock_guard lock(session->queue.mutex);
      session->queue.tokens.clear();
      session->queue.end = DecodeEnd::kRunning;
      session->queue.status = Status();
    }
    auto begin = [this, session, options = std::move(options), grammar = std::move(grammar),
                  constraints = std::move(constraints)]() mutable {
      DecodeTask task;
      task.options = std::move(options);
      task.first_position = static_cast<int64_t>(session->tokens.size());
      session->decode = std::move(task);
      if (grammar.program != nullptr) {
        Result<std::shared_ptr<Constraint>> constraint =
            constraints->Begin(std::move(grammar.program), grammar.index);
        if (!constraint.ok()) return EndDecode(*session, DecodeEnd::kRunning, constraint.status());
        session->decode->constraint = std::move(constraint.value());
      }
      Activate(session);
      if (!session->pending && session->logits != nullptr) {
        SampleNext(*session);
      } else if (!session->pending) {
        // After a rewind the logits are gone: the last token is computed again.
        session->cache.Truncate(static_cast<int64_t>(session->tokens.size()) - 1);
        session->pending = true;
      }
    };
    status = Post(std::move(begin), [this, session](Status failure) {
      if (!session->decode) session->decode.emplace();
      if (!session->decode->ended) EndDecode(*session, DecodeEnd::kRunning, std::move(failure));
    });
  }
  if (!status.ok()) session->activity.store(Session::Activity::kIdle);
  return status;
}

Status Engine::Take(const std::shared_ptr<Session>& session, TokensCallback deliver) {
  TokenQueue& queue = session->queue;
  TokenDelivery delivery;
  bool engine_paused = false;
  {
    std::lock_guard lock(queue.mutex);
    if (queue.taker) return InvalidState("one waiting call of take", "a second one");
    if (queue.tokens.empty() && queue.end == DecodeEnd::kRunning && queue.status.ok()) {
      if (session->activity.load() != Session::Activity::kDecoding) {
        return InvalidState("a decoding session", "an idle one");
      }
      queue.taker = std::move(deliver);
      return {};
    }
    engine_paused = queue.tokens.size() >= kRunAheadTokens && queue.end == DecodeEnd::kRunning;
    delivery = queue.TakeAll();
  }
  // A refusal means that the engine is ending, and then it settles by itself.
  if (engine_paused) (void)Post([] {}).ok();
  deliver(std::move(delivery));
  return {};
}

Status Engine::StopDecode(std::shared_ptr<Session> session, int64_t kept, StatusCallback finish) {
  if (session->activity.load() != Session::Activity::kDecoding)
    return InvalidState("a decoding session", "an idle one");
  if (kept < 0)
    return Status(ErrorCode::kInvalidArgument, "Expected at least 0 for kept, got " + std::to_string(kept));
  return Post([session, kept, finish = std::move(finish)] {
    if (session->decode) {
      const DecodeTask& task = *session->decode;
      if (kept < task.produced) {
        const int64_t position = task.first_position + kept;
        session->ForgetTokens(static_cast<size_t>(position));
        session->pending = kept > 0;
        session->cache.Truncate(kept > 0 ? position - 1 : position);
        session->logits = kept > 0 ? nullptr : task.first_logits;
        session->position.store(position);
      }
      session->decode.reset();
    }
    session->settled = true;
    session->activity.store(Session::Activity::kIdle);
    finish({});
  });
}

void Engine::Abort(const std::shared_ptr<Session>& session) {
  if (session->activity.load() == Session::Activity::kIdle) return;
  session->abort_requested.store(true);
  interrupted_.store(true);
  (void)Post([] {}).ok();  // wakes a paused engine; one that is ending settles everything anyway
}

void Engine::DisposeSession(std::shared_ptr<Session> session) {
  session->disposed.store(true);
  interrupted_.store(true);
  (void)Post([this, session] {
    Settle(*session, session->Interruption());
    Rollback(*session);
    SharePages(*session);
    session->decode.reset();
    session->cache.Truncate(0);
    session->ForgetTokens(0);
    session->logits.reset();
    std::erase(active_, session);
  }).ok();
}

}  // namespace k2
