// The families that share the DeepSeek-V3 graph, and what their reference code assumes when a key is absent from
// config.json. Dimensions have no defaults: a config without them is damaged.

/** Defaults of the reference configuration classes. */
export interface Family {
  readonly architectures: readonly string[];
  readonly n_shared_experts: number;
  readonly first_k_dense_replace: number;
  readonly n_group: number;
  readonly topk_group: number;
  readonly norm_topk_prob: boolean;
  readonly routed_scaling_factor: number;
  readonly scoring_func: string;
  readonly topk_method: string;
  readonly rms_norm_eps: number;
  readonly max_position_embeddings: number;
  /** Whether a config without `n_routed_experts` describes a dense model. */
  readonly mayBeDense: boolean;
}

const DEEPSEEK_V3: Family = {
  architectures: ["DeepseekV3ForCausalLM", "KimiK2ForCausalLM"],
  n_shared_experts: 1,
  first_k_dense_replace: 3,
  n_group: 8,
  topk_group: 4,
  norm_topk_prob: true,
  routed_scaling_factor: 2.5,
  scoring_func: "sigmoid",
  topk_method: "noaux_tc",
  rms_norm_eps: 1e-6,
  max_position_embeddings: 4096,
  mayBeDense: false,
};

const DEEPSEEK_V2: Family = {
  architectures: ["DeepseekV2ForCausalLM"],
  n_shared_experts: 0,
  first_k_dense_replace: 0,
  n_group: 1,
  topk_group: 1,
  norm_topk_prob: false,
  routed_scaling_factor: 1,
  scoring_func: "softmax",
  topk_method: "greedy",
  rms_norm_eps: 1e-6,
  max_position_embeddings: 2048,
  mayBeDense: true,
};

const GLM4_MOE_LITE: Family = {
  ...DEEPSEEK_V3,
  architectures: ["Glm4MoeLiteForCausalLM"],
  first_k_dense_replace: 1,
  n_group: 1,
  topk_group: 1,
  routed_scaling_factor: 1.8,
  rms_norm_eps: 1e-5,
  max_position_embeddings: 202_752,
};

const FAMILIES: ReadonlyMap<string, Family> = new Map([
  ["kimi_k2", DEEPSEEK_V3],
  ["deepseek_v3", DEEPSEEK_V3],
  ["deepseek_v2", DEEPSEEK_V2],
  ["glm4_moe_lite", GLM4_MOE_LITE],
]);

export const MODEL_TYPES: readonly string[] = [...FAMILIES.keys()];

/** The family of a `model_type`, or undefined. */
export function familyOf(modelType: string): Family | undefined {
  return FAMILIES.get(modelType);
}

/** The `model_type` that an architecture stands for, or undefined. */
export function modelTypeOf(architecture: string): string | undefined {
  return MODEL_TYPES.findLast((type) => FAMILIES.get(type)!.architectures.includes(architecture));
}
