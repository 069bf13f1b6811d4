// `npm run bench` runs to its end on every Node version and prints figures. What they are is its own affair.

import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { expect, it } from "vitest";

it("measures the demo model", { timeout: 60_000 }, () => {
  const program = join(__dirname, "../bench/run.mjs");
  const output = execFileSync(process.execPath, [program, "--runs", "1", "--json"], { encoding: "utf8" });
  const { results } = JSON.parse(output) as { results: Record<string, number>[] };
  expect(results.map(({ threads }) => threads)).toEqual([1, 2]);
  for (const result of results) {
    for (const figure of Object.values(result)) expect(figure).toBeGreaterThan(0);
  }
});
