// config.json of the DeepSeek-V3 graph: Kimi K2 and its relatives. Every value that decides a number of the model is
// read here, checked, and kept under its name in the file; what the engine does not compute is refused by name.

import { ConfigReader } from "./config-reader";
import type { CheckpointFile } from "./faults";
import type { JsonObject } from "./json-file";
import { type Family, familyOf, MODEL_TYPES, modelTypeOf } from "./model-families";
import { type BlockSize, readQuantization } from "./quantization-config";
import { type RopeScaling, readRope } from "./rope-config";

/** The text model's fields of config.json, named as there. Absent keys have the reference code's defaults. */
export interface ModelConfig {
  readonly model_type: string;
  readonly architectures: readonly string[];
  /** `model_type` of the multimodal wrapper around `text_config`, or null without one. */
  readonly wrapper_model_type: string | null;
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  /** null: the query is projected directly. */
  readonly q_lora_rank: number | null;
  readonly kv_lora_rank: number;
  readonly qk_nope_head_dim: number;
  readonly qk_rope_head_dim: number;
  readonly v_head_dim: number;
  /** Width of dense layers; 0 when there are none and the key is absent. */
  readonly intermediate_size: number;
  /** 0 for a dense model; then the other fields of experts are 0 too. */
  readonly n_routed_experts: number;
  readonly num_experts_per_tok: number;
  readonly n_shared_experts: number;
  readonly moe_intermediate_size: number;
  readonly first_k_dense_replace: number;
  readonly moe_layer_freq: number;
  readonly n_group: number;
  readonly topk_group: number;
  readonly scoring_func: "sigmoid" | "softmax";
  readonly topk_method: "noaux_tc" | "greedy" | "group_limited_greedy";
  readonly norm_topk_prob: boolean;
  readonly routed_scaling_factor: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly rope_scaling: RopeScaling | null;
  readonly max_position_embeddings: number;
  readonly num_nextn_predict_layers: number;
  readonly tie_word_embeddings: boolean;
  readonly bos_token_id: number | null;
  /** All end-of-text ids of config.json, wrapper included. */
  readonly eos_token_id: readonly number[];
  /** As in the file; null when there is none. */
  readonly quantization_config: JsonObject | null;
  /** Block of one FP8 scale. */
  readonly weight_block_size: BlockSize;
}

// Far above every published model, and so low that no product of sizes overflows; native code has the same limits.
const MAX_WIDTH = 2 ** 20;
const MAX_VOCABULARY = 2 ** 24;
const MAX_HEAD_DIM = 2 ** 14;
const MAX_HEADS = 4096;
const MAX_SHARED_EXPERTS = 256;
const MAX_LAYERS = 4096;
const MAX_EXPERTS = 2 ** 16;
const MAX_POSITIONS = 2 ** 31 - 1;

/** Keys that change the graph, with the only value that is implemented; absent and null stand for it. */
const FIXED_VALUES: readonly (readonly [key: string, value: unknown])[] = [
  ["hidden_act", "silu"],
  ["attention_bias", false],
  ["mlp_bias", false],
  ["rope_interleave", true],
  ["partial_rotary_factor", 1],
  ["sliding_window", null],
  ["swiglu_limit", null],
  ["index_topk", null],
  ["linear_attn_config", null],
];

/** Reads and checks a parsed config.json. */
export function parseModelConfig(json: JsonObject, file: CheckpointFile): ModelConfig {
  const outer = new ConfigReader(json, file);
  const text = outer.section("text_config");
  const config = text ?? outer;
  const { model_type, family } = readFamily(config);
  for (const [key, value] of FIXED_VALUES) {
    if (config.has(key) && config.value(key) !== value) throw config.unsupported(key, JSON.stringify(value));
  }
  const dimensions = readDimensions(config);
  const quantizationOwner = config.has("quantization_config") ? config : outer;
  return {
    model_type,
    architectures: config.words("architectures"),
    wrapper_model_type: text === undefined ? null : outer.word("model_type", ""),
    ...dimensions,
    ...readFeedForward(config, family, dimensions.num_hidden_layers),
    rms_norm_eps: config.number("rms_norm_eps", { least: 1e-12, most: 0.1, absent: family.rms_norm_eps }),
    ...readRope(config),
    max_position_embeddings: config.integer("max_position_embeddings", {
      least: 1,
      most: MAX_POSITIONS,
      absent: family.max_position_embeddings,
    }),
    num_nextn_predict_layers: config.integerOrNull("num_nextn_predict_layers", {
      least: 0,
      most: 64,
      absent: 0,
    }),
    tie_word_embeddings: config.flag("tie_word_embeddings", outer.flag("tie_word_embeddings", false)),
    bos_token_id: config.tokenIds("bos_token_id")[0] ?? null,
    eos_token_id: [...new Set([...config.tokenIds("eos_token_id"), ...outer.tokenIds("eos_token_id")])],
    quantization_config: (quantizationOwner.value("quantization_config") ?? null) as JsonObject | null,
    weight_block_size: readQuantization(quantizationOwner),
  };
}

/** The family by `model_type`, or by architecture where that is absent; both must agree. */
function readFamily(config: ConfigReader): { model_type: string; family: Family } {
  const architectures = config.words("architectures");
  const named = config.word("model_type", "");
  const model_type = named === "" ? (modelTypeOf(architectures[0] ?? "") ?? "") : named;
  const family = familyOf(model_type);
  if (family === undefined) {
    const key = named === "" && architectures.length > 0 ? "architectures" : "model_type";
    throw config.unsupported(key, `a model of the DeepSeek-V3 graph (${MODEL_TYPES.join(", ")})`);
  }
  const known = architectures.some((name) => family.architectures.includes(name));
  if (architectures.length > 0 && !known) {
    throw config.unsupported("architectures", `${family.architectures[0]} with model_type ${model_type}`);
  }
  return { model_type, family };
}

function readDimensions(config: ConfigReader) {
  const width = { least: 1, most: MAX_WIDTH };
  const headDim = { least: 1, most: MAX_HEAD_DIM };
  const num_attention_heads = config.integer("num_attention_heads", { least: 1, most: MAX_HEADS });
  const num_key_value_heads = config.integerOrNull("num_key_value_heads", {
    least: 1,
    most: MAX_HEADS,
    absent: num_attention_heads,
  });
  if (num_key_value_heads !== num_attention_heads) {
    throw config.damaged("num_key_value_heads", `num_attention_heads ${num_attention_heads}`);
  }
  const qk_rope_head_dim = config.integer("qk_rope_head_dim", { least: 2, most: MAX_HEAD_DIM });
  if (qk_rope_head_dim % 2 !== 0) {
    throw config.damaged("qk_rope_head_dim", "an even number (rope turns pairs)");
  }
  return {
    vocab_size: config.integer("vocab_size", { least: 1, most: MAX_VOCABULARY }),
    hidden_size: config.integer("hidden_size", width),
    num_hidden_layers: config.integer("num_hidden_layers", { least: 1, most: MAX_LAYERS }),
    num_attention_heads,
    num_key_value_heads,
    q_lora_rank: config.has("q_lora_rank") ? config.integer("q_lora_rank", width) : null,
    kv_lora_rank: config.integer("kv_lora_rank", width),
    qk_nope_head_dim: config.integer("qk_nope_head_dim", headDim),
    qk_rope_head_dim,
    v_head_dim: config.integer("v_head_dim", headDim),
  };
}

function readFeedForward(config: ConfigReader, family: Family, layers: number) {
  const width = { least: 1, most: MAX_WIDTH };
  const n_routed_experts = config.integerOrNull("n_routed_experts", {
    least: 1,
    most: MAX_EXPERTS,
    absent: config.value("n_routed_experts") === null || family.mayBeDense ? 0 : undefined,
  });
  const moe_layer_freq = config.integer("moe_layer_freq", { least: 1, most: MAX_LAYERS, absent: 1 });
  const first_k_dense_replace = readFirstDense(config, family, layers);
  const isMoe = (layer: number) =>
    n_routed_experts > 0 && isMoeLayer(layer, first_k_dense_replace, moe_layer_freq);
  const moeLayers = Array.from({ length: layers }, (_, layer) => layer).filter(isMoe).length;
  return {
    intermediate_size: config.integer("intermediate_size", {
      ...width,
      absent: moeLayers < layers ? undefined : 0,
    }),
    n_routed_experts,
    first_k_dense_replace,
    moe_layer_freq,
    ...(n_routed_experts > 0 ? readRouting(config, family, n_routed_experts) : NO_EXPERTS),
  };
}

/** Whether a layer has experts, in a model with experts. */
export function isMoeLayer(layer: number, firstDense: number, frequency: number): boolean {
  return layer >= firstDense && layer % frequency === 0;
}

/** `first_k_dense_replace`, or the same fact in its newer spelling `mlp_layer_types`. */
function readFirstDense(config: ConfigReader, family: Family, layers: number): number {
  const types = config.has("mlp_layer_types") ? config.words("mlp_layer_types") : undefined;
  const sparse = types?.indexOf("sparse") ?? -1;
  const listed = types && (sparse < 0 ? layers : sparse);
  const first = config.integer("first_k_dense_replace", {
    least: 0,
    most: MAX_LAYERS,
    absent: listed ?? family.first_k_dense_replace,
  });
  const agrees = types?.every((type, layer) => type === (layer < first ? "dense" : "sparse")) ?? true;
  if (!agrees) throw config.unsupported("mlp_layer_types", `${first} dense layers, then sparse ones`);
  return first;
}

const NO_EXPERTS = {
  num_experts_per_tok: 0,
  n_shared_experts: 0,
  moe_intermediate_size: 0,
  n_group: 1,
  topk_group: 1,
  scoring_func: "softmax",
  topk_method: "greedy",
  norm_topk_prob: false,
  routed_scaling_factor: 1,
} as const;

function readRouting(config: ConfigReader, family: Family, experts: number) {
  const { scoring_func, topk_method } = readMethod(config, family);
  const num_experts_per_tok = config.integer("num_experts_per_tok", { least: 1, most: experts });
  const n_group = config.integerOrNull("n_group", { least: 1, most: experts, absent: family.n_group });
  const topk_group = config.integerOrNull("topk_group", {
    least: 1,
    most: n_group,
    absent: Math.min(family.topk_group, n_group),
  });
  if (topk_method !== "greedy") {
    if (experts % n_group !== 0) throw config.damaged("n_group", `a divisor of n_routed_experts ${experts}`);
    const groupSize = experts / n_group;
    if (num_experts_per_tok > groupSize * topk_group) {
      throw config.damaged("num_experts_per_tok", `at most ${groupSize * topk_group} (topk_group groups)`);
    }
    if (topk_method === "noaux_tc" && n_group > 1 && groupSize < 2) {
      throw config.damaged("n_group", "groups of at least two experts");
    }
  }
  return {
    num_experts_per_tok,
    n_shared_experts: config.integerOrNull("n_shared_experts", {
      least: 0,
      most: MAX_SHARED_EXPERTS,
      absent: config.value("n_shared_experts") === null ? 0 : family.n_shared_experts,
    }),
    moe_intermediate_size: config.integer("moe_intermediate_size", { least: 1, most: MAX_WIDTH }),
    n_group,
    topk_group,
    scoring_func,
    topk_method,
    norm_topk_prob: config.flag("norm_topk_prob", family.norm_topk_prob),
    routed_scaling_factor: config.number("routed_scaling_factor", {
      least: 1e-6,
      most: 1e6,
      absent: family.routed_scaling_factor,
    }),
  };
}

/** The pairs of scoring and choice that a reference implementation defines. */
function readMethod(config: ConfigReader, family: Family) {
  const scoring_func = config.word("scoring_func", family.scoring_func);
  const topk_method = config.word("topk_method", family.topk_method);
  if (scoring_func !== "sigmoid" && scoring_func !== "softmax") {
    throw config.unsupported("scoring_func", '"sigmoid" or "softmax"');
  }
  if (topk_method !== "noaux_tc" && topk_method !== "greedy" && topk_method !== "group_limited_greedy") {
    throw config.unsupported("topk_method", '"noaux_tc", "greedy" or "group_limited_greedy"');
  }
  if ((scoring_func === "sigmoid") !== (topk_method === "noaux_tc")) {
    throw config.unsupported("topk_method", `a method that goes with scoring_func "${scoring_func}"`);
  }
  return { scoring_func, topk_method } as const;
}
