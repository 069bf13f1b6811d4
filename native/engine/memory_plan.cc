// What an engine will take, computed before it takes anything; and the rules about its options.
#include <string>

#include "engine/engine.h"

namespace k2 {
namespace {

constexpr int64_t kLeastExpandedTokens = 192;

}  // namespace

Status CheckEngineOptions(const EngineOptions& o) {
  const BackendEntry* entry = FindBackend(o.device);
  if (entry == nullptr) {
    return Status(ErrorCode::kInvalidArgument, "Expected a known device, got \"" + o.device + "\"");
  }
  if (const std::string absent = entry->absent_because(); !absent.empty()) {
    return Status(ErrorCode::kUnavailable,
                  "Expected device \"" + o.device + "\" to be usable here, got: " + absent);
  }
  const struct {
    const char* name;
    int64_t value, least, most;
  } numbers[] = {{"threads", o.threads, 1, 1024},
                 {"contextTokens", o.context_tokens, 1, int64_t{1} << 24},
                 {"batchTokens", o.batch_tokens, 1, 65536},
                 {"prefixCacheBytes", o.prefix_cache_bytes, 0, int64_t{1} << 53},
                 {"prefixCacheDirectoryBytes", o.prefix_cache_directory_bytes, 0, int64_t{1} << 53},
                 {"expertMemory", o.expert_memory_bytes, 0, int64_t{1} << 53},
                 {"expertCopyBytes", o.expert_copy_bytes, 0, int64_t{1} << 53}};
  for (const auto& number : numbers) {
    if (number.value >= number.least && number.value <= number.most) continue;
    return Status(ErrorCode::kInvalidArgument, "Expected " + std::to_string(number.least) + ".." +
                                                   std::to_string(number.most) + " for " + number.name +
                                                   ", got " + std::to_string(number.value));
  }
  return {};
}

BackendOptions BackendOptionsOf(const EngineOptions& options) {
  return {.threads = options.threads,
          .isa = options.isa,
          .activations = options.activations,
          .cache_type = options.cache_type,
          .expert_copy_bytes = options.expert_memory_bytes > 0 ? 0 : options.expert_copy_bytes};
}

Result<MemoryPlan> PlanMemory(const ModelSpec& spec, const EngineOptions& options) {
  K2_RETURN_IF_ERROR(CheckSpec(spec));
  K2_RETURN_IF_ERROR(CheckEngineOptions(options));
  Result<std::unique_ptr<Backend>> backend = FindBackend(options.device)->make(BackendOptionsOf(options));
  if (!backend.ok()) return backend.status();
  const BackendShapes shapes = spec.Shapes(options.batch_tokens);
  MemoryPlan plan;
  plan.cache_bytes_per_token = spec.layers * backend.value()->CacheBytesPerToken(shapes);
  plan.page_tokens = KvCache::kPageTokens;
  plan.scratch_bytes =
      KimiK2::ActivationBytes(spec, options.batch_tokens) + backend.value()->ScratchBytes(shapes);
  return plan;
}

AttentionForm ChooseForm(const ModelSpec& s, AttentionChoice choice, int64_t call_tokens) {
  if (choice == AttentionChoice::kAbsorbed) return AttentionForm::kAbsorbed;
  if (choice == AttentionChoice::kExpanded) return AttentionForm::kExpanded;
  // Per cached position and head: absorbed costs 2 (2R + Dr) operations a query, expanded 2 (Dn + Dr + Dv) a
  // query and 2 R (Dn + Dv) once, so K2 breaks even at 171 queries. Short calls stay absorbed whatever the
  // sizes: that form gives the bits of token-by-token decoding, and for small models the difference in time
  // is nothing.
  if (call_tokens < kLeastExpandedTokens) return AttentionForm::kAbsorbed;
  const int64_t saved_per_query = 2 * s.kv_rank - s.nope_dim - s.value_dim;
  const int64_t cost_once = s.kv_rank * (s.nope_dim + s.value_dim);
  return call_tokens * saved_per_query > cost_once ? AttentionForm::kExpanded : AttentionForm::kAbsorbed;
}

}  // namespace k2
