#include "bench/bench.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <sstream>

namespace k2::bench {
namespace {

constexpr int kLeastGroups = 3, kMostGroups = 40;
// A timed piece is made at least that long by repeating it: the clock and the wake-up of threads then do not
// count.
constexpr double kLeastSeconds = 0.002;
constexpr double kEnoughReadBytes = 64 << 20;
constexpr size_t kMostReadBytes = size_t{512} << 20;
constexpr int64_t kArithmeticIterations = 20000;

std::vector<MemoryPart> Limited(std::vector<MemoryPart> parts) {
  size_t bytes = 0, count = 0;
  while (count < parts.size() && bytes < kMostReadBytes) bytes += parts[count++].size;
  parts.resize(count);
  return parts;
}

// Times that this process had to leave a processor although it had work.
int64_t Interruptions() {
  rusage usage = {};
  return getrusage(RUSAGE_SELF, &usage) == 0 ? usage.ru_nivcsw : 0;
}

double BytesIn(const std::vector<MemoryPart>& parts) {
  double bytes = 0;
  for (const MemoryPart& part : parts) bytes += static_cast<double>(part.size);
  return bytes;
}

}  // namespace

ModelSpec TrueShapes() {
  ModelSpec s;
  s.hidden = 7168;
  s.layers = 2;
  s.heads = 64;
  s.q_rank = 1536;
  s.kv_rank = 512;
  s.nope_dim = 128;
  s.rope_dim = 64;
  s.value_dim = 128;
  s.vocab = 8192;
  s.dense_width = 18432;
  s.expert_width = 2048;
  s.experts = 384;
  s.chosen = 8;
  s.shared_experts = 1;
  s.first_dense_layers = 1;
  s.routed_scaling = 2.827;
  s.rope_theta = 50000;
  s.yarn_factor = 64;
  s.yarn_beta_fast = 1;
  s.yarn_mscale_all_dim = 1;
  return s;
}

ModelSpec QuickShapes() {
  ModelSpec s = TrueShapes();
  s.hidden = 512;
  s.heads = 4;
  s.q_rank = 128;
  s.kv_rank = 64;
  s.nope_dim = 32;
  s.rope_dim = 16;
  s.value_dim = 32;
  s.vocab = 512;
  s.dense_width = 1024;
  s.expert_width = 128;
  s.experts = 16;
  s.chosen = 4;
  return s;
}

Result<std::unique_ptr<Bench>> Bench::Create(const Options& options) {
  constexpr int64_t kMega = 1 << 20;
  Result<Material> material = Material::Create((options.is_quick ? 32 : 1536) * kMega,
                                               (options.is_quick ? 16 : 2400) * kMega, options.pages);
  if (!material.ok()) return material.status();
  std::unique_ptr<Bench> bench(new Bench(options, std::move(material.value())));
  bench->spec_ = options.is_quick ? QuickShapes() : TrueShapes();
  bench->shapes_ = bench->spec_.Shapes(options.is_quick ? 32 : 512);
  const auto make = [&](const char* name, const BackendOptions& how,
                        std::unique_ptr<Backend>& out) -> Status {
    Result<std::unique_ptr<Backend>> made = FindBackend(name)->make(how);
    if (!made.ok()) return made.status();
    out = std::move(made.value());
    return out->Prepare(bench->shapes_);
  };
  K2_RETURN_IF_ERROR(
      make("cpu", {.threads = options.threads, .isa = options.isa, .activations = options.activations},
           bench->backend_));
  K2_RETURN_IF_ERROR(make("reference", {}, bench->reference_));
  std::istringstream best(FindBackend("cpu")->kernel_sets());
  best >> bench->isa_;
  if (!options.isa.empty()) bench->isa_ = options.isa;
  const KernelArithmetic arithmetic =
      ArithmeticOfKernels(bench->isa_.c_str(), options.activations == k2::Activations::kInt8);
  bench->arithmetic_ = FindArithmetic(arithmetic.name);
  bench->int4_arithmetic_ = FindArithmetic(arithmetic.int4);
  bench->int4_products_ = arithmetic.int4_products;
  bench->isa_ = bench->backend_->kernel_set();
  if (bench->arithmetic_ == nullptr || bench->int4_arithmetic_ == nullptr)
    return Status(ErrorCode::kInternal, "Expected a limit for " + bench->isa_ + ", got none");
  Result<std::unique_ptr<ThreadPool>> pool = ThreadPool::Create(options.threads);
  if (!pool.ok()) return pool.status();
  bench->pool_ = std::move(pool.value());
  return bench;
}

bool Bench::Wants(const std::string& name) {
  if (name.find(options_.filter) == std::string::npos) return false;
  if (options_.lists_cases) std::printf("%s\n", name.c_str());
  return !options_.lists_cases;
}

int64_t Bench::Variants(int64_t bytes) const {
  const int64_t wanted =
      options_.is_quick ? int64_t{4} << 20 : std::max<int64_t>(8 * LastCacheBytes(), 1 << 28);
  return std::clamp<int64_t>(wanted / std::max<int64_t>(bytes, 1), 2, 64);
}

void Bench::Run(Case what) {
  Outcome outcome;
  what.compute(0);
  std::string refusal = backend_->Synchronize().message();
  if (refusal.empty() && what.check) refusal = what.check();
  if (refusal.empty()) outcome = Time(what);
  outcome.refusal = std::move(refusal);
  outcome.what = std::move(what);
  outcome.what.compute = nullptr;
  outcome.what.reads = nullptr;
  outcome.what.check = nullptr;
  if (isatty(STDERR_FILENO)) std::fprintf(stderr, "\r%-60s\r", outcome.what.name.c_str());
  outcomes_.push_back(std::move(outcome));
}

void Bench::Refuse(const std::string& name, const std::string& why) {
  Outcome outcome;
  outcome.what.name = name;
  outcome.refusal = why;
  outcomes_.push_back(std::move(outcome));
}

Outcome Bench::Time(const Case& what) {
  int64_t run = 1;
  double start = SecondsNow();
  what.compute(run++);
  const double once = SecondsNow() - start;
  const int64_t repeats =
      std::clamp<int64_t>(static_cast<int64_t>(kLeastSeconds / std::max(once, 1e-9)) + 1, 1, 10000);
  const int64_t tasks = 4 * pool_->threads() * (once > 0.05 ? 4 : 1);

  const Arithmetic& arithmetic = what.is_int4 ? *int4_arithmetic_ : *arithmetic_;
  const double operations = what.operations * (what.is_int4 ? int4_products_ : 1);

  const auto compute = [&] {
    const double begin = SecondsNow();
    for (int64_t i = 0; i < repeats; ++i) what.compute(run++);
    return (SecondsNow() - begin) / static_cast<double>(repeats);
  };
  // Bytes per second of the memory that would come next, in one piece: the limit knows no barriers.
  const auto read = [&] {
    std::vector<MemoryPart> parts;
    for (int64_t i = 0; i < repeats && (i == 0 || BytesIn(parts) < kEnoughReadBytes); ++i) {
      const std::vector<MemoryPart> more = what.reads(run++);
      parts.insert(parts.end(), more.begin(), more.end());
    }
    parts = Limited(std::move(parts));
    return BytesIn(parts) / TimeRead(*pool_, parts);
  };
  const auto multiply = [&] {
    return arithmetic.operations * static_cast<double>(tasks * kArithmeticIterations) /
           TimeArithmetic(*pool_, arithmetic, tasks, kArithmeticIterations);
  };

  std::vector<double> seconds, fractions, read_rates, arithmetic_rates;
  start = SecondsNow();
  const int64_t interruptions = Interruptions();
  for (int group = 0; group < kMostGroups; ++group) {
    if (group >= kLeastGroups && SecondsNow() - start > options_.seconds) break;
    const double first = compute(), read_first = read(), multiplied = multiply();
    const double multiplied_again = multiply(), read_last = read(), last = compute();
    // Rates of two equal amounts have their harmonic mean.
    const double read_rate = 2 / (1 / read_first + 1 / read_last);
    const double arithmetic_rate = 2 / (1 / multiplied + 1 / multiplied_again);
    seconds.push_back((first + last) / 2);
    read_rates.push_back(read_rate);
    arithmetic_rates.push_back(arithmetic_rate);
    fractions.push_back(std::max(what.bytes / read_rate, operations / arithmetic_rate) / seconds.back());
  }
  Outcome outcome;
  outcome.interruptions = static_cast<double>(Interruptions() - interruptions) / (SecondsNow() - start);
  outcome.repetitions = static_cast<int>(seconds.size());
  outcome.seconds = SpreadOf(std::move(seconds));
  outcome.fraction = SpreadOf(std::move(fractions));
  outcome.read_rate = SpreadOf(std::move(read_rates)).median;
  outcome.arithmetic_rate = SpreadOf(std::move(arithmetic_rates)).median;
  const bool is_read = what.bytes / outcome.read_rate > operations / outcome.arithmetic_rate;
  outcome.bound = is_read ? "read" : arithmetic.name;
  return outcome;
}

}  // namespace k2::bench
