#include "engine/batcher.h"

#include <algorithm>

namespace k2 {
namespace {

using Sessions = std::vector<std::shared_ptr<Session>>;

size_t IdsLeft(const std::shared_ptr<Session>& session) {
  return session->prefill->ids.size() - session->prefill->done;
}

// The `count` of them that were in a step the longest ago.
void KeepLongestWaiting(Sessions& sessions, size_t count) {
  if (sessions.size() <= count) return;
  std::ranges::stable_sort(sessions, {}, &Session::last_step);
  sessions.resize(count);
}

void SharePrefillRows(Sessions prefilling, size_t rows, std::vector<StepPart>& parts) {
  if (rows == 0 || prefilling.empty()) return;
  // The half that is shared evenly has a row for each.
  KeepLongestWaiting(prefilling, std::max<size_t>(rows / 2, 1));
  std::ranges::stable_sort(prefilling, {}, IdsLeft);
  size_t first = std::min(IdsLeft(prefilling.front()), (rows + 1) / 2);
  rows -= first;
  // In this order, what one leaves of its share goes to those behind it.
  for (size_t i = 0; i < prefilling.size(); ++i, first = 0) {
    const size_t share = std::min(rows / (prefilling.size() - i), IdsLeft(prefilling[i]) - first);
    parts.push_back({prefilling[i], first + share});
    rows -= share;
  }
}

}  // namespace

bool HasStepWork(Session& session) {
  if (session.settled) return false;
  if (session.prefill) return session.prefill->lookup == 0;
  if (!session.decode || session.decode->ended) return false;
  std::lock_guard lock(session.queue.mutex);
  return session.queue.tokens.size() < kRunAheadTokens;
}

std::vector<StepPart> Batcher::Plan(std::span<const std::shared_ptr<Session>> active, size_t most) {
  Sessions decoding, prefilling;
  for (const std::shared_ptr<Session>& session : active) {
    if (HasStepWork(*session)) (session->prefill ? prefilling : decoding).push_back(session);
  }
  size_t decode_rows = std::min(decoding.size(), most);
  size_t prefill_rows = 0;
  if (!prefilling.empty() && decode_rows > 0) {
    // Many that decode leave some rows; where a step has a single one, both sides take turns.
    const size_t least = std::min(PrefillPace::kLeastRows, (most + decoded_last_) / 2);
    decode_rows = std::min(decode_rows, most - least);
  }
  if (!prefilling.empty()) {
    prefill_rows = most - decode_rows;
    if (decode_rows > 0) prefill_rows = pace_.Rows(times_, decode_rows, prefill_rows);
  }
  KeepLongestWaiting(decoding, decode_rows);
  std::vector<StepPart> parts;
  for (const std::shared_ptr<Session>& session : decoding) parts.push_back({session, 1});
  SharePrefillRows(std::move(prefilling), prefill_rows, parts);
  ++steps_;
  for (const StepPart& part : parts) part.session->last_step = steps_;
  decoded_last_ = decode_rows > 0 ? 1 : 0;
  return parts;
}

void Batcher::Record(size_t decode_rows, size_t prefill_rows, int64_t ns) {
  if (decode_rows == 0) return;
  if (prefill_rows == 0) return times_.Add(decode_rows, ns);
  times_.AddMixed(decode_rows, ns);
  pace_.Record(times_, decode_rows, prefill_rows, ns);
}

}  // namespace k2
