// What cacheType "int8" costs in quality: how far next-token distributions are from those of the reference device with its
// cache of floats (KL divergence), over held-out conversations of the demo model, and over the same with outliers planted
// in the latents.
//
//   npm run build && node bench/cache-type.mjs

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const { demoModelPath, loadModel } = require("../dist/index.js");

const CONVERSATIONS = 30;
const OUTLIER_EVERY = 24;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const golden = JSON.parse(readFileSync(join(root, "test", "golden", "demo-conversations.json"), "utf8"));
const folder = mkdtempSync(join(tmpdir(), "k2-cache-type-"));

/** Multiplies a BF16 number by a power of two; zeros stay zeros. */
function scale(bytes, at, exponent) {
  const bits = bytes.readUInt16LE(at);
  if ((bits & 0x7fff) !== 0) bytes.writeUInt16LE(bits + (exponent << 7), at);
}

/**
 * A copy of the demo model whose latents have 2^exponent times the size in every OUTLIER_EVERY-th column: the norm's weight
 * grows, and the columns of kv_b that multiply them shrink. In exact arithmetic it says the same.
 */
function plantOutliers(exponent) {
  const copy = join(folder, `outliers-${exponent}`);
  cpSync(demoModelPath, copy, { recursive: true });
  for (const name of readdirSync(copy).filter((one) => one.endsWith(".safetensors"))) {
    const bytes = readFileSync(join(copy, name));
    const start = 8 + Number(bytes.readBigUInt64LE());
    const tensors = JSON.parse(bytes.toString("utf8", 8, start));
    for (const [tensor, { dtype, shape, data_offsets: offsets }] of Object.entries(tensors)) {
      const isNorm = tensor.endsWith("kv_a_layernorm.weight");
      if (!isNorm && !tensor.endsWith("kv_b_proj.weight")) continue;
      if (dtype !== "BF16") throw new Error(`${tensor} is ${dtype}`);
      const columns = shape.at(-1);
      for (let at = start + offsets[0], i = 0; at < start + offsets[1]; at += 2, i += 1) {
        if ((i % columns) % OUTLIER_EVERY === 0) scale(bytes, at, isNorm ? exponent : -exponent);
      }
    }
    writeFileSync(join(copy, name), bytes);
  }
  return copy;
}

async function distributions(path, options, visit) {
  const model = await loadModel(path, { contextTokens: 4096, attention: "absorbed", ...options });
  const vocab = model.config.vocab_size;
  for (const [index, { messages, tools }] of golden.conversations.slice(0, CONVERSATIONS).entries()) {
    const ids = model.renderPrompt(messages, { tools: tools.map((name) => golden.toolTable[name]) });
    const session = model.createSession();
    const logits = await session.evaluate(ids);
    session.dispose();
    for (let t = 0; t < ids.length; t += 1) visit(index, t, logits.subarray(t * vocab, (t + 1) * vocab));
  }
  await model.dispose();
}

function logSoftmax(logits) {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const sum = logits.reduce((all, x) => all + Math.exp(x - most), 0);
  return Float64Array.from(logits, (x) => x - most - Math.log(sum));
}

async function compare(title, path) {
  const exact = new Map();
  await distributions(path, { device: "reference" }, (index, t, logits) => {
    exact.set(`${index} ${t}`, logSoftmax(logits));
  });
  for (const [device, cacheType] of [
    ["reference", "int8"],
    ["cpu", "bf16"],
    ["cpu", "int8"],
  ]) {
    const divergences = [];
    let sameTop = 0;
    await distributions(path, { device, cacheType }, (index, t, logits) => {
      const p = exact.get(`${index} ${t}`);
      const q = logSoftmax(logits);
      divergences.push(p.reduce((sum, x, i) => sum + Math.exp(x) * (x - q[i]), 0));
      sameTop += p.indexOf(Math.max(...p)) === q.indexOf(Math.max(...q)) ? 1 : 0;
    });
    const sorted = divergences.toSorted((a, b) => a - b);
    const mean = sorted.reduce((a, b) => a + b) / sorted.length;
    const p99 = sorted[Math.floor(sorted.length * 0.99)];
    console.log(
      `${title.padEnd(22)} ${device.padEnd(9)} ${cacheType}  mean KL ${mean.toExponential(2)}  p99 ${p99.toExponential(2)}  ` +
        `same most likely token ${((100 * sameTop) / sorted.length).toFixed(2)} %  (${sorted.length} tokens)`,
    );
  }
}

try {
  await compare("demo model", demoModelPath);
  for (const exponent of [3, 5]) await compare(`outliers of ${2 ** exponent} times`, plantOutliers(exponent));
} finally {
  rmSync(folder, { recursive: true });
}
