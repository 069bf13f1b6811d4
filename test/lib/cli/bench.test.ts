// `k2 bench`: its page and its JSON on the demo model, and the arithmetic behind its verdict.

import { describe, expect, it } from "vitest";
import { demandOf, limitsOf } from "../../../lib/cli/bench-limits";
import { benchReport } from "../../../lib/cli/bench-report";
import { openTerminal } from "../../../lib/cli/terminal";
import { type MachineLimits, type MemoryForecast, openCheckpoint } from "../../../lib/index";
import { DEMO_FOLDER, k2 } from "./command-line";

const MACHINE: MachineLimits = {
  threads: 2,
  readBytesPerSecond: 30e9,
  mappedReadBytesPerSecond: 28e9,
  arithmetic: "bf16-dot",
  operationsPerSecond: 400e9,
  cacheBytes: 32e6,
};
const MEMORY: MemoryForecast = {
  weightsBytes: 10e9,
  cacheBytes: 1e9,
  prefixCacheBytes: 0,
  scratchBytes: 1e9,
  totalBytes: 12e9,
  memoryBytes: 24e9,
  fits: true,
  runs: true,
};
const DEMAND = { bytesByPart: { attention: 1e9, experts: 0.5e9 }, bytes: 1.5e9, operations: 3e9 };

describe("what a token takes", () => {
  it("counts chosen experts and one of head and embedding", async () => {
    const checkpoint = await openCheckpoint(DEMO_FOLDER);
    const { config, storageShares } = checkpoint;
    const { bytesByPart, bytes, operations } = demandOf(checkpoint);
    const stored = (part: string) =>
      storageShares.filter((one) => one.part === part).reduce((sum, one) => sum + one.bytes, 0);
    expect(bytesByPart.attention).toBe(stored("attention"));
    expect(bytesByPart.experts).toBe(
      (stored("experts") * config.num_experts_per_tok) / config.n_routed_experts,
    );
    expect(bytesByPart["embedding and head"]).toBe(
      stored("embedding and head") / (config.tie_word_embeddings ? 1 : 2),
    );
    expect(bytes).toBeLessThan(checkpoint.weightBytes);
    expect(operations).toBeGreaterThan(0);
  });

  it("is what the machine is divided by", () => {
    expect(limitsOf(DEMAND, MACHINE, MEMORY)).toEqual({
      decodeTokensPerSecond: 20,
      prefillTokensPerSecond: expect.closeTo(400 / 3),
      bound: "memory",
    });
    const slow = { ...MACHINE, operationsPerSecond: 30e9 };
    expect(limitsOf(DEMAND, slow, MEMORY)).toMatchObject({ decodeTokensPerSecond: 10, bound: "arithmetic" });
    expect(limitsOf(DEMAND, MACHINE, { ...MEMORY, weightsBytes: 5e6 }).bound).toBe("caches");
    expect(limitsOf(DEMAND, MACHINE, { ...MEMORY, fits: false }).bound).toBe("disk");
  });
});

describe("the page", () => {
  const { stdout } = openTerminal(() => {});
  const page = (memory: MemoryForecast) =>
    benchReport(
      {
        path: "/models/x",
        device: "cpu",
        machine: MACHINE,
        memory,
        demand: DEMAND,
        limits: limitsOf(DEMAND, MACHINE, memory),
        runs: [{ promptTokens: 128, prefillTokensPerSecond: 100, decodeTokensPerSecond: 15 }],
      },
      stdout,
    )
      .join(" ")
      .replace(/ +/g, " ");

  it("says what bounds the machine, and what it reached of that", () => {
    expect(page(MEMORY)).toContain(
      "a token reads 1.50 GB and this machine reads 30.0 GB/s, so it can decode 20.0 tok/s at most",
    );
    expect(page(MEMORY)).toContain("15.0 tok/s were reached, 75 % of that.");
    expect(page({ ...MEMORY, weightsBytes: 5e6 })).toContain("All weights fit into the cache");
    expect(page({ ...MEMORY, fits: false })).toContain("read from disk again and again");
  });
});

describe("k2 bench", () => {
  it("measures the demo model", async () => {
    const { code, stdout, stderr } = await k2(["bench", "demo", "--context", "100"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    for (const title of ["Machine", "One token", "Speed", "What that means"]) {
      expect(stdout).toMatch(new RegExp(`^${title}$`, "m"));
    }
    expect(stdout).toMatch(/^ +32 +[\d,.]+ +[\d,.]+$/m);
    expect(
      Math.max(
        ...stdout
          .split("\n")
          .slice(1)
          .map((line) => line.length),
      ),
    ).toBeLessThanOrEqual(80);
  });

  it("prints the same as JSON", async () => {
    const { code, stdout } = await k2(["bench", "demo", "--context", "40", "--threads", "1", "--json"]);
    expect(code).toBe(0);
    const benchmark = JSON.parse(stdout);
    expect(benchmark).toMatchObject({ path: DEMO_FOLDER, device: "cpu", machine: { threads: 1 } });
    expect(benchmark.runs.map((run: { promptTokens: number }) => run.promptTokens)).toEqual([8]);
    for (const figure of [
      benchmark.machine.readBytesPerSecond,
      benchmark.machine.operationsPerSecond,
      benchmark.demand.bytes,
      benchmark.limits.decodeTokensPerSecond,
      benchmark.runs[0].prefillTokensPerSecond,
      benchmark.runs[0].decodeTokensPerSecond,
    ]) {
      expect(figure).toBeGreaterThan(0);
    }
  });
});
