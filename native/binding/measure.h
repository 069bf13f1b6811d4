// The addon's measureMachine: what this machine can do, measured on a thread of its own.
#pragma once

#include <napi.h>

#include <atomic>
#include <functional>
#include <thread>
#include <utility>

namespace k2 {

// The measuring thread of one environment. Used on the JavaScript thread.
class Measurement {
 public:
  ~Measurement() { Stop(); }
  // Runs `work`, which is to end soon after its flag is set, and then what it returns; false while another
  // one runs: two at once would measure each other. A caller that has been told of the end may start the
  // next.
  template <typename Work>
  bool Start(Work work) {
    if (is_running_.exchange(true)) return false;
    if (thread_.joinable()) thread_.join();
    thread_ = std::thread([this, work = std::move(work)] {
      const std::function<void()> tell = work(stop_);
      is_running_.store(false);
      tell();
    });
    return true;
  }
  // Ends and joins it.
  void Stop();

 private:
  std::atomic<bool> stop_{false}, is_running_{false};
  std::thread thread_;
};

Napi::Value MeasureMachineOf(const Napi::CallbackInfo& info);

}  // namespace k2
