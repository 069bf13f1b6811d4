// Speculation: rows of decoding for tokens that are a guess, and what becomes of them. A row is right exactly
// if the token before it is what sampling gives, and every token is sampled by the same function, from the
// same state, as without a guess; so nothing but the time can differ.
#include <algorithm>
#include <new>

#include "engine/engine.h"

namespace k2 {

void Engine::AddGuesses(std::vector<StepPart>& parts) {
  size_t rows = 0;
  for (const StepPart& part : parts) rows += part.ids;
  const size_t most = static_cast<size_t>(options_.batch_tokens);
  for (StepPart& part : parts) {
    if (part.session->prefill) continue;
    const size_t guessed = Guess(*part.session, parts.size() == 1, most - rows + 1);
    part.ids += guessed;
    rows += guessed;
  }
  size_t wanted = 0;
  for (const StepPart& part : parts) wanted += part.session->prefill ? 1 : part.ids;
  const size_t vocab = static_cast<size_t>(spec_.vocab);
  try {
    step_logits_.resize(wanted * vocab);
  } catch (const std::bad_alloc&) {
    for (StepPart& part : parts) part.ids = part.session->prefill ? part.ids : 1;
    step_logits_.resize(parts.size() * vocab);
  }
}

// Guesses what follows the pending token; returns how many tokens of the guess the step carries.
size_t Engine::Guess(Session& session, bool is_alone, size_t most_rows) {
  DecodeTask& task = *session.decode;
  task.draft.clear();
  if (options_.speculation == Speculation::kOff) return 0;
  size_t waiting;
  {
    std::lock_guard lock(session.queue.mutex);
    waiting = session.queue.tokens.size();
  }
  // Each row yields a token: none for those that plain decoding would not sample.
  const int64_t position = static_cast<int64_t>(session.tokens.size());
  const int64_t room =
      std::min({static_cast<int64_t>(most_rows), task.options.max_tokens - task.produced,
                options_.context_tokens - position, static_cast<int64_t>(kRunAheadTokens - waiting)});
  try {
    session.drafts.Extend(session.tokens);
    const DraftIndex::Match match = session.drafts.Find(session.tokens);
    if (match.length == 0) return 0;
    task.match_length = match.length;
    CopyDraft(session.tokens, match, kMostDraft, task.draft);
    const size_t most = std::min(static_cast<size_t>(std::max<int64_t>(room - 1, 0)), kMostDraft);
    size_t carried = most;
    if (options_.speculation == Speculation::kAuto) {
      // Further rows would slow the others of the step.
      carried = !is_alone ? 0 : ChooseDraft(batcher_.times(), session.record.Acceptance(match.length), most);
    }
    task.rows.assign(1, session.tokens.back());
    task.rows.insert(task.rows.end(), task.draft.begin(),
                     task.draft.begin() + static_cast<std::ptrdiff_t>(carried));
    return carried;
  } catch (const std::bad_alloc&) {
    session.drafts.Clear();
    task.draft.clear();
    return 0;
  }
}

// Takes the rows of a step as far as sampling gives the tokens that they stand for.
void Engine::FinishDecodeRows(Session& session, size_t rows, const float* logits) {
  constexpr int64_t kPage = KvCache::kPageTokens;
  DecodeTask& task = *session.decode;
  const int64_t first = session.cache.length();
  session.timings.drafted_tokens += static_cast<int64_t>(rows - 1);
  for (size_t i = 0; i < rows; ++i, logits += spec_.vocab) {
    session.cache.Commit(1, AttentionForm::kAbsorbed);
    session.timings.decode_tokens += 1;
    session.timings.accepted_tokens += i > 0;
    session.pending = false;
    session.logits = std::make_shared<const std::vector<float>>(logits, logits + spec_.vocab);
    SampleNext(session);
    if (!session.pending || i >= task.draft.size()) break;
    const bool came = session.tokens.back() == task.draft[i];
    session.record.Add(task.match_length + i, came);
    if (!came || task.ended || session.abort_requested.load(std::memory_order_relaxed)) break;
  }
  // Gives the pages back that only rows of wrong guesses needed.
  if (rows > 1) session.cache.Truncate(session.cache.length());
  if (session.cache.length() / kPage > first / kPage) SharePages(session);
}

}  // namespace k2
