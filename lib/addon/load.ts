// Finds the addon: a prebuilt binary for this platform, or the one built on this machine. It is loaded on first use,
// so that everything in lib/ that is pure works without it.

import { join } from "node:path";
import { K2Error } from "../errors";
import type { NativeAddon } from "./contract";

let addon: NativeAddon | undefined;

/** @throws K2Error `unavailable` with causes and remedies when no binary can be loaded. */
export function loadAddon(): NativeAddon {
  addon ??= find();
  return addon;
}

function find(): NativeAddon {
  // dist/addon/load.js and lib/addon/load.ts both lie two folders below the package.
  const packageFolder = join(__dirname, "..", "..");
  try {
    const load = require("node-gyp-build") as (folder: string) => NativeAddon;
    return load(packageFolder);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new K2Error(
      "unavailable",
      `Expected a k2-native addon for ${process.platform}-${process.arch} and Node ${process.versions.node}, got none. ` +
        `Build it with \`npm rebuild k2-native\` (needs CMake 3.21 and a C++20 compiler). The loader said: ${reason}`,
      { platform: process.platform, arch: process.arch },
      { cause },
    );
  }
}
