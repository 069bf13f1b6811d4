#include "bench/options.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

namespace k2::bench {
namespace {

Status Wrong(const std::string& expected, const std::string& name, const std::string& got) {
  return Status(ErrorCode::kInvalidArgument, "Expected " + expected + " for " + name + ", got " + got);
}

Result<double> ReadNumber(const std::string& name, const std::string& text, double least, double most) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  if (!text.empty() && *end == 0 && value >= least && value <= most) return value;
  return Wrong("a number of " + std::to_string(static_cast<int>(least)) + ".." +
                   std::to_string(static_cast<int>(most)),
               name, "\"" + text + "\"");
}

}  // namespace

const char kUsage[] =
    "Usage: k2_bench [--json] [--quick] [--list] [--filter TEXT] [--threads COUNT] [--isa NAME]\n"
    "                [--activations 16-bit|int8] [--pages huge|small|file] [--seconds SECONDS]\n"
    "\n"
    "Measures every op and whole layers at the shapes of Kimi K2, each as a fraction of what this machine "
    "can\n"
    "do, measured in turn with it. An op whose numbers are wrong gets no figure.\n"
    "\n"
    "  --json      one JSON object on standard output\n"
    "  --quick     small shapes and few repetitions: whether everything runs, not how fast\n"
    "  --list      only the names of the cases\n"
    "  --filter    only the cases whose name contains TEXT; \"limits\" measures the machine alone\n"
    "  --threads   threads that compute (default: one per processor)\n"
    "  --isa       a set of kernels by name (default: the best of this processor)\n"
    "  --activations  what inputs of INT4 weights are rounded to (default: 16-bit)\n"
    "  --pages     pages of the weights: 2 MiB (huge, default), 4 KiB (small), or a mapped file\n"
    "  --seconds   time for each case (default: 1.5)\n";

const char* PagesName(Pages pages) {
  return pages == Pages::kHuge ? "huge" : pages == Pages::kSmall ? "small" : "file";
}

Result<Options> ReadOptions(int count, const char* const* words) {
  Options options;
  options.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  for (int i = 1; i < count; ++i) {
    const std::string name = words[i];
    bool* const known = name == "--json"    ? &options.is_json
                        : name == "--quick" ? &options.is_quick
                        : name == "--help"  ? &options.is_help
                        : name == "--list"  ? &options.lists_cases
                                            : nullptr;
    if (known != nullptr) {
      *known = true;
      continue;
    }
    const bool has_value = name == "--filter" || name == "--threads" || name == "--isa" ||
                           name == "--activations" || name == "--pages" || name == "--seconds";
    if (!has_value) return Wrong("a flag (see --help)", "k2_bench", "\"" + name + "\"");
    if (i + 1 == count) return Wrong("a value", name, "none");
    const std::string value = words[++i];
    if (name == "--filter") options.filter = value;
    if (name == "--isa") options.isa = value;
    if (name == "--activations") {
      if (value != "16-bit" && value != "int8") return Wrong("16-bit or int8", name, "\"" + value + "\"");
      options.activations = value == "int8" ? k2::Activations::kInt8 : k2::Activations::k16Bit;
    }
    if (name == "--threads" || name == "--seconds") {
      const Result<double> number = ReadNumber(name, value, name == "--threads" ? 1 : 0, 1024);
      if (!number.ok()) return number.status();
      if (name == "--threads") options.threads = static_cast<int>(number.value());
      if (name == "--seconds") options.seconds = number.value();
    }
    if (name == "--pages") {
      if (value != "huge" && value != "small" && value != "file")
        return Wrong("huge, small or file", name, "\"" + value + "\"");
      options.pages = value == "huge" ? Pages::kHuge : value == "small" ? Pages::kSmall : Pages::kFile;
    }
  }
  if (options.is_quick) options.seconds = 0;
  return options;
}

}  // namespace k2::bench
