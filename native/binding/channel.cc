#include "binding/channel.h"

#include <utility>

namespace k2 {

bool Channel::Open(Napi::Env env) {
  napi_value name;
  if (napi_create_string_utf8(env, "k2-native", NAPI_AUTO_LENGTH, &name) != napi_ok) return false;
  if (napi_create_threadsafe_function(env, nullptr, nullptr, name, 0, 1, nullptr, nullptr, this, OnWake,
                                      &wake_) != napi_ok) {
    return false;
  }
  napi_unref_threadsafe_function(env, wake_);
  open_ = true;
  return true;
}

// The thread-safe function itself is left to Node, which ends it with the environment: releasing it during
// teardown aborts in some Node versions.
void Channel::Close() {
  std::lock_guard lock(mutex_);
  open_ = false;
  waiting_.clear();
}

void Channel::Post(Delivery delivery) {
  std::lock_guard lock(mutex_);
  if (!open_) return;
  waiting_.push_back(std::move(delivery));
  // One wake-up empties the whole queue.
  if (waiting_.size() == 1) napi_call_threadsafe_function(wake_, nullptr, napi_tsfn_nonblocking);
}

void Channel::OnWake(napi_env env, napi_value, void* context, void*) {
  if (env != nullptr) static_cast<Channel*>(context)->Drain(env);
}

void Channel::Drain(Napi::Env env) {
  std::vector<Delivery> deliveries;
  {
    std::lock_guard lock(mutex_);
    deliveries.swap(waiting_);
  }
  for (Delivery& deliver : deliveries) {
    Napi::HandleScope scope(env);
    deliver(env);
  }
}

void Channel::CallBegan(Napi::Env env) {
  if (++calls_ == 1) napi_ref_threadsafe_function(env, wake_);
}

void Channel::CallEnded(Napi::Env env) {
  if (--calls_ == 0) napi_unref_threadsafe_function(env, wake_);
}

}  // namespace k2
