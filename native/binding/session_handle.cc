#include <algorithm>

#include "binding/convert.h"
#include "binding/handles.h"

namespace k2 {
namespace {

using Owners = std::pair<std::shared_ptr<Engine>, std::shared_ptr<Session>>;

Status Disposed() { return Status(ErrorCode::kInvalidState, "Expected a live session, got a disposed one"); }

Result<int64_t> ReadInteger(const Napi::Value& value, const char* name) {
  const double number = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : -1;
  if (!(number >= 0 && number <= 0x1p53 && number == static_cast<double>(static_cast<int64_t>(number)))) {
    return Status(ErrorCode::kInvalidArgument,
                  std::string("Expected an integer for ") + name + ", got something else");
  }
  return static_cast<int64_t>(number);
}

Result<GrammarStart> ReadGrammarStart(const Napi::Value& handle, const Napi::Value& index) {
  GrammarStart start;
  start.program = GrammarHandle::Read(handle);
  if (start.program == nullptr)
    return Status(ErrorCode::kInvalidArgument, "Expected a grammar, got something else");
  Result<int64_t> first = ReadInteger(index, "index");
  if (!first.ok()) return first.status();
  start.index = static_cast<int32_t>(std::min<int64_t>(first.value(), kMostIndex));
  return start;
}

// Empty where the environment is ending: a worker thread that is terminated can make no array any more, and
// that may be found out at any moment.
template <typename Array, typename T>
Array CopyToArray(Napi::Env env, const std::vector<T>& values) {
  Array array = Array::New(env, values.size());
  if (!array.IsEmpty()) std::copy(values.begin(), values.end(), array.Data());
  return array;
}

// NativeTokens of the contract.
Napi::Value ToNativeTokens(Napi::Env env, const TokenDelivery& delivery) {
  std::vector<int32_t> ids, top_ids;
  std::vector<float> logprobs, top_logprobs;
  for (const SampledToken& token : delivery.tokens) {
    ids.push_back(token.id);
    logprobs.push_back(token.logprob);
    top_ids.insert(top_ids.end(), token.top_ids.begin(), token.top_ids.end());
    top_logprobs.insert(top_logprobs.end(), token.top_logprobs.begin(), token.top_logprobs.end());
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("ids", CopyToArray<Napi::Int32Array>(env, ids));
  result.Set("logprobs", CopyToArray<Napi::Float32Array>(env, logprobs));
  result.Set("topIds", CopyToArray<Napi::Int32Array>(env, top_ids));
  result.Set("topLogprobs", CopyToArray<Napi::Float32Array>(env, top_logprobs));
  result.Set("end", static_cast<int32_t>(delivery.end));
  return result;
}

}  // namespace

Napi::Function SessionHandle::Define(Napi::Env env) {
  return DefineClass(
      env, "NativeSession",
      {InstanceAccessor<&SessionHandle::Position>("position"),
       InstanceMethod<&SessionHandle::Prefill>("prefill"),
       InstanceMethod<&SessionHandle::Evaluate>("evaluate"), InstanceMethod<&SessionHandle::Fork>("fork"),
       InstanceMethod<&SessionHandle::Rewind>("rewind"), InstanceMethod<&SessionHandle::Routing>("routing"),
       InstanceMethod<&SessionHandle::StartDecode>("startDecode"),
       InstanceMethod<&SessionHandle::StartConstrainedDecode>("startConstrainedDecode"),
       InstanceMethod<&SessionHandle::Take>("take"), InstanceMethod<&SessionHandle::StopDecode>("stopDecode"),
       InstanceMethod<&SessionHandle::Abort>("abort"), InstanceMethod<&SessionHandle::GetTimings>("timings"),
       InstanceMethod<&SessionHandle::Save>("save"), InstanceMethod<&SessionHandle::Restore>("restore"),
       InstanceMethod<&SessionHandle::Dispose>("dispose")});
}

Napi::Value SessionHandle::Wrap(Napi::Env env, std::shared_ptr<Engine> engine,
                                std::shared_ptr<Session> session) {
  Owners owners{std::move(engine), std::move(session)};
  return Environment::Of(env).session_class.New({Napi::External<Owners>::New(env, &owners)});
}

SessionHandle::SessionHandle(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  if (info.Length() == 1 && info[0].IsExternal()) {
    const Owners& owners = *info[0].As<Napi::External<Owners>>().Data();
    engine_ = owners.first;
    session_ = owners.second;
  } else {
    Napi::TypeError::New(info.Env(), "NativeSession is made by createSession").ThrowAsJavaScriptException();
  }
}

SessionHandle::~SessionHandle() {
  if (session_ != nullptr) engine_->DisposeSession(std::move(session_));
}

Napi::Value SessionHandle::Position(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(),
                           session_ == nullptr ? 0 : static_cast<double>(session_->position.load()));
}

Napi::Value SessionHandle::Prefill(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  Result<std::vector<int32_t>> ids = ReadIds(info[0], "ids");
  if (!ids.ok()) return call.Reject(env, ids.status());
  const auto finish = [call, session = session_](Status result) {
    // Read here, on the engine thread: the next prefill may begin before the promise is settled.
    const double cached = static_cast<double>(session->cached_tokens.load());
    call.Settle(std::move(result), [cached](Napi::Env e) { return Napi::Number::New(e, cached); });
  };
  const Status status = engine_->Prefill(session_, std::move(ids.value()), nullptr, finish);
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value SessionHandle::Evaluate(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  Result<std::vector<int32_t>> ids = ReadIds(info[0], "ids");
  if (!ids.ok()) return call.Reject(env, ids.status());
  const size_t wanted = ids.value().size() * static_cast<size_t>(engine_->spec().vocab);
  if (!info[1].IsTypedArray() || info[1].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array ||
      info[1].As<Napi::Float32Array>().ElementLength() != wanted) {
    return call.Reject(
        env, Status(ErrorCode::kInvalidArgument, "Expected a Float32Array of " + std::to_string(wanted) +
                                                     " numbers for logits, got something else"));
  }
  // The engine writes straight into the array: held here, and handed out by lib only once the promise has
  // settled.
  float* logits = info[1].As<Napi::Float32Array>().Data();
  call.Hold(info[1].As<Napi::Object>());
  const Status status = engine_->Prefill(session_, std::move(ids.value()), logits,
                                         [call](Status result) { call.Settle(std::move(result)); });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value SessionHandle::Fork(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  const std::weak_ptr<Engine> engine = engine_;
  const Status status = engine_->Fork(session_, [call, engine](Engine::SessionResult result) {
    if (!result.ok()) return call.Settle(result.status());
    call.Settle({}, [engine, session = result.value()](Napi::Env e) -> Napi::Value {
      // The handle that asked for the fork may be gone; then so is the need for the copy.
      const std::shared_ptr<Engine> alive = engine.lock();
      return alive == nullptr ? e.Undefined() : SessionHandle::Wrap(e, alive, session);
    });
  });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value SessionHandle::Rewind(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  Result<int64_t> position = ReadInteger(info[0], "position");
  if (!position.ok()) return call.Reject(env, position.status());
  const Status status =
      engine_->Rewind(session_, position.value(), [call](Status result) { call.Settle(std::move(result)); });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value SessionHandle::StartDecode(const Napi::CallbackInfo& info) {
  return StartDecodeBy(info, GrammarStart{});
}

Napi::Value SessionHandle::StartConstrainedDecode(const Napi::CallbackInfo& info) {
  return StartDecodeBy(info, ReadGrammarStart(info[1], info[2]));
}

Napi::Value SessionHandle::StartDecodeBy(const Napi::CallbackInfo& info, Result<GrammarStart> grammar) {
  const Napi::Env env = info.Env();
  Status status = grammar.status();
  if (session_ == nullptr) {
    status = Disposed();
  } else if (status.ok()) {
    Result<SamplingOptions> options = ReadSampling(info[0]);
    status = options.ok()
                 ? engine_->StartDecode(session_, std::move(options.value()), std::move(grammar.value()))
                 : options.status();
  }
  if (!status.ok()) ToError(env, status).ThrowAsJavaScriptException();
  return env.Undefined();
}

Napi::Value SessionHandle::Take(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  const Status status = engine_->Take(session_, [call](TokenDelivery delivery) {
    Status result = delivery.tokens.empty() ? delivery.status : Status();
    call.Settle(std::move(result),
                [delivery = std::move(delivery)](Napi::Env e) { return ToNativeTokens(e, delivery); });
  });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value SessionHandle::StopDecode(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  Result<int64_t> kept = ReadInteger(info[0], "kept");
  if (!kept.ok()) return call.Reject(env, kept.status());
  const Status status =
      engine_->StopDecode(session_, kept.value(), [call](Status result) { call.Settle(std::move(result)); });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value SessionHandle::Abort(const Napi::CallbackInfo& info) {
  if (session_ != nullptr) engine_->Abort(session_);
  return info.Env().Undefined();
}

Napi::Value SessionHandle::GetTimings(const Napi::CallbackInfo& info) {
  Napi::Object result = Napi::Object::New(info.Env());
  const auto set = [&](const char* name, int64_t value) { result.Set(name, static_cast<double>(value)); };
  const Timings* timings = session_ == nullptr ? nullptr : &session_->timings;
  set("prefillNs", timings ? timings->prefill_ns.load() : 0);
  set("prefillTokens", timings ? timings->prefill_tokens.load() : 0);
  set("decodeNs", timings ? timings->decode_ns.load() : 0);
  set("decodeTokens", timings ? timings->decode_tokens.load() : 0);
  set("draftedTokens", timings ? timings->drafted_tokens.load() : 0);
  set("acceptedTokens", timings ? timings->accepted_tokens.load() : 0);
  return result;
}

Napi::Value SessionHandle::Dispose(const Napi::CallbackInfo& info) {
  if (session_ != nullptr) {
    engine_->DisposeSession(std::move(session_));
    session_ = nullptr;
    engine_ = nullptr;
  }
  return info.Env().Undefined();
}

}  // namespace k2
