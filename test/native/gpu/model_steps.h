// Steps of a whole tiny model on the backend of a GPU, and what its tests have in common.
#pragma once

#include <memory>
#include <vector>

#include "model/kimi_k2.h"
#include "tiny_model.h"

namespace k2::test {

std::unique_ptr<KimiK2> MakeModelOn(const TinyModel& tiny, std::unique_ptr<Backend> backend);

struct SessionPart {
  KvCache* cache;
  std::vector<int32_t> ids;
  int64_t logits;  // of the last so many ids
};

std::vector<int32_t> SomeIds(int64_t first, int64_t count);

// One step; the logits of all parts, in order. Nothing is committed after a failure.
Status Step(KimiK2& model, std::vector<SessionPart> parts, std::vector<float>* logits);

// Two sessions: a step of both with several rows of logits each, then both decode. 7 rows.
constexpr size_t kRowsOfTwoSteps = 7;
std::vector<float> TwoSteps(KimiK2& model);

// How far a row of logits is from the expected one, relative to its size. Rows of independent numbers would
// be off by 1.4.
double RowError(const std::vector<float>& actual, const std::vector<float>& expected, size_t row);

// That `alone` gives the rows of TwoSteps token by token, one session after the other.
void ExpectRowsAlone(KimiK2& alone, const std::vector<float>& expected);

// That aborted steps, whose cache is gone when the next one ends, leave nothing behind.
void ExpectNothingBehindAnAbort(KimiK2& model);

}  // namespace k2::test
