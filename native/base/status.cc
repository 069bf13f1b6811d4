#include "base/status.h"

namespace k2 {

const char* ErrorCodeName(ErrorCode code) {
  static constexpr const char* kNames[] = {
      "ok",           "invalid-argument", "invalid-checkpoint",
      "io",           "out-of-memory",    "unavailable",
      "context-full", "numerical-fault",  "invalid-state",
      "aborted",      "damaged-file",     "incompatible-file",
      "internal",
  };
  return kNames[static_cast<int>(code)];
}

}  // namespace k2
