// `k2 bench`: its page and its JSON on the demo model, and the arithmetic behind its verdict.

import { describe, expect, it } from "vitest";
import { demandOf, diskForecastOf, limitsOf } from "../../../lib/cli/bench-limits";
import { type Benchmark, benchReport } from "../../../lib/cli/bench-report";
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
  expertsBytes: 8e9,
  expertMemoryBytes: 0,
  expertCopyBytes: 0,
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
    expect(limitsOf(DEMAND, MACHINE, { ...MEMORY, expertMemoryBytes: 1e9 }).bound).toBe("disk");
  });

  it("takes its time from the disk where experts are not in memory", () => {
    const limits = limitsOf(DEMAND, MACHINE, MEMORY);
    const decodes = [
      { hits: 50, misses: 30 },
      { hits: 10, misses: 10 },
    ];
    // 0.2 GB at 2 GB/s, beside the 50 ms of the memory.
    expect(diskForecastOf(DEMAND, limits, decodes, { readBytes: 10e9, readMs: 5000 })).toEqual({
      hitRate: 0.6,
      diskBytesPerSecond: 2e9,
      diskBytesPerToken: expect.closeTo(0.2e9),
      decodeTokensPerSecond: expect.closeTo(1 / (0.05 + 0.1)),
    });
    const idle = diskForecastOf(DEMAND, limits, [], { readBytes: 0, readMs: 0 });
    expect(idle.decodeTokensPerSecond).toBeCloseTo(20);
  });
});

const MAPPED = { expertReads: null, disk: null };

describe("the page", () => {
  const { stdout } = openTerminal(() => {});
  const page = (memory: MemoryForecast, experts: Pick<Benchmark, "expertReads" | "disk"> = MAPPED) =>
    benchReport(
      {
        path: "/models/x",
        device: "cpu",
        machine: MACHINE,
        memory,
        demand: DEMAND,
        limits: limitsOf(DEMAND, MACHINE, memory),
        runs: [{ promptTokens: 128, prefillTokensPerSecond: 100, decodeTokensPerSecond: 15 }],
        ...experts,
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

  it("says what a disk allows, and how experts came from it", () => {
    const memory = { ...MEMORY, fits: false, expertMemoryBytes: 2e9 };
    const expertReads = {
      hits: 60,
      misses: 40,
      guesses: 9,
      usedGuesses: 4,
      wastedGuesses: 3,
      readBytes: 10e9,
      readMs: 5000,
      waits: 7,
      waitMs: 1500,
      memoryBytes: 2e9,
    };
    const limits = limitsOf(DEMAND, MACHINE, memory);
    const text = page(memory, {
      expertReads,
      disk: diskForecastOf(DEMAND, limits, [expertReads], expertReads),
    });
    expect(text).toContain("read 10.0 GB in 5.0 s of reading");
    expect(text).toContain("uses 100, 60 % found in memory");
    expect(text).toContain("guesses 9, 4 used, 3 wasted");
    expect(text).toContain("waits 7, 1.5 s in all");
    expect(text).toContain("from disk, which gave 2.00 GB/s");
    expect(text).toContain("60 % were in memory, so a token reads 200.0 MB");
    expect(text).toContain("decodes about 6.67 tok/s, and with all experts in memory 20.0 at most");
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
