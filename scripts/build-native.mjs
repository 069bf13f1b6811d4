// Builds the addon: cmake-js drives CMakeLists.txt with the headers of the node-api-headers package, so that nothing is
// downloaded. CMake works in build/addon; what node-gyp-build loads is build/Release/k2_native.node.
import { spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { whyNotBuildable } from "./native-tools.mjs";

const require = createRequire(import.meta.url);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const work = join(root, "build", "addon");
const built = join(work, "Release", "k2_native.node");
const result = join(root, "build", "Release", "k2_native.node");

function fail(message) {
  console.error(message);
  process.exit(1);
}

function findCmakeJs() {
  try {
    return join(dirname(require.resolve("cmake-js/package.json")), "bin", "cmake-js");
  } catch {
    return fail("Expected the npm packages that k2-native needs, got none. Install them with: npm ci");
  }
}

/** A configuration of a moved folder, or one that broke off, would fail every later build. */
function dropUnusableConfiguration() {
  const cache = join(work, "CMakeCache.txt");
  if (!existsSync(cache)) return;
  const home = /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(readFileSync(cache, "utf8"))?.[1];
  const isWhole = existsSync(join(work, "build.ninja")) || existsSync(join(work, "Makefile"));
  if (home !== root || !isWhole) rmSync(work, { recursive: true, force: true });
}

/** By renaming, because a program that has the old file mapped must keep it whole. */
function publish() {
  mkdirSync(dirname(result), { recursive: true });
  const draft = `${result}.${process.pid}`;
  copyFileSync(built, draft);
  renameSync(draft, result);
}

const reason = whyNotBuildable();
if (reason !== undefined) fail(reason);
dropUnusableConfiguration();
const cmakeJs = findCmakeJs();
const { MAKEFLAGS: _, MAKELEVEL: __, ...env } = process.env; // of a make that called us: node-gyp's
const options = {
  directory: root,
  out: work,
  config: "Release",
  "log-level": "error",
  parallel: availableParallelism(),
};
const build = spawnSync(
  process.execPath,
  [cmakeJs, "build", ...Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)])],
  { cwd: root, env, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"], maxBuffer: 1 << 28 },
);
if (build.status !== 0) {
  process.stderr.write(`${build.stdout ?? ""}${build.stderr ?? ""}`);
  fail("Building the k2-native addon failed; the compiler's messages are above.");
}
if (!existsSync(built)) fail(`Expected the build to leave ${built}, got no such file.`);
publish();
