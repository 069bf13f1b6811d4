#include "ops/registry.h"

#include <array>

#include "ops/backend.h"

namespace k2 {

std::span<const BackendEntry> Backends() {
  static const std::array entries = {CpuBackendEntry(), CudaBackendEntry(), MetalBackendEntry(),
                                     ReferenceBackendEntry()};
  return entries;
}

const BackendEntry* FindBackend(const std::string& name) {
  for (const BackendEntry& entry : Backends()) {
    if (name == entry.name) return &entry;
  }
  return nullptr;
}

}  // namespace k2
