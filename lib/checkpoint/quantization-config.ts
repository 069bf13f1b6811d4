// `quantization_config`: which form a tensor has is decided by the tensors that exist, so this only reads the size of
// FP8 blocks and refuses by name every scheme that would need other arithmetic than value times scale.

import type { ConfigReader } from "./config-reader";

/** Rows and columns that share one FP8 scale. */
export type BlockSize = readonly [rows: number, columns: number];

const BLOCK_ABSENT: BlockSize = [128, 128];

/** Checks the section of `config`, if there is one, and returns its FP8 block size (128 x 128 when it has none). */
export function readQuantization(config: ConfigReader): BlockSize {
  const quantization = config.section("quantization_config");
  if (quantization === undefined) return BLOCK_ABSENT;
  const method = quantization.word("quant_method", "");
  if (method === "fp8") return readFp8(quantization);
  if (method === "compressed-tensors") return readCompressedTensors(quantization);
  throw quantization.unsupported("quant_method", '"fp8" or "compressed-tensors"');
}

function readFp8(quantization: ConfigReader): BlockSize {
  if (quantization.has("fmt") && quantization.value("fmt") !== "e4m3") {
    throw quantization.unsupported("fmt", '"e4m3"');
  }
  if (quantization.has("activation_scheme") && quantization.value("activation_scheme") !== "dynamic") {
    throw quantization.unsupported("activation_scheme", '"dynamic"');
  }
  return readBlock(quantization, "weight_block_size") ?? BLOCK_ABSENT;
}

const FORMATS = ["pack-quantized", "float-quantized", "dense"];

function readCompressedTensors(quantization: ConfigReader): BlockSize {
  const outerFormat = quantization.value("format") ?? "mixed-precision";
  if (outerFormat !== "mixed-precision") checkFormat(quantization);
  // These two change what is computed (2:4 sparsity, online rotations); newer writers add them empty.
  const sparsity = quantization.section("sparsity_config");
  if (sparsity?.has("format") && sparsity.value("format") !== "dense") {
    throw sparsity.unsupported("format", '"dense"');
  }
  const transforms = quantization.section("transform_config")?.section("config_groups")?.sections() ?? [];
  if (transforms.length > 0) throw quantization.unsupported("transform_config", "no transforms");
  let block: BlockSize | undefined;
  for (const group of quantization.section("config_groups")?.sections() ?? []) {
    if (group.has("format")) checkFormat(group);
    block ??= readGroup(group);
  }
  return block ?? BLOCK_ABSENT;
}

function checkFormat(section: ConfigReader): void {
  if (FORMATS.includes(section.word("format", ""))) return;
  throw section.unsupported("format", FORMATS.map((format) => `"${format}"`).join(", "));
}

function readGroup(group: ConfigReader): BlockSize | undefined {
  const input = group.section("input_activations");
  if (input !== undefined && (input.value("dynamic") ?? false) === false) {
    throw input.unsupported("dynamic", "true (static activation scales are not used)");
  }
  if (group.has("output_activations")) throw group.unsupported("output_activations", "null");
  const weights = group.section("weights");
  if (weights === undefined) return undefined;
  if (weights.has("dynamic") && weights.value("dynamic") !== false)
    throw weights.unsupported("dynamic", "false");
  return weights.value("type") === "float" ? readFloatWeights(weights) : readIntegerWeights(weights);
}

function readFloatWeights(weights: ConfigReader): BlockSize | undefined {
  expectOne(weights, "num_bits", [8]);
  expectOne(weights, "strategy", ["block"]);
  return readBlock(weights, "block_structure");
}

function readIntegerWeights(weights: ConfigReader): undefined {
  expectOne(weights, "type", ["int"]);
  expectOne(weights, "num_bits", [4]);
  expectOne(weights, "symmetric", [true]);
  expectOne(weights, "strategy", ["group", "channel"]);
  // "weight" and "static" only say in which order the writer rounded; "group" permutes columns.
  if (weights.has("actorder")) expectOne(weights, "actorder", [false, "weight", "static"]);
  if (weights.value("strategy") === "group") {
    const size = weights.integer("group_size", { least: 1, most: 2 ** 24 });
    if (size % 32 !== 0) throw weights.unsupported("group_size", "a multiple of 32");
  }
}

function expectOne(section: ConfigReader, key: string, accepted: readonly unknown[]): void {
  if (accepted.includes(section.value(key))) return;
  throw section.unsupported(key, accepted.map((value) => JSON.stringify(value)).join(" or "));
}

/** Two block sizes in [1, 65536], or undefined when the key is absent or null. */
function readBlock(section: ConfigReader, key: string): BlockSize | undefined {
  const value = section.value(key) ?? undefined;
  if (value === undefined) return undefined;
  const isSize = (size: unknown) =>
    Number.isInteger(size) && (size as number) >= 1 && (size as number) <= 65_536;
  if (Array.isArray(value) && value.length === 2 && value.every(isSize)) return [value[0], value[1]];
  throw section.damaged(key, "two block sizes from 1 to 65536");
}
