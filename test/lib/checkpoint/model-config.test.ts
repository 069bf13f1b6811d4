// config.json of every family becomes the numbers of the tables in the model's documentation; every value that is out
// of range gives an error that names its key, and every value that asks for another graph is refused by name.

import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { type ModelConfig, parseModelConfig } from "../../../lib/checkpoint/model-config";
import { toModelSpec } from "../../../lib/checkpoint/model-spec";
import { K2Error } from "../../../lib/errors";
import * as configs from "../../support/model-configs";
import { fp8Quantization, int4Quantization, tinyConfig } from "../../support/write-checkpoint";

type Json = Record<string, unknown>;

const file = { name: "config.json", path: "/folder/config.json" };
const parse = (json: Json): ModelConfig => parseModelConfig(json, file);

function refusal(json: Json): K2Error {
  try {
    parse(json);
  } catch (error) {
    expect(error).toBeInstanceOf(K2Error);
    return error as K2Error;
  }
  throw new Error("the config was accepted");
}

const k2 = {
  hiddenSize: 7168,
  layers: 61,
  heads: 64,
  qRank: 1536,
  kvRank: 512,
  nopeDim: 128,
  ropeDim: 64,
  valueDim: 128,
  vocabSize: 163840,
  denseWidth: 18432,
  expertWidth: 2048,
  experts: 384,
  expertsPerToken: 8,
  sharedExperts: 1,
  firstDenseLayers: 1,
  moeLayerFrequency: 1,
  scoring: 0,
  routing: 0,
  groups: 1,
  topGroups: 1,
  normalizeTopK: 1,
  routedScaling: 2.827,
  normEps: 1e-6,
  latentNormEps: 1e-6,
  ropeTheta: 50000,
  yarnFactor: 64,
  yarnBetaFast: 1,
  yarnBetaSlow: 1,
  yarnMscale: 1,
  yarnMscaleAllDim: 1,
  yarnOriginalPositions: 4096,
};

const noYarn = {
  yarnFactor: 0,
  yarnBetaFast: 0,
  yarnBetaSlow: 0,
  yarnMscale: 0,
  yarnMscaleAllDim: 0,
  yarnOriginalPositions: 0,
};

const moonlight = {
  ...k2,
  ...noYarn,
  hiddenSize: 2048,
  layers: 27,
  heads: 16,
  qRank: 0,
  denseWidth: 11264,
  expertWidth: 1408,
  experts: 64,
  expertsPerToken: 6,
  sharedExperts: 2,
  routedScaling: 2.446,
  normEps: 1e-5,
};

const deepseekV3 = {
  ...k2,
  heads: 128,
  vocabSize: 129280,
  experts: 256,
  firstDenseLayers: 3,
  groups: 8,
  topGroups: 4,
  routedScaling: 2.5,
  ropeTheta: 10000,
  yarnFactor: 40,
  yarnBetaFast: 32,
};

const deepseekV2Lite = {
  ...deepseekV3,
  hiddenSize: 2048,
  layers: 27,
  heads: 16,
  qRank: 0,
  vocabSize: 102400,
  denseWidth: 10944,
  expertWidth: 1408,
  experts: 64,
  expertsPerToken: 6,
  sharedExperts: 2,
  firstDenseLayers: 1,
  scoring: 1,
  routing: 1,
  groups: 1,
  topGroups: 1,
  normalizeTopK: 0,
  routedScaling: 1,
  yarnMscale: 707 / 1000,
  yarnMscaleAllDim: 707 / 1000,
};

const families: [name: string, config: Json, spec: object][] = [
  ["K2 Instruct", configs.kimiK2Instruct, { ...k2, yarnFactor: 32 }],
  ["K2 Instruct 0905", configs.kimiK2Instruct0905, k2],
  ["K2 Thinking", configs.kimiK2Thinking, { ...k2, normEps: 1e-5 }],
  ["K2.5", configs.kimiK25, { ...k2, normEps: 1e-5, yarnBetaFast: 32 }],
  ["Moonlight", configs.moonlight, moonlight],
  ["Kimi-VL", configs.kimiVl, { ...moonlight, ropeTheta: 800000 }],
  ["DeepSeek-V3", configs.deepseekV3, deepseekV3],
  ["DeepSeek-V2-Lite", configs.deepseekV2Lite, deepseekV2Lite],
  [
    "DeepSeek-V2",
    configs.deepseekV2,
    {
      ...deepseekV2Lite,
      hiddenSize: 5120,
      layers: 60,
      heads: 128,
      qRank: 1536,
      denseWidth: 12288,
      expertWidth: 1536,
      experts: 160,
      routing: 2,
      groups: 8,
      topGroups: 3,
      routedScaling: 16,
      yarnMscale: 1,
      yarnMscaleAllDim: 1,
    },
  ],
  [
    "GLM-4.7-Flash",
    configs.glm47Flash,
    {
      ...moonlight,
      layers: 47,
      heads: 20,
      qRank: 768,
      nopeDim: 192,
      valueDim: 256,
      vocabSize: 154880,
      denseWidth: 10240,
      expertWidth: 1536,
      expertsPerToken: 4,
      sharedExperts: 1,
      routedScaling: 1.8,
      ropeTheta: 1_000_000,
    },
  ],
];

describe("families", () => {
  it.each(families)("%s", (_, config, spec) => {
    expect(toModelSpec(parse(config))).toEqual(spec);
  });

  const published = `${import.meta.dirname}/../../../../shared/kimi-tokenizer/config.json`;
  it.skipIf(!existsSync(published))("the published K2.5 file (skipped where ../shared is absent)", () => {
    const config = parse(JSON.parse(readFileSync(published, "utf8")) as Json);
    expect(toModelSpec(config)).toEqual({ ...k2, normEps: 1e-5, yarnBetaFast: 32 });
    expect(config.wrapper_model_type).toBe("kimi_k25");
    expect(config.eos_token_id).toEqual([163586]);
    expect(config.quantization_config).toMatchObject({ format: "pack-quantized" });
  });
});

describe("spellings and defaults", () => {
  it("reads rope_parameters like rope_theta and rope_scaling", () => {
    const { type, ...scaling } = configs.kimiK2Thinking.rope_scaling as Json;
    const rope_parameters = { ...scaling, rope_type: type, rope_theta: 50000 };
    const config: Json = { ...configs.kimiK2Thinking, rope_parameters };
    delete config.rope_scaling;
    delete config.rope_theta;
    expect(toModelSpec(parse(config))).toEqual(toModelSpec(parse(configs.kimiK2Thinking)));
    const plain = { ...config, rope_parameters: { rope_type: "default", rope_theta: 12345 } };
    expect(toModelSpec(parse(plain))).toMatchObject({ ...noYarn, ropeTheta: 12345 });
  });

  it("accepts both spellings at once only when they agree", () => {
    const rope_parameters = { ...(tinyConfig().rope_scaling as Json), rope_theta: 50000 };
    expect(parse(tinyConfig({ rope_parameters })).rope_scaling).not.toBeNull();
    const other = { ...rope_parameters, factor: 8 };
    expect(refusal(tinyConfig({ rope_parameters: other })).message).toContain("rope_parameters");
    const theta = { ...rope_parameters, rope_theta: 10000 };
    expect(refusal(tinyConfig({ rope_parameters: theta })).message).toContain("rope_parameters.rope_theta");
  });

  it("uses the defaults of YaRN for absent keys", () => {
    const rope_scaling = { type: "yarn", factor: 8, original_max_position_embeddings: 512 };
    const defaults = { beta_fast: 32, beta_slow: 1, mscale: 1, mscale_all_dim: 0 };
    expect(parse(tinyConfig({ rope_scaling })).rope_scaling).toEqual({ ...rope_scaling, ...defaults });
  });

  it("takes a missing, null or default rope_scaling as plain rope", () => {
    for (const rope_scaling of [undefined, null, { type: "default" }, { rope_type: "default" }]) {
      expect(parse(tinyConfig({ rope_scaling })).rope_scaling).toBeNull();
    }
  });

  it("uses the defaults of the reference code for absent keys", () => {
    const v3 = parse(
      tinyConfig({
        model_type: "deepseek_v3",
        n_shared_experts: undefined,
        first_k_dense_replace: undefined,
        num_hidden_layers: 5,
        n_group: undefined,
        topk_group: undefined,
        scoring_func: undefined,
        topk_method: undefined,
        norm_topk_prob: undefined,
        routed_scaling_factor: undefined,
        rms_norm_eps: undefined,
        rope_theta: undefined,
        num_key_value_heads: undefined,
        n_routed_experts: 16,
      }),
    );
    expect(v3).toMatchObject({ n_shared_experts: 1, first_k_dense_replace: 3, n_group: 8, topk_group: 4 });
    expect(v3).toMatchObject({ scoring_func: "sigmoid", topk_method: "noaux_tc", norm_topk_prob: true });
    expect(v3).toMatchObject({ routed_scaling_factor: 2.5, rms_norm_eps: 1e-6, rope_theta: 10000 });
    expect(v3.num_key_value_heads).toBe(4);
    const v2 = parse(
      tinyConfig({
        model_type: "deepseek_v2",
        architectures: undefined,
        n_shared_experts: undefined,
        n_group: null,
        topk_group: null,
        scoring_func: undefined,
        topk_method: undefined,
        norm_topk_prob: undefined,
        routed_scaling_factor: undefined,
      }),
    );
    expect(v2).toMatchObject({ n_shared_experts: 0, n_group: 1, topk_group: 1, norm_topk_prob: false });
    expect(v2).toMatchObject({ scoring_func: "softmax", topk_method: "greedy", routed_scaling_factor: 1 });
  });

  it("takes no routed experts as a dense model", () => {
    const config = parse(tinyConfig({ n_routed_experts: null }));
    expect(toModelSpec(config)).toMatchObject({
      experts: 0,
      expertsPerToken: 0,
      sharedExperts: 0,
      expertWidth: 0,
    });
  });

  it("finds the family by architecture when model_type is absent", () => {
    expect(parse(tinyConfig({ model_type: undefined })).model_type).toBe("deepseek_v3");
    const glm = tinyConfig({ model_type: undefined, architectures: ["Glm4MoeLiteForCausalLM"] });
    expect(parse(glm).model_type).toBe("glm4_moe_lite");
  });

  it("reads mlp_layer_types as first_k_dense_replace", () => {
    const types = ["dense", "dense", "sparse"];
    const config = tinyConfig({ first_k_dense_replace: undefined, mlp_layer_types: types });
    expect(parse(config).first_k_dense_replace).toBe(2);
    expect(refusal(tinyConfig({ mlp_layer_types: types })).message).toContain("mlp_layer_types");
  });

  it("collects end-of-text ids of wrapper and text part", () => {
    const config = { ...tinyConfig(), eos_token_id: [7, 8] };
    expect(parse(config).eos_token_id).toEqual([7, 8]);
    const wrapped = { eos_token_id: 9, text_config: config };
    expect(parse(wrapped).eos_token_id).toEqual([7, 8, 9]);
    expect(parse(tinyConfig({ eos_token_id: null })).eos_token_id).toEqual([]);
  });

  it("finds quantization_config in the wrapper or in the text part", () => {
    const quantization_config = fp8Quantization([32, 64]);
    expect(parse({ text_config: tinyConfig(), quantization_config }).weight_block_size).toEqual([32, 64]);
    expect(parse({ text_config: tinyConfig({ quantization_config }) }).weight_block_size).toEqual([32, 64]);
    expect(parse(tinyConfig()).weight_block_size).toEqual([128, 128]);
  });

  it("accepts the quantisations that are implemented", () => {
    const group = int4Quantization().config_groups as { group_0: Json };
    const accepted = [
      null,
      int4Quantization(64),
      int4Quantization(null),
      { ...int4Quantization(), sparsity_config: {}, transform_config: {} },
      {
        ...int4Quantization(),
        format: "mixed-precision",
        config_groups: { a: { ...group.group_0, format: "pack-quantized" } },
      },
      { quant_method: "fp8" },
    ];
    for (const quantization_config of accepted) parse(tinyConfig({ quantization_config }));
    const weights = {
      num_bits: 8,
      type: "float",
      strategy: "block",
      block_structure: [64, 32],
      dynamic: false,
    };
    const input_activations = { num_bits: 8, type: "float", dynamic: true };
    const blocks = {
      quant_method: "compressed-tensors",
      format: "float-quantized",
      config_groups: { group_0: { weights, input_activations } },
    };
    expect(parse(tinyConfig({ quantization_config: blocks })).weight_block_size).toEqual([64, 32]);
  });
});

// Every one of these must be refused for every key of the list below it, unless the key's exceptions allow it.
const wrongNumbers = [
  0,
  -1,
  0.5,
  2 ** 31,
  2 ** 53,
  1e300,
  Number.POSITIVE_INFINITY,
  Number.NaN,
  "8",
  [],
  [8],
  {},
  true,
];
const allowed: Record<string, unknown[]> = {
  n_shared_experts: [0],
  first_k_dense_replace: [0],
  num_nextn_predict_layers: [0],
  num_key_value_heads: [],
  rope_theta: [2 ** 31],
  routed_scaling_factor: [0.5],
};
const numericKeys = [
  "vocab_size",
  "hidden_size",
  "num_hidden_layers",
  "num_attention_heads",
  "num_key_value_heads",
  "q_lora_rank",
  "kv_lora_rank",
  "qk_nope_head_dim",
  "qk_rope_head_dim",
  "v_head_dim",
  "intermediate_size",
  "moe_intermediate_size",
  "n_routed_experts",
  "num_experts_per_tok",
  "n_shared_experts",
  "first_k_dense_replace",
  "moe_layer_freq",
  "n_group",
  "topk_group",
  "routed_scaling_factor",
  "rms_norm_eps",
  "rope_theta",
  "max_position_embeddings",
  "num_nextn_predict_layers",
];

describe("values out of range", () => {
  for (const key of numericKeys) {
    it(key, () => {
      for (const value of wrongNumbers) {
        if (allowed[key]?.includes(value)) continue;
        const error = refusal(tinyConfig({ [key]: value }));
        expect(error.code, `${key} ${String(value)}`).toBe("invalid-checkpoint");
        expect(error.message).toMatch(new RegExp(`^Expected .* for .*${key} in config.json, got `));
        expect(error.details).toMatchObject({ file: file.path });
      }
    });
  }

  it("keys of rope_scaling", () => {
    const rope_scaling = tinyConfig().rope_scaling as Json;
    const bad: Record<string, unknown[]> = {
      factor: [0, 0.5, -4, 1e300, Number.NaN, null, "4"],
      beta_fast: [0, -1, 1e9, null, "1", 0.5],
      beta_slow: [0, -1, 1e9, null, []],
      mscale: [-1, 1e9, null, "1"],
      mscale_all_dim: [-1, 1e9, null, "1"],
      original_max_position_embeddings: [0, -1, 0.5, 2 ** 31, null, undefined, "64"],
    };
    for (const [key, values] of Object.entries(bad)) {
      for (const value of values) {
        const error = refusal(tinyConfig({ rope_scaling: { ...rope_scaling, [key]: value } }));
        expect(error.code).toBe("invalid-checkpoint");
        expect(error.details.key).toMatch(
          /^rope_scaling\.(?:factor|beta_fast|beta_slow|mscale|mscale_all_dim|orig.*)$/,
        );
      }
    }
    for (const value of [4, "yarn", [], true]) {
      expect(refusal(tinyConfig({ rope_scaling: value })).details.key).toBe("rope_scaling");
    }
  });

  it("names keys with the objects around them", () => {
    const error = refusal({ text_config: tinyConfig({ hidden_size: 0 }) });
    expect(error.message).toBe(
      "Expected an integer from 1 to 1048576 for text_config.hidden_size in config.json, got 0",
    );
    expect(refusal({ text_config: [] }).details.key).toBe("text_config");
  });

  it("required keys that are missing", () => {
    const required = numericKeys
      .slice(0, 14)
      .filter((key) => key !== "num_key_value_heads" && key !== "q_lora_rank");
    for (const key of required) {
      const error = refusal(tinyConfig({ [key]: undefined }));
      expect(error.message).toContain(`${key} in config.json, got nothing`);
    }
  });

  it("numbers that contradict each other", () => {
    const contradictions: [string, Json][] = [
      ["num_experts_per_tok", { num_experts_per_tok: 9 }],
      ["n_group", { n_group: 3 }],
      ["n_group", { n_group: 9 }],
      ["topk_group", { n_group: 2, topk_group: 3 }],
      ["num_experts_per_tok", { n_group: 4, topk_group: 1, num_experts_per_tok: 3 }],
      ["n_group", { n_group: 8, topk_group: 8 }],
      ["qk_rope_head_dim", { qk_rope_head_dim: 7 }],
      ["num_key_value_heads", { num_key_value_heads: 2 }],
      ["rope_scaling.beta_fast", { rope_scaling: { ...(tinyConfig().rope_scaling as Json), beta_slow: 2 } }],
    ];
    for (const [key, values] of contradictions) {
      const error = refusal(tinyConfig(values));
      expect(error.code).toBe("invalid-checkpoint");
      expect(error.details.key).toBe(key);
    }
  });

  it("flags, words, lists and token ids of wrong types", () => {
    const wrong: [string, unknown][] = [
      ["norm_topk_prob", 1],
      ["norm_topk_prob", null],
      ["tie_word_embeddings", "false"],
      ["scoring_func", 1],
      ["topk_method", null],
      ["architectures", "DeepseekV3ForCausalLM"],
      ["architectures", [1]],
      ["model_type", 5],
      ["eos_token_id", -1],
      ["eos_token_id", [1, 1.5]],
      ["eos_token_id", "end"],
      ["eos_token_id", 2 ** 31],
      ["bos_token_id", {}],
      ["quantization_config", "fp8"],
      ["text_config", 7],
      ["mlp_layer_types", "dense"],
    ];
    for (const [key, value] of wrong) {
      const error = refusal(tinyConfig({ [key]: value }));
      expect(error.details.key, key).toBe(key);
      expect(error.code).toBe("invalid-checkpoint");
    }
  });

  it("does not take values from Object.prototype", () => {
    const prototype = Object.prototype as unknown as Json;
    prototype.hidden_size = 64;
    try {
      expect(refusal(tinyConfig({ hidden_size: undefined })).details.key).toBe("hidden_size");
    } finally {
      delete prototype.hidden_size;
    }
  });
});

describe("other graphs and formats are refused by name", () => {
  const int4 = (change: Json): Json => {
    const quantization = int4Quantization() as { config_groups: { group_0: { weights: Json } } };
    Object.assign(quantization.config_groups.group_0.weights, change);
    return { quantization_config: quantization };
  };
  const rope = (change: Json) => ({ rope_scaling: { ...(tinyConfig().rope_scaling as Json), ...change } });
  const group = "quantization_config.config_groups.group_0";
  const refused: [key: string, change: Json][] = [
    ["model_type", { model_type: "kimi_linear", architectures: ["KimiLinearForCausalLM"] }],
    ["model_type", { model_type: "llama" }],
    ["model_type", { model_type: "deepseek_v32" }],
    ["architectures", { model_type: undefined, architectures: ["LlamaForCausalLM"] }],
    ["architectures", { architectures: ["DeepseekV2ForCausalLM"] }],
    ["model_type", { model_type: undefined, architectures: undefined }],
    ["hidden_act", { hidden_act: "gelu" }],
    ["attention_bias", { attention_bias: true }],
    ["mlp_bias", { mlp_bias: true }],
    ["rope_interleave", { rope_interleave: false }],
    ["partial_rotary_factor", { partial_rotary_factor: 0.5 }],
    ["sliding_window", { sliding_window: 4096 }],
    ["index_topk", { index_topk: 2048 }],
    ["scoring_func", { scoring_func: "sqrtsoftplus" }],
    ["topk_method", { topk_method: "random" }],
    ["topk_method", { topk_method: "greedy" }],
    ["topk_method", { scoring_func: "softmax" }],
    ["rope_scaling.type", rope({ type: "linear" })],
    ["rope_scaling.type", rope({ type: "dynamic" })],
    ["rope_scaling.type", rope({ type: undefined })],
    ["rope_scaling.attention_factor", rope({ attention_factor: 1 })],
    ["rope_scaling.truncate", rope({ truncate: false })],
    ["quantization_config.quant_method", { quantization_config: { quant_method: "gptq" } }],
    ["quantization_config.quant_method", { quantization_config: {} }],
    ["quantization_config.fmt", { quantization_config: { ...fp8Quantization(), fmt: "e5m2" } }],
    [
      "quantization_config.activation_scheme",
      { quantization_config: { ...fp8Quantization(), activation_scheme: "static" } },
    ],
    ["quantization_config.format", { quantization_config: { ...int4Quantization(), format: "marlin-24" } }],
    [
      "quantization_config.sparsity_config.format",
      { quantization_config: { ...int4Quantization(), sparsity_config: { format: "sparse-24-bitmask" } } },
    ],
    [
      "quantization_config.transform_config",
      { quantization_config: { ...int4Quantization(), transform_config: { config_groups: { u: {} } } } },
    ],
    [`${group}.weights.num_bits`, int4({ num_bits: 8 })],
    [`${group}.weights.num_bits`, int4({ num_bits: 3 })],
    [`${group}.weights.symmetric`, int4({ symmetric: false })],
    [`${group}.weights.actorder`, int4({ actorder: "group" })],
    [`${group}.weights.actorder`, int4({ actorder: true })],
    [`${group}.weights.strategy`, int4({ strategy: "tensor" })],
    [`${group}.weights.group_size`, int4({ group_size: 16 })],
    [`${group}.weights.dynamic`, int4({ dynamic: true })],
    [`${group}.weights.type`, int4({ type: "nf4" })],
    [`${group}.weights.num_bits`, int4({ type: "float", num_bits: 4, strategy: "block" })],
    [`${group}.weights.strategy`, int4({ type: "float", num_bits: 8, strategy: "tensor" })],
    [
      `${group}.input_activations.dynamic`,
      {
        quantization_config: {
          ...int4Quantization(),
          config_groups: { group_0: { input_activations: { dynamic: false } } },
        },
      },
    ],
    [
      `${group}.output_activations`,
      {
        quantization_config: {
          ...int4Quantization(),
          config_groups: { group_0: { output_activations: {} } },
        },
      },
    ],
  ];
  it.each(refused)("%s %j", (key, change) => {
    const error = refusal(tinyConfig(change));
    expect(error.code).toBe("unsupported-checkpoint");
    expect(error.details.key).toBe(key);
    expect(error.message).toContain(`${key} in config.json`);
  });

  it("damaged block sizes", () => {
    for (const weight_block_size of [[128], [0, 128], [128, 1e9], "128", [128, 0.5], 128]) {
      const quantization_config = { ...fp8Quantization(), weight_block_size };
      const error = refusal(tinyConfig({ quantization_config }));
      expect(error.code).toBe("invalid-checkpoint");
      expect(error.details.key).toBe("quantization_config.weight_block_size");
    }
  });
});
