// Writes a checkpoint of the true size of K2 Thinking with holes instead of weights: 62 shards with real headers,
// 208,215 tensors, 594 GB of apparent size in about 55 MB of disk. Everything that opens a checkpoint can be measured
// on it; its weights are all zero. The names and shapes are written down here again, independently of lib/.
//
//   node tools/make-checkpoint/true-size.mjs <folder>

import { mkdir, open, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const CONFIG = {
  architectures: ["DeepseekV3ForCausalLM"],
  attention_bias: false,
  bos_token_id: 163584,
  eos_token_id: 163586,
  first_k_dense_replace: 1,
  hidden_act: "silu",
  hidden_size: 7168,
  intermediate_size: 18432,
  kv_lora_rank: 512,
  max_position_embeddings: 262144,
  model_type: "kimi_k2",
  moe_intermediate_size: 2048,
  moe_layer_freq: 1,
  n_group: 1,
  n_routed_experts: 384,
  n_shared_experts: 1,
  norm_topk_prob: true,
  num_attention_heads: 64,
  num_experts_per_tok: 8,
  num_hidden_layers: 61,
  num_key_value_heads: 64,
  num_nextn_predict_layers: 0,
  pad_token_id: 163839,
  q_lora_rank: 1536,
  qk_nope_head_dim: 128,
  qk_rope_head_dim: 64,
  quantization_config: {
    config_groups: {
      group_0: {
        input_activations: null,
        output_activations: null,
        targets: ["Linear"],
        weights: {
          actorder: null,
          block_structure: null,
          dynamic: false,
          group_size: 32,
          num_bits: 4,
          observer: "minmax",
          observer_kwargs: {},
          strategy: "group",
          symmetric: true,
          type: "int",
        },
      },
    },
    format: "pack-quantized",
    ignore: [
      "lm_head",
      "re:.*self_attn.*",
      "re:.*shared_experts.*",
      "re:.*mlp\\.(gate|up|gate_up|down)_proj.*",
    ],
    kv_cache_scheme: null,
    quant_method: "compressed-tensors",
    quantization_status: "compressed",
  },
  rms_norm_eps: 1e-5,
  rope_scaling: {
    beta_fast: 1.0,
    beta_slow: 1.0,
    factor: 64.0,
    mscale: 1.0,
    mscale_all_dim: 1.0,
    original_max_position_embeddings: 4096,
    type: "yarn",
  },
  rope_theta: 50000.0,
  routed_scaling_factor: 2.827,
  scoring_func: "sigmoid",
  tie_word_embeddings: false,
  topk_group: 1,
  topk_method: "noaux_tc",
  torch_dtype: "bfloat16",
  v_head_dim: 128,
  vocab_size: 163840,
};

const TYPE_BYTES = { BF16: 2, F32: 4, I32: 4 };

/** One routed expert's matrix: packed nibbles, a BF16 scale per 32 columns, and the shape as two numbers. */
function packed(name, rows, columns) {
  return [
    [`${name}.weight_packed`, "I32", [rows, columns / 8]],
    [`${name}.weight_scale`, "BF16", [rows, columns / 32]],
    [`${name}.weight_shape`, "I32", [2]],
  ];
}

export function layerTensors(layer, experts = CONFIG.n_routed_experts) {
  const prefix = `model.layers.${layer}.`;
  const weight = (name, ...shape) => [`${prefix}${name}.weight`, "BF16", shape];
  const tensors = [
    weight("input_layernorm", 7168),
    weight("post_attention_layernorm", 7168),
    weight("self_attn.kv_a_layernorm", 512),
    weight("self_attn.kv_a_proj_with_mqa", 576, 7168),
    weight("self_attn.kv_b_proj", 16384, 512),
    weight("self_attn.o_proj", 7168, 8192),
    weight("self_attn.q_a_layernorm", 1536),
    weight("self_attn.q_a_proj", 1536, 7168),
    weight("self_attn.q_b_proj", 12288, 1536),
  ];
  const mlp = (name, width) => [
    weight(`${name}.down_proj`, 7168, width),
    weight(`${name}.gate_proj`, width, 7168),
    weight(`${name}.up_proj`, width, 7168),
  ];
  if (layer === 0) return [...tensors, ...mlp("mlp", 18432)];
  tensors.push(weight("mlp.gate", experts, 7168));
  tensors.push([`${prefix}mlp.gate.e_score_correction_bias`, "F32", [experts]]);
  tensors.push(...mlp("mlp.shared_experts", 2048));
  for (let expert = 0; expert < experts; expert++) {
    const name = `${prefix}mlp.experts.${expert}.`;
    tensors.push(
      ...packed(`${name}down_proj`, 7168, 2048),
      ...packed(`${name}gate_proj`, 2048, 7168),
      ...packed(`${name}up_proj`, 2048, 7168),
    );
  }
  return tensors;
}

/** The tensors of each shard: a layer in each, the three matrices around the layers in the last. */
function* shards() {
  for (let layer = 0; layer < 61; layer++) yield layerTensors(layer);
  yield [
    ["lm_head.weight", "BF16", [163840, 7168]],
    ["model.embed_tokens.weight", "BF16", [163840, 7168]],
    ["model.norm.weight", "BF16", [7168]],
  ];
}

/** The order of the reference writer: wide types first (F32 before I32 before BF16), then by name. */
const TYPE_ORDER = ["F32", "I32", "BF16"];
function byTypeThenName([nameA, typeA], [nameB, typeB]) {
  return TYPE_ORDER.indexOf(typeA) - TYPE_ORDER.indexOf(typeB) || (nameA < nameB ? -1 : 1);
}

/**
 * Writes the header and, of each tensor, what `fill` writes to the file; without it the data are a hole. Returns the bytes
 * of data.
 */
export async function writeShard(path, tensors, fill = async () => {}) {
  const entries = { __metadata__: { format: "pt" } };
  const sorted = tensors.toSorted(byTypeThenName);
  let end = 0;
  for (const [name, dtype, shape] of sorted) {
    const begin = end;
    end += shape.reduce((product, size) => product * size, TYPE_BYTES[dtype]);
    entries[name] = { dtype, shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(entries));
  const header = Buffer.alloc(8 + 8 * Math.ceil(json.length / 8), " ");
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  const file = await open(path, "w");
  try {
    await file.write(header);
    await file.truncate(header.length + end);
    for (const [name, dtype] of sorted) {
      const [begin, tensorEnd] = entries[name].data_offsets;
      await fill(file, header.length + begin, tensorEnd - begin, name, dtype);
    }
  } finally {
    await file.close();
  }
  return end;
}

/** Writes the checkpoint into `folder`, which is made if needed. Resolves with what was written, in bytes. */
export async function writeTrueSizeCheckpoint(folder) {
  await mkdir(folder, { recursive: true });
  const weightMap = {};
  let tensors = 0;
  let dataBytes = 0;
  let number = 0;
  for (const shard of shards()) {
    // The published names count their shards with five digits and the total with six.
    const name = `model-${String(++number).padStart(5, "0")}-of-000062.safetensors`;
    dataBytes += await writeShard(join(folder, name), shard);
    tensors += shard.length;
    for (const [tensor] of shard) weightMap[tensor] = name;
  }
  const sorted = Object.fromEntries(
    Object.keys(weightMap)
      .sort()
      .map((name) => [name, weightMap[name]]),
  );
  const index = { metadata: { total_size: dataBytes }, weight_map: sorted };
  const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
  await writeFile(join(folder, "model.safetensors.index.json"), json(index));
  await writeFile(join(folder, "config.json"), json(CONFIG));
  const generation = { eos_token_id: 163586, max_length: 262144 };
  await writeFile(join(folder, "generation_config.json"), json(generation));
  return { tensors, dataBytes, ...(await folderSize(folder)) };
}

/** Apparent size of a folder's files, and the size of the disk blocks that they really take. */
async function folderSize(folder) {
  let apparentBytes = 0;
  let diskBytes = 0;
  for (const name of await readdir(folder)) {
    const { size, blocks } = await stat(join(folder, name));
    apparentBytes += size;
    diskBytes += 512 * blocks;
  }
  return { apparentBytes, diskBytes };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = process.argv[2];
  if (folder === undefined) {
    console.error("usage: node tools/make-checkpoint/true-size.mjs <folder>");
    process.exit(2);
  }
  const written = await writeTrueSizeCheckpoint(folder);
  const gigabytes = (bytes) => `${(bytes / 1e9).toFixed(3)} GB`;
  console.log(`${written.tensors} tensors, ${gigabytes(written.dataBytes)} of weights in ${folder}`);
  console.log(`apparent size ${gigabytes(written.apparentBytes)}, on disk ${gigabytes(written.diskBytes)}`);
  if (written.diskBytes > 1e9) {
    console.error("This file system keeps no holes: the weights take real space. Delete the folder.");
    process.exit(1);
  }
}
