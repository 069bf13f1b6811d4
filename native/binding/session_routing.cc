#include "binding/handles.h"

namespace k2 {
namespace {

// The elements of a typed array, or null where the value is another thing or has another length.
template <typename Array, typename T>
T* Elements(const Napi::Value& value, napi_typedarray_type type, size_t length) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) return nullptr;
  Array array = value.As<Array>();
  return array.ElementLength() == length ? array.Data() : nullptr;
}

}  // namespace

// The engine writes straight into the arrays, which are held here and handed out by lib only once the promise
// has settled.
Napi::Value SessionHandle::Routing(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  Call call(env);
  if (session_ == nullptr) {
    return call.Reject(env, Status(ErrorCode::kInvalidState, "Expected a live session, got a disposed one"));
  }
  const Status wrong(ErrorCode::kInvalidArgument,
                     "Expected a position and arrays of [tokens, layers, K] for routing, got something else");
  const double first = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : -1;
  if (!(first >= 0 && first <= 0x1p53) || !info[1].IsTypedArray() || !info[2].IsTypedArray() ||
      !info[3].IsTypedArray()) {
    return call.Reject(env, wrong);
  }
  const size_t tokens = info[3].As<Napi::TypedArray>().ElementLength();
  const size_t numbers = tokens * static_cast<size_t>(engine_->spec().MoeLayers() * engine_->spec().chosen);
  const RoutingRows rows{
      .experts = Elements<Napi::Uint16Array, uint16_t>(info[1], napi_uint16_array, numbers),
      .weights = Elements<Napi::Float32Array, float>(info[2], napi_float32_array, numbers),
      .known = Elements<Napi::Uint8Array, uint8_t>(info[3], napi_uint8_array, tokens),
      .count = static_cast<int64_t>(tokens)};
  const bool is_missing = rows.experts == nullptr || rows.weights == nullptr || rows.known == nullptr;
  // An empty array may have no memory at all.
  if (is_missing && numbers > 0) return call.Reject(env, wrong);
  Napi::Array held = Napi::Array::New(env, 3);
  for (uint32_t i = 0; i < 3; ++i) held.Set(i, info[i + 1]);
  call.Hold(held);
  const Status status = engine_->Routing(session_, static_cast<int64_t>(first), rows,
                                         [call](Status result) { call.Settle(std::move(result)); });
  return status.ok() ? call.promise() : call.Reject(env, status);
}

}  // namespace k2
