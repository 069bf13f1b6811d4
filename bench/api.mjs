// What a token costs through the TypeScript API against what it costs the engine itself, on the demonstration model.
// The engine's time is that of its forward passes; the rest is sampling, hand-over between threads and JavaScript.

import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { demoModelPath, listDevices, loadModel } = require("../dist/index.js");

const PROMPT = "What is the weather in the city where she lives, and how much is that in fahrenheit? ".repeat(
  8,
);
const TOKENS = 500;

const median = (numbers) => numbers.toSorted((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** One prefill and one decode; milliseconds per token on both sides. */
async function measure(model, ids) {
  const session = model.createSession();
  try {
    let start = performance.now();
    await session.prefill(ids);
    const prefillMs = performance.now() - start;
    start = performance.now();
    let tokens = 0;
    for await (const _token of session.decode({ maxTokens: TOKENS, temperature: 0, stopTokens: [] }))
      tokens += 1;
    const decodeMs = performance.now() - start;
    const engine = session.timings;
    return {
      prefillApi: prefillMs / ids.length,
      prefillEngine: engine.prefillMs / engine.prefillTokens,
      decodeApi: decodeMs / tokens,
      decodeEngine: engine.decodeMs / engine.decodeTokens,
    };
  } finally {
    session.dispose();
  }
}

/** Medians of `runs` runs with one thread and with two. */
export async function measureApi(runs) {
  const results = [];
  for (const threads of [1, 2]) {
    const model = await loadModel(demoModelPath, {
      device: "cpu",
      threads,
      contextTokens: 4096,
      // One token a pass, in every run.
      speculation: "off",
    });
    const ids = model.tokenizer.encode(PROMPT);
    await measure(model, ids);
    const measured = [];
    for (let i = 0; i < runs; i += 1) measured.push(await measure(model, ids));
    const of = (key) => median(measured.map((run) => run[key]));
    const ratio = (api, engine) => median(measured.map((run) => run[api] / run[engine]));
    results.push({
      threads,
      promptTokens: ids.length,
      prefillTokensPerSecond: 1000 / of("prefillApi"),
      decodeTokensPerSecond: 1000 / of("decodeApi"),
      prefillApiOverEngine: ratio("prefillApi", "prefillEngine"),
      decodeApiOverEngine: ratio("decodeApi", "decodeEngine"),
    });
    await model.dispose();
  }
  const isa = listDevices().find((device) => device.name === "cpu").isas[0];
  return { isa, runs, results };
}

export function apiTable({ isa, runs, results }) {
  const lines = results.map(
    (result) =>
      `  ${result.threads} thread${result.threads === 1 ? " " : "s"}  ` +
      `prefill ${result.prefillTokensPerSecond.toFixed(0).padStart(6)} tok/s (API/engine ${result.prefillApiOverEngine.toFixed(2)})  ` +
      `decode ${result.decodeTokensPerSecond.toFixed(0).padStart(6)} tok/s (API/engine ${result.decodeApiOverEngine.toFixed(2)})`,
  );
  return [`TypeScript API, demonstration model, ${isa} kernels, median of ${runs} runs`, ...lines];
}
