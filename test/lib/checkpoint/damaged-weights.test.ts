// Sound files whose tensors are not the ones that the config asks for: missing, misshapen, of other types, or too many.

import { type Damage, INDEX, invalid, rebuild, testDamages, unsupported, zeros } from "./damage";

const oProj = "model.layers.1.self_attn.o_proj.weight";
const norm = "model.layers.2.input_layernorm.weight";
const bias = "model.layers.1.mlp.gate.e_score_correction_bias";
const packed = "model.layers.1.mlp.experts.3.up_proj.weight_packed";
const scale = "model.layers.1.mlp.experts.3.up_proj.weight_scale";
const stated = "model.layers.1.mlp.experts.3.up_proj.weight_shape";

const weightDamages: Damage[] = [
  ["a weight missing", invalid, [oProj, INDEX, "[64, 64]"], () => rebuild({ [oProj]: null })],
  ["a norm missing", invalid, [norm, INDEX, "[64]"], () => rebuild({ [norm]: null })],
  ["router bias missing", invalid, [bias, INDEX], () => rebuild({ [bias]: null })],
  ["packed weight missing", invalid, ["experts.3.up_proj.weight", INDEX], () => rebuild({ [packed]: null })],
  ["scale missing", invalid, [scale, INDEX], () => rebuild({ [scale]: null })],
  [
    "embedding missing",
    invalid,
    ["model.embed_tokens.weight"],
    () => rebuild({ "model.embed_tokens.weight": null }),
  ],
  ["head missing", invalid, ["lm_head.weight"], () => rebuild({ "lm_head.weight": null })],
  ["transposed", invalid, [oProj, "[32, 128]"], () => rebuild({ [oProj]: { shape: [32, 128] } })],
  ["one dimension", invalid, [oProj, "[4096]"], () => rebuild({ [oProj]: { shape: [4096] } })],
  ["three dimensions", invalid, [oProj, "[1, 64, 64]"], () => rebuild({ [oProj]: { shape: [1, 64, 64] } })],
  ["norm as a matrix", invalid, [norm, "[1, 64]"], () => rebuild({ [norm]: { shape: [1, 64] } })],
  ["weight of I16", invalid, [oProj, "I16"], () => rebuild({ [oProj]: { dtype: "I16" } })],
  [
    "weight of I8",
    unsupported,
    [oProj, "I8"],
    () => rebuild({ [oProj]: zeros(oProj, "I8", [64, 64], 4096) }),
  ],
  [
    "weight of F64",
    unsupported,
    [oProj, "F64"],
    () => rebuild({ [oProj]: zeros(oProj, "F64", [64, 64], 32768) }),
  ],
  [
    "weight of F4",
    unsupported,
    [oProj, "F4"],
    () => rebuild({ [oProj]: zeros(oProj, "F4", [64, 64], 2048) }),
  ],
  [
    "weight of F8_E5M2",
    unsupported,
    [oProj, "F8_E5M2"],
    () => rebuild({ [oProj]: zeros(oProj, "F8_E5M2", [64, 64], 4096) }),
  ],
  [
    "FP8 without scales",
    invalid,
    [oProj.replace(".weight", ".weight_scale_inv"), INDEX],
    () => rebuild({ [oProj]: zeros(oProj, "F8_E4M3", [64, 64], 4096) }),
  ],
  [
    "FP8 with scales of another block size",
    invalid,
    [`${oProj}_scale_inv`, "[1, 1]", "[2, 2]"],
    () => {
      const extra = [zeros(`${oProj}_scale_inv`, "F32", [2, 2], 16)];
      rebuild({ [oProj]: zeros(oProj, "F8_E4M3", [64, 64], 4096) }, extra);
    },
  ],
  [
    "FP8 with scales of E8M0",
    unsupported,
    [`${oProj}_scale_inv`, "F8_E8M0"],
    () => {
      const extra = [zeros(`${oProj}_scale_inv`, "F8_E8M0", [1, 1], 1)];
      rebuild({ [oProj]: zeros(oProj, "F8_E4M3", [64, 64], 4096) }, extra);
    },
  ],
  ["FP8 norm", invalid, [norm, "F8_E4M3"], () => rebuild({ [norm]: zeros(norm, "F8_E4M3", [64], 64) })],
  [
    "FP8 router",
    invalid,
    ["model.layers.1.mlp.gate.weight", "F8_E4M3"],
    () => {
      const name = "model.layers.1.mlp.gate.weight";
      rebuild({ [name]: zeros(name, "F8_E4M3", [8, 64], 512) });
    },
  ],
  ["packed as U8", invalid, [packed, "U8"], () => rebuild({ [packed]: zeros(packed, "U8", [32, 32], 1024) })],
  ["packed of another width", invalid, [packed, "[32, 8]"], () => rebuild({ [packed]: { shape: [64, 4] } })],
  [
    "scales of 16 columns",
    invalid,
    [scale, "[32, 4]"],
    () => rebuild({ [scale]: zeros(scale, "BF16", [32, 4], 256) }),
  ],
  [
    "scales of no group",
    invalid,
    [scale, "[32, 0]"],
    () => rebuild({ [scale]: zeros(scale, "BF16", [32, 0], 0) }),
  ],
  [
    "scales that do not divide",
    invalid,
    [scale, "[32, 3]"],
    () => rebuild({ [scale]: zeros(scale, "BF16", [32, 3], 192) }),
  ],
  ["scales of other rows", invalid, [scale, "[16, 4]"], () => rebuild({ [scale]: { shape: [16, 4] } })],
  ["one scale for all", invalid, [scale, "[1]"], () => rebuild({ [scale]: zeros(scale, "BF16", [1], 2) })],
  ["integer scales", invalid, [scale, "I16"], () => rebuild({ [scale]: { dtype: "I16" } })],
  ["weight_shape of F32", invalid, [stated, "F32"], () => rebuild({ [stated]: { dtype: "F32" } })],
  [
    "weight_shape of three",
    invalid,
    [stated, "[3]"],
    () => rebuild({ [stated]: zeros(stated, "I32", [3], 12) }),
  ],
  [
    "both plain and packed",
    unsupported,
    ["experts.3.up_proj.weight"],
    () => {
      const name = packed.replace("_packed", "");
      rebuild({}, [zeros(name, "BF16", [32, 64], 4096)]);
    },
  ],
  ...(
    [
      ["model.layers.0.self_attn.q_a_proj.bias", "a bias"],
      [packed.replace("packed", "zero_point"), "asymmetric"],
      [packed.replace("packed", "g_idx"), "activation order"],
      ["model.layers.0.self_attn.o_proj.input_scale", "static activation scales"],
      ["model.layers.0.self_attn.indexer.wk.weight", "does not ask for"],
      ["model.layers.0.self_attn.q_proj.weight", "does not ask for"],
      ["vision_tower.patch_embed.weight", "does not ask for"],
      ["model.norm.bias", "a bias"],
    ] as const
  ).map(
    ([name, says]): Damage => [
      `extra ${name}`,
      unsupported,
      [name, says],
      () => rebuild({}, [zeros(name, "BF16", [8], 16)]),
    ],
  ),
  [
    "a layer too many",
    invalid,
    ["model.layers.3.", "num_hidden_layers 3"],
    () => {
      rebuild({}, [zeros("model.layers.3.input_layernorm.weight", "BF16", [64], 128)]);
    },
  ],
  [
    "an expert too many",
    invalid,
    ["experts.8.", "n_routed_experts 8"],
    () => {
      rebuild({}, [zeros("model.layers.1.mlp.experts.8.up_proj.weight", "BF16", [32, 64], 4096)]);
    },
  ],
];

testDamages({ weights: weightDamages });
