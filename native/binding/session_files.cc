// Sessions in files.
#include <algorithm>

#include "binding/convert.h"
#include "binding/handles.h"

namespace k2 {
namespace {

Status Disposed() { return Status(ErrorCode::kInvalidState, "Expected a live session, got a disposed one"); }

// NativeRestored of the contract; without ids where the environment is ending.
Napi::Value ToNativeRestored(Napi::Env env, const std::vector<int32_t>& tokens, const std::string& note) {
  Napi::Object result = Napi::Object::New(env);
  Napi::Int32Array ids = Napi::Int32Array::New(env, tokens.size());
  if (!ids.IsEmpty()) std::copy(tokens.begin(), tokens.end(), ids.Data());
  result.Set("ids", ids);
  result.Set("note", Napi::String::New(env, note));
  return result;
}

}  // namespace

Napi::Value SessionHandle::Save(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  Result<std::string> path = ReadText(info[0], "path");
  if (!path.ok()) return call.Reject(env, path.status());
  Result<std::string> note = ReadText(info[1], "note");
  if (!note.ok()) return call.Reject(env, note.status());
  const Status status = engine_->Save(session_, std::move(path.value()), std::move(note.value()),
                                      [call](Status result) { call.Settle(std::move(result)); });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

Napi::Value SessionHandle::Restore(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  if (session_ == nullptr) return call.Reject(env, Disposed());
  Result<std::string> path = ReadText(info[0], "path");
  if (!path.ok()) return call.Reject(env, path.status());
  const auto finish = [call](Status result, const std::vector<int32_t>& tokens, std::string note) {
    if (!result.ok()) return call.Settle(std::move(result));
    call.Settle({},
                [tokens, note = std::move(note)](Napi::Env e) { return ToNativeRestored(e, tokens, note); });
  };
  const Status status = engine_->Restore(session_, std::move(path.value()), finish);
  return status.ok() ? call.promise() : call.Reject(env, status);
}

}  // namespace k2
