// k2-native beside node-llama-cpp (llama.cpp as npm brings it): the same synthetic weights, the same tokens, in turn in one
// process, on the CPU. First both must give nearly the same logits; then the rates are compared.
//
//   node bench/peers/run.mjs [--threads N] [--runs N] [--seed N] [--json]
//
// Installs node-llama-cpp into bench/peers (some 700 MB) and writes two files of 0.9 GB into bench/peers/models. Needs
// `npm run build` before.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism, cpus, loadavg } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { writeModels } from "./model.mjs";
import { SHAPE } from "./weights.mjs";

const here = dirname(fileURLToPath(import.meta.url));
const require = createRequire(import.meta.url);
const { values } = parseArgs({
  options: {
    threads: { type: "string", default: String(availableParallelism()) },
    runs: { type: "string", default: "5" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const [threads, runs, seed] = [values.threads, values.runs, values.seed].map(Number);
const PROMPTS = [32, 128, 512];
const DECODED = 32;
/** Logits may differ by so much of their size. llama.cpp rounds what it multiplies INT4 with to 8 bits. */
const MOST_DIFFERENCE = 0.1;

function fail(message) {
  console.error(message);
  process.exit(1);
}

function install() {
  if (existsSync(join(here, "node_modules", "node-llama-cpp"))) return;
  console.error("installing node-llama-cpp into bench/peers");
  // The prebuilt binaries are packages of their own; the scripts would only look for compilers.
  const args = ["install", "--ignore-scripts", "--no-audit", "--no-fund"];
  const { status } = spawnSync("npm", args, { cwd: here, stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) fail("Expected npm to install node-llama-cpp, got a failure; its message is above.");
}

function models() {
  const folder = join(here, "models", `seed-${seed}`);
  const paths = { ours: join(folder, "checkpoint"), peer: join(folder, "model.gguf") };
  const mark = join(folder, "whole");
  if (existsSync(mark)) return paths;
  console.error(`writing ${folder}`);
  mkdirSync(folder, { recursive: true });
  writeModels(folder, seed);
  writeFileSync(mark, "");
  return paths;
}

/** The two engines as the same three actions, through their public interfaces. */
async function openOurs(path) {
  const { loadModel, listDevices } = require("../../dist/index.js");
  const model = await loadModel(path, { device: "cpu", threads, contextTokens: 2048 });
  const session = model.createSession();
  return {
    name: "k2-native",
    about: `${listDevices().find(({ name }) => name === "cpu").isas[0]} kernels`,
    clear: () => session.rewind(0),
    read: (tokens) => session.prefill(tokens),
    /** Logits after every token. */
    async logits(tokens) {
      const rows = await session.evaluate(tokens);
      return tokens.map((_, index) => rows.subarray(index * SHAPE.vocab, (index + 1) * SHAPE.vocab));
    },
    /** Reads `first`, then decodes while it is fed the others, as if each had been sampled. */
    async decode(tokens) {
      const start = performance.now();
      for (const token of tokens) await session.evaluate([token]);
      return performance.now() - start;
    },
    dispose: () => model.dispose(),
  };
}

async function openPeer(path) {
  const { getLlama } = await import(
    new URL("node_modules/node-llama-cpp/dist/index.js", import.meta.url).href
  );
  const llama = await getLlama({ gpu: false, build: "never", maxThreads: 0, logLevel: "error" });
  const model = await llama.loadModel({ modelPath: path, gpuLayers: 0 });
  const context = await model.createContext({ contextSize: 2048, batchSize: 512, threads });
  const sequence = context.getSequence();
  return {
    name: "node-llama-cpp",
    about: "llama.cpp as npm brings it, repacked while it loads",
    clear: () => sequence.clearHistory(),
    read: (tokens) => sequence.evaluateWithoutGeneratingNewTokens(tokens),
    async logits(tokens) {
      const items = tokens.map((token) => [token, { generateNext: { logits: true } }]);
      const outputs = await sequence.controlledEvaluate(items);
      return outputs.map(({ next }) => {
        const row = new Float32Array(SHAPE.vocab).fill(Number.NaN);
        for (const [token, logit] of next.logits) row[token] = logit;
        return row;
      });
    },
    async decode(tokens) {
      const steps = sequence.evaluate([tokens[0]], { temperature: 0, yieldEogToken: true });
      const start = performance.now();
      await steps.next();
      for (const token of tokens.slice(1)) await steps.next(token);
      const elapsed = performance.now() - start;
      await steps.return();
      return elapsed;
    },
    async dispose() {
      await context.dispose();
      await model.dispose();
      await llama.dispose();
    },
  };
}

let state = 12345;
function randomTokens(count) {
  return Array.from({ length: count }, () => {
    state = (state * 1103515245 + 12345) & 0x7fffffff;
    return (state >>> 8) % (SHAPE.vocab - 100);
  });
}

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];
const indexOfMost = (row) => row.reduce((best, value, index) => (value > row[best] ? index : best), 0);

/** Differences of the logits after each token of a short prompt, relative to their size. */
async function compareLogits(ours, peer) {
  const tokens = randomTokens(24);
  await ours.clear();
  await peer.clear();
  const [a, b] = [await ours.logits(tokens), await peer.logits(tokens)];
  const differences = a.map((row, t) => {
    let difference = 0;
    let size = 0;
    row.forEach((value, v) => {
      difference += (value - b[t][v]) ** 2;
      size += value ** 2;
    });
    return Math.sqrt(difference / size);
  });
  const equalChoices = a.filter((row, t) => indexOfMost(row) === indexOfMost(b[t])).length;
  return { tokens: tokens.length, equalChoices, medianDifference: median(differences) };
}

/** Tokens per second of both, in the order A B B A, so that a drift of the machine meets both alike. */
async function compareSpeed(ours, peer, count, time) {
  const rates = { ours: [], peer: [], ratio: [] };
  for (let run = 0; run <= runs; run += 1) {
    const tokens = randomTokens(count);
    const times = [];
    for (const engine of [ours, peer, peer, ours]) times.push(await time(engine, tokens));
    if (run === 0) continue; // warm-up
    const [a, b] = [times[0] + times[3], times[1] + times[2]];
    rates.ours.push((2000 * count) / a);
    rates.peer.push((2000 * count) / b);
    rates.ratio.push(b / a);
  }
  const spread = (numbers) => ({
    median: median(numbers),
    least: Math.min(...numbers),
    greatest: Math.max(...numbers),
  });
  return { ours: spread(rates.ours), peer: spread(rates.peer), ratio: spread(rates.ratio) };
}

async function timePrompt(engine, tokens) {
  await engine.clear();
  const start = performance.now();
  await engine.read(tokens);
  return performance.now() - start;
}

async function timeDecode(engine, tokens) {
  await engine.clear();
  await engine.read(tokens.slice(0, 8));
  return engine.decode(tokens);
}

install();
const paths = models();
const ours = await openOurs(paths.ours);
const peer = await openPeer(paths.peer);
const logits = await compareLogits(ours, peer);
if (!(logits.medianDifference <= MOST_DIFFERENCE)) {
  fail(
    `Expected logits within ${MOST_DIFFERENCE} of each other, got a median difference of ${logits.medianDifference}: no figures.`,
  );
}
const work = [];
for (const count of PROMPTS) {
  work.push({ name: `prefill ${count}`, ...(await compareSpeed(ours, peer, count, timePrompt)) });
}
work.push({ name: `decode ${DECODED}`, ...(await compareSpeed(ours, peer, DECODED, timeDecode)) });
const { version } = require("./node_modules/node-llama-cpp/package.json");
const result = {
  date: new Date().toISOString(),
  cpu: cpus()[0]?.model ?? "unknown",
  threads,
  load: loadavg()[0],
  engines: { ours: ours.about, peer: `node-llama-cpp ${version}: ${peer.about}` },
  logits,
  work,
};
await ours.dispose();
await peer.dispose();

if (values.json) console.log(JSON.stringify(result, null, 2));
else {
  console.log(
    `${result.cpu}, ${threads} threads, load ${result.load.toFixed(1)}; medians of ${runs}, tokens per second`,
  );
  console.log(`k2-native: ${result.engines.ours}; ${result.engines.peer}`);
  console.log(
    `logits: median difference ${logits.medianDifference.toFixed(4)} of their size, ` +
      `${logits.equalChoices} of ${logits.tokens} most likely tokens equal`,
  );
  const row = (...cells) => cells.map((cell, i) => (i === 0 ? cell.padEnd(14) : cell.padStart(16))).join("");
  console.log(row("", "k2-native", "node-llama-cpp", "ratio", "least..greatest"));
  for (const { name, ours: a, peer: b, ratio } of work) {
    const range = `${ratio.least.toFixed(2)}..${ratio.greatest.toFixed(2)}`;
    console.log(row(name, a.median.toFixed(1), b.median.toFixed(1), ratio.median.toFixed(2), range));
  }
}
