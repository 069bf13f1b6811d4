// What k2_bench prints: a table for people, or one JSON object.
#pragma once

#include <string>

#include "bench/bench.h"
#include "measure/machine.h"

namespace k2::bench {

std::string TableOf(const Bench& bench, const MachineLimits& limits);
std::string JsonOf(const Bench& bench, const MachineLimits& limits);

}  // namespace k2::bench
