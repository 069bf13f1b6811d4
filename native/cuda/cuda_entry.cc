// The registry's entry of the CUDA backend, where the build has its kernels.
#include "cuda/cuda_backend.h"
#include "ops/registry.h"

namespace k2 {
namespace {

Result<std::unique_ptr<cuda::Device>> MakeDevice() {
  Result<const cuda::Driver*> driver = cuda::SystemDriver();
  if (!driver.ok()) return driver.status();
  return cuda::Device::Make(*driver.value(), cuda::kKernelImage);
}

}  // namespace

BackendEntry CudaBackendEntry() {
  return {.name = "cuda",
          .make = [](const BackendOptions& options) -> Result<std::unique_ptr<Backend>> {
            if (!options.isa.empty() && options.isa != "cuda") {
              return Status(ErrorCode::kInvalidArgument,
                            "Expected \"cuda\" for isa of the CUDA backend, got \"" + options.isa + "\"");
            }
            if (options.cache_type != CacheType::kBf16 || options.activations != Activations::k16Bit) {
              const bool is_cache = options.cache_type != CacheType::kBf16;
              return Status(ErrorCode::kInvalidArgument,
                            std::string("Expected ") +
                                (is_cache ? "bf16 for cacheType" : "16-bit for activations") +
                                " of the CUDA backend, got int8");
            }
            Result<std::unique_ptr<cuda::Device>> device = MakeDevice();
            if (!device.ok()) return device.status();
            return std::unique_ptr<Backend>(std::make_unique<cuda::CudaBackend>(std::move(device.value())));
          },
          // Asked once: a context takes a second.
          .absent_because =
              [] {
                static const Status status = MakeDevice().status();
                return status.message();
              },
          .kernel_sets = [] { return std::string("cuda"); }};
}

}  // namespace k2
