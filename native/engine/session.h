// One token timeline: its tokens, its cache, and the call that is running on it.
//
// The tokens of a timeline are the cached ones plus at most one pending token: the last one that decoding
// sampled, which enters the cache with the next call. Everything but the fields marked "any thread" belongs
// to the engine thread.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <iterator>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "engine/draft_choice.h"
#include "engine/draft_index.h"
#include "engine/sampler.h"
#include "grammar/constraint.h"
#include "model/kv_cache.h"

namespace k2 {

using StatusCallback = std::function<void(Status)>;

// Why decoding ended. The order is part of the contract with TypeScript (enum DecodeEnd).
enum class DecodeEnd { kRunning, kStop, kMaxTokens, kContextFull, kAborted };

// Tokens sampled since the last delivery.
struct TokenDelivery {
  Status status;  // not ok: decoding failed and is over
  std::vector<SampledToken> tokens;
  DecodeEnd end = DecodeEnd::kRunning;
};
using TokensCallback = std::function<void(TokenDelivery)>;

// What sampled tokens wait in between engine and consumer.
struct TokenQueue {
  std::mutex mutex;
  std::deque<SampledToken> tokens;
  DecodeEnd end = DecodeEnd::kRunning;
  Status status;
  TokensCallback taker;  // set while the consumer waits

  // What is waiting, as a delivery; the caller holds the mutex.
  TokenDelivery TakeAll() {
    TokenDelivery delivery{status, {}, end};
    delivery.tokens.assign(std::make_move_iterator(tokens.begin()), std::make_move_iterator(tokens.end()));
    tokens.clear();
    return delivery;
  }
};

struct Timings {
  std::atomic<int64_t> prefill_ns{0}, prefill_tokens{0}, decode_ns{0}, decode_tokens{0};
  // Rows of guessed tokens that decoding computed, and those of them that were right.
  std::atomic<int64_t> drafted_tokens{0}, accepted_tokens{0};
};

// Ids on their way into the cache, or waiting for their logits.
struct PrefillTask {
  std::vector<int32_t> ids;  // begins with the pending token, if there was one
  size_t done = 0;           // ids that are in the cache
  size_t unreported = 0;     // ids at the front that want no logits although `logits` is set
  float* logits = nullptr;   // [ids - unreported, V] for evaluate, else null
  AttentionForm form = AttentionForm::kAbsorbed;
  uint64_t lookup = 0;  // number of the search for stored pages that it waits for; 0: none
  StatusCallback finish;
};

// A grammar to decode by, and where its running index begins.
struct GrammarStart {
  std::shared_ptr<const GrammarProgram> program = nullptr;  // null: no grammar
  int32_t index = 0;
};

struct DecodeTask {
  SamplingOptions options;
  std::shared_ptr<Constraint> constraint;  // null: every token may come
  int64_t first_position = 0;              // of the first sampled token
  int64_t produced = 0;
  // What the first token was sampled from; taking back every token restores it. Null before the first one.
  std::shared_ptr<const std::vector<float>> first_logits;
  bool ended = false;  // no more tokens come; waits for StopDecode
  // What is guessed to follow the pending token, found by so many tokens before it; and the ids of the
  // running step: the pending token and as much of the guess as it carries.
  std::vector<int32_t> draft;
  size_t match_length = 0;
  std::vector<int32_t> rows;
};

struct Session {
  enum class Activity { kIdle, kWorking, kDecoding };

  explicit Session(KvCache empty) : cache(std::move(empty)) {}

  // Any thread.
  std::atomic<Activity> activity{Activity::kIdle};
  std::atomic<bool> abort_requested{false};
  std::atomic<int64_t> position{0};  // tokens in the timeline
  std::atomic<bool> faulted{false};  // NaN or infinity appeared; the session is over
  std::atomic<bool> disposed{false};
  std::atomic<int64_t> cached_tokens{
      0};  // of the latest prefill: how many of its ids were in the prefix cache
  TokenQueue queue;
  Timings timings;

  // The timeline.
  std::vector<int32_t> tokens;
  KvCache cache;         // of tokens.size() - (pending ? 1 : 0) tokens
  bool pending = false;  // the last token is not in the cache yet
  // Its pages come from a file. They may be anything, so no other session gets them; and they are what this
  // one was, so none is taken for them.
  bool restored = false;
  std::shared_ptr<const std::vector<float>> logits;  // [V] after the last token; null when unknown

  DraftIndex drafts;   // of a beginning of `tokens`
  DraftRecord record;  // of what was guessed with it

  // Why the running call is to end before it is finished; ok while it is not.
  Status Interruption() const {
    if (disposed.load()) {
      return Status(ErrorCode::kInvalidState,
                    "Expected the session to live until the call ends, got dispose");
    }
    if (abort_requested.load())
      return Status(ErrorCode::kAborted, "Expected the call to finish, got an abort");
    return {};
  }

  // Cuts `tokens`.
  void ForgetTokens(size_t count) {
    drafts.Truncate(tokens, count);
    tokens.resize(count);
  }

  // At most one of these runs.
  std::optional<PrefillTask> prefill;
  std::optional<DecodeTask> decode;
  uint64_t last_step = 0;  // number of the latest step that had rows of it
  bool settled = false;    // the caller has its answer already; what the running step yields is thrown away
};

}  // namespace k2
