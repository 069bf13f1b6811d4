#include "base/dtype.h"

namespace k2 {

const char* StorageName(Storage storage) {
  switch (storage) {
    case Storage::kBf16:
      return "BF16";
    case Storage::kF16:
      return "F16";
    case Storage::kF32:
      return "F32";
    case Storage::kF8E4m3:
      return "F8_E4M3";
    case Storage::kInt4:
      return "INT4";
  }
  return "unknown";
}

}  // namespace k2
