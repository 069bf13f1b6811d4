#include "cuda/encoder.h"

#include <utility>

namespace k2::cuda {
namespace {

constexpr size_t kChunkBytes = size_t{1} << 20;

}  // namespace

const char* FormatName(Storage storage) {
  switch (storage) {
    case Storage::kBf16:
      return "bf16";
    case Storage::kF16:
      return "f16";
    case Storage::kF32:
      return "f32";
    case Storage::kF8E4m3:
      return "fp8";
    case Storage::kInt4:
      return "int4";
  }
  return "";
}

Encoder::Encoder(Device& device)
    : device_(device), host_(device), weights_(device), uploads_(device, kChunkBytes, "a step") {}

void Encoder::Fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

Address Encoder::Use(const void* data, int64_t bytes, Access access) {
  if (!ok() || bytes <= 0) return 0;
  Result<Address> address = host_.Use(data, static_cast<size_t>(bytes), access);
  if (address.ok()) return address.value();
  Fail(address.status());
  return 0;
}

Address Encoder::Use(const Tensor& t, Access access) {
  if (t.rows == 0 || t.columns == 0) return 0;
  return Use(t.data, ((t.rows - 1) * t.stride + t.columns) * static_cast<int64_t>(sizeof(float)), access);
}

WeightArguments Encoder::Of(const Weight& weight, Layout layout, bool* is_lasting) {
  if (!ok()) return {};
  Result<WeightArguments> arguments = weights_.Of(weight, layout, is_lasting);
  if (arguments.ok()) return arguments.value();
  Fail(arguments.status());
  return {};
}

Address Encoder::UploadBytes(const void* data, size_t bytes) {
  if (!ok() || bytes == 0) return 0;
  Result<Address> address = uploads_.Take(bytes);
  Fail(address.ok() ? device_.Write(address.value(), data, bytes) : address.status());
  return ok() ? address.value() : 0;
}

Status Encoder::Finish() {
  Fail(host_.EndStep(ok()));
  weights_.EndStep();
  uploads_.Clear();
  return std::exchange(status_, Status());
}

}  // namespace k2::cuda
