// `npm run bench` runs to its end on every Node version, and its results have the promised fields. What the figures are is
// their own affair.

import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, vi } from "vitest";

// k2_bench may have to be built first; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 600_000 });

interface Spread {
  median: number;
  least: number;
  greatest: number;
}

interface Results {
  date: string;
  machine: Record<string, unknown>;
  native: {
    isa: string;
    quick: boolean;
    limits: { name: string; threads: number; unit: string; value: Spread }[];
    cases: ({ name: string; group: string; bound: string; disturbed: boolean; refused?: string } & Record<
      "milliseconds" | "fraction",
      Spread
    > &
      Record<"tokens" | "context" | "bytes" | "repetitions" | "gigabytesPerSecond" | "readLimit", number>)[];
  };
  api: { results: Record<string, number>[] };
}

const folder = mkdtempSync(join(tmpdir(), "k2-bench-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function expectSpread({ median, least, greatest }: Spread): void {
  expect(least).toBeGreaterThan(0);
  expect(median).toBeGreaterThanOrEqual(least);
  expect(greatest).toBeGreaterThanOrEqual(median);
}

describe("npm run bench", () => {
  it("measures the machine, every op and the API", () => {
    const program = join(__dirname, "../bench/run.mjs");
    const args = [program, "--quick", "--runs", "1", "--json", "--out", folder];
    const output = execFileSync(process.execPath, args, { encoding: "utf8", maxBuffer: 1 << 28 });
    const { native, api, machine } = JSON.parse(output) as Results;
    expect(native.quick).toBe(true);
    expect(machine).toMatchObject({ cpu: expect.any(String), cores: expect.any(Number) });

    const limits = new Set(native.limits.map(({ name }) => name));
    for (const name of ["read-2MiB-pages", "read-4KiB-pages", "read-mapped-file", "f32-portable"]) {
      expect(limits).toContain(name);
    }
    for (const { value } of native.limits) expectSpread(value);

    const kinds = new Set(native.cases.map(({ group }) => group.split(" ")[0]));
    expect(kinds).toEqual(new Set(["rows", "linear", "experts", "feed-forward", "attention", "layer"]));
    for (const one of native.cases) {
      expect(one.refused, one.name).toBeUndefined();
      expectSpread(one.milliseconds);
      expectSpread(one.fraction);
      expect(one.bytes).toBeGreaterThan(0);
      expect(one.readLimit).toBeGreaterThan(0);
      expect(one.repetitions).toBeGreaterThanOrEqual(3);
      expect(typeof one.disturbed).toBe("boolean");
    }

    expect(api.results.map(({ threads }) => threads)).toEqual([1, 2]);
    for (const result of api.results) {
      for (const figure of Object.values(result)) expect(figure).toBeGreaterThan(0);
    }

    const [json, svg] = readdirSync(folder).sort();
    expect(JSON.parse(readFileSync(join(folder, json!), "utf8"))).toEqual(JSON.parse(output));
    const chart = readFileSync(join(folder, svg!), "utf8");
    expect(chart).toMatch(/^<svg [\s\S]*<\/svg>\n$/);
    for (const { name } of native.cases.filter(
      ({ tokens, group }) => tokens === 1 && !group.startsWith("rows"),
    ))
      expect(chart).toContain(`>${name}<`);
  });
});
