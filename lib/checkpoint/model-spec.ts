// The numbers of a ModelConfig as native code wants them: every field a number, nothing left to interpret.

import type { ModelSpec } from "../addon/contract";
import type { ModelConfig } from "./model-config";

/**
 * eps of q_a_layernorm and kv_a_layernorm. The reference implementations build these two norms with their class
 * default and not with rms_norm_eps.
 */
const LATENT_NORM_EPS = 1e-6;

const ROUTING = { noaux_tc: 0, greedy: 1, group_limited_greedy: 2 } as const;

/** The model specification of a checked config. */
export function toModelSpec(config: ModelConfig): ModelSpec {
  const yarn = config.rope_scaling;
  // Plain greedy choice ignores groups, whatever the file says about them.
  const hasGroups = config.topk_method !== "greedy";
  return {
    hiddenSize: config.hidden_size,
    layers: config.num_hidden_layers,
    heads: config.num_attention_heads,
    qRank: config.q_lora_rank ?? 0,
    kvRank: config.kv_lora_rank,
    nopeDim: config.qk_nope_head_dim,
    ropeDim: config.qk_rope_head_dim,
    valueDim: config.v_head_dim,
    vocabSize: config.vocab_size,
    denseWidth: config.intermediate_size,
    expertWidth: config.moe_intermediate_size,
    experts: config.n_routed_experts,
    expertsPerToken: config.num_experts_per_tok,
    sharedExperts: config.n_shared_experts,
    firstDenseLayers: config.first_k_dense_replace,
    moeLayerFrequency: config.moe_layer_freq,
    scoring: config.scoring_func === "sigmoid" ? 0 : 1,
    routing: ROUTING[config.topk_method],
    groups: hasGroups ? config.n_group : 1,
    topGroups: hasGroups ? config.topk_group : 1,
    normalizeTopK: config.norm_topk_prob ? 1 : 0,
    routedScaling: config.routed_scaling_factor,
    normEps: config.rms_norm_eps,
    latentNormEps: LATENT_NORM_EPS,
    ropeTheta: config.rope_theta,
    yarnFactor: yarn?.factor ?? 0,
    yarnBetaFast: yarn?.beta_fast ?? 0,
    yarnBetaSlow: yarn?.beta_slow ?? 0,
    yarnMscale: yarn?.mscale ?? 0,
    yarnMscaleAllDim: yarn?.mscale_all_dim ?? 0,
    yarnOriginalPositions: yarn?.original_max_position_embeddings ?? 0,
  };
}
