// Small checkpoints with random weights for tests: any config of the family, any stored form per part of the model,
// any number of shards, with or without the prefix of a multimodal wrapper. Names and shapes are written down here
// independently of lib/checkpoint, which has to agree with them.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { seededRandom } from "./random";
import { encodeSafetensors, type TensorData, toBf16, toPlain } from "./safetensors-writer";

export type PlainForm = "BF16" | "F16" | "F32";
/** `INT4`: groups of `groupSize` columns; `INT4 channel`: one scale per row. */
export type WeightForm = PlainForm | "FP8" | "INT4" | "INT4 channel";

export interface WeightOptions {
  readonly seed?: number;
  /** Forms of the parts; BF16 where not given. */
  readonly attention?: WeightForm;
  readonly dense?: WeightForm;
  readonly shared?: WeightForm;
  readonly experts?: WeightForm;
  readonly embedding?: PlainForm | "FP8";
  readonly head?: PlainForm | "FP8";
  readonly norms?: PlainForm;
  readonly router?: PlainForm;
  readonly routerBias?: PlainForm;
  /** Scales of FP8 (F32 unless given) and of INT4 (BF16 unless given). */
  readonly scales?: PlainForm;
  /** INT4 columns per scale; 32 unless given. */
  readonly groupSize?: number;
  /** FP8 rows and columns per scale; 128 x 128 unless given. */
  readonly blockSize?: readonly [number, number];
  /** Content of `.weight_shape`: the true one, numbers without meaning as published files have, or no tensor. */
  readonly weightShape?: "I32" | "I64" | "garbage" | "none";
  /** Put before `model.`; the head gets it too. */
  readonly prefix?: string;
}

/** A tiny K2: one dense layer, two with experts, q_lora, YaRN. Keys can be replaced, or removed with `undefined`. */
export function tinyConfig(overrides: Record<string, unknown> = {}): Record<string, unknown> {
  const config: Record<string, unknown> = {
    architectures: ["DeepseekV3ForCausalLM"],
    model_type: "kimi_k2",
    vocab_size: 320,
    hidden_size: 64,
    num_hidden_layers: 3,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    q_lora_rank: 32,
    kv_lora_rank: 32,
    qk_nope_head_dim: 16,
    qk_rope_head_dim: 8,
    v_head_dim: 16,
    intermediate_size: 96,
    moe_intermediate_size: 32,
    n_routed_experts: 8,
    num_experts_per_tok: 2,
    n_shared_experts: 1,
    first_k_dense_replace: 1,
    moe_layer_freq: 1,
    n_group: 1,
    topk_group: 1,
    scoring_func: "sigmoid",
    topk_method: "noaux_tc",
    norm_topk_prob: true,
    routed_scaling_factor: 2.5,
    rms_norm_eps: 1e-5,
    rope_theta: 50000,
    rope_scaling: {
      type: "yarn",
      factor: 4,
      beta_fast: 1,
      beta_slow: 1,
      mscale: 1,
      mscale_all_dim: 1,
      original_max_position_embeddings: 64,
    },
    max_position_embeddings: 256,
    hidden_act: "silu",
    attention_bias: false,
    tie_word_embeddings: false,
    num_nextn_predict_layers: 0,
    bos_token_id: 300,
    eos_token_id: 302,
    ...overrides,
  };
  for (const key of Object.keys(config)) if (config[key] === undefined) delete config[key];
  return config;
}

/** The `quantization_config` of published INT4 checkpoints. */
export function int4Quantization(groupSize: number | null = 32): Record<string, unknown> {
  const strategy = groupSize === null ? "channel" : "group";
  const weights = {
    num_bits: 4,
    type: "int",
    symmetric: true,
    strategy,
    group_size: groupSize,
    dynamic: false,
  };
  return {
    quant_method: "compressed-tensors",
    format: "pack-quantized",
    config_groups: {
      group_0: {
        targets: ["Linear"],
        input_activations: null,
        output_activations: null,
        weights: { ...weights, actorder: null },
      },
    },
    ignore: ["lm_head"],
    kv_cache_scheme: null,
  };
}

/** The `quantization_config` of published FP8 checkpoints. */
export function fp8Quantization(block: readonly number[] = [128, 128]): Record<string, unknown> {
  return { quant_method: "fp8", fmt: "e4m3", activation_scheme: "dynamic", weight_block_size: [...block] };
}

/** Every tensor that `config` (the text part) asks for, with random content. */
export function makeTensors(config: Record<string, unknown>, options: WeightOptions = {}): TensorData[] {
  const maker = new TensorMaker(options);
  const size = (key: string) => (config[key] as number | null | undefined) ?? 0;
  const D = size("hidden_size");
  const H = size("num_attention_heads");
  const R = size("kv_lora_rank");
  const Rq = size("q_lora_rank");
  const queryRows = H * (size("qk_nope_head_dim") + size("qk_rope_head_dim"));
  const valueRows = H * size("v_head_dim");
  const F = size("moe_intermediate_size");
  const { attention = "BF16", norms = "BF16" } = options;

  maker.matrix("model.embed_tokens", size("vocab_size"), D, options.embedding ?? "BF16");
  for (let layer = 0; layer < size("num_hidden_layers"); layer++) {
    const at = (name: string) => `model.layers.${layer}.${name}`;
    maker.vector(at("input_layernorm.weight"), D, norms);
    maker.vector(at("post_attention_layernorm.weight"), D, norms);
    if (Rq === 0) {
      maker.matrix(at("self_attn.q_proj"), queryRows, D, attention);
    } else {
      maker.matrix(at("self_attn.q_a_proj"), Rq, D, attention);
      maker.vector(at("self_attn.q_a_layernorm.weight"), Rq, norms);
      maker.matrix(at("self_attn.q_b_proj"), queryRows, Rq, attention);
    }
    maker.matrix(at("self_attn.kv_a_proj_with_mqa"), R + size("qk_rope_head_dim"), D, attention);
    maker.vector(at("self_attn.kv_a_layernorm.weight"), R, norms);
    maker.matrix(at("self_attn.kv_b_proj"), H * size("qk_nope_head_dim") + valueRows, R, attention);
    maker.matrix(at("self_attn.o_proj"), D, valueRows, attention);

    const experts = size("n_routed_experts");
    const isMoe =
      experts > 0 && layer >= size("first_k_dense_replace") && layer % (size("moe_layer_freq") || 1) === 0;
    if (!isMoe) {
      maker.swiglu(at("mlp"), D, size("intermediate_size"), options.dense ?? "BF16");
      continue;
    }
    maker.matrix(at("mlp.gate"), experts, D, options.router ?? "BF16");
    if (config.topk_method === "noaux_tc") {
      maker.vector(at("mlp.gate.e_score_correction_bias"), experts, options.routerBias ?? "F32", 0);
    }
    if (size("n_shared_experts") > 0) {
      maker.swiglu(at("mlp.shared_experts"), D, size("n_shared_experts") * F, options.shared ?? "BF16");
    }
    for (let expert = 0; expert < experts; expert++) {
      maker.swiglu(at(`mlp.experts.${expert}`), D, F, options.experts ?? "BF16");
    }
  }
  maker.vector("model.norm.weight", D, norms);
  if (config.tie_word_embeddings !== true) {
    maker.matrix("lm_head", size("vocab_size"), D, options.head ?? "BF16");
  }
  return maker.tensors;
}

/** Collects tensors; every matrix has values of about 1 / sqrt(columns), so that activations keep their size. */
class TensorMaker {
  readonly tensors: TensorData[] = [];
  private readonly random: () => number;

  constructor(private readonly options: WeightOptions) {
    this.random = seededRandom(options.seed ?? 1);
  }

  vector(name: string, length: number, form: PlainForm, centre = 1): void {
    const values = Float32Array.from({ length }, () => centre + 0.2 * (this.random() - 0.5));
    this.push(name, form, [length], toPlain(values, form));
  }

  swiglu(name: string, D: number, F: number, form: WeightForm): void {
    this.matrix(`${name}.gate_proj`, F, D, form);
    this.matrix(`${name}.up_proj`, F, D, form);
    this.matrix(`${name}.down_proj`, D, F, form);
  }

  matrix(name: string, rows: number, columns: number, form: WeightForm): void {
    const spread = Math.sqrt(3 / columns);
    if (form === "FP8") {
      this.fp8(name, rows, columns, spread);
    } else if (form === "INT4" || form === "INT4 channel") {
      const group = form === "INT4" ? (this.options.groupSize ?? 32) : columns;
      this.int4(name, rows, columns, group, spread);
    } else {
      const values = Float32Array.from({ length: rows * columns }, () => spread * (2 * this.random() - 1));
      this.push(`${name}.weight`, form, [rows, columns], toPlain(values, form));
    }
  }

  private fp8(name: string, rows: number, columns: number, spread: number): void {
    const [blockRows, blockColumns] = this.options.blockSize ?? [128, 128];
    // Magnitudes from 1/16 to 15, either sign: no NaN, and all mantissas.
    const data = Uint8Array.from({ length: rows * columns }, () => {
      return Math.floor(this.random() * 64) + 24 + (this.random() < 0.5 ? 128 : 0);
    });
    this.push(`${name}.weight`, "F8_E4M3", [rows, columns], data);
    const shape = [Math.ceil(rows / blockRows), Math.ceil(columns / blockColumns)];
    this.scales(`${name}.weight_scale_inv`, shape, spread / 8, this.options.scales ?? "F32");
  }

  private int4(name: string, rows: number, columns: number, group: number, spread: number): void {
    const data = Uint8Array.from({ length: (rows * columns) / 2 }, () => Math.floor(this.random() * 256));
    this.push(`${name}.weight_packed`, "I32", [rows, columns / 8], data);
    this.scales(`${name}.weight_scale`, [rows, columns / group], spread / 7.5, this.options.scales ?? "BF16");
    const { weightShape = "I32" } = this.options;
    if (weightShape === "none") return;
    const content = weightShape === "garbage" ? [-1752796263, 241597647] : [rows, columns];
    const stated =
      weightShape === "I64"
        ? BigInt64Array.from(content.map(BigInt)).buffer
        : Int32Array.from(content).buffer;
    this.push(`${name}.weight_shape`, weightShape === "I64" ? "I64" : "I32", [2], new Uint8Array(stated));
  }

  private scales(name: string, shape: number[], scale: number, form: PlainForm): void {
    const values = Float32Array.from({ length: shape[0]! * shape[1]! }, () => scale * (0.5 + this.random()));
    this.push(name, form, shape, form === "BF16" ? toBf16(values) : toPlain(values, form));
  }

  private push(name: string, dtype: string, shape: number[], data: Uint8Array): void {
    this.tensors.push({ name: (this.options.prefix ?? "") + name, dtype, shape, data });
  }
}

export interface CheckpointFiles {
  /** Content of config.json. */
  readonly config: Record<string, unknown>;
  readonly tensors: readonly TensorData[];
  /** Number of shards with an index; 0 (the default) for a single model.safetensors. */
  readonly shards?: number;
  readonly generationConfig?: Record<string, unknown>;
}

/** The tensors of each shard, dealt out in turn: neighbours lie in different files. */
export function dealTensors(tensors: readonly TensorData[], shards: number): Map<string, TensorData[]> {
  const files = new Map<string, TensorData[]>();
  tensors.forEach((tensor, i) => {
    const name = `model-${String((i % shards) + 1).padStart(5, "0")}-of-${String(shards).padStart(6, "0")}.safetensors`;
    files.set(name, [...(files.get(name) ?? []), tensor]);
  });
  return files;
}

/** Writes the files of a checkpoint into `folder`, which is made if needed. */
export function writeCheckpoint(folder: string, files: CheckpointFiles): void {
  mkdirSync(folder, { recursive: true });
  const write = (name: string, content: string | Uint8Array) => writeFileSync(join(folder, name), content);
  write("config.json", JSON.stringify(files.config, null, 2));
  if (files.generationConfig) write("generation_config.json", JSON.stringify(files.generationConfig));
  if (!files.shards) {
    write("model.safetensors", encodeSafetensors(files.tensors));
    return;
  }
  const weightMap: Record<string, string> = {};
  for (const [name, tensors] of dealTensors(files.tensors, files.shards)) {
    write(name, encodeSafetensors(tensors));
    for (const tensor of tensors) weightMap[tensor.name] = name;
  }
  const index = { metadata: { total_size: 1 }, weight_map: weightMap };
  write("model.safetensors.index.json", JSON.stringify(index, null, 2));
}

/** A new empty folder and a function that deletes it. */
export function temporaryFolder(): { folder: string; remove: () => void } {
  const folder = mkdtempSync(join(tmpdir(), "k2-native-"));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
