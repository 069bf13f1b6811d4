// The one way from engine threads to JavaScript: a queue per environment, emptied on the JavaScript thread.
//
// Worker threads and the main thread each have their own environment and channel. When an environment ends,
// its channel closes first: whatever engine threads post afterwards is dropped, and no Node-API call is made
// from them.
#pragma once

#include <napi.h>

#include <functional>
#include <mutex>
#include <vector>

namespace k2 {

class Channel {
 public:
  using Delivery = std::function<void(Napi::Env)>;

  // JavaScript thread.
  bool Open(Napi::Env env);
  void Close();

  // Any thread. The delivery runs on the JavaScript thread, or is dropped when the channel is closed.
  void Post(Delivery delivery);

  // Calls under way keep the process alive; JavaScript thread.
  void CallBegan(Napi::Env env);
  void CallEnded(Napi::Env env);

 private:
  static void OnWake(napi_env env, napi_value function, void* context, void* data);
  void Drain(Napi::Env env);

  std::mutex mutex_;
  std::vector<Delivery> waiting_;  // guarded by mutex_
  bool open_ = false;              // guarded by mutex_
  napi_threadsafe_function wake_ = nullptr;
  int calls_ = 0;
};

}  // namespace k2
