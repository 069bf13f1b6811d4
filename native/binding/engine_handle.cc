#include "binding/convert.h"
#include "binding/handles.h"

namespace k2 {
namespace {

// What a constructor receives from Wrap; `new` from JavaScript has no such value and gets an empty handle.
template <typename T>
T* FromExternal(const Napi::CallbackInfo& info) {
  return info.Length() == 1 && info[0].IsExternal() ? info[0].As<Napi::External<T>>().Data() : nullptr;
}

Status NoEngine() { return Status(ErrorCode::kInvalidState, "Expected an engine, got none"); }

}  // namespace

Napi::Function EngineHandle::Define(Napi::Env env) {
  return DefineClass(
      env, "NativeEngine",
      {InstanceMethod<&EngineHandle::Load>("load"), InstanceMethod<&EngineHandle::AbortLoad>("abortLoad"),
       InstanceMethod<&EngineHandle::CreateSession>("createSession"),
       InstanceMethod<&EngineHandle::SetVocabulary>("setVocabulary"),
       InstanceMethod<&EngineHandle::CreateGrammar>("createGrammar"),
       InstanceMethod<&EngineHandle::ExpertReads>("expertReads"),
       InstanceMethod<&EngineHandle::Dispose>("dispose")});
}

Napi::Value EngineHandle::Wrap(Napi::Env env, std::shared_ptr<Engine> engine) {
  return Environment::Of(env).engine_class.New({Napi::External<std::shared_ptr<Engine>>::New(env, &engine)});
}

EngineHandle::EngineHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (auto* engine = FromExternal<std::shared_ptr<Engine>>(info)) {
    engine_ = *engine;
    running_ = Environment::Of(info.Env()).engines;
    running_->insert(engine_.get());
  } else {
    Napi::TypeError::New(info.Env(), "NativeEngine is made by createEngine").ThrowAsJavaScriptException();
  }
}

EngineHandle::~EngineHandle() {
  if (engine_ == nullptr) return;
  engine_->Stop();
  running_->erase(engine_.get());
}

Napi::Value EngineHandle::Load(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (engine_ == nullptr) return call.Reject(env, NoEngine());
  Engine::Progress progress;
  if (info[0].IsFunction()) {
    // Lives until the call is settled, on the JavaScript thread alone.
    auto* function = new Napi::FunctionReference(Napi::Persistent(info[0].As<Napi::Function>()));
    const std::shared_ptr<Channel> channel = Environment::Of(env).channel;
    progress = [channel, function](uint64_t done, uint64_t total) {
      channel->Post([function, done, total](Napi::Env e) {
        function->Call({Napi::String::New(e, "map"), Napi::Number::New(e, static_cast<double>(done)),
                        Napi::Number::New(e, static_cast<double>(total))});
        if (e.IsExceptionPending()) e.GetAndClearPendingException();  // lib wraps the user's callback
      });
    };
    const Status status = engine_->Load(std::move(progress), [call, function, channel](Status result) {
      call.Settle(std::move(result));
      channel->Post([function](Napi::Env) { delete function; });
    });
    if (!status.ok()) {
      delete function;
      return call.Reject(env, status);
    }
    return call.promise();
  }
  const Status status = engine_->Load(nullptr, [call](Status result) { call.Settle(std::move(result)); });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value EngineHandle::AbortLoad(const Napi::CallbackInfo& info) {
  if (engine_ != nullptr) engine_->AbortLoad();
  return info.Env().Undefined();
}

Napi::Value EngineHandle::CreateSession(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const bool trace = info[0].IsBoolean() && info[0].As<Napi::Boolean>().Value();
  Result<std::shared_ptr<Session>> session = engine_ == nullptr ? NoEngine() : engine_->CreateSession(trace);
  if (!session.ok()) {
    ToError(env, session.status()).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  return SessionHandle::Wrap(env, engine_, std::move(session.value()));
}

Napi::Value EngineHandle::SetVocabulary(const Napi::CallbackInfo& info) {
  Result<TokenBytes> tokens = ReadTokenBytes(info[0], info[1]);
  Status status = tokens.status();
  if (status.ok())
    status = engine_ == nullptr ? NoEngine() : engine_->SetVocabulary(std::move(tokens.value()));
  if (!status.ok()) ToError(info.Env(), status).ThrowAsJavaScriptException();
  return info.Env().Undefined();
}

Napi::Value EngineHandle::CreateGrammar(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Result<std::shared_ptr<const GrammarProgram>> program =
      engine_ == nullptr ? NoEngine() : ReadGrammar(info[0], engine_->spec().vocab);
  if (!program.ok()) {
    ToError(env, program.status()).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  return GrammarHandle::Wrap(env, std::move(program.value()));
}

Napi::Value EngineHandle::ExpertReads(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (engine_ == nullptr) {
    ToError(env, NoEngine()).ThrowAsJavaScriptException();
    return env.Undefined();
  }
  const ExpertCounters& counters = engine_->expert_counters();
  Napi::Object result = Napi::Object::New(env);
  const auto set = [&](const char* name, const std::atomic<int64_t>& counter) {
    result.Set(name, static_cast<double>(counter.load()));
  };
  set("hits", counters.hits);
  set("misses", counters.misses);
  set("guesses", counters.guesses);
  set("usedGuesses", counters.used_guesses);
  set("wastedGuesses", counters.wasted_guesses);
  set("readBytes", counters.read_bytes);
  set("readNs", counters.read_ns);
  set("waits", counters.waits);
  set("waitNs", counters.wait_ns);
  set("memoryBytes", counters.memory_bytes);
  return result;
}

Napi::Value EngineHandle::Dispose(const Napi::CallbackInfo& info) {
  const Call call(info.Env());
  if (engine_ == nullptr) {
    call.Settle({});
    return call.promise();
  }
  engine_->Dispose([call](Status status) { call.Settle(std::move(status)); });
  return call.promise();
}

}  // namespace k2
