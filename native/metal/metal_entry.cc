// The registry's entry of the Metal backend, where the system has Metal.
#include "metal/apple_device.h"
#include "metal/kernel_source.h"
#include "metal/metal_backend.h"
#include "ops/registry.h"

namespace k2 {

BackendEntry MetalBackendEntry() {
  return {.name = "metal",
          .make = [](const BackendOptions& options) -> Result<std::unique_ptr<Backend>> {
            if (!options.isa.empty() && options.isa != "metal") {
              return Status(ErrorCode::kInvalidArgument,
                            "Expected \"metal\" for isa of the Metal backend, got \"" + options.isa + "\"");
            }
            if (options.cache_type != CacheType::kBf16 || options.activations != Activations::k16Bit) {
              const bool is_cache = options.cache_type != CacheType::kBf16;
              return Status(ErrorCode::kInvalidArgument,
                            std::string("Expected ") +
                                (is_cache ? "bf16 for cacheType" : "16-bit for activations") +
                                " of the Metal backend, got int8");
            }
            Result<std::unique_ptr<metal::Device>> device = metal::MakeAppleDevice(metal::kKernelSource);
            if (!device.ok()) return device.status();
            return std::unique_ptr<Backend>(std::make_unique<metal::MetalBackend>(std::move(device.value())));
          },
          // Asked once: the kernels are compiled for it.
          .absent_because =
              [] {
                static const Status status = metal::MakeAppleDevice(metal::kKernelSource).status();
                return status.message();
              },
          .kernel_sets = [] { return std::string("metal"); }};
}

}  // namespace k2
