// What a model does whose routed experts come from disk: hits, reads, waits, and the memory that it takes. Linux.
//
//   node tools/make-checkpoint/true-width.mjs /tmp/wide
//   node bench/experts-from-disk.mjs /tmp/wide 2000000000

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(import.meta.url);
const { loadModel } = require("../dist/index.js");

const [folder, memory] = process.argv.slice(2);
if (memory === undefined) {
  console.error("usage: node bench/experts-from-disk.mjs <checkpoint> <bytes of memory for experts>");
  process.exit(2);
}
const PROMPT = 128;
const DECODED = 24;
const RUNS = 3;

/** Of this process, in bytes. */
function resident(kind) {
  const line = readFileSync("/proc/self/status", "utf8").match(new RegExp(`^${kind}:\\s+(\\d+) kB$`, "m"));
  return 1024 * Number(line[1]);
}

const difference = (before, after) =>
  Object.fromEntries(Object.keys(after).map((key) => [key, after[key] - before[key]]));
const gb = (bytes) => (bytes / 1e9).toFixed(2);

function row(name, reads, milliseconds, tokens) {
  const { hits, misses, guesses, usedGuesses, wastedGuesses, readBytes, readMs, waitMs } = reads;
  const percent = (part) => `${((100 * part) / milliseconds).toFixed(0)} %`;
  console.log(
    `${name}: ${(milliseconds / tokens).toFixed(0)} ms a token, ${((100 * hits) / (hits + misses)).toFixed(0)} % hits, ` +
      `${gb(readBytes)} GB at ${gb((1000 * readBytes) / readMs)} GB/s, reading ${percent(readMs)} and waiting ${percent(waitMs)} ` +
      `of the time, ${guesses} guesses, ${usedGuesses} used, ${wastedGuesses} wasted`,
  );
}

const anonymousBefore = resident("RssAnon");
const model = await loadModel(folder, {
  contextTokens: 1024,
  speculation: "off",
  expertMemory: Number(memory),
});
for (let seed = 1; seed <= RUNS; seed++) {
  const session = model.createSession();
  const ids = Int32Array.from(
    { length: PROMPT },
    (_, i) => (i * 7919 + seed * 104729) % model.config.vocab_size,
  );
  const before = model.expertReads;
  await session.prefill(ids);
  const between = model.expertReads;
  for await (const _ of session.decode({ maxTokens: DECODED, temperature: 1, seed, stopTokens: [] }));
  const { prefillMs, decodeMs, decodeTokens } = session.timings;
  row(`prefill of ${PROMPT}`, difference(before, between), prefillMs, PROMPT);
  row(`decode of ${DECODED}`, difference(between, model.expertReads), decodeMs, decodeTokens);
  session.dispose();
}
console.log(
  `${gb(model.expertReads.memoryBytes)} GB of ${gb(Number(memory))} taken for experts; in memory: ` +
    `${gb(resident("RssAnon") - anonymousBefore)} GB since before loading, of which ${gb(model.memory.scratchBytes)} scratch; ` +
    `${gb(resident("RssFile"))} GB of files, of which are other weights ${gb(model.memory.weightsBytes - model.memory.expertsBytes)}`,
);
await model.dispose();
