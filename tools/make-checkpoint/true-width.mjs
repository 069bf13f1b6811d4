// Writes a checkpoint with the widths of K2 Thinking, random weights, and as many layers and experts as asked for: what
// reads weights from a disk can be measured on it, which it cannot on one of holes. Its answers mean nothing.
//
//   node tools/make-checkpoint/true-width.mjs <folder> [layers with experts: 3] [experts: 96]

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CONFIG, layerTensors, writeShard } from "./true-size.mjs";

/** Embedding and head are of no interest here, and small. */
const VOCABULARY = 8192;
const BLOCK_BYTES = 2 ** 26;

function randomBytes(length, next) {
  const words = new Uint32Array(length / 4);
  for (let i = 0; i < words.length; i++) words[i] = next();
  return Buffer.from(words.buffer);
}

/** A generator of 32-bit numbers (xorshift). */
function generator(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

/** Blocks of numbers that a model can be made of, by what they are. */
function makeBlocks() {
  const nibbles = randomBytes(BLOCK_BYTES, generator(1));
  // Of either sign, between 2^-7 and 2^-6.
  const weights = Buffer.from(nibbles);
  for (let i = 1; i < weights.length; i += 2) weights[i] = (weights[i] & 0x80) | 0x3c;
  // Small, so that sums over thousands of weights stay moderate.
  const scales = Buffer.from(nibbles);
  for (let i = 1; i < scales.length; i += 2) scales[i] = 0x3b;
  const ones = Buffer.alloc(2 ** 16);
  for (let i = 0; i < ones.length; i += 2) ones.writeUInt16LE(0x3f80, i);
  return { nibbles, weights, scales, ones };
}

/** Resolves with the bytes of weights. */
export async function writeTrueWidthCheckpoint(folder, moeLayers, experts) {
  await mkdir(folder, { recursive: true });
  const blocks = makeBlocks();
  const next = generator(2);
  const fill = async (file, offset, bytes, name, dtype) => {
    let block = blocks.weights;
    if (dtype === "F32" || name.endsWith("weight_shape")) return; // zeros
    if (dtype === "I32") block = blocks.nibbles;
    else if (name.endsWith("weight_scale")) block = blocks.scales;
    else if (name.endsWith("norm.weight")) block = blocks.ones;
    // Every tensor begins somewhere else in the block.
    let from = block === blocks.ones ? 0 : (next() % (block.length / 4)) * 2;
    for (let done = 0; done < bytes; ) {
      const length = Math.min(bytes - done, block.length - from);
      await file.write(block, from, length, offset + done);
      done += length;
      from = 0;
    }
  };
  const weightMap = {};
  let dataBytes = 0;
  const shards = Array.from({ length: moeLayers + 1 }, (_, layer) => layerTensors(layer, experts));
  shards.push([
    ["lm_head.weight", "BF16", [VOCABULARY, 7168]],
    ["model.embed_tokens.weight", "BF16", [VOCABULARY, 7168]],
    ["model.norm.weight", "BF16", [7168]],
  ]);
  for (const [index, tensors] of shards.entries()) {
    const name = `model-${String(index + 1).padStart(5, "0")}-of-${String(shards.length).padStart(6, "0")}.safetensors`;
    dataBytes += await writeShard(join(folder, name), tensors, fill);
    for (const [tensor] of tensors) weightMap[tensor] = name;
  }
  const json = (value) => `${JSON.stringify(value, null, 2)}\n`;
  const index = { metadata: { total_size: dataBytes }, weight_map: weightMap };
  await writeFile(join(folder, "model.safetensors.index.json"), json(index));
  const config = {
    ...CONFIG,
    num_hidden_layers: moeLayers + 1,
    n_routed_experts: experts,
    vocab_size: VOCABULARY,
    bos_token_id: 0,
    eos_token_id: 1,
    pad_token_id: 1,
  };
  await writeFile(join(folder, "config.json"), json(config));
  return dataBytes;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const [folder, moeLayers = "3", experts = "96"] = process.argv.slice(2);
  if (folder === undefined) {
    console.error(
      "usage: node tools/make-checkpoint/true-width.mjs <folder> [layers with experts] [experts]",
    );
    process.exit(2);
  }
  const bytes = await writeTrueWidthCheckpoint(folder, Number(moeLayers), Number(experts));
  console.log(`${(bytes / 1e9).toFixed(3)} GB of weights in ${folder}`);
}
