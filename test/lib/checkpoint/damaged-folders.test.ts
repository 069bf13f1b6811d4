// Damage of what lies around the weights: the index, the two config files, and the files of the folder themselves.

import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { it } from "vitest";
import {
  CONFIG,
  config,
  type Damage,
  expectRefusal,
  first,
  folder,
  INDEX,
  indexMap,
  invalid,
  path,
  SHARD_1,
  SHARD_2,
  second,
  testDamages,
  unsupported,
  writeIndex,
} from "./damage";

function editConfig(change: Record<string, unknown>): void {
  writeFileSync(path(CONFIG), JSON.stringify({ ...config, ...change }));
}

const indexDamages: Damage[] = [
  ["empty index", invalid, [INDEX], () => truncateSync(path(INDEX), 0)],
  ["index cut", invalid, [INDEX], () => truncateSync(path(INDEX), 900)],
  ["index as a list", invalid, [INDEX], () => writeFileSync(path(INDEX), "[]")],
  ["no weight_map", invalid, [INDEX, "weight_map"], () => writeFileSync(path(INDEX), '{"metadata":{}}')],
  ["empty object", invalid, [INDEX, "weight_map"], () => writeFileSync(path(INDEX), "{}")],
  ["empty weight_map", invalid, [INDEX, "weight_map"], () => writeIndex({})],
  ["weight_map as a list", invalid, [INDEX], () => writeIndex([])],
  [
    "two weight_maps",
    invalid,
    [INDEX, "one weight_map"],
    () => {
      const map = JSON.stringify(indexMap());
      writeFileSync(path(INDEX), `{"weight_map":${map},"weight_map":${map}}`);
    },
  ],
  [
    "bad metadata",
    invalid,
    [INDEX],
    () => writeFileSync(path(INDEX), '{"metadata":{"a":01},"weight_map":{}}'),
  ],
  [
    "deep metadata",
    invalid,
    [INDEX, "nested"],
    () => writeFileSync(path(INDEX), `{"metadata":${"[".repeat(500_000)}`),
  ],
  ["text behind the index", invalid, [INDEX], () => appendFileSync(path(INDEX), "{}")],
  ["a number as shard", invalid, [INDEX, first], () => writeIndex({ ...indexMap(), [first]: 1 })],
  [
    "a tensor twice",
    invalid,
    [INDEX, first, "once"],
    () => {
      const text = readFileSync(path(INDEX), "utf8");
      writeFileSync(path(INDEX), text.replace(`"${second}"`, `"${first}"`));
    },
  ],
  [
    "tensor missing in the index",
    invalid,
    [INDEX, SHARD_1, first, "got none"],
    () => {
      const map = indexMap();
      delete map[first];
      writeIndex(map);
    },
  ],
  [
    "tensor in another shard than the index says",
    invalid,
    [INDEX, SHARD_1, SHARD_2, first],
    () => writeIndex({ ...indexMap(), [first]: SHARD_2 }),
  ],
  [
    "tensor only in the index",
    invalid,
    [INDEX, SHARD_2, "model.layers.1.extra.weight"],
    () => writeIndex({ ...indexMap(), "model.layers.1.extra.weight": SHARD_2 }),
  ],
  [
    "shards swapped",
    invalid,
    [SHARD_1, SHARD_2, INDEX],
    () => {
      renameSync(path(SHARD_1), path("other"));
      renameSync(path(SHARD_2), path(SHARD_1));
      renameSync(path("other"), path(SHARD_2));
    },
  ],
  ["a shard twice", invalid, [SHARD_1, SHARD_2, INDEX], () => copyFileSync(path(SHARD_1), path(SHARD_2))],
  ...[
    "../model.safetensors",
    "..",
    ".",
    "",
    "/etc/passwd.safetensors",
    "sub/model.safetensors",
    "sub\\model.safetensors",
    "C:model.safetensors",
    "model\u0000.safetensors",
    "model\u001b[2J.safetensors",
    "model.bin",
    ".safetensors",
    "model.safetensors/..",
    `${"a".repeat(250)}.safetensors`,
  ].map(
    (name): Damage => [
      `shard named ${JSON.stringify(name).slice(0, 50)}`,
      invalid,
      [INDEX, first, "named like a file of this folder"],
      () => writeIndex({ ...indexMap(), [first]: name }),
    ],
  ),
];

const configDamages: Damage[] = [
  ["empty config", invalid, [CONFIG], () => truncateSync(path(CONFIG), 0)],
  ["config cut", invalid, [CONFIG], () => truncateSync(path(CONFIG), 100)],
  ["config as a list", invalid, [CONFIG, "an array"], () => writeFileSync(path(CONFIG), "[]")],
  ["config as null", invalid, [CONFIG, "null"], () => writeFileSync(path(CONFIG), "null")],
  ["empty object", unsupported, [CONFIG, "model_type"], () => writeFileSync(path(CONFIG), "{}")],
  [
    "NaN as Python writes it",
    invalid,
    [CONFIG, "rms_norm_eps"],
    () =>
      writeFileSync(
        path(CONFIG),
        JSON.stringify(config).replace('"rms_norm_eps":0.00001', '"rms_norm_eps":NaN'),
      ),
  ],
  [
    "invalid UTF-8",
    invalid,
    [CONFIG],
    () => writeFileSync(path(CONFIG), Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d])),
  ],
  [
    "deep nesting",
    invalid,
    [CONFIG, "nested"],
    () => writeFileSync(path(CONFIG), `{"a":${"[".repeat(100_000)}`),
  ],
  [
    "too large",
    invalid,
    [CONFIG, "bytes"],
    () => writeFileSync(path(CONFIG), `{"a":"${"x".repeat(2 << 20)}"}`),
  ],
  [
    "a layer less",
    invalid,
    ["model.layers.2.", "num_hidden_layers"],
    () => editConfig({ num_hidden_layers: 2 }),
  ],
  [
    "a layer more",
    invalid,
    ["model.layers.3.input_layernorm.weight"],
    () => editConfig({ num_hidden_layers: 4 }),
  ],
  [
    "wider hidden",
    invalid,
    ["model.embed_tokens.weight", "[320, 128]"],
    () => editConfig({ hidden_size: 128 }),
  ],
  ["vocabulary", invalid, ["model.embed_tokens.weight", "[321, 64]"], () => editConfig({ vocab_size: 321 })],
  ["more experts", invalid, ["mlp.gate.weight", "[16, 64]"], () => editConfig({ n_routed_experts: 16 })],
  [
    "more heads",
    invalid,
    ["q_b_proj.weight"],
    () => editConfig({ num_attention_heads: 8, num_key_value_heads: 8 }),
  ],
  [
    "dense layers",
    invalid,
    ["layers.1.mlp.gate_proj.weight"],
    () => editConfig({ first_k_dense_replace: 2 }),
  ],
  ["no q_lora", invalid, ["q_proj.weight"], () => editConfig({ q_lora_rank: null })],
  ["shared experts", invalid, ["shared_experts.gate_proj.weight"], () => editConfig({ n_shared_experts: 2 })],
  ["no shared experts", unsupported, ["shared_experts"], () => editConfig({ n_shared_experts: 0 })],
  ["heads 0", invalid, [CONFIG, "num_attention_heads"], () => editConfig({ num_attention_heads: 0 })],
  [
    "bad generation_config.json",
    invalid,
    ["generation_config.json"],
    () => writeFileSync(path("generation_config.json"), "{"),
  ],
  [
    "bad eos in generation_config.json",
    invalid,
    ["generation_config.json", "eos_token_id"],
    () => writeFileSync(path("generation_config.json"), '{"eos_token_id":"stop"}'),
  ],
];

const fileDamages: Damage[] = [
  ["no folder", invalid, [folder], () => rmSync(folder, { recursive: true })],
  [
    "a file instead of the folder",
    invalid,
    [folder, "a file"],
    () => {
      rmSync(folder, { recursive: true });
      writeFileSync(folder, "");
    },
  ],
  ["no config", invalid, [CONFIG, "no such file"], () => rmSync(path(CONFIG))],
  [
    "config is a folder",
    invalid,
    [CONFIG, "a folder"],
    () => {
      rmSync(path(CONFIG));
      mkdirSync(path(CONFIG));
    },
  ],
  [
    "no weights",
    invalid,
    [folder, "neither"],
    () => {
      for (const name of [INDEX, SHARD_1, SHARD_2]) rmSync(path(name));
    },
  ],
  ["no index", invalid, [folder, INDEX, "2 other"], () => rmSync(path(INDEX))],
  ["no second shard", invalid, [SHARD_2, "shard 2 of the 2", "no such file"], () => rmSync(path(SHARD_2))],
  [
    "shard is a folder",
    invalid,
    [SHARD_2, "a folder"],
    () => {
      rmSync(path(SHARD_2));
      mkdirSync(path(SHARD_2));
    },
  ],
  [
    "shard is a dangling link",
    invalid,
    [SHARD_2, "no such file"],
    () => {
      rmSync(path(SHARD_2));
      symlinkSync("../nowhere", path(SHARD_2));
    },
  ],
  [
    "shard is a link to itself",
    invalid,
    [SHARD_2],
    () => {
      rmSync(path(SHARD_2));
      symlinkSync(SHARD_2, path(SHARD_2));
    },
  ],
  [
    "shard is a device",
    invalid,
    [SHARD_2, "not a regular file"],
    () => {
      rmSync(path(SHARD_2));
      symlinkSync("/dev/zero", path(SHARD_2));
    },
  ],
  [
    "shard is a pipe that nobody writes",
    invalid,
    [SHARD_2, "not a regular file"],
    () => {
      rmSync(path(SHARD_2));
      execFileSync("mkfifo", [path(SHARD_2)]);
    },
  ],
];

testDamages({ index: indexDamages, config: configDamages, files: fileDamages });

it.skipIf(!existsSync("/proc/self/mem"))(
  "a failing read is an io error (skipped without /proc)",
  async () => {
    rmSync(path(SHARD_2));
    symlinkSync("/proc/self/mem", path(SHARD_2));
    await expectRefusal("io", [SHARD_2, "EIO"]);
  },
);

it.skipIf(process.getuid?.() === 0)(
  "a file without read permission is an io error (skipped for root)",
  async () => {
    chmodSync(path(SHARD_2), 0);
    await expectRefusal("io", [SHARD_2, "EACCES"]);
  },
);
