// One forward step: the batch that the batcher planned, and what each session makes of its rows.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <new>

#include "engine/engine.h"

namespace k2 {
namespace {

// Ends a session whose numbers are no longer numbers.
Status CheckFinite(const float* logits, int64_t rows, int64_t vocab, int64_t first_position) {
  for (int64_t i = 0; i < rows * vocab; ++i) {
    if (std::isfinite(logits[i])) continue;
    return Status(ErrorCode::kNumericalFault,
                  "Expected finite logits at position " + std::to_string(first_position + i / vocab) +
                      ", got " + std::to_string(logits[i]) + " for token " + std::to_string(i % vocab));
  }
  return {};
}

}  // namespace

bool Engine::HasWork() const {
  return std::any_of(active_.begin(), active_.end(),
                     [](const std::shared_ptr<Session>& session) { return HasStepWork(*session); });
}

// In the midst of a step, asked every few microseconds: whether anybody still wants it. A session that was
// aborted gets its answer now; what its rows yield is thrown away, and the others' step goes on. Stopping it
// for all would compute their rows again, as often as anybody aborts.
bool Engine::KeepGoing(const std::vector<StepPart>& parts, Batch& batch) {
  if (stopping_.load(std::memory_order_relaxed)) return false;
  if (!interrupted_.load(std::memory_order_relaxed)) return step_wanted_;
  interrupted_.store(false);
  step_wanted_ = false;
  for (size_t i = 0; i < parts.size(); ++i) {
    Session& session = *parts[i].session;
    if (const Status end = session.Interruption(); !end.ok() && !session.settled) {
      // The caller of evaluate has its memory back with the answer.
      const bool owns_logits = session.prefill && session.prefill->logits != nullptr;
      if (owns_logits && batch.writes_logits) continue;
      batch.parts[i].logits.rows = 0;
      Settle(session, end);
    }
    step_wanted_ |= !session.settled;
  }
  return step_wanted_;
}

void Engine::HandleAborts() {
  for (const std::shared_ptr<Session>& session : active_) {
    const Status end = session->Interruption();
    if (session->settled || end.ok()) continue;
    Settle(*session, end);
    Rollback(*session);
  }
  std::erase_if(active_, [](const std::shared_ptr<Session>& session) { return session->settled; });
}

Status Engine::Compute(const std::vector<StepPart>& parts, Batch& batch) {
  bool had_memory = true;
  step_wanted_ = true;
  // Asked while other threads are at work on what an exception would take away.
  const std::function<bool()> keep_going = [&] {
    try {
      return KeepGoing(parts, batch);
    } catch (const std::bad_alloc&) {
      had_memory = false;
      return false;
    }
  };
  Status status;
  try {
    status = model_->Forward(batch, keep_going);
  } catch (const std::bad_alloc&) {
    had_memory = false;
  }
  if (had_memory) return status;
  return Status(ErrorCode::kOutOfMemory, "Expected memory for a forward step, got a refusal of the system");
}

void Engine::Step() {
  const int64_t vocab = spec_.vocab;
  std::vector<StepPart> parts = batcher_.Plan(active_, static_cast<size_t>(options_.batch_tokens));
  AddGuesses(parts);

  Batch batch;
  std::vector<float*> last_logits;  // of each part; null where it wants none
  int64_t decode_tokens = 0, prefill_tokens = 0;
  float* next_logits = step_logits_.data();
  Status status;
  for (StepPart& part : parts) {
    Session& session = *part.session;
    Status reserved = session.cache.Reserve(static_cast<int64_t>(part.ids));
    if (!reserved.ok() && !session.prefill && part.ids > 1) {
      part.ids = 1;
      reserved = session.cache.Reserve(1);
    }
    if (!reserved.ok()) {
      Settle(session, reserved);
      Rollback(session);
      continue;
    }
    BatchPart row{.cache = &session.cache,
                  .ids = {},
                  .form = AttentionForm::kAbsorbed,
                  .logits = {nullptr, 0, vocab, vocab}};
    if (!session.prefill) {
      const int64_t rows = static_cast<int64_t>(part.ids);
      row.ids = rows > 1 ? std::span<const int32_t>(session.decode->rows) : std::span(session.tokens).last(1);
      row.logits = {next_logits, rows, vocab, vocab};
      decode_tokens += rows;
    } else {
      const PrefillTask& task = *session.prefill;
      row.ids = std::span(task.ids).subspan(task.done, part.ids);
      row.form = task.form;
      const size_t end = task.done + part.ids;
      if (task.logits != nullptr && end > task.unreported) {
        const size_t first = std::max(task.done, task.unreported);
        row.logits = {task.logits + static_cast<int64_t>(first - task.unreported) * vocab,
                      static_cast<int64_t>(end - first), vocab, vocab};
      } else if (task.logits == nullptr && end == task.ids.size()) {
        row.logits = {next_logits, 1, vocab, vocab};
      }
      prefill_tokens += static_cast<int64_t>(part.ids);
    }
    if (row.logits.data == next_logits) next_logits += row.logits.rows * vocab;
    last_logits.push_back(row.logits.rows > 0 ? row.logits.row(row.logits.rows - 1) : nullptr);
    batch.parts.push_back(row);
  }
  std::vector<StepPart> running;
  for (const StepPart& part : parts) {
    if (!part.session->settled) running.push_back(part);
  }

  const auto start = std::chrono::steady_clock::now();
  if (!running.empty()) status = Compute(running, batch);
  const int64_t elapsed_ns =
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now() - start).count();
  if (status.ok() && !running.empty())
    batcher_.Record(static_cast<size_t>(decode_tokens), static_cast<size_t>(prefill_tokens), elapsed_ns);

  for (size_t i = 0; i < running.size(); ++i) {
    Session& session = *running[i].session;
    if (const Status end = session.Interruption(); !session.settled && (!status.ok() || !end.ok())) {
      Settle(session, stopping_.load() ? Status(ErrorCode::kInvalidState,
                                                "Expected the model to live until the call ends, got dispose")
                      : !end.ok()      ? end
                                       : status);
    }
    if (session.settled) {
      Rollback(session);
      continue;
    }
    const int64_t ids = static_cast<int64_t>(running[i].ids);
    // A step is shared: each session is charged for its part of the rows.
    const int64_t share_ns = elapsed_ns * ids / (decode_tokens + prefill_tokens);
    if (session.prefill) {
      session.cache.Commit(ids, session.prefill->form);
      session.timings.prefill_ns += share_ns;
      session.timings.prefill_tokens += ids;
      FinishPrefillPart(session, running[i].ids, last_logits[i]);
    } else {
      session.timings.decode_ns += share_ns;
      FinishDecodeRows(session, running[i].ids, last_logits[i] - (ids - 1) * vocab);
    }
  }
  std::erase_if(active_, [](const std::shared_ptr<Session>& session) { return session->settled; });
}

void Engine::FinishPrefillPart(Session& session, size_t ids, const float* last_logits) {
  PrefillTask& task = *session.prefill;
  const int64_t vocab = spec_.vocab;
  task.done += ids;
  if (last_logits != nullptr) {
    // Rows of this part that carry logits end at last_logits.
    const int64_t rows =
        task.logits == nullptr ? 1 : static_cast<int64_t>(std::min(ids, task.done - task.unreported));
    const int64_t first_position = session.cache.length() - rows;
    Status finite = CheckFinite(last_logits - (rows - 1) * vocab, rows, vocab, first_position);
    if (!finite.ok()) {
      session.faulted.store(true);
      Settle(session, finite);
      Rollback(session);
      return;
    }
  }
  if (task.done < task.ids.size()) return;
  // Memory first: what may fail comes before the first change.
  auto logits = std::make_shared<const std::vector<float>>(last_logits, last_logits + vocab);
  const size_t room = session.tokens.size() + task.ids.size();
  if (session.tokens.capacity() < room) session.tokens.reserve(std::max(room, 2 * session.tokens.capacity()));
  session.tokens.insert(session.tokens.end(), task.ids.begin() + (session.pending ? 1 : 0), task.ids.end());
  session.pending = false;
  session.logits = std::move(logits);
  session.position.store(static_cast<int64_t>(session.tokens.size()));
  SharePages(session);
  Settle(session, {});
  session.prefill.reset();
}

namespace {

// Where a text may end, a stop token may come.
std::shared_ptr<const TokenSet> WithStops(const TokenSet& allowed, const std::vector<int32_t>& stops) {
  auto set = std::make_shared<TokenSet>(allowed);
  for (int32_t id : stops) set->bits[static_cast<size_t>(id) >> 5] |= 1u << (id & 31);
  return set;
}

}  // namespace

void Engine::SampleNext(Session& session) {
  DecodeTask& task = *session.decode;
  const int64_t position = static_cast<int64_t>(session.tokens.size());
  if (task.produced == task.options.max_tokens) return EndDecode(session, DecodeEnd::kMaxTokens, {});
  if (position >= options_.context_tokens) return EndDecode(session, DecodeEnd::kContextFull, {});

  std::shared_ptr<const TokenSet> allowed;
  if (task.constraint != nullptr) {
    Result<std::shared_ptr<const TokenSet>> next = task.constraint->Allowed();
    if (!next.ok()) return EndDecode(session, DecodeEnd::kRunning, next.status());
    allowed = std::move(next.value());
    // The text is complete, and its grammar lets nothing follow.
    if (allowed->count == 0) return EndDecode(session, DecodeEnd::kStop, {});
    if (task.constraint->IsComplete()) allowed = WithStops(*allowed, task.options.stop_tokens);
  }
  Result<SampledToken> sampled =
      sampler_.Sample(*session.logits, session.tokens, position, task.options, allowed.get());
  if (!sampled.ok()) {
    if (sampled.status().code() == ErrorCode::kNumericalFault) session.faulted.store(true);
    return EndDecode(session, DecodeEnd::kRunning, sampled.status());
  }
  if (task.produced == 0) task.first_logits = session.logits;
  const int32_t id = sampled.value().id;
  const std::vector<int32_t>& stops = task.options.stop_tokens;
  const bool stopped = std::find(stops.begin(), stops.end(), id) != stops.end();
  if (task.constraint != nullptr && !stopped) {
    // The set for the token behind it is found while the model computes.
    if (Status next = task.constraint->Advance(id); !next.ok())
      return EndDecode(session, DecodeEnd::kRunning, next);
  }
  session.tokens.push_back(id);
  session.pending = true;
  session.logits.reset();
  session.position.store(position + 1);
  ++task.produced;

  DecodeEnd end = DecodeEnd::kRunning;
  if (stopped) {
    end = DecodeEnd::kStop;
  } else if (task.produced == task.options.max_tokens) {
    end = DecodeEnd::kMaxTokens;
  } else if (position + 1 >= options_.context_tokens) {
    end = DecodeEnd::kContextFull;
  }

  TokensCallback taker;
  TokenDelivery delivery;
  {
    std::lock_guard lock(session.queue.mutex);
    session.queue.tokens.push_back(std::move(sampled.value()));
    session.queue.end = end;
    if (session.queue.taker) delivery = session.queue.TakeAll();  // may find no memory: the taker stays
    taker = std::exchange(session.queue.taker, nullptr);
  }
  task.ended = end != DecodeEnd::kRunning;
  if (taker) taker(std::move(delivery));
}

// Ends decoding without a further token.
void Engine::EndDecode(Session& session, DecodeEnd end, Status status) {
  TokensCallback taker;
  TokenDelivery delivery;
  {
    std::lock_guard lock(session.queue.mutex);
    session.queue.end = end;
    session.queue.status = std::move(status);
    if (session.queue.taker) delivery = session.queue.TakeAll();  // may find no memory: the taker stays
    taker = std::exchange(session.queue.taker, nullptr);
  }
  session.decode->ended = true;
  if (taker) taker(std::move(delivery));
}

// Gives the caller of the running task its answer.
void Engine::Settle(Session& session, const Status& status) {
  if (session.prefill && !session.settled) {
    session.settled = true;
    StatusCallback finish = std::move(session.prefill->finish);
    session.activity.store(Session::Activity::kIdle);
    finish(status);
  } else if (session.decode && !session.decode->ended) {
    // The session stays in decoding until StopDecode says how many tokens were consumed.
    session.settled = true;
    if (status.code() == ErrorCode::kAborted) {
      EndDecode(session, DecodeEnd::kAborted, {});
    } else {
      EndDecode(session, DecodeEnd::kRunning, status);
    }
  }
}

// Takes the session back to where its settled task began (a prefill) or to its last whole token (decoding).
void Engine::Rollback(Session& session) {
  session.prefill.reset();
  const int64_t cached = static_cast<int64_t>(session.tokens.size()) - (session.pending ? 1 : 0);
  session.cache.Truncate(std::min(cached, session.cache.length()));
}

// Every row came from a step that succeeded, and the logits behind the last one were finite: a NaN in any row
// would have reached them through attention.
void Engine::SharePages(Session& session) {
  if (session.faulted.load() || session.restored) return;
  prefixes_.Insert(session.cache, session.tokens);
  StorePages(session);
}

}  // namespace k2
