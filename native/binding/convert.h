// JavaScript values to native structs. lib/addon/contract.ts has the same shapes in TypeScript, and lib/ has
// checked the values already; what is checked here is only that a wrong shape cannot crash.
#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "engine/engine.h"

namespace k2 {

Result<ModelSpec> ReadSpec(const Napi::Value& value);
Result<EngineOptions> ReadEngineOptions(const Napi::Value& value);
Result<SamplingOptions> ReadSampling(const Napi::Value& value);

struct WeightTable {
  std::vector<std::string> files;
  std::vector<WeightRow> rows;
};
Result<WeightTable> ReadWeightTable(const Napi::Value& value);

Result<TokenBytes> ReadTokenBytes(const Napi::Value& pool, const Napi::Value& offsets);
Result<std::shared_ptr<const GrammarProgram>> ReadGrammar(const Napi::Value& value, int64_t vocab);

Result<std::vector<int32_t>> ReadIds(const Napi::Value& value, const char* name);
Result<std::string> ReadText(const Napi::Value& value, const char* name);

}  // namespace k2
