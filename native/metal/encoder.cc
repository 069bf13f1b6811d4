#include "metal/encoder.h"

#include <bit>
#include <utility>

namespace k2::metal {

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

Address Encoder::Keep(const Result<Address>& address) {
  if (address.ok()) return Result<Address>(address).value();
  Fail(address.status());
  return 0;
}

void Encoder::Fail(Status status) {
  if (status_.ok()) status_ = std::move(status);
}

Address Encoder::Of(const void* data, int64_t bytes) {
  if (!ok() || bytes <= 0) return 0;
  return Keep(device_.Share(data, static_cast<size_t>(bytes)));
}

Address Encoder::Of(const Tensor& t) {
  if (t.rows == 0 || t.columns == 0) return 0;
  return Of(t.data, ((t.rows - 1) * t.stride + t.columns) * static_cast<int64_t>(sizeof(float)));
}

Address Encoder::UploadBytes(const void* data, size_t bytes) {
  return ok() && bytes > 0 ? Keep(device_.Upload(data, bytes)) : 0;
}

WeightArguments Encoder::Of(const Weight& weight, bool* is_lasting) {
  WeightArguments w = {};
  w.storage = static_cast<uint>(weight.storage);
  w.scale_storage = static_cast<uint>(weight.scale_storage);
  w.rows = Narrow(weight.rows);
  w.columns = Narrow(weight.columns);
  w.row_bytes = Narrow(weight.row_bytes());
  if (!weight.present() || !ok()) return w;
  const auto share = [&](const void* data, int64_t bytes) -> Address {
    if (!ok()) return 0;
    Result<SharedWeight> shared = device_.ShareWeight(data, static_cast<size_t>(bytes));
    if (!shared.ok()) {
      Fail(shared.status());
      return 0;
    }
    if (is_lasting != nullptr) *is_lasting = *is_lasting && shared.value().is_lasting;
    return shared.value().address;
  };
  w.data = share(weight.data, weight.rows * weight.row_bytes());
  w.is_aligned = (w.data | w.row_bytes) % 4 == 0;
  if (weight.storage != Storage::kF8E4m3 && weight.storage != Storage::kInt4) {
    // A vector is read number by number, whatever it is aligned to.
    if (weight.rows == 1) w.is_aligned = w.data % static_cast<Address>(StorageBytes(weight.storage)) == 0;
    return w;
  }
  w.block_rows = Narrow(weight.block_rows);
  w.block_columns = Narrow(weight.block_columns);
  w.block_shift =
      std::has_single_bit(w.block_columns) ? static_cast<uint>(std::countr_zero(w.block_columns)) : 32;
  w.scale_columns = Narrow(weight.scale_columns());
  const int64_t scale_rows = (weight.rows + weight.block_rows - 1) / weight.block_rows;
  const int64_t scale_bytes = StorageBytes(weight.scale_storage);
  w.scales = share(weight.scales, scale_rows * weight.scale_columns() * scale_bytes);
  w.are_scales_aligned = w.scales % static_cast<Address>(scale_bytes) == 0;
  return w;
}

void Encoder::DispatchBytes(const std::string& kernel, const void* arguments, size_t bytes, Grid groups,
                            uint32_t threads) {
  if (!ok() || groups.x == 0 || groups.y == 0 || groups.z == 0) return;
  Result<int> found = device_.Kernel(kernel);
  if (!found.ok()) return Fail(found.status());
  if (Status status = device_.Dispatch(found.value(), arguments, bytes, groups, threads); !status.ok()) {
    Fail(std::move(status));
  }
}

Status Encoder::Finish() {
  // Always, so that nothing runs on while its memory is given back.
  if (Status status = device_.Finish(); !status.ok()) Fail(std::move(status));
  return std::exchange(status_, Status());
}

}  // namespace k2::metal
