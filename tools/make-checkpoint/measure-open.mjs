// Opens a checkpoint folder with the compiled library and prints time, memory, and the longest time that the event loop
// was held. With --json: the same as one line of JSON, for tests, and an error is printed instead of thrown.
//
//   node tools/make-checkpoint/measure-open.mjs <folder> [<folder of the compiled lib>] [--json]

import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const args = process.argv.slice(2).filter((arg) => arg !== "--json");
const [folder, compiled = fileURLToPath(new URL("../../dist", import.meta.url))] = args;
const require = createRequire(import.meta.url);
const { openCheckpoint } = require(join(resolve(compiled), "checkpoint/open-checkpoint.js"));

// Turns of an idle loop take microseconds, so that a long one is our work. Wall time also counts what the machine did
// elsewhere, and processor time what other threads did meanwhile: the smaller of the two is what we held.
let heldMs = 0;
let watching = true;
let turnStart = performance.now();
let turnCpu = process.cpuUsage();
function turn() {
  const cpu = process.cpuUsage(turnCpu);
  heldMs = Math.max(heldMs, Math.min(performance.now() - turnStart, (cpu.user + cpu.system) / 1000));
  turnStart = performance.now();
  turnCpu = process.cpuUsage();
  if (watching) setImmediate(turn);
}

const maxRss = () => process.resourceUsage().maxRSS * 1024;
const rssBefore = maxRss();
const start = performance.now();
const cpuBefore = process.cpuUsage();
const phaseEndMs = {};
setImmediate(turn);
const result = await openCheckpoint(folder, {
  onProgress: ({ phase }) => {
    phaseEndMs[phase] = performance.now() - start;
  },
}).then(
  ({ tensorCount, files, weightBytes, storageShares }) => {
    return { tensorCount, files: files.length, weightBytes, storageShares };
  },
  (error) => ({ error: `${error.code}: ${error.message}` }),
);
watching = false;
const cpu = process.cpuUsage(cpuBefore);
const measured = {
  ...result,
  elapsedMs: performance.now() - start,
  phaseEndMs,
  cpuMs: (cpu.user + cpu.system) / 1000,
  heldMs,
  rssBefore,
  peakRss: maxRss(),
};

if (process.argv.includes("--json")) {
  console.log(JSON.stringify(measured));
} else if (measured.error) {
  console.error(measured.error);
  process.exitCode = 1;
} else {
  print(measured);
}

function print({
  tensorCount,
  files,
  weightBytes,
  storageShares,
  elapsedMs,
  cpuMs,
  heldMs,
  rssBefore,
  peakRss,
}) {
  const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
  const phases = Object.entries(phaseEndMs).map(([name, ms]) => `${name} until ${ms.toFixed(0)}`);
  console.log(`${tensorCount} tensors in ${files} files, ${megabytes(weightBytes)}`);
  console.log(`opened in ${elapsedMs.toFixed(0)} ms (${phases.join(", ")})`);
  console.log(
    `processor time ${cpuMs.toFixed(0)} ms in all threads, the watching of the event loop included`,
  );
  console.log(`peak memory ${megabytes(peakRss)} (${megabytes(rssBefore)} before)`);
  console.log(`event loop held for at most ${heldMs.toFixed(1)} ms`);
  for (const { part, storage, weights, bytes } of storageShares) {
    console.log(`  ${part}: ${weights} x ${storage}, ${megabytes(bytes)}`);
  }
}
