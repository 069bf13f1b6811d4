// k2_bench: what every op and whole layers of K2 reach of what this machine can do.
#include <cstdio>

#include "bench/report.h"

namespace k2::bench {
namespace {

constexpr int kDone = 0, kFailed = 1, kWrongUsage = 2, kRefusals = 3;

int Fail(const Status& status, int code) {
  std::fprintf(stderr, "k2_bench: %s\n", status.message().c_str());
  return code;
}

int Main(int count, const char* const* words) {
  const Result<Options> read = ReadOptions(count, words);
  if (!read.ok()) return Fail(read.status(), kWrongUsage);
  const Options& options = read.value();
  if (options.is_help) {
    std::fputs(kUsage, stdout);
    return kDone;
  }
  Result<std::unique_ptr<Bench>> made = Bench::Create(options);
  if (!made.ok()) return Fail(made.status(), kFailed);
  Bench& bench = *made.value();
  MachineLimits limits{LastCacheBytes(), {}};
  if (!options.lists_cases) {
    const MachineOptions machine{.threads = options.threads,
                                 .buffer_bytes = int64_t{options.is_quick ? 16 : 1024} << 20,
                                 .repetitions = options.is_quick ? 2 : 5};
    Result<MachineLimits> measured = MeasureMachine(machine);
    if (!measured.ok()) return Fail(measured.status(), kFailed);
    limits = std::move(measured.value());
  }
  if (options.filter != "limits") {
    RunRowCases(bench);
    RunLinearCases(bench);
    RunExpertCases(bench);
    RunAttentionCases(bench);
    RunLayerCases(bench);
  }
  if (options.lists_cases) return kDone;
  std::fputs((options.is_json ? JsonOf(bench, limits) : TableOf(bench, limits)).c_str(), stdout);
  for (const Outcome& one : bench.outcomes()) {
    if (!one.refusal.empty()) return kRefusals;
  }
  return kDone;
}

}  // namespace
}  // namespace k2::bench

int main(int count, char** words) { return k2::bench::Main(count, words); }
