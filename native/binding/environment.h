// What the addon keeps per JavaScript environment, and the life of a promise that an engine thread settles.
#pragma once

#include <napi.h>

#include <memory>
#include <set>

#include "binding/channel.h"
#include "engine/engine.h"

namespace k2 {

struct Environment {
  std::shared_ptr<Channel> channel = std::make_shared<Channel>();
  // Stopped when the environment ends.
  std::shared_ptr<std::set<Engine*>> engines = std::make_shared<std::set<Engine*>>();
  Napi::FunctionReference engine_class;
  Napi::FunctionReference session_class;
  Napi::FunctionReference grammar_class;

  static Environment& Of(Napi::Env env) { return *env.GetInstanceData<Environment>(); }
};

// A JavaScript Error with the code of the status.
Napi::Error ToError(Napi::Env env, const Status& status);

// A promise under way. Begin on the JavaScript thread; Settle from any thread, once.
class Call {
 public:
  // Called on the JavaScript thread to make the value of a successful promise.
  using MakeValue = std::function<Napi::Value(Napi::Env)>;

  explicit Call(Napi::Env env);

  Napi::Promise promise() const { return deferred_->Promise(); }
  // Keeps `object` alive until the call is settled.
  void Hold(Napi::Object object);
  void Settle(Status status, MakeValue make_value = nullptr) const;
  // For a call that failed before it began.
  Napi::Value Reject(Napi::Env env, const Status& status) const;

 private:
  // Raw on purpose: both may only be touched on the JavaScript thread, and when the environment is gone they
  // must not be touched at all.
  Napi::Promise::Deferred* deferred_;
  napi_ref* held_;
  std::shared_ptr<Channel> channel_;
};

}  // namespace k2
