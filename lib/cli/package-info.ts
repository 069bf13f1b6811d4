// What package.json says about this package.

import { readFileSync } from "node:fs";
import { join } from "node:path";

export function packageVersion(): string {
  // dist/cli and lib/cli both lie two folders below it.
  const text = readFileSync(join(__dirname, "..", "..", "package.json"), "utf8");
  return (JSON.parse(text) as { version: string }).version;
}
