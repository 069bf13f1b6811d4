// Calls of an engine that wait for their end, for tests.
#pragma once

#include <cstring>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "check.h"
#include "engine/engine.h"
#include "tiny_model.h"

namespace k2::test {

inline std::shared_ptr<Engine> Load(const TinyModel& model, EngineOptions options) {
  Result<std::shared_ptr<Engine>> engine = Engine::Create(model.spec, options, model.paths, model.rows);
  if (!engine.ok()) {
    Fail(__FILE__, __LINE__, engine.status().message());
    return nullptr;
  }
  std::promise<Status> loaded;
  if (Status begun = engine.value()->Load(nullptr, [&](Status s) { loaded.set_value(std::move(s)); });
      !begun.ok()) {
    Fail(__FILE__, __LINE__, begun.message());
    return nullptr;
  }
  const Status status = loaded.get_future().get();
  if (!status.ok()) Fail(__FILE__, __LINE__, status.message());
  return status.ok() ? engine.value() : nullptr;
}

inline Status PrefillAndWait(Engine& engine, const std::shared_ptr<Session>& session,
                             std::vector<int32_t> ids, float* logits) {
  auto done = std::make_shared<std::promise<Status>>();
  Status begun =
      engine.Prefill(session, std::move(ids), logits, [done](Status s) { done->set_value(std::move(s)); });
  return begun.ok() ? done->get_future().get() : begun;
}

inline TokenDelivery TakeAndWait(Engine& engine, const std::shared_ptr<Session>& session) {
  auto done = std::make_shared<std::promise<TokenDelivery>>();
  const Status begun = engine.Take(session, [done](TokenDelivery d) { done->set_value(std::move(d)); });
  if (!begun.ok()) return {begun, {}, DecodeEnd::kAborted};
  return done->get_future().get();
}

inline std::vector<int32_t> Ids(const TinyModel& model, int n, uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<int32_t> ids;
  for (int i = 0; i < n; ++i)
    ids.push_back(static_cast<int32_t>(random() % static_cast<uint32_t>(model.spec.vocab)));
  return ids;
}

inline Status SaveAndWait(Engine& engine, const std::shared_ptr<Session>& session, const std::string& path,
                          const std::string& note = {}) {
  auto done = std::make_shared<std::promise<Status>>();
  Status begun = engine.Save(session, path, note, [done](Status s) { done->set_value(std::move(s)); });
  return begun.ok() ? done->get_future().get() : begun;
}

inline Status RestoreAndWait(Engine& engine, const std::shared_ptr<Session>& session, const std::string& path,
                             std::string* note = nullptr) {
  auto done = std::make_shared<std::promise<Status>>();
  Status begun =
      engine.Restore(session, path, [done, note](Status s, const std::vector<int32_t>&, std::string saved) {
        if (note != nullptr) *note = std::move(saved);
        done->set_value(std::move(s));
      });
  return begun.ok() ? done->get_future().get() : begun;
}

// Decodes `count` tokens, and takes back what was sampled ahead.
inline std::vector<int32_t> DecodeAndWait(Engine& engine, const std::shared_ptr<Session>& session,
                                          int64_t count, uint64_t seed = 9) {
  SamplingOptions options;
  options.max_tokens = count + 5;
  options.temperature = 0.8;
  options.seed = seed;
  std::vector<int32_t> ids;
  if (Status begun = engine.StartDecode(session, options); !begun.ok()) {
    Fail(__FILE__, __LINE__, begun.message());
    return ids;
  }
  while (static_cast<int64_t>(ids.size()) < count) {
    const TokenDelivery delivery = TakeAndWait(engine, session);
    if (delivery.tokens.empty()) break;
    for (const SampledToken& token : delivery.tokens) ids.push_back(token.id);
  }
  ids.resize(static_cast<size_t>(count));
  auto stopped = std::make_shared<std::promise<Status>>();
  if (!engine.StopDecode(session, count, [stopped](Status s) { stopped->set_value(std::move(s)); }).ok())
    return {};
  if (!stopped->get_future().get().ok()) Fail(__FILE__, __LINE__, "a decode that could not be stopped");
  return ids;
}

inline bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

}  // namespace k2::test
