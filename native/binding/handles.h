// The JavaScript objects NativeEngine, NativeSession and NativeGrammar: check the handle, hand over a job,
// settle a promise. lib/addon/contract.ts documents the methods.
#pragma once

#include <napi.h>

#include <memory>

#include "binding/environment.h"

namespace k2 {

class EngineHandle : public Napi::ObjectWrap<EngineHandle> {
 public:
  static Napi::Function Define(Napi::Env env);
  static Napi::Value Wrap(Napi::Env env, std::shared_ptr<Engine> engine);

  explicit EngineHandle(const Napi::CallbackInfo& info);
  ~EngineHandle() override;

 private:
  Napi::Value Load(const Napi::CallbackInfo& info);
  Napi::Value AbortLoad(const Napi::CallbackInfo& info);
  Napi::Value CreateSession(const Napi::CallbackInfo& info);
  Napi::Value SetVocabulary(const Napi::CallbackInfo& info);
  Napi::Value CreateGrammar(const Napi::CallbackInfo& info);
  Napi::Value ExpertReads(const Napi::CallbackInfo& info);
  Napi::Value Dispose(const Napi::CallbackInfo& info);

  std::shared_ptr<Engine> engine_;
  std::shared_ptr<std::set<Engine*>> running_;  // Environment::engines, which may be gone before the handle
};

class SessionHandle : public Napi::ObjectWrap<SessionHandle> {
 public:
  static Napi::Function Define(Napi::Env env);
  static Napi::Value Wrap(Napi::Env env, std::shared_ptr<Engine> engine, std::shared_ptr<Session> session);

  explicit SessionHandle(const Napi::CallbackInfo& info);
  ~SessionHandle() override;

 private:
  Napi::Value Position(const Napi::CallbackInfo& info);
  Napi::Value Prefill(const Napi::CallbackInfo& info);
  Napi::Value Evaluate(const Napi::CallbackInfo& info);
  Napi::Value Fork(const Napi::CallbackInfo& info);
  Napi::Value Rewind(const Napi::CallbackInfo& info);
  Napi::Value Routing(const Napi::CallbackInfo& info);  // session_routing.cc
  Napi::Value StartDecode(const Napi::CallbackInfo& info);
  Napi::Value StartConstrainedDecode(const Napi::CallbackInfo& info);
  Napi::Value Take(const Napi::CallbackInfo& info);
  Napi::Value StopDecode(const Napi::CallbackInfo& info);
  Napi::Value Abort(const Napi::CallbackInfo& info);
  Napi::Value GetTimings(const Napi::CallbackInfo& info);
  Napi::Value Save(const Napi::CallbackInfo& info);     // session_files.cc
  Napi::Value Restore(const Napi::CallbackInfo& info);  // session_files.cc
  Napi::Value Dispose(const Napi::CallbackInfo& info);

  Napi::Value StartDecodeBy(const Napi::CallbackInfo& info, Result<GrammarStart> grammar);

  // Null after dispose.
  std::shared_ptr<Engine> engine_;
  std::shared_ptr<Session> session_;
};

class GrammarHandle : public Napi::ObjectWrap<GrammarHandle> {
 public:
  static Napi::Function Define(Napi::Env env);
  static Napi::Value Wrap(Napi::Env env, std::shared_ptr<const GrammarProgram> program);
  // The program of a handle; null for any other value.
  static std::shared_ptr<const GrammarProgram> Read(const Napi::Value& value);

  explicit GrammarHandle(const Napi::CallbackInfo& info);

 private:
  Napi::Value Bytes(const Napi::CallbackInfo& info);

  std::shared_ptr<const GrammarProgram> program_;
};

}  // namespace k2
