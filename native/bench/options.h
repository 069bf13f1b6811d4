// The command line of k2_bench.
#pragma once

#include <string>

#include "base/status.h"
#include "measure/page_buffer.h"
#include "ops/backend.h"

namespace k2::bench {

struct Options {
  bool is_json = false;
  bool is_quick = false;  // small shapes and few repetitions: whether it runs, not how fast
  bool is_help = false;
  bool lists_cases = false;
  std::string filter;  // only cases whose name contains it; "limits" stands for the machine alone
  std::string isa;     // empty: the best that the processor has
  k2::Activations activations = k2::Activations::k16Bit;
  int threads = 0;  // 0: one per processor
  Pages pages = Pages::kHuge;
  double seconds = 1.5;  // spent on each case at least, unless many repetitions are done sooner
};

Result<Options> ReadOptions(int count, const char* const* words);
const char* PagesName(Pages pages);

extern const char kUsage[];

}  // namespace k2::bench
