#include "emulated_device.h"

#include <cstring>

#include "base/buffer.h"
#include "gpu/emulator.h"
#include "metal/metal_backend.h"

namespace k2::test {
namespace {

using metal::Address;

class EmulatedMemory final : public metal::DeviceMemory {
 public:
  explicit EmulatedMemory(AlignedBuffer buffer) : buffer_(std::move(buffer)) {}
  Address address() const override { return reinterpret_cast<Address>(buffer_.data()); }
  uint8_t* data() const override { return buffer_.data(); }

 private:
  AlignedBuffer buffer_;
};

}  // namespace

Status EmulatedDevice::MayFail(const char* what) {
  if (failing_call == 0 || --failing_call > 0) return {};
  return Status(ErrorCode::kUnavailable, std::string("Expected the emulator to ") + what + ", got a failure");
}

Result<int> EmulatedDevice::Kernel(const std::string& name) {
  K2_RETURN_IF_ERROR(MayFail("compile a kernel"));
  const emulator::Kernel* kernel = emulator::FindKernel(name);
  if (kernel == nullptr) return Status(ErrorCode::kInternal, "Expected a kernel " + name + ", got none");
  return static_cast<int>(kernel - emulator::Kernels().data());
}

Result<std::unique_ptr<metal::DeviceMemory>> EmulatedDevice::Allocate(size_t bytes, const char* name) {
  Result<AlignedBuffer> buffer = AlignedBuffer::Allocate(bytes, name);
  if (!buffer.ok()) return buffer.status();
  if (bytes > 0) std::memset(buffer.value().data(), 0xff, bytes);  // NaN: nobody wrote it yet
  return std::unique_ptr<metal::DeviceMemory>(std::make_unique<EmulatedMemory>(std::move(buffer.value())));
}

Result<Address> EmulatedDevice::Share(const void* data, size_t) {
  K2_RETURN_IF_ERROR(MayFail("share memory"));
  return reinterpret_cast<Address>(data);
}

Result<metal::SharedWeight> EmulatedDevice::ShareWeight(const void* data, size_t) {
  K2_RETURN_IF_ERROR(MayFail("share a weight"));
  return metal::SharedWeight{reinterpret_cast<Address>(data), weights_last};
}

Result<Address> EmulatedDevice::Upload(const void* data, size_t bytes) {
  K2_RETURN_IF_ERROR(MayFail("upload"));
  uploads_.emplace_back(new uint8_t[bytes]);
  std::memcpy(uploads_.back().get(), data, bytes);
  return reinterpret_cast<Address>(uploads_.back().get());
}

Status EmulatedDevice::Dispatch(int kernel, const void* arguments, size_t bytes, metal::Grid groups,
                                uint32_t threads) {
  K2_RETURN_IF_ERROR(MayFail("dispatch"));
  const uint8_t* const from = static_cast<const uint8_t*>(arguments);
  pending_.push_back({kernel, {from, from + bytes}, groups, threads});
  dispatched.push_back(emulator::Kernels()[static_cast<size_t>(kernel)].name);
  return when_ == When::kAtOnce ? RunPending() : Status();
}

Status EmulatedDevice::RunPending() {
  std::string fault;
  for (const Dispatched& d : pending_) {
    if (!fault.empty()) break;
    fault = emulator::Run({.kernel = &emulator::Kernels()[static_cast<size_t>(d.kernel)],
                           .arguments = d.arguments.data(),
                           .groups = {d.groups.x, d.groups.y, d.groups.z},
                           .threads = d.threads,
                           .seed = seed_++});
  }
  pending_.clear();
  return fault.empty() ? Status() : Status(ErrorCode::kInternal, fault);
}

Status EmulatedDevice::Finish() {
  Status status = RunPending();
  uploads_.clear();
  return status.ok() ? MayFail("finish") : status;
}

std::unique_ptr<Backend> MakeEmulatedMetal(uint64_t seed, When when) {
  return std::make_unique<metal::MetalBackend>(std::make_unique<EmulatedDevice>(seed, when));
}

}  // namespace k2::test
