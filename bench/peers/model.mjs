// One synthetic model of K2's architecture as two files with the same weights.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { writeGguf, writeSafetensors } from "./files.mjs";
import { bf16ToF32, SHAPE as S, transposed, WeightMaker } from "./weights.mjs";

const QUANTIZATION = {
  quant_method: "compressed-tensors",
  format: "pack-quantized",
  config_groups: {
    group_0: {
      targets: ["Linear"],
      input_activations: null,
      output_activations: null,
      weights: {
        num_bits: 4,
        type: "int",
        symmetric: true,
        strategy: "group",
        group_size: 32,
        dynamic: false,
        actorder: null,
      },
    },
  },
  ignore: [
    "lm_head",
    "re:.*self_attn.*",
    "re:.*shared_experts.*",
    "re:.*mlp\\.(gate|up|gate_up|down)_proj.*",
  ],
  kv_cache_scheme: null,
};

const CONFIG = {
  architectures: ["DeepseekV3ForCausalLM"],
  model_type: "kimi_k2",
  vocab_size: S.vocab,
  hidden_size: S.hidden,
  num_hidden_layers: S.layers,
  num_attention_heads: S.heads,
  num_key_value_heads: S.heads,
  q_lora_rank: S.qRank,
  kv_lora_rank: S.kvRank,
  qk_nope_head_dim: S.nope,
  qk_rope_head_dim: S.rope,
  v_head_dim: S.value,
  intermediate_size: S.denseWidth,
  moe_intermediate_size: S.expertWidth,
  n_routed_experts: S.experts,
  num_experts_per_tok: S.chosen,
  n_shared_experts: S.shared,
  first_k_dense_replace: S.denseLayers,
  moe_layer_freq: 1,
  n_group: 1,
  topk_group: 1,
  scoring_func: "sigmoid",
  topk_method: "noaux_tc",
  norm_topk_prob: true,
  routed_scaling_factor: S.scaling,
  rms_norm_eps: 1e-6,
  rope_theta: S.ropeTheta,
  max_position_embeddings: S.context,
  hidden_act: "silu",
  attention_bias: false,
  tie_word_embeddings: false,
  num_nextn_predict_layers: 0,
  bos_token_id: S.vocab - 2,
  eos_token_id: S.vocab - 1,
  quantization_config: QUANTIZATION,
};

/** 256 bytes, fillers and two control tokens: no text is ever encoded, but llama.cpp wants a tokenizer. */
function tokenizerKeys() {
  const tokens = [];
  let extra = 256;
  for (let byte = 0; byte < 256; byte += 1) {
    const isPlain = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    tokens.push(String.fromCodePoint(isPlain ? byte : extra++));
  }
  while (tokens.length < S.vocab - 2) tokens.push(`<filler${tokens.length}>`);
  tokens.push("[BOS]", "[EOS]");
  return [
    ["tokenizer.ggml.model", "string", "gpt2"],
    ["tokenizer.ggml.pre", "string", "kimi-k2"],
    ["tokenizer.ggml.tokens", "string", tokens],
    ["tokenizer.ggml.token_type", "i32", tokens.map((_, index) => (index >= S.vocab - 2 ? 3 : 1))],
    ["tokenizer.ggml.merges", "string", ["a b"]],
    ["tokenizer.ggml.bos_token_id", "u32", S.vocab - 2],
    ["tokenizer.ggml.eos_token_id", "u32", S.vocab - 1],
    ["tokenizer.ggml.add_bos_token", "bool", false],
  ];
}

function ggufKeys() {
  const own = [
    ["vocab_size", "u32", S.vocab],
    ["context_length", "u32", S.context],
    ["embedding_length", "u32", S.hidden],
    ["block_count", "u32", S.layers],
    ["feed_forward_length", "u32", S.denseWidth],
    ["leading_dense_block_count", "u32", S.denseLayers],
    ["attention.head_count", "u32", S.heads],
    ["attention.head_count_kv", "u32", 1],
    ["attention.layer_norm_rms_epsilon", "f32", 1e-6],
    ["attention.q_lora_rank", "u32", S.qRank],
    ["attention.kv_lora_rank", "u32", S.kvRank],
    ["attention.key_length", "u32", S.kvRank + S.rope],
    ["attention.value_length", "u32", S.kvRank],
    ["attention.key_length_mla", "u32", S.nope + S.rope],
    ["attention.value_length_mla", "u32", S.value],
    ["rope.dimension_count", "u32", S.rope],
    ["rope.freq_base", "f32", S.ropeTheta],
    ["expert_count", "u32", S.experts],
    ["expert_used_count", "u32", S.chosen],
    ["expert_shared_count", "u32", S.shared],
    ["expert_feed_forward_length", "u32", S.expertWidth],
    ["expert_group_count", "u32", 1],
    ["expert_group_used_count", "u32", 1],
    ["expert_weights_scale", "f32", S.scaling],
    ["expert_weights_norm", "bool", true],
    ["expert_gating_func", "u32", 2], // sigmoid
  ];
  return [
    ["general.architecture", "string", "deepseek2"],
    ["general.name", "string", "K2 slice"],
    ["general.alignment", "u32", 32],
    ...own.map(([key, type, value]) => [`deepseek2.${key}`, type, value]),
    ...tokenizerKeys(),
  ];
}

/** All tensors for both files, each with its content in memory: about a gigabyte and a half. */
function makeTensors(seed) {
  const maker = new WeightMaker(seed);
  const checkpoint = [];
  const gguf = [];
  const contents = new Map();
  const add = (list, entry, content) => {
    list.push(entry);
    contents.set(entry.name, content);
  };
  const matrix = (name, peer, rows, columns, { spread, peerType = "BF16" } = {}) => {
    const data = maker.bf16(rows, columns, spread);
    add(checkpoint, { name: `${name}.weight`, dtype: "BF16", shape: [rows, columns] }, data);
    const peerData = peerType === "F32" ? bf16ToF32(data) : data;
    if (peer) add(gguf, { name: `${peer}.weight`, type: peerType, dims: [columns, rows] }, peerData);
    return data;
  };
  const norm = (name, peer, length) => {
    const data = maker.norm(length);
    add(checkpoint, { name: `${name}.weight`, dtype: "BF16", shape: [length] }, data);
    add(gguf, { name: `${peer}.weight`, type: "F32", dims: [length] }, bf16ToF32(data));
  };
  const experts = (prefix, peer, kind, rows, columns) => {
    const stacked = [];
    for (let expert = 0; expert < S.experts; expert += 1) {
      const { words, scales, q4 } = maker.int4(rows, columns);
      const name = `${prefix}.experts.${expert}.${kind}_proj`;
      add(checkpoint, { name: `${name}.weight_packed`, dtype: "I32", shape: [rows, columns / 8] }, words);
      add(checkpoint, { name: `${name}.weight_scale`, dtype: "BF16", shape: [rows, columns / 32] }, scales);
      const shape = Buffer.from(Int32Array.of(rows, columns).buffer);
      add(checkpoint, { name: `${name}.weight_shape`, dtype: "I32", shape: [2] }, shape);
      stacked.push(q4);
    }
    const dims = [columns, rows, S.experts];
    add(gguf, { name: `${peer}.ffn_${kind}_exps.weight`, type: "Q4_0", dims }, Buffer.concat(stacked));
  };
  const swiglu = (name, peer, suffix, width) => {
    matrix(`${name}.gate_proj`, `${peer}.ffn_gate${suffix}`, width, S.hidden);
    matrix(`${name}.up_proj`, `${peer}.ffn_up${suffix}`, width, S.hidden);
    matrix(`${name}.down_proj`, `${peer}.ffn_down${suffix}`, S.hidden, width);
  };

  matrix("model.embed_tokens", "token_embd", S.vocab, S.hidden, { spread: 1 });
  for (let layer = 0; layer < S.layers; layer += 1) {
    const at = `model.layers.${layer}`;
    const peer = `blk.${layer}`;
    norm(`${at}.input_layernorm`, `${peer}.attn_norm`, S.hidden);
    matrix(`${at}.self_attn.q_a_proj`, `${peer}.attn_q_a`, S.qRank, S.hidden);
    norm(`${at}.self_attn.q_a_layernorm`, `${peer}.attn_q_a_norm`, S.qRank);
    matrix(`${at}.self_attn.q_b_proj`, `${peer}.attn_q_b`, S.heads * (S.nope + S.rope), S.qRank);
    matrix(`${at}.self_attn.kv_a_proj_with_mqa`, `${peer}.attn_kv_a_mqa`, S.kvRank + S.rope, S.hidden);
    norm(`${at}.self_attn.kv_a_layernorm`, `${peer}.attn_kv_a_norm`, S.kvRank);
    const kvB = matrix(`${at}.self_attn.kv_b_proj`, undefined, S.heads * (S.nope + S.value), S.kvRank);
    const row = 2 * S.kvRank;
    const heads = Array.from({ length: S.heads }, (_, head) => head * (S.nope + S.value));
    const keys = heads.map((first) =>
      transposed(kvB.subarray(first * row, (first + S.nope) * row), S.nope, S.kvRank),
    );
    const values = heads.map((first) =>
      kvB.subarray((first + S.nope) * row, (first + S.nope + S.value) * row),
    );
    const split = (name, dims, parts) =>
      add(gguf, { name: `${peer}.${name}.weight`, type: "BF16", dims }, Buffer.concat(parts));
    split("attn_k_b", [S.nope, S.kvRank, S.heads], keys);
    split("attn_v_b", [S.kvRank, S.value, S.heads], values);
    matrix(`${at}.self_attn.o_proj`, `${peer}.attn_output`, S.hidden, S.heads * S.value);
    norm(`${at}.post_attention_layernorm`, `${peer}.ffn_norm`, S.hidden);
    if (layer < S.denseLayers) {
      swiglu(`${at}.mlp`, peer, "", S.denseWidth);
      continue;
    }
    matrix(`${at}.mlp.gate`, `${peer}.ffn_gate_inp`, S.experts, S.hidden, { peerType: "F32" });
    const bias = maker.bias(S.experts);
    const biasName = `${at}.mlp.gate.e_score_correction_bias`;
    add(checkpoint, { name: biasName, dtype: "F32", shape: [S.experts] }, bias);
    add(gguf, { name: `${peer}.exp_probs_b.bias`, type: "F32", dims: [S.experts] }, bias);
    experts(`${at}.mlp`, peer, "gate", S.expertWidth, S.hidden);
    experts(`${at}.mlp`, peer, "up", S.expertWidth, S.hidden);
    experts(`${at}.mlp`, peer, "down", S.hidden, S.expertWidth);
    swiglu(`${at}.mlp.shared_experts`, peer, "_shexp", S.shared * S.expertWidth);
  }
  norm("model.norm", "output_norm", S.hidden);
  matrix("lm_head", "output", S.vocab, S.hidden);
  return { checkpoint, gguf, contentOf: (name) => contents.get(name) };
}

/** Writes both files into `folder`; gives their paths. */
export function writeModels(folder, seed) {
  const { checkpoint, gguf, contentOf } = makeTensors(seed);
  const ours = join(folder, "checkpoint");
  mkdirSync(ours, { recursive: true });
  writeFileSync(join(ours, "config.json"), `${JSON.stringify(CONFIG, null, 2)}\n`);
  writeSafetensors(join(ours, "model.safetensors"), checkpoint, contentOf);
  const peer = join(folder, "model.gguf");
  writeGguf(peer, ggufKeys(), gguf, contentOf);
  return { ours, peer };
}
