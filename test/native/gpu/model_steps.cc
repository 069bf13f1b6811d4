#include "gpu/model_steps.h"

#include <algorithm>
#include <cmath>

#include "check.h"

namespace k2::test {

std::unique_ptr<KimiK2> MakeModelOn(const TinyModel& tiny, std::unique_ptr<Backend> backend) {
  Result<std::unique_ptr<Weights>> weights =
      LoadWeights(tiny.spec, tiny.paths, tiny.rows, [](uint64_t, uint64_t) { return true; });
  Result<std::unique_ptr<KimiK2>> made =
      KimiK2::Create(tiny.spec, std::move(weights.value()), std::move(backend), 64);
  EXPECT(made.ok());
  return made.ok() ? std::move(made.value()) : nullptr;
}

std::vector<int32_t> SomeIds(int64_t first, int64_t count) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i) ids.push_back(static_cast<int32_t>((first + i) * 37 % 90));
  return ids;
}

Status Step(KimiK2& model, std::vector<SessionPart> parts, std::vector<float>* logits) {
  const int64_t vocab = model.spec().vocab;
  int64_t rows = 0;
  for (const SessionPart& part : parts) rows += part.logits;
  logits->assign(static_cast<size_t>(rows * vocab), NAN);
  Batch batch;
  float* next = logits->data();
  for (SessionPart& part : parts) {
    K2_RETURN_IF_ERROR(part.cache->Reserve(static_cast<int64_t>(part.ids.size())));
    batch.parts.push_back(
        {part.cache, part.ids, AttentionForm::kAbsorbed, {next, part.logits, vocab, vocab}});
    next += part.logits * vocab;
  }
  K2_RETURN_IF_ERROR(model.Forward(batch, [] { return true; }));
  for (SessionPart& part : parts) {
    part.cache->Commit(static_cast<int64_t>(part.ids.size()), AttentionForm::kAbsorbed);
  }
  return {};
}

std::vector<float> TwoSteps(KimiK2& model) {
  KvCache one = model.NewCache(), two = model.NewCache();
  std::vector<float> first, second;
  EXPECT(Step(model, {{&one, SomeIds(0, 20), 3}, {&two, SomeIds(40, 9), 2}}, &first).ok());
  EXPECT(Step(model, {{&one, SomeIds(20, 1), 1}, {&two, SomeIds(49, 1), 1}}, &second).ok());
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

double RowError(const std::vector<float>& actual, const std::vector<float>& expected, size_t row) {
  const size_t vocab = expected.size() / kRowsOfTwoSteps;
  double difference = 0, size = 0;
  for (size_t v = row * vocab; v < (row + 1) * vocab; ++v) {
    difference += std::pow(double{actual[v]} - expected[v], 2);
    size += std::pow(double{expected[v]}, 2);
  }
  return std::sqrt(difference / size);
}

void ExpectRowsAlone(KimiK2& alone, const std::vector<float>& expected) {
  const size_t vocab = expected.size() / kRowsOfTwoSteps;
  std::vector<float> logits[2];
  for (int s = 0; s < 2; ++s) {
    KvCache cache = alone.NewCache();
    const int64_t first = s == 0 ? 0 : 40, count = s == 0 ? 21 : 10;
    for (int64_t i = 0; i < count; ++i) {
      std::vector<float> row;
      EXPECT(Step(alone, {{&cache, SomeIds(first + i, 1), 1}}, &row).ok());
      logits[s].insert(logits[s].end(), row.begin(), row.end());
    }
  }
  const auto expect = [&](size_t row, int session, size_t position) {
    const float* a = expected.data() + row * vocab;
    const float* b = logits[session].data() + position * vocab;
    EXPECT(std::equal(a, a + vocab, b));
  };
  for (size_t i = 0; i < 3; ++i) expect(i, 0, 17 + i);
  for (size_t i = 0; i < 2; ++i) expect(3 + i, 1, 7 + i);
  expect(5, 0, 20);
  expect(6, 1, 9);
}

void ExpectNothingBehindAnAbort(KimiK2& model) {
  std::vector<float> logits;
  for (int layers = 0; layers < 3; ++layers) {
    auto cache = std::make_unique<KvCache>(model.NewCache());
    const std::vector<int32_t> ids = SomeIds(0, 5);
    EXPECT(cache->Reserve(5).ok());
    Batch batch;
    batch.parts.push_back({cache.get(), ids, AttentionForm::kAbsorbed, {nullptr, 0, 90, 90}});
    int left = layers;
    EXPECT(model.Forward(batch, [&] { return left-- > 0; }).code() == ErrorCode::kAborted);
    cache = nullptr;
    KvCache next = model.NewCache();
    EXPECT(Step(model, {{&next, SomeIds(0, 5), 1}}, &logits).ok());
  }
}

}  // namespace k2::test
