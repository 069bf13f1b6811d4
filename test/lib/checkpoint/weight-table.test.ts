// The rows of the weight table point at the very bytes of the tensors that they stand for, for every stored form, both
// query projections, tied embeddings, wrappers, and beside tensors that do not matter.

import { readFileSync } from "node:fs";
import { afterAll, describe, expect, it } from "vitest";
import { Storage, WEIGHT_FIELDS, WeightField, WeightSlot } from "../../../lib/addon/contract";
import { type Checkpoint, openCheckpoint } from "../../../lib/checkpoint/open-checkpoint";
import { K2Error } from "../../../lib/errors";
import type { TensorData } from "../../support/safetensors-writer";
import {
  fp8Quantization,
  int4Quantization,
  makeTensors,
  temporaryFolder,
  tinyConfig,
  type WeightOptions,
  writeCheckpoint,
} from "../../support/write-checkpoint";

const { folder: root, remove } = temporaryFolder();
afterAll(remove);
let folders = 0;

async function open(
  config: Record<string, unknown>,
  tensors: readonly TensorData[],
  shards = 0,
): Promise<Checkpoint> {
  const folder = `${root}/${folders++}`;
  writeCheckpoint(folder, { config, tensors, shards });
  return openCheckpoint(folder);
}

const MODULES: Record<WeightSlot, string> = {
  [WeightSlot.Embed]: "model.embed_tokens",
  [WeightSlot.FinalNorm]: "model.norm",
  [WeightSlot.Head]: "lm_head",
  [WeightSlot.InputNorm]: "input_layernorm",
  [WeightSlot.PostAttentionNorm]: "post_attention_layernorm",
  [WeightSlot.Q]: "self_attn.q_proj",
  [WeightSlot.QA]: "self_attn.q_a_proj",
  [WeightSlot.QANorm]: "self_attn.q_a_layernorm",
  [WeightSlot.QB]: "self_attn.q_b_proj",
  [WeightSlot.KvA]: "self_attn.kv_a_proj_with_mqa",
  [WeightSlot.KvANorm]: "self_attn.kv_a_layernorm",
  [WeightSlot.KvB]: "self_attn.kv_b_proj",
  [WeightSlot.O]: "self_attn.o_proj",
  [WeightSlot.DenseGate]: "mlp.gate_proj",
  [WeightSlot.DenseUp]: "mlp.up_proj",
  [WeightSlot.DenseDown]: "mlp.down_proj",
  [WeightSlot.Router]: "mlp.gate",
  [WeightSlot.RouterBias]: "mlp.gate.e_score_correction_bias",
  [WeightSlot.SharedGate]: "mlp.shared_experts.gate_proj",
  [WeightSlot.SharedUp]: "mlp.shared_experts.up_proj",
  [WeightSlot.SharedDown]: "mlp.shared_experts.down_proj",
  [WeightSlot.ExpertGate]: "gate_proj",
  [WeightSlot.ExpertUp]: "up_proj",
  [WeightSlot.ExpertDown]: "down_proj",
};

const STORAGE: Record<string, Storage> = {
  BF16: Storage.Bf16,
  F16: Storage.F16,
  F32: Storage.F32,
  F8_E4M3: Storage.F8E4m3,
  I32: Storage.Int4,
};

/** Compares every row with the tensors by content, and sees that all tensors of the model were used. */
function expectRows(checkpoint: Checkpoint, tensors: readonly TensorData[], prefix = ""): void {
  const { files, rows } = checkpoint.weightTable;
  const contents = files.map((path) => readFileSync(path));
  const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
  const unused = new Set(byName.keys());
  expect(rows.length % WEIGHT_FIELDS).toBe(0);
  for (let start = 0; start < rows.length; start += WEIGHT_FIELDS) {
    const field = (index: WeightField) => rows[start + index]!;
    const bytesAt = (file: WeightField, offset: WeightField, bytes: WeightField) => {
      return contents[field(file)]!.subarray(field(offset), field(offset) + field(bytes));
    };
    const [layer, expert] = [field(WeightField.Layer), field(WeightField.Expert)];
    const inLayer = layer < 0 ? "" : `model.layers.${layer}.`;
    const inExpert = expert < 0 ? "" : `mlp.experts.${expert}.`;
    const module = prefix + inLayer + inExpert + MODULES[field(WeightField.Slot) as WeightSlot];
    const suffixes = ["", ".weight", ".weight_packed"];
    const tensor = suffixes
      .map((suffix) => byName.get(module + suffix))
      .find((found) => found !== undefined)!;
    expect(tensor, module).toBeDefined();
    unused.delete(tensor.name);
    unused.delete(`${module}.weight_shape`);

    expect(field(WeightField.Storage)).toBe(STORAGE[tensor.dtype]);
    expect(bytesAt(WeightField.File, WeightField.Offset, WeightField.Bytes).equals(tensor.data)).toBe(true);
    const isInt4 = tensor.dtype === "I32";
    const [rowCount, columns] =
      tensor.shape.length === 1 ? [1, tensor.shape[0]!] : (tensor.shape as number[]);
    expect([field(WeightField.Rows), field(WeightField.Columns)]).toEqual([
      rowCount,
      isInt4 ? 8 * columns! : columns,
    ]);

    const scale = byName.get(`${module}.weight_scale`) ?? byName.get(`${module}.weight_scale_inv`);
    if (scale === undefined) {
      for (let index = WeightField.ScaleFile; index <= WeightField.BlockColumns; index++) {
        expect(field(index)).toBe(-1);
      }
      continue;
    }
    unused.delete(scale.name);
    const scaleBytes = bytesAt(WeightField.ScaleFile, WeightField.ScaleOffset, WeightField.ScaleBytes);
    expect(scaleBytes.equals(scale.data)).toBe(true);
    expect(field(WeightField.ScaleStorage)).toBe(STORAGE[scale.dtype]);
    expect(Math.ceil(field(WeightField.Rows) / field(WeightField.BlockRows))).toBe(scale.shape[0]);
    expect(Math.ceil(field(WeightField.Columns) / field(WeightField.BlockColumns))).toBe(scale.shape[1]);
  }
  expect([...unused]).toEqual([]);
}

describe("stored forms", () => {
  const cases: [name: string, config: Record<string, unknown>, options: WeightOptions, shards: number][] = [
    ["BF16 in one file", {}, {}, 0],
    ["BF16 in one shard with an index", {}, {}, 1],
    ["F16 everywhere", {}, allParts("F16"), 3],
    ["F32 everywhere", {}, allParts("F32"), 3],
    ["no q_lora", { q_lora_rank: null }, {}, 2],
    ["INT4 experts", { quantization_config: int4Quantization() }, { experts: "INT4" }, 5],
    ["INT4 without quantization_config", {}, { experts: "INT4", weightShape: "none" }, 2],
    [
      "INT4 in groups of 64",
      { moe_intermediate_size: 128 },
      { experts: "INT4", groupSize: 64, scales: "F16" },
      2,
    ],
    ["INT4 per channel", { quantization_config: int4Quantization(null) }, { experts: "INT4 channel" }, 2],
    ["INT4 everywhere", {}, { attention: "INT4", dense: "INT4", shared: "INT4", experts: "INT4" }, 2],
    ["INT4 with I64 shapes", {}, { experts: "INT4", weightShape: "I64" }, 2],
    ["INT4 with garbage in weight_shape", {}, { experts: "INT4", weightShape: "garbage" }, 2],
    [
      "FP8 everywhere, odd blocks",
      { quantization_config: fp8Quantization([24, 40]) },
      { ...allParts("FP8"), blockSize: [24, 40], norms: "BF16", router: "BF16", routerBias: "F32" },
      4,
    ],
    ["FP8 with BF16 scales", {}, { attention: "FP8", experts: "FP8", scales: "BF16" }, 2],
    [
      "mixed",
      {},
      { attention: "FP8", dense: "F16", shared: "INT4 channel", experts: "INT4", router: "F32" },
      3,
    ],
    [
      "softmax routing without bias",
      {
        model_type: "deepseek_v2",
        architectures: ["DeepseekV2ForCausalLM"],
        scoring_func: "softmax",
        topk_method: "greedy",
      },
      {},
      2,
    ],
    ["every second layer with experts", { num_hidden_layers: 5, moe_layer_freq: 2 }, {}, 2],
    ["no shared experts", { n_shared_experts: null }, {}, 0],
    ["two shared experts", { n_shared_experts: 2 }, {}, 0],
    ["dense model", { n_routed_experts: null }, {}, 0],
    [
      "odd sizes",
      { hidden_size: 71, num_attention_heads: 5, num_key_value_heads: 5, v_head_dim: 13, vocab_size: 331 },
      {},
      2,
    ],
  ];
  it.each(cases)("%s", async (_, change, options, shards) => {
    const config = tinyConfig(change);
    const tensors = makeTensors(config, options);
    expectRows(await open(config, tensors, shards), tensors);
  });

  function allParts(form: "F16" | "F32" | "FP8"): WeightOptions {
    const plain = form === "FP8" ? {} : { norms: form, router: form, routerBias: form };
    return {
      attention: form,
      dense: form,
      shared: form,
      experts: form,
      embedding: form,
      head: form,
      ...plain,
    };
  }

  it("FP8 blocks of compressed-tensors, whose scales are named weight_scale", async () => {
    const weights = { num_bits: 8, type: "float", strategy: "block", block_structure: [32, 32] };
    const quantization_config = {
      quant_method: "compressed-tensors",
      config_groups: { group_0: { weights } },
    };
    const config = tinyConfig({ quantization_config });
    const tensors = makeTensors(config, { attention: "FP8", blockSize: [32, 32] }).map((tensor) => {
      return { ...tensor, name: tensor.name.replace("_scale_inv", "_scale") };
    });
    expectRows(await open(config, tensors), tensors);
  });

  it("rows come in the order of the forward pass", async () => {
    const config = tinyConfig({ num_hidden_layers: 2, n_routed_experts: 2 });
    const { weightTable } = await open(config, makeTensors(config), 3);
    const slots: WeightSlot[] = [];
    for (let start = 0; start < weightTable.rows.length; start += WEIGHT_FIELDS)
      slots.push(weightTable.rows[start]!);
    const { InputNorm, QA, QANorm, QB, KvA, KvANorm, KvB, O, PostAttentionNorm } = WeightSlot;
    const attention = [InputNorm, QA, QANorm, QB, KvA, KvANorm, KvB, O, PostAttentionNorm];
    const expert = [WeightSlot.ExpertGate, WeightSlot.ExpertUp, WeightSlot.ExpertDown];
    const shared = [WeightSlot.SharedGate, WeightSlot.SharedUp, WeightSlot.SharedDown];
    expect(slots).toEqual([
      WeightSlot.Embed,
      ...attention,
      ...[WeightSlot.DenseGate, WeightSlot.DenseUp, WeightSlot.DenseDown],
      ...attention,
      ...[WeightSlot.Router, WeightSlot.RouterBias, ...shared, ...expert, ...expert],
      WeightSlot.FinalNorm,
      WeightSlot.Head,
    ]);
  });
});

describe("embeddings, wrappers and tensors that do not matter", () => {
  it("tied embeddings: the head is the embedding, with or without a stored head", async () => {
    const config = tinyConfig({ tie_word_embeddings: true });
    const tensors = makeTensors(config);
    const head = makeTensors(tinyConfig()).at(-1)!;
    expect(head.name).toBe("lm_head.weight");
    for (const stored of [tensors, [...tensors, head]]) {
      const { rows } = (await open(config, stored)).weightTable;
      const embed = rows.slice(0, WEIGHT_FIELDS);
      expect(rows.slice(-WEIGHT_FIELDS)).toEqual(embed.fill(WeightSlot.Head, 0, 1));
    }
  });

  it.each([["language_model."]])("prefix %s", async (prefix) => {
    const text_config = tinyConfig({ num_nextn_predict_layers: 0 });
    const tensors = makeTensors(text_config, { experts: "INT4", prefix });
    const others = [
      "vision_tower.blocks.0.wqkv.weight",
      "mm_projector.proj.0.bias",
      "multi_modal_projector.x",
    ];
    const vision = others.map((name) => ({ name, dtype: "BF16", shape: [2, 3], data: new Uint8Array(12) }));
    const config = {
      model_type: "kimi_k25",
      architectures: ["KimiK25ForConditionalGeneration"],
      text_config,
    };
    const checkpoint = await open(config, [...vision, ...tensors], 2);
    expectRows(checkpoint, tensors, prefix);
    expect(checkpoint.tensorCount).toBe(tensors.length + vision.length);
    expect(checkpoint.weightBytes).toBe(weightBytesOf(tensors));
  });

  it("prefix model.language_model. with the head outside", async () => {
    const text_config = tinyConfig();
    const rename = ({ name, ...rest }: TensorData) => {
      return { ...rest, name: name.replace(/^model\./, "model.language_model.") };
    };
    const tensors = makeTensors(text_config);
    const vision = { name: "model.visual.patch.weight", dtype: "F32", shape: [1], data: new Uint8Array(4) };
    const checkpoint = await open({ model_type: "kimi_vl", text_config }, [...tensors.map(rename), vision]);
    expectRows(checkpoint, tensors);
  });

  it("unprefixed text tensors under a wrapper", async () => {
    const text_config = tinyConfig();
    const tensors = makeTensors(text_config);
    const vision = { name: "visual.patch.weight", dtype: "F32", shape: [1], data: new Uint8Array(4) };
    expectRows(await open({ text_config }, [...tensors, vision]), tensors);
  });

  it("ignores inv_freq, scales of the cache, and layers that predict further tokens", async () => {
    const ignored = [
      "model.layers.0.self_attn.rotary_emb.inv_freq",
      "model.layers.2.self_attn.rotary_emb.inv_freq",
      "model.layers.0.self_attn.k_scale",
      "model.layers.1.self_attn.attn.v_scale",
      "model.layers.3.enorm.weight",
      "model.layers.3.eh_proj.weight",
      "model.layers.3.embed_tokens.weight",
      "model.layers.3.mlp.experts.9.up_proj.weight",
      "model.layers.3.shared_head.head.weight",
    ];
    const extra = ignored.map((name) => ({ name, dtype: "F32", shape: [1], data: new Uint8Array(4) }));
    for (const num_nextn_predict_layers of [0, 1, undefined, null]) {
      const config = tinyConfig({ num_nextn_predict_layers });
      const tensors = makeTensors(config);
      expectRows(await open(config, [...extra, ...tensors], 2), tensors);
    }
  });

  it("does not take a lost layer for a prediction layer", async () => {
    const tensors = makeTensors(tinyConfig());
    const prediction = {
      name: "model.layers.3.enorm.weight",
      dtype: "F32",
      shape: [1],
      data: new Uint8Array(4),
    };
    for (const num_nextn_predict_layers of [0, 1]) {
      const config = tinyConfig({ num_hidden_layers: 2, num_nextn_predict_layers });
      const error: unknown = await open(config, [...tensors, prediction]).catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(K2Error);
      expect((error as K2Error).message).toContain("num_hidden_layers 2");
    }
  });

  it("sums weights by part and storage", async () => {
    const config = tinyConfig();
    const tensors = makeTensors(config, { experts: "INT4", attention: "FP8" });
    const { storageShares, weightBytes } = await open(config, tensors);
    const share = (part: string) => storageShares.filter((candidate) => candidate.part === part);
    // 2 layers x 8 experts x 3 matrices of 32 x 64, half a byte each and a BF16 scale for 32.
    expect(share("experts")).toEqual([
      { part: "experts", storage: "INT4 group 32", weights: 48, parameters: 98304, bytes: 49152 + 6144 },
    ]);
    expect(share("attention").map(({ storage, weights }) => [storage, weights])).toEqual([
      ["FP8 128x128", 15],
    ]);
    expect(share("embedding and head")).toEqual([
      { part: "embedding and head", storage: "BF16", weights: 2, parameters: 40960, bytes: 81920 },
    ]);
    expect(storageShares.reduce((sum, { bytes }) => sum + bytes, 0)).toBe(weightBytes);
    expect(weightBytes).toBe(weightBytesOf(tensors));
  });
});

function weightBytesOf(tensors: readonly TensorData[]): number {
  return tensors
    .filter(({ name }) => !name.endsWith(".weight_shape"))
    .reduce((sum, { data }) => sum + data.length, 0);
}
