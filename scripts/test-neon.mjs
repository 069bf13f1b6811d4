// The native tests on aarch64: cross-compiled and run under qemu's user emulation, so that the NEON kernels are checked
// on any Linux machine. `node scripts/test-neon.mjs [part of a test's name]`; without the tools it says so and passes.
import { spawnSync } from "node:child_process";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { runShared } from "./native-shares.mjs";
import { findCommand } from "./native-tools.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const work = join(root, "build", "neon");
const compiler = findCommand("aarch64-linux-gnu-g++");
const emulator = findCommand("qemu-aarch64", "qemu-aarch64-static");

function step(command, args) {
  const options = { cwd: root, encoding: "utf8", maxBuffer: 1 << 28 };
  const { status, stdout, stderr } = spawnSync(command, args, options);
  if (status === 0) return;
  process.stdout.write(`${stdout ?? ""}${stderr ?? ""}`);
  process.exit(status ?? 1);
}

if (process.arch === "arm64") {
  console.log("NEON tests: scripts/test-native.mjs runs them on this machine");
  process.exit(0);
}
if (compiler === undefined || emulator === undefined) {
  console.log("NEON tests: not run. They need: apt-get install g++-aarch64-linux-gnu qemu-user");
  process.exit(0);
}
step("cmake", [
  "-S",
  root,
  "-B",
  work,
  "-DCMAKE_SYSTEM_NAME=Linux",
  "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
  `-DCMAKE_CXX_COMPILER=${compiler}`,
  // The libraries of the cross compiler then need no place that the emulator finds.
  "-DCMAKE_EXE_LINKER_FLAGS=-static",
  "-DCMAKE_BUILD_TYPE=Release",
  "-DK2_TESTS=ON",
  "-DK2_CUDA=OFF",
  "-DK2_WERROR=ON",
]);
step("cmake", ["--build", work, "--parallel", String(availableParallelism())]);
// What depends on the processor: the kernels. This emulator is slow, so long shapes are left to other machines, and so
// is what runs kernels in an emulator of its own.
const kernels = ["isa_", "linear_", "routed_experts_match", "feed_forward_matches", "-linear_of_true_width"];
const ops = [
  "fast_math_",
  "conformance_",
  ...["long", "any_", "whole_", "chunked_"].map((part) => `-attention_${part}`),
];
// The newest processor runs every set. Older ones must be given those that they can run, and end with an illegal
// instruction where another one gets in.
const processors = {
  "cortex-a53": "neon scalar",
  "neoverse-n1": "neon-dotprod neon scalar",
  max: "neon-bf16 neon-i8mm neon-dotprod neon scalar",
};
const total = { passed: 0, failed: 0 };
for (const [processor, sets] of Object.entries(processors)) {
  const asked = process.argv.slice(2);
  const only = asked.length > 0 ? asked : processor === "max" ? [...kernels, ...ops] : kernels;
  const program = [emulator, "-cpu", processor, join(work, "k2_tests"), ...only];
  const environment = { K2_EXPECTED_KERNEL_SETS: sets, K2_TEST_LEFT_OUT: "emulated metal, emulated cuda" };
  const { passed, failed } = await runShared(processor, program, { environment });
  console.log(`${processor} (${sets}): ${passed} passed, ${failed} failed`);
  total.passed += passed;
  total.failed += failed;
}
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
