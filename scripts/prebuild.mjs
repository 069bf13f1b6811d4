// Puts a stripped addon for this platform into prebuilds/, where node-gyp-build finds it in a published package.
// prebuildify runs `node-gyp rebuild`, which would download Node's headers; our target is of type "none" and includes
// none of them, so node-gyp is given an empty set.
import { spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const headers = join(root, ".cache", "node-gyp");
mkdirSync(join(headers, "include", "node"), { recursive: true });
for (const file of ["common.gypi", "config.gypi"])
  writeFileSync(join(headers, "include", "node", file), "{}\n");

const prebuildify = join(dirname(require.resolve("prebuildify/package.json")), "bin.js");
const { status } = spawnSync(process.execPath, [prebuildify, "--napi", "--strip", ...process.argv.slice(2)], {
  cwd: root,
  env: { ...process.env, npm_config_nodedir: headers },
  stdio: "inherit",
});
process.exit(status ?? 1);
