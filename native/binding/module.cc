// The addon's entry: what `require` of the binary returns (NativeAddon of lib/addon/contract.ts).
#include <napi.h>

#include <sstream>

#include "binding/convert.h"
#include "binding/environment.h"
#include "binding/handles.h"

namespace k2 {
namespace {

Napi::Value Throw(Napi::Env env, const Status& status) {
  ToError(env, status).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value ListBackends(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Napi::Array list = Napi::Array::New(env);
  for (const BackendEntry& entry : Backends()) {
    Napi::Object backend = Napi::Object::New(env);
    const std::string absent = entry.absent_because();
    Napi::Array kernels = Napi::Array::New(env);
    std::istringstream names(entry.kernel_sets());
    for (std::string name; names >> name;) kernels.Set(kernels.Length(), name);
    backend.Set("name", entry.name);
    backend.Set("available", absent.empty());
    backend.Set("reason", absent);
    backend.Set("kernels", kernels);
    list.Set(list.Length(), backend);
  }
  return list;
}

Napi::Value PlanMemoryOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Result<ModelSpec> spec = ReadSpec(info[0]);
  if (!spec.ok()) return Throw(env, spec.status());
  Result<EngineOptions> options = ReadEngineOptions(info[1]);
  if (!options.ok()) return Throw(env, options.status());
  Result<MemoryPlan> plan = PlanMemory(spec.value(), options.value());
  if (!plan.ok()) return Throw(env, plan.status());
  Napi::Object result = Napi::Object::New(env);
  result.Set("cacheBytesPerToken", static_cast<double>(plan.value().cache_bytes_per_token));
  result.Set("pageTokens", static_cast<double>(plan.value().page_tokens));
  result.Set("scratchBytes", static_cast<double>(plan.value().scratch_bytes));
  return result;
}

Napi::Value CreateEngine(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Result<ModelSpec> spec = ReadSpec(info[0]);
  if (!spec.ok()) return Throw(env, spec.status());
  Result<WeightTable> table = ReadWeightTable(info[1]);
  if (!table.ok()) return Throw(env, table.status());
  Result<EngineOptions> options = ReadEngineOptions(info[2]);
  if (!options.ok()) return Throw(env, options.status());
  Result<std::shared_ptr<Engine>> engine = Engine::Create(
      spec.value(), options.value(), std::move(table.value().files), std::move(table.value().rows));
  if (!engine.ok()) return Throw(env, engine.status());
  return EngineHandle::Wrap(env, std::move(engine.value()));
}

// Runs when the environment ends (process exit, end of a worker thread), before Node takes it apart: engine
// threads stop and are joined, and from the first line on none of them can reach JavaScript.
void OnEnvironmentEnd(void* data) {
  Environment& environment = *static_cast<Environment*>(data);
  environment.channel->Close();
  for (Engine* engine : *environment.engines) engine->Stop();
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  auto* environment = new Environment();
  env.SetInstanceData(environment);
  if (!environment->channel->Open(env)) {
    Throw(env, Status(ErrorCode::kInternal, "Expected Node to give the addon a channel, got a refusal"));
    return exports;
  }
  napi_add_env_cleanup_hook(env, OnEnvironmentEnd, environment);
  environment->engine_class = Napi::Persistent(EngineHandle::Define(env));
  environment->session_class = Napi::Persistent(SessionHandle::Define(env));
  environment->grammar_class = Napi::Persistent(GrammarHandle::Define(env));
  exports.Set("version", "0.1.0");
  exports.Set("backends", Napi::Function::New(env, ListBackends, "backends"));
  exports.Set("planMemory", Napi::Function::New(env, PlanMemoryOf, "planMemory"));
  exports.Set("createEngine", Napi::Function::New(env, CreateEngine, "createEngine"));
  return exports;
}

NODE_API_MODULE(k2_native, Init)

}  // namespace
}  // namespace k2
