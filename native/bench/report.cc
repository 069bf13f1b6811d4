#include "bench/report.h"

#include <cstdarg>
#include <cstdio>
#include <cstdlib>

namespace k2::bench {
namespace {

std::string Format(const char* form, ...) __attribute__((format(printf, 1, 2)));
std::string Format(const char* form, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, form);
  std::vsnprintf(text, sizeof(text), form, arguments);
  va_end(arguments);
  return text;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return quoted + "\"";
}

std::string JsonSpread(const Spread& s, double factor = 1) {
  return Format("{\"median\": %.6g, \"least\": %.6g, \"greatest\": %.6g}", factor * s.median,
                factor * s.least, factor * s.greatest);
}

std::string Milliseconds(double seconds) {
  return seconds < 1e-3 ? Format("%.1f us", 1e6 * seconds) : Format("%.2f ms", 1e3 * seconds);
}

// Processes that wanted to run in the last minute; below 0 where the system does not say.
double LoadAverage() {
  double load[1];
  return getloadavg(load, 1) == 1 ? load[0] : -1;
}

}  // namespace

std::string TableOf(const Bench& bench, const MachineLimits& limits) {
  const Options& options = bench.options();
  std::string text =
      Format("%s kernels, %d threads, %s pages%s; load of the machine %.1f\n\n", bench.isa().c_str(),
             options.threads, PagesName(options.pages),
             options.is_quick ? ", small shapes: figures say nothing about K2" : "", LoadAverage());
  text += "limit             threads     median   (least .. greatest)\n";
  for (const Rate& rate : limits.rates) {
    text += Format("%-17s %7d %10.2f   (%.2f .. %.2f) %s\n", rate.name.c_str(), rate.threads,
                   rate.value.median, rate.value.least, rate.value.greatest, rate.unit.c_str());
  }
  if (bench.outcomes().empty()) return text;
  text += Format("\n%-44s %11s %8s %9s  %s\n", "case", "time", "GB/s", "GFLOP/s",
                 "of the limit (least .. greatest)");
  for (const Outcome& one : bench.outcomes()) {
    if (!one.refusal.empty()) {
      text += Format("%-44s refused: %s\n", one.what.name.c_str(), one.refusal.c_str());
      continue;
    }
    const double seconds = one.seconds.median;
    text += Format("%-44s %11s %8.1f %9.1f  %5.1f %% (%.0f .. %.0f) of %s%s\n", one.what.name.c_str(),
                   Milliseconds(seconds).c_str(), 1e-9 * one.what.bytes / seconds,
                   1e-9 * one.what.operations / seconds, 100 * one.fraction.median, 100 * one.fraction.least,
                   100 * one.fraction.greatest, one.bound.c_str(),
                   one.interruptions > kDisturbing ? ", disturbed" : "");
  }
  return text;
}

std::string JsonOf(const Bench& bench, const MachineLimits& limits) {
  const Options& options = bench.options();
  std::string text = Format(
      "{\n  \"isa\": %s,\n  \"threads\": %d,\n  \"pages\": \"%s\",\n  \"quick\": %s,\n  \"load\": %.2f,\n"
      "  \"cacheBytes\": %lld,\n  \"limits\": [",
      Quoted(bench.isa()).c_str(), options.threads, PagesName(options.pages),
      options.is_quick ? "true" : "false", LoadAverage(), static_cast<long long>(limits.cache_bytes));
  const char* separator = "\n";
  for (const Rate& rate : limits.rates) {
    text +=
        Format("%s    {\"name\": %s, \"threads\": %d, \"unit\": \"%s\", \"value\": %s}", separator,
               Quoted(rate.name).c_str(), rate.threads, rate.unit.c_str(), JsonSpread(rate.value).c_str());
    separator = ",\n";
  }
  text += "\n  ],\n  \"cases\": [";
  separator = "\n";
  for (const Outcome& one : bench.outcomes()) {
    text += Format("%s    {\"name\": %s, \"group\": %s, \"tokens\": %lld, \"context\": %lld, ", separator,
                   Quoted(one.what.name).c_str(), Quoted(one.what.group).c_str(),
                   static_cast<long long>(one.what.tokens), static_cast<long long>(one.what.context));
    separator = ",\n";
    if (!one.refusal.empty()) {
      text += "\"refused\": " + Quoted(one.refusal) + "}";
      continue;
    }
    text += Format("\"bytes\": %.0f, \"operations\": %.0f, \"repetitions\": %d, ", one.what.bytes,
                   one.what.operations, one.repetitions);
    text +=
        "\"milliseconds\": " + JsonSpread(one.seconds, 1e3) + ", \"fraction\": " + JsonSpread(one.fraction);
    text += Format(", \"interruptionsPerSecond\": %.1f, \"disturbed\": %s", one.interruptions,
                   one.interruptions > kDisturbing ? "true" : "false");
    text +=
        Format(", \"gigabytesPerSecond\": %.6g, \"gigaflopsPerSecond\": %.6g",
               1e-9 * one.what.bytes / one.seconds.median, 1e-9 * one.what.operations / one.seconds.median);
    text += Format(", \"bound\": %s, \"readLimit\": %.6g, \"arithmeticLimit\": %.6g}",
                   Quoted(one.bound).c_str(), 1e-9 * one.read_rate, 1e-9 * one.arithmetic_rate);
  }
  return text + "\n  ]\n}\n";
}

}  // namespace k2::bench
