// npm's install script: nothing to do where a binary for this machine is there and loads; otherwise builds the addon.
import { createRequire } from "node:module";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);

function hasBinary() {
  if (process.env.npm_config_build_from_source) return false;
  try {
    require("node-gyp-build")(dirname(dirname(fileURLToPath(import.meta.url))));
    return true;
  } catch {
    return false; // none, or one of another system: the build replaces it
  }
}

if (!hasBinary()) await import("./build-native.mjs");
