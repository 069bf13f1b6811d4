#include "binding/environment.h"

#include <utility>

namespace k2 {

Napi::Error ToError(Napi::Env env, const Status& status) {
  Napi::Error error = Napi::Error::New(env, status.message());
  error.Value().Set("code", ErrorCodeName(status.code()));
  return error;
}

Call::Call(Napi::Env env)
    : deferred_(new Napi::Promise::Deferred(env)),
      held_(new napi_ref(nullptr)),
      channel_(Environment::Of(env).channel) {
  channel_->CallBegan(env);
}

void Call::Hold(Napi::Object object) { napi_create_reference(object.Env(), object, 1, held_); }

void Call::Settle(Status status, MakeValue make_value) const {
  channel_->Post([deferred = deferred_, held = held_, channel = channel_.get(), status = std::move(status),
                  make_value = std::move(make_value)](Napi::Env env) {
    if (!status.ok()) {
      deferred->Reject(ToError(env, status).Value());
    } else {
      deferred->Resolve(make_value ? make_value(env) : env.Undefined());
    }
    if (*held != nullptr) napi_delete_reference(env, *held);
    delete held;
    delete deferred;
    channel->CallEnded(env);
  });
}

Napi::Value Call::Reject(Napi::Env, const Status& status) const {
  const Napi::Promise result = promise();
  Settle(status);
  return result;
}

}  // namespace k2
