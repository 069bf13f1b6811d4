// Builds and runs the native tests, once as released and once under the address and undefined-behaviour sanitizers.
// `node scripts/test-native.mjs [preset] [part of a test's name]`; the last line is "N passed, N failed".
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildPreset } from "./native-build.mjs";
import { runShared } from "./native-shares.mjs";
import { whyNoSanitizers, whyNotBuildable } from "./native-tools.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
/** Counts of one preset. */
async function run(preset, filter) {
  if (!buildPreset(preset)) {
    console.log(`${preset}: the build failed`);
    return { passed: 0, failed: 1 };
  }
  const program = join(root, "build", preset, "k2_tests");
  const result = await runShared(preset, [program, ...filter], {
    isWhole: filter.length > 0,
    environment: {
      UBSAN_OPTIONS: "print_stacktrace=1",
      ...testEnvironment(),
      // Their numbers are the other preset's business; under the sanitizers they take minutes. Their own tests, of the same
      // kernels, run here too.
      ...(preset === "sanitize" ? { K2_TEST_LEFT_OUT: "emulated metal, emulated cuda" } : {}),
    },
  });
  console.log(`${preset}: ${result.passed} passed, ${result.failed} failed`);
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
