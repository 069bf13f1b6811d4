#include "cuda/driver.h"

#include <dlfcn.h>

#include <type_traits>

namespace k2::cuda {
namespace {

constexpr const char* kLibrary = "libcuda.so.1";

// The library stays open for as long as the process lives: a driver does not like to be unloaded.
Status Load(Driver& driver) {
  void* const library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return Status(ErrorCode::kUnavailable,
                  std::string("Expected a driver of NVIDIA's (") + kLibrary + ") for device cuda, got none");
  }
  std::string missing;
  const auto find = [&](auto& function, const char* name) {
    void* const found = dlsym(library, name);
    if (found == nullptr && missing.empty()) missing = name;
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
  };
  find(driver.init, "cuInit");
  find(driver.get_version, "cuDriverGetVersion");
  find(driver.get_error_string, "cuGetErrorString");
  find(driver.get_device_count, "cuDeviceGetCount");
  find(driver.get_device, "cuDeviceGet");
  find(driver.get_device_name, "cuDeviceGetName");
  find(driver.get_device_attribute, "cuDeviceGetAttribute");
  find(driver.retain_context, "cuDevicePrimaryCtxRetain");
  find(driver.release_context, "cuDevicePrimaryCtxRelease_v2");
  find(driver.push_context, "cuCtxPushCurrent_v2");
  find(driver.pop_context, "cuCtxPopCurrent_v2");
  find(driver.get_memory, "cuMemGetInfo_v2");
  find(driver.allocate, "cuMemAlloc_v2");
  find(driver.free, "cuMemFree_v2");
  find(driver.allocate_host, "cuMemHostAlloc");
  find(driver.free_host, "cuMemFreeHost");
  find(driver.copy_to_device, "cuMemcpyHtoDAsync_v2");
  find(driver.copy_to_host, "cuMemcpyDtoHAsync_v2");
  find(driver.create_stream, "cuStreamCreate");
  find(driver.destroy_stream, "cuStreamDestroy_v2");
  find(driver.synchronize, "cuStreamSynchronize");
  find(driver.load_module, "cuModuleLoadData");
  find(driver.unload_module, "cuModuleUnload");
  find(driver.get_function, "cuModuleGetFunction");
  find(driver.launch, "cuLaunchKernel");
  if (missing.empty()) return {};
  return Status(ErrorCode::kUnavailable, std::string("Expected ") + missing + " in " + kLibrary +
                                             " for device cuda, got a driver without it");
}

}  // namespace

Result<const Driver*> SystemDriver() {
  static Driver driver;
  static const Status status = Load(driver);
  if (!status.ok()) return status;
  return static_cast<const Driver*>(&driver);
}

std::string Describe(const Driver& driver, DriverResult result) {
  const char* text = nullptr;
  const bool is_known = driver.get_error_string(result, &text) == 0 && text != nullptr;
  return std::string(is_known ? text : "an unknown error") + " (" + std::to_string(result) + ")";
}

}  // namespace k2::cuda
