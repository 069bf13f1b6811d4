// Builds and runs the native tests, once as released and once under the address and undefined-behaviour sanitizers.
// `node scripts/test-native.mjs [preset] [part of a test's name]`; the last line is "N passed, N failed".
import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPreset } from "./native-build.mjs";
import { whyNoSanitizers, whyNotBuildable } from "./native-tools.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Counts of one preset. A program that ended by itself without its closing line is one more failure. */
function run(preset, filter) {
  if (!buildPreset(preset)) {
    console.log(`${preset}: the build failed`);
    return { passed: 0, failed: 1 };
  }
  const program = join(root, "build", preset, "k2_tests");
  const env = { ...process.env, UBSAN_OPTIONS: "print_stacktrace=1", ...testEnvironment() };
  const { status, signal, stdout, stderr } = spawnSync(program, filter, {
    cwd: root,
    env,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  const counts = /^(\d+) passed, (\d+) failed$/m.exec(stdout ?? "");
  const result = { passed: Number(counts?.[1] ?? 0), failed: Number(counts?.[2] ?? 0) };
  if (status !== 0) {
    process.stdout.write(`${stdout ?? ""}${stderr ?? ""}`);
    if (result.failed === 0) result.failed = 1;
  }
  const end = signal ? ` (ended by ${signal})` : "";
  console.log(`${preset}: ${result.passed} passed, ${result.failed} failed${end}`);
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
  const { passed, failed } = run(preset, filter);
  total.passed += passed;
  total.failed += failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
