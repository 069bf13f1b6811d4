// Builds and runs the native tests, once as released and once under the address and undefined-behaviour sanitizers.
// `node scripts/test-native.mjs [preset] [part of a test's name]`; the last line is "N passed, N failed".
import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPreset } from "./native-build.mjs";
import { whyNoSanitizers, whyNotBuildable } from "./native-tools.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Counts of one preset, whose tests one process per processor shares. */
async function run(preset, filter) {
  if (!buildPreset(preset)) {
    console.log(`${preset}: the build failed`);
    return { passed: 0, failed: 1 };
  }
  const shards = filter.length > 0 ? 1 : availableParallelism();
  const results = await Promise.all(
    Array.from({ length: shards }, (_, shard) => runShard(preset, filter, `${shard}/${shards}`)),
  );
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  const result = { passed: sum("passed"), failed: sum("failed") };
  console.log(`${preset}: ${result.passed} passed, ${result.failed} failed`);
  return result;
}

/** A program that ended by itself without its closing line is one more failure. */
async function runShard(preset, filter, shard) {
  const program = join(root, "build", preset, "k2_tests");
  const env = {
    ...process.env,
    UBSAN_OPTIONS: "print_stacktrace=1",
    ...testEnvironment(),
    K2_TEST_SHARD: shard,
  };
  const child = spawn(program, filter, { cwd: root, env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      output += text;
    });
  }
  const [status, signal] = await once(child, "close");
  const counts = /^(\d+) passed, (\d+) failed$/m.exec(output);
  const result = { passed: Number(counts?.[1] ?? 0), failed: Number(counts?.[2] ?? 0) };
  if (status !== 0) {
    process.stdout.write(output);
    if (signal) console.log(`${preset}, tests ${shard}: ended by ${signal}`);
    if (result.failed === 0) result.failed = 1;
  }
  return result;
}

/** The sanitizers' own defaults, unless the caller set others. */
function testEnvironment() {
  return process.env.ASAN_OPTIONS === undefined ? { ASAN_OPTIONS: "detect_stack_use_after_return=1" } : {};
}

const [only, ...filter] = process.argv.slice(2);
const reason = whyNotBuildable();
if (reason !== undefined) {
  console.error(reason);
  process.exit(1);
}
const presets = only === undefined ? ["tests", "sanitize"] : [only];
const total = { passed: 0, failed: 0 };
for (const preset of presets) {
  const absent = preset === "sanitize" ? whyNoSanitizers() : undefined;
  if (absent !== undefined) {
    console.log(`sanitize: not run. ${absent}`);
    if (process.env.CI === "true") total.failed += 1;
    continue;
  }
  const { passed, failed } = await run(preset, filter);
  total.passed += passed;
  total.failed += failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
