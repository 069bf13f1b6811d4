// What constrained decoding costs: compiling every schema of a folder of .jsonl files, and random walks through their
// grammars over a vocabulary (bench/grammar_walk.cc). Nothing of a model is in it.
//
//   npm run build && node bench/grammar.mjs SCHEMAS TOKENIZER [--walks 4] [--steps 120]

import { spawnSync } from "node:child_process";
import { mkdtempSync, openSync, readdirSync, readFileSync, rmSync, writeSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const require = createRequire(import.meta.url);
const { loadTokenizer } = require("../dist/index.js");
const { compileSchema } = require("../dist/grammar/schema.js");

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { walks: { type: "string", default: "4" }, steps: { type: "string", default: "120" } },
});
const [schemaFolder, tokenizerFolder] = positionals;
if (tokenizerFolder === undefined) {
  console.error("usage: node bench/grammar.mjs SCHEMAS TOKENIZER [--walks 4] [--steps 120]");
  process.exit(2);
}

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = mkdtempSync(join(tmpdir(), "k2-grammar-"));

/** Median, 99th of a hundred, and the largest. */
function spread(numbers) {
  const sorted = numbers.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  return [at(0.5), at(0.99), at(1)];
}

function print(name, numbers, unit) {
  const [median, p99, most] = spread(numbers).map((value) => value.toPrecision(3));
  console.log(`${name.padEnd(34)} median ${median} ${unit}, p99 ${p99} ${unit}, most ${most} ${unit}`);
}

function buildWalker() {
  const steps = [
    ["--preset", "tests"],
    ["--build", join(root, "build", "tests"), "--target", "k2_grammar_walk"],
  ];
  for (const step of steps) {
    const { status, stdout, stderr } = spawnSync("cmake", step, { cwd: root, encoding: "utf8" });
    if (status === 0) continue;
    console.error(`${stdout}${stderr}`);
    process.exit(1);
  }
  return join(root, "build", "tests", "k2_grammar_walk");
}

function writeArray(file, array) {
  const bytes = Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(bytes.length));
  writeSync(file, length);
  writeSync(file, bytes);
}

const lines = readdirSync(schemaFolder)
  .filter((name) => name.endsWith(".jsonl"))
  .flatMap((name) => readFileSync(join(schemaFolder, name), "utf8").split("\n").filter(Boolean));
const schemas = [...lines.map((line) => JSON.parse(line)), { type: "string", maxLength: 5_000_000 }];
const compileMs = [];
const programs = schemas.map((schema) => {
  const start = performance.now();
  const program = compileSchema(schema, "schema");
  compileMs.push(performance.now() - start);
  return program;
});
const bytesOf = ({ code, nodes, rules, heights, pool }) =>
  [code, nodes, rules, heights, pool].reduce((sum, array) => sum + array.byteLength, 0);

const tokenizer = await loadTokenizer(tokenizerFolder);
const input = join(folder, "input");
const file = openSync(input, "w");
const { pool, offsets } = await tokenizer.tokenTable();
writeArray(file, pool);
writeArray(file, offsets);
for (const { code, nodes, rules, heights, pool } of programs) {
  for (const array of [code, nodes, rules, heights, pool]) writeArray(file, array);
}
const walked = spawnSync(buildWalker(), [input, values.walks, values.steps], {
  encoding: "utf8",
  maxBuffer: 1 << 30,
});
rmSync(folder, { recursive: true });
if (walked.status !== 0) {
  console.error(walked.stderr || `the walker ended with ${walked.signal ?? walked.status}`);
  process.exit(1);
}

const read = [];
const native = [];
const all = [];
const fresh = [];
let whole = 0;
let walks = 0;
for (const line of walked.stdout.split("\n")) {
  const [kind, ...numbers] = line.split(" ");
  if (kind === "program") {
    read.push(Number(numbers[1]));
    native.push(Number(numbers[2]) / 1024);
  } else if (kind === "step") {
    all.push(Number(numbers[0]) / 1000);
    if (numbers[1] === "1") fresh.push(Number(numbers[0]) / 1000);
  } else if (kind === "end") {
    walks += 1;
    whole += Number(numbers[0]);
  }
}
console.log(`${schemas.length} schemas, ${tokenizer.baseCount} ordinary tokens, ${all.length} steps`);
print("compiling", compileMs, "ms");
print(
  "a program in JavaScript",
  programs.map((program) => bytesOf(program) / 1024),
  "KiB",
);
print("reading it natively", read, "us");
print("a program in native code", native, "KiB");
print("set and step of a token", all, "ms");
print("the same where the set was new", fresh, "ms");
console.log(`new sets: ${((100 * fresh.length) / all.length).toFixed(2)} % of steps`);
console.log(`texts that came to their end: ${whole} of ${walks}`);
