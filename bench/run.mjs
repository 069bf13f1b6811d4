// Measures this machine, the kernels against it (k2_bench), and the TypeScript API against the engine; prints a table and
// leaves the results as JSON and as a chart. docs/performance.md says how to read them.
//
//   npm run bench -- [--quick] [--filter TEXT] [--threads N] [--seconds S] [--runs N] [--json] [--save] [--out FOLDER]

import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { buildPreset } from "../scripts/native-build.mjs";
import { apiTable, measureApi } from "./api.mjs";
import { drawChart } from "./chart.mjs";
import { nativeTable } from "./table.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({
  options: {
    quick: { type: "boolean", default: false },
    json: { type: "boolean", default: false },
    save: { type: "boolean", default: false },
    filter: { type: "string" },
    threads: { type: "string" },
    seconds: { type: "string" },
    pages: { type: "string" },
    runs: { type: "string", default: "9" },
    out: { type: "string" },
  },
});

function fail(message) {
  console.error(message);
  process.exit(1);
}

function runNative() {
  if (!buildPreset("tests", "k2_bench")) fail("Building k2_bench failed; the compiler's messages are above.");
  const args = ["--json"];
  if (values.quick) args.push("--quick");
  for (const name of ["filter", "threads", "seconds", "pages"]) {
    if (values[name] !== undefined) args.push(`--${name}`, values[name]);
  }
  const program = join(root, "build", "tests", "k2_bench");
  const { stdout } = spawnSync(program, args, {
    encoding: "utf8",
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 28,
  });
  if (!stdout) fail("Expected results of k2_bench, got none; its message is above.");
  return JSON.parse(stdout);
}

const runs = Number(values.runs);
if (!(Number.isInteger(runs) && runs >= 1)) {
  fail(`Expected an integer of at least 1 for --runs, got ${JSON.stringify(values.runs)}`);
}
const machine = {
  cpu: cpus()[0]?.model ?? "unknown",
  cores: cpus().length,
  memoryBytes: totalmem(),
  platform: `${process.platform}-${process.arch}`,
  node: process.version,
};
const date = new Date().toISOString();
const loadBefore = loadavg()[0];
const native = runNative();
const api = await measureApi(runs);
const result = { date, machine, loadBefore, native, api };

const folder = values.out ?? join(root, "bench", "results", ...(values.save ? ["saved"] : []));
mkdirSync(folder, { recursive: true });
const name = join(folder, date.slice(0, 19).replaceAll(":", "-"));
writeFileSync(`${name}.json`, `${JSON.stringify(result, null, 2)}\n`);
writeFileSync(`${name}.svg`, drawChart(result));

if (values.json) console.log(JSON.stringify(result, null, 2));
else {
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, load ${loadBefore.toFixed(1)} before`,
    ...nativeTable(native),
    "",
    ...apiTable(api),
  ];
  console.log(`${lines.join("\n")}\n\n${relative(process.cwd(), name)}.json and .svg`);
}
if (native.cases.some((one) => one.refused !== undefined)) process.exitCode = 1;
