#include "binding/measure.h"

#include <system_error>

#include "binding/environment.h"
#include "measure/machine.h"

namespace k2 {
namespace {

constexpr int64_t kBufferBytes = int64_t{256} << 20;
constexpr int kRepetitions = 5;

Napi::Value ToObject(Napi::Env env, const MachineLimits& limits) {
  Napi::Object rates = Napi::Object::New(env);
  for (const Rate& rate : limits.rates) rates.Set(rate.name, rate.value.median);
  Napi::Object result = Napi::Object::New(env);
  result.Set("cacheBytes", static_cast<double>(limits.cache_bytes));
  result.Set("rates", rates);
  return result;
}

}  // namespace

void Measurement::Stop() {
  stop_.store(true);
  if (thread_.joinable()) thread_.join();
}

Napi::Value MeasureMachineOf(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const Call call(env);
  const double threads = info[0].IsNumber() ? info[0].As<Napi::Number>().DoubleValue() : 0;
  if (!(threads >= 1 && threads <= 1024)) {
    return call.Reject(env, Status(ErrorCode::kInvalidArgument,
                                   "Expected 1..1024 for threads, got " + std::to_string(threads)));
  }
  const auto work = [call, threads](const std::atomic<bool>& stop) -> std::function<void()> {
    try {
      Result<MachineLimits> limits = MeasureMachine({.threads = static_cast<int>(threads),
                                                     .buffer_bytes = kBufferBytes,
                                                     .repetitions = kRepetitions,
                                                     .is_brief = true,
                                                     .stop = &stop});
      if (!limits.ok()) return [call, status = limits.status()] { call.Settle(status); };
      return [call, limits = std::move(limits.value())] {
        call.Settle({}, [limits](Napi::Env e) { return ToObject(e, limits); });
      };
    } catch (const std::bad_alloc&) {
      return [call] {
        call.Settle(
            Status(ErrorCode::kOutOfMemory, "Expected memory for measuring, got a refusal of the system"));
      };
    }
  };
  try {
    if (!Environment::Of(env).measurement->Start(work)) {
      return call.Reject(env, Status(ErrorCode::kInvalidState,
                                     "Expected no measurement under way for measureMachine, got one"));
    }
  } catch (const std::system_error& error) {
    return call.Reject(env, Status(ErrorCode::kOutOfMemory,
                                   std::string("Expected a thread for measuring, got: ") + error.what()));
  }
  return call.promise();
}

}  // namespace k2
