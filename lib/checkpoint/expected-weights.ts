// Every weight that a config asks for: its slot, its name below the model's prefix, and its shape in letters of
// docs/shapes.md. This is the table that the headers are checked against.

import { WeightSlot } from "../addon/contract";
import { isMoeLayer, type ModelConfig } from "./model-config";

/**
 * How a weight may be stored. `vector` and `router` are plain numbers (BF16, F16, F32); `table` (embedding and head)
 * may also be FP8; `matrix` may also be INT4.
 */
export type WeightKind = "vector" | "router" | "table" | "matrix";

export interface ExpectedWeight {
  readonly slot: WeightSlot;
  /** -1 outside of the layers. */
  readonly layer: number;
  /** -1 for everything but routed experts. */
  readonly expert: number;
  /** 1 for a vector. */
  readonly rows: number;
  readonly columns: number;
  readonly kind: WeightKind;
  /** Name of the module without layer prefix and without `.weight`, such as `self_attn.o_proj`. */
  readonly module: string;
}

/** All weights in the order of the forward pass, some at a time. With tied embeddings there is no head. */
export function* expectedWeights(config: ModelConfig): Generator<readonly ExpectedWeight[]> {
  const D = config.hidden_size;
  const V = config.vocab_size;
  const root = { layer: -1, expert: -1 };
  yield [{ ...root, slot: WeightSlot.Embed, rows: V, columns: D, kind: "table", module: "embed_tokens" }];
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const isMoe =
      config.n_routed_experts > 0 && isMoeLayer(layer, config.first_k_dense_replace, config.moe_layer_freq);
    yield attention(config, layer);
    if (isMoe) yield* experts(config, layer);
    else yield dense(config, layer);
  }
  yield [{ ...root, slot: WeightSlot.FinalNorm, rows: 1, columns: D, kind: "vector", module: "norm" }];
  if (config.tie_word_embeddings) return;
  yield [{ ...root, slot: WeightSlot.Head, rows: V, columns: D, kind: "table", module: "lm_head" }];
}

function attention(config: ModelConfig, layer: number): ExpectedWeight[] {
  const D = config.hidden_size;
  const H = config.num_attention_heads;
  const R = config.kv_lora_rank;
  const Rq = config.q_lora_rank;
  const Dn = config.qk_nope_head_dim;
  const Dr = config.qk_rope_head_dim;
  const Dv = config.v_head_dim;
  const vector = { layer, expert: -1, rows: 1, kind: "vector" } as const;
  const matrix = { layer, expert: -1, kind: "matrix" } as const;
  const query: ExpectedWeight[] =
    Rq === null
      ? [{ ...matrix, slot: WeightSlot.Q, rows: H * (Dn + Dr), columns: D, module: "self_attn.q_proj" }]
      : [
          { ...matrix, slot: WeightSlot.QA, rows: Rq, columns: D, module: "self_attn.q_a_proj" },
          { ...vector, slot: WeightSlot.QANorm, columns: Rq, module: "self_attn.q_a_layernorm" },
          { ...matrix, slot: WeightSlot.QB, rows: H * (Dn + Dr), columns: Rq, module: "self_attn.q_b_proj" },
        ];
  return [
    { ...vector, slot: WeightSlot.InputNorm, columns: D, module: "input_layernorm" },
    ...query,
    { ...matrix, slot: WeightSlot.KvA, rows: R + Dr, columns: D, module: "self_attn.kv_a_proj_with_mqa" },
    { ...vector, slot: WeightSlot.KvANorm, columns: R, module: "self_attn.kv_a_layernorm" },
    { ...matrix, slot: WeightSlot.KvB, rows: H * (Dn + Dv), columns: R, module: "self_attn.kv_b_proj" },
    { ...matrix, slot: WeightSlot.O, rows: D, columns: H * Dv, module: "self_attn.o_proj" },
    { ...vector, slot: WeightSlot.PostAttentionNorm, columns: D, module: "post_attention_layernorm" },
  ];
}

function dense(config: ModelConfig, layer: number): ExpectedWeight[] {
  return swiglu(DENSE_SLOTS, layer, -1, "mlp", config.hidden_size, config.intermediate_size);
}

function* experts(config: ModelConfig, layer: number): Generator<readonly ExpectedWeight[]> {
  const D = config.hidden_size;
  const E = config.n_routed_experts;
  const F = config.moe_intermediate_size;
  const here = { layer, expert: -1 };
  yield [{ ...here, slot: WeightSlot.Router, rows: E, columns: D, kind: "router", module: "mlp.gate" }];
  if (config.topk_method === "noaux_tc") {
    const module = "mlp.gate.e_score_correction_bias";
    yield [{ ...here, slot: WeightSlot.RouterBias, rows: 1, columns: E, kind: "vector", module }];
  }
  if (config.n_shared_experts > 0) {
    // All shared experts together are stored, and computed, as one wide expert.
    yield swiglu(SHARED_SLOTS, layer, -1, "mlp.shared_experts", D, config.n_shared_experts * F);
  }
  for (let expert = 0; expert < E; expert++) {
    yield swiglu(EXPERT_SLOTS, layer, expert, `mlp.experts.${expert}`, D, F);
  }
}

type SwigluSlots = readonly [gate: WeightSlot, up: WeightSlot, down: WeightSlot];

const DENSE_SLOTS: SwigluSlots = [WeightSlot.DenseGate, WeightSlot.DenseUp, WeightSlot.DenseDown];
const SHARED_SLOTS: SwigluSlots = [WeightSlot.SharedGate, WeightSlot.SharedUp, WeightSlot.SharedDown];
const EXPERT_SLOTS: SwigluSlots = [WeightSlot.ExpertGate, WeightSlot.ExpertUp, WeightSlot.ExpertDown];

function swiglu(
  [gate, up, down]: SwigluSlots,
  layer: number,
  expert: number,
  module: string,
  D: number,
  F: number,
): ExpectedWeight[] {
  const kind = "matrix";
  return [
    { slot: gate, layer, expert, rows: F, columns: D, kind, module: `${module}.gate_proj` },
    { slot: up, layer, expert, rows: F, columns: D, kind, module: `${module}.up_proj` },
    { slot: down, layer, expert, rows: D, columns: F, kind, module: `${module}.down_proj` },
  ];
}
