// Configures and builds one preset of CMakePresets.json, or one target of it.
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, rmSync } from "node:fs";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { findCommand } from "./native-tools.mjs";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const generator = findCommand("ninja") ? "Ninja" : "Unix Makefiles";

/** Runs a build step in silence; what it said is shown only when it fails. */
function step(command, args) {
  const { status, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    encoding: "utf8",
    maxBuffer: 1 << 28,
  });
  if (status !== 0) process.stderr.write(`${stdout ?? ""}${stderr ?? ""}`);
  return status === 0;
}

/** Whether it was built. What the compilers said of a failure goes to standard error. */
export function buildPreset(preset, target) {
  const folder = join(root, "build", preset);
  const cache = join(folder, "CMakeCache.txt");
  const kept = existsSync(cache) ? readFileSync(cache, "utf8") : "";
  const isUsable =
    kept.includes(`CMAKE_GENERATOR:INTERNAL=${generator}\n`) &&
    kept.includes(`CMAKE_HOME_DIRECTORY:INTERNAL=${root}\n`);
  if (!isUsable) rmSync(folder, { recursive: true, force: true });
  const only = target === undefined ? [] : ["--target", target];
  return (
    step("cmake", ["--preset", preset, "-G", generator]) &&
    step("cmake", ["--build", folder, "--parallel", String(availableParallelism()), ...only])
  );
}
