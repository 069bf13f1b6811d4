#include "binding/convert.h"

#include "binding/handles.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace k2 {
namespace {

Status Expected(const char* what, const std::string& name) {
  return Status(ErrorCode::kInvalidArgument,
                std::string("Expected ") + what + " for " + name + ", got something else");
}

// Reads fields of one object; remembers the first that is wrong.
class Fields {
 public:
  explicit Fields(const Napi::Value& value) {
    if (value.IsObject()) {
      object_ = value.As<Napi::Object>();
    } else {
      status_ = Expected("an object", "the argument");
    }
  }

  double Number(const char* name) {
    if (!status_.ok()) return 0;
    const Napi::Value value = object_.Get(name);
    if (!value.IsNumber()) {
      status_ = Expected("a number", name);
      return 0;
    }
    return value.As<Napi::Number>().DoubleValue();
  }

  int64_t Integer(const char* name) {
    const double number = Number(name);
    if (status_.ok() && !(std::fabs(number) <= 0x1p53 && number == std::floor(number))) {
      status_ = Expected("an integer", name);
    }
    return status_.ok() ? static_cast<int64_t>(number) : 0;
  }

  std::string Text(const char* name) {
    if (!status_.ok()) return {};
    const Napi::Value value = object_.Get(name);
    if (!value.IsString()) {
      status_ = Expected("a string", name);
      return {};
    }
    return value.As<Napi::String>().Utf8Value();
  }

  // A copy of a typed array; empty when the field is undefined.
  template <typename T>
  std::vector<T> Array(const char* name, napi_typedarray_type type) {
    if (!status_.ok()) return {};
    const Napi::Value value = object_.Get(name);
    if (value.IsUndefined()) return {};
    if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
      status_ = Expected("a typed array", name);
      return {};
    }
    const auto array = value.As<Napi::TypedArrayOf<T>>();
    std::vector<T> copy(array.ElementLength());
    if (!copy.empty()) std::memcpy(copy.data(), array.Data(), copy.size() * sizeof(T));
    return copy;
  }

  Napi::Value Value(const char* name) { return status_.ok() ? object_.Get(name) : Napi::Value(); }
  const Status& status() const { return status_; }

 private:
  Napi::Object object_;
  Status status_;
};

}  // namespace

Result<ModelSpec> ReadSpec(const Napi::Value& value) {
  Fields f(value);
  ModelSpec spec;
  spec.hidden = f.Integer("hiddenSize");
  spec.layers = f.Integer("layers");
  spec.heads = f.Integer("heads");
  spec.q_rank = f.Integer("qRank");
  spec.kv_rank = f.Integer("kvRank");
  spec.nope_dim = f.Integer("nopeDim");
  spec.rope_dim = f.Integer("ropeDim");
  spec.value_dim = f.Integer("valueDim");
  spec.vocab = f.Integer("vocabSize");
  spec.dense_width = f.Integer("denseWidth");
  spec.expert_width = f.Integer("expertWidth");
  spec.experts = f.Integer("experts");
  spec.chosen = f.Integer("expertsPerToken");
  spec.shared_experts = f.Integer("sharedExperts");
  spec.first_dense_layers = f.Integer("firstDenseLayers");
  spec.moe_layer_frequency = f.Integer("moeLayerFrequency");
  const int64_t scoring = f.Integer("scoring"), routing = f.Integer("routing");
  spec.groups = f.Integer("groups");
  spec.top_groups = f.Integer("topGroups");
  spec.normalize_top_k = f.Integer("normalizeTopK") != 0;
  spec.routed_scaling = f.Number("routedScaling");
  spec.norm_eps = f.Number("normEps");
  spec.latent_norm_eps = f.Number("latentNormEps");
  spec.rope_theta = f.Number("ropeTheta");
  spec.yarn_factor = f.Number("yarnFactor");
  spec.yarn_beta_fast = f.Number("yarnBetaFast");
  spec.yarn_beta_slow = f.Number("yarnBetaSlow");
  spec.yarn_mscale = f.Number("yarnMscale");
  spec.yarn_mscale_all_dim = f.Number("yarnMscaleAllDim");
  spec.yarn_original_positions = f.Number("yarnOriginalPositions");
  K2_RETURN_IF_ERROR(f.status());
  if (scoring < 0 || scoring > 1) return Expected("0 or 1", "scoring");
  if (routing < 0 || routing > 2) return Expected("0, 1 or 2", "routing");
  spec.scoring = static_cast<Scoring>(scoring);
  spec.routing = static_cast<Routing>(routing);
  return spec;
}

Result<EngineOptions> ReadEngineOptions(const Napi::Value& value) {
  Fields f(value);
  EngineOptions options;
  options.device = f.Text("device");
  options.isa = f.Text("isa");
  const int64_t activations = f.Integer("activations");
  const int64_t threads = f.Integer("threads");
  options.context_tokens = f.Integer("contextTokens");
  const int64_t attention = f.Integer("attention");
  const int64_t cache_type = f.Integer("cacheType");
  options.batch_tokens = f.Integer("batchTokens");
  options.prefix_cache_bytes = f.Integer("prefixCacheBytes");
  options.prefix_cache_directory = f.Text("prefixCacheDirectory");
  options.prefix_cache_directory_bytes = f.Integer("prefixCacheDirectoryBytes");
  const int64_t speculation = f.Integer("speculation");
  options.expert_memory_bytes = f.Integer("expertMemoryBytes");
  options.expert_copy_bytes = f.Integer("expertCopyBytes");
  K2_RETURN_IF_ERROR(f.status());
  if (threads < 1 || threads > 1024) return Expected("1..1024", "threads");
  if (activations < 0 || activations > 1) return Expected("0 or 1", "activations");
  if (attention < 0 || attention > 2) return Expected("0, 1 or 2", "attention");
  if (cache_type < 0 || cache_type > 1) return Expected("0 or 1", "cacheType");
  if (speculation < 0 || speculation > 1) return Expected("0 or 1", "speculation");
  options.threads = static_cast<int>(threads);
  options.speculation = speculation == 0 ? Speculation::kAuto : Speculation::kOff;
  options.activations = static_cast<Activations>(activations);
  options.attention = static_cast<AttentionChoice>(attention);
  options.cache_type = static_cast<CacheType>(cache_type);
  return options;
}

Result<SamplingOptions> ReadSampling(const Napi::Value& value) {
  Fields f(value);
  SamplingOptions o;
  o.max_tokens = f.Integer("maxTokens");
  o.temperature = f.Number("temperature");
  o.top_k = f.Integer("topK");
  o.top_p = f.Number("topP");
  o.min_p = f.Number("minP");
  o.repetition_penalty = f.Number("repetitionPenalty");
  o.presence_penalty = f.Number("presencePenalty");
  o.frequency_penalty = f.Number("frequencyPenalty");
  o.penalty_tokens = f.Integer("penaltyTokens");
  const uint64_t low = static_cast<uint64_t>(f.Integer("seedLow")) & 0xffffffffu;
  const uint64_t high = static_cast<uint64_t>(f.Integer("seedHigh")) & 0xffffffffu;
  o.seed = high << 32 | low;
  o.top_logprobs = f.Integer("topLogprobs");
  o.logprobs = f.Integer("logprobs") != 0;
  o.stop_tokens = f.Array<int32_t>("stopTokens", napi_int32_array);
  o.bias_ids = f.Array<int32_t>("biasIds", napi_int32_array);
  o.bias_values = f.Array<float>("biasValues", napi_float32_array);
  o.mask = f.Array<uint32_t>("mask", napi_uint32_array);
  K2_RETURN_IF_ERROR(f.status());
  return o;
}

Result<WeightTable> ReadWeightTable(const Napi::Value& value) {
  Fields f(value);
  WeightTable table;
  const std::vector<double> numbers = f.Array<double>("rows", napi_float64_array);
  const Napi::Value files = f.Value("files");
  K2_RETURN_IF_ERROR(f.status());
  if (!files.IsArray()) return Expected("an array of paths", "files");
  const auto paths = files.As<Napi::Array>();
  for (uint32_t i = 0; i < paths.Length(); ++i) {
    const Napi::Value path = paths.Get(i);
    if (!path.IsString()) return Expected("a path", "files");
    table.files.push_back(path.As<Napi::String>().Utf8Value());
  }
  constexpr size_t kFields = sizeof(WeightRow) / sizeof(double);
  if (numbers.size() % kFields != 0) return Expected("whole rows", "rows");
  table.rows.resize(numbers.size() / kFields);
  if (!numbers.empty()) std::memcpy(table.rows.data(), numbers.data(), numbers.size() * sizeof(double));
  return table;
}

Result<TokenBytes> ReadTokenBytes(const Napi::Value& pool, const Napi::Value& offsets) {
  const auto is = [](const Napi::Value& value, napi_typedarray_type type) {
    return value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == type;
  };
  if (!is(pool, napi_uint8_array)) return Expected("a Uint8Array", "pool");
  if (!is(offsets, napi_uint32_array)) return Expected("a Uint32Array", "offsets");
  const auto bytes = pool.As<Napi::Uint8Array>();
  const auto starts = offsets.As<Napi::Uint32Array>();
  TokenBytes tokens;
  tokens.pool.assign(bytes.Data(), bytes.Data() + bytes.ElementLength());
  tokens.offsets.assign(starts.Data(), starts.Data() + starts.ElementLength());
  const bool is_whole = !tokens.offsets.empty() && tokens.offsets.front() == 0 &&
                        tokens.offsets.back() == tokens.pool.size() &&
                        std::is_sorted(tokens.offsets.begin(), tokens.offsets.end());
  if (!is_whole) return Expected("the beginnings of all tokens and the end", "offsets");
  return tokens;
}

Result<std::shared_ptr<const GrammarProgram>> ReadGrammar(const Napi::Value& value, int64_t vocab) {
  Fields f(value);
  const std::vector<double> code = f.Array<double>("code", napi_float64_array);
  const std::vector<uint32_t> nodes = f.Array<uint32_t>("nodes", napi_uint32_array);
  const std::vector<uint32_t> rules = f.Array<uint32_t>("rules", napi_uint32_array);
  const std::vector<uint32_t> heights = f.Array<uint32_t>("heights", napi_uint32_array);
  const std::vector<uint8_t> pool = f.Array<uint8_t>("pool", napi_uint8_array);
  const Napi::Value imports = f.Value("imports");
  K2_RETURN_IF_ERROR(f.status());
  if (!imports.IsArray()) return Expected("an array of grammars", "imports");
  GrammarSource source{code, nodes, rules, heights, pool, {}};
  const auto handles = imports.As<Napi::Array>();
  for (uint32_t i = 0; i < handles.Length(); ++i) {
    source.imports.push_back(GrammarHandle::Read(handles.Get(i)));
    if (source.imports.back() == nullptr) return Expected("grammars", "imports");
  }
  return GrammarProgram::Read(source, vocab);
}

Result<std::string> ReadText(const Napi::Value& value, const char* name) {
  if (!value.IsString()) return Expected("a string", name);
  return value.As<Napi::String>().Utf8Value();
}

Result<std::vector<int32_t>> ReadIds(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_int32_array) {
    return Expected("an Int32Array", name);
  }
  const auto array = value.As<Napi::Int32Array>();
  std::vector<int32_t> ids(array.ElementLength());
  if (!ids.empty()) std::memcpy(ids.data(), array.Data(), ids.size() * sizeof(int32_t));
  return ids;
}

}  // namespace k2
