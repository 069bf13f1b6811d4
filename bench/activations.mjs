// What activations of 16 bits and of 8 cost: the divergence of the next token's distribution from that of the exact
// reference backend, over every position of some text. With --outliers, in a copy of the checkpoint in which one in 50 of
// the channels that enter the experts is 30 times as large, as in large models.
//
//   npm run build && node bench/activations.mjs [MODEL] [--text FILE] [--tokens 1024] [--isa NAME] [--outliers]

import {
  closeSync,
  cpSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const require = createRequire(import.meta.url);
const { loadModel } = require("../dist/index.js");

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    text: { type: "string" },
    tokens: { type: "string", default: "1024" },
    isa: { type: "string" },
    outliers: { type: "boolean", default: false },
  },
});
const EVERY = 50;
const FACTOR = 30;

/** What is said in the demo model's held-out conversations. */
function demoText() {
  const { conversations } = JSON.parse(
    readFileSync(join(root, "test", "golden", "demo-conversations.json"), "utf8"),
  );
  return conversations.flatMap(({ messages }) => messages.map(({ content }) => content ?? "")).join("\n");
}

function half(value) {
  const bits = new Uint32Array(new Float32Array([value]).buffer)[0];
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}

/** Makes channels of the norms before the experts larger, in place; they are BF16. */
function addOutliers(path) {
  const file = openSync(path, "r+");
  const size = Buffer.alloc(8);
  readSync(file, size, 0, 8, 0);
  const header = Buffer.alloc(Number(size.readBigUInt64LE()));
  readSync(file, header, 0, header.length, 8);
  for (const [name, entry] of Object.entries(JSON.parse(header.toString()))) {
    if (!name.endsWith("post_attention_layernorm.weight")) continue;
    if (entry.dtype !== "BF16") throw new Error(`Expected BF16 for ${name}, got ${entry.dtype}`);
    const [begin, end] = entry.data_offsets;
    const weights = Buffer.alloc(end - begin);
    readSync(file, weights, 0, weights.length, 8 + header.length + begin);
    for (let i = 7; 2 * i < weights.length; i += EVERY) {
      const value = new Float32Array(new Uint32Array([weights.readUInt16LE(2 * i) << 16]).buffer)[0];
      weights.writeUInt16LE(half(FACTOR * value), 2 * i);
    }
    writeSync(file, weights, 0, weights.length, 8 + header.length + begin);
  }
  closeSync(file);
}

/** Logarithms of the probabilities of one position. */
function logProbabilities(logits) {
  let largest = -Infinity;
  for (const logit of logits) largest = Math.max(largest, logit);
  let sum = 0;
  for (const logit of logits) sum += Math.exp(logit - largest);
  return Float64Array.from(logits, (logit) => logit - largest - Math.log(sum));
}

async function evaluate(path, options) {
  const model = await loadModel(path, { contextTokens: Number(values.tokens), ...options });
  const text = values.text === undefined ? demoText() : readFileSync(values.text, "utf8");
  const ids = model.tokenizer.encode(text).slice(0, Number(values.tokens));
  const logits = await model.createSession().evaluate(ids);
  await model.dispose();
  const vocab = logits.length / ids.length;
  return Array.from(ids, (_, t) => logProbabilities(logits.subarray(t * vocab, (t + 1) * vocab)));
}

function compare(name, exact, other) {
  const divergences = exact.map((p, t) =>
    p.reduce((sum, log, v) => sum + Math.exp(log) * (log - other[t][v]), 0),
  );
  const best = (row) => row.indexOf(Math.max(...row));
  const same = exact.filter((p, t) => best(p) === best(other[t])).length;
  const sorted = divergences.toSorted((a, b) => a - b);
  const mean = divergences.reduce((a, b) => a + b) / divergences.length;
  const at = (share) => sorted[Math.floor(share * (sorted.length - 1))].toExponential(1);
  console.log(
    `${name.padEnd(8)} mean ${mean.toExponential(2)}, median ${at(0.5)}, p99 ${at(0.99)}, most ${at(1)}; ` +
      `same first token ${((100 * same) / exact.length).toFixed(1)} %`,
  );
}

const folder = mkdtempSync(join(tmpdir(), "k2-activations-"));
try {
  let path = positionals[0] ?? join(root, "demo-model");
  if (values.outliers) {
    cpSync(path, folder, { recursive: true });
    path = folder;
    for (const name of readdirSync(path)) if (name.endsWith(".safetensors")) addOutliers(join(path, name));
  }
  const isa = values.isa === undefined ? {} : { isa: values.isa };
  const exact = await evaluate(path, { device: "reference" });
  console.log(
    `KL divergence from the reference in nats, ${exact.length} positions${values.outliers ? ", outliers" : ""}`,
  );
  for (const activations of ["16-bit", "int8"]) {
    compare(activations, exact, await evaluate(path, { device: "cpu", activations, ...isa }));
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
