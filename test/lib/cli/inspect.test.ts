// `k2 inspect` on the demo model, on parts of it, and on damaged copies.

import { cpSync, mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { forecastModel, openCheckpoint } from "../../../lib/index";
import { DEMO_FOLDER, k2, noTerminal, startInTerminal } from "./command-line";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "k2-inspect-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function copyOfDemo(name: string): string {
  const copy = join(folder, name);
  cpSync(DEMO_FOLDER, copy, { recursive: true });
  return copy;
}

describe("k2 inspect", () => {
  it("shows what the checkpoint says", async () => {
    const { code, stdout, stderr } = await k2(["inspect", "demo"]);
    expect(code).toBe(0);
    expect(stderr).toBe("");
    const checkpoint = await openCheckpoint(DEMO_FOLDER);
    expect(stdout.split("\n").slice(0, 2)).toEqual([
      DEMO_FOLDER,
      "kimi_k2 · 4 files · 273 tensors · 3.80 MB",
    ]);
    expect(stdout).toMatch(/^ {2}parameters {2}2\.85 M, 1\.86 M for each token$/m);
    expect(stdout).toMatch(/^ {2}experts {5}2 of 8 for each token, 1 shared, width 96$/m);
    expect(stdout).toMatch(/^ {2}context {5}4,096 tokens \(YaRN: 4 x 1,024\)$/m);
    expect(stdout).toMatch(/^ {2}experts +INT4 group 32 +72 +1\.33 M +746\.5 kB +19\.7 %$/m);
    for (const { part, storage } of checkpoint.storageShares) {
      expect(stdout).toMatch(new RegExp(`^  ${part} +${storage} `, "m"));
    }
    expect(stdout).toMatch(/^ {2}chat layout {2}kimi-k2-thinking$/m);
    expect(stdout).toContain("<|im_end|> ");
    expect(stdout).toMatch(/^ {4}4,096 +3\.80 MB +.* fits$/m);
    expect(stdout).toMatch(/^ {2}reference {2}kernels scalar$/m);
    expect(stdout).not.toContain("␛");
  });

  it("prints the same as JSON, in bytes", async () => {
    const { code, stdout } = await k2(["inspect", DEMO_FOLDER, "--json", "--context", "2000"]);
    expect(code).toBe(0);
    const inspection = JSON.parse(stdout);
    const checkpoint = await openCheckpoint(DEMO_FOLDER);
    expect(inspection).toMatchObject({
      path: DEMO_FOLDER,
      config: checkpoint.config,
      tensorCount: checkpoint.tensorCount,
      weightBytes: checkpoint.weightBytes,
      storageShares: checkpoint.storageShares,
      text: {
        chatLayout: "kimi-k2-thinking",
        tokenizer: { tokens: 1280, controlTokens: 256 },
        problem: null,
      },
      unavailable: null,
    });
    const lengths = inspection.memory.map((one: { contextTokens: number }) => one.contextTokens);
    expect(lengths).toEqual([1024, 2000, 4096]);
    const { memoryBytes, ...forecast } = await forecastModel(checkpoint, { contextTokens: 2000 });
    expect(inspection.memory[1]).toMatchObject(forecast);
    expect(inspection.memory[1].memoryBytes).toBeGreaterThan(0);
    expect(await forecastModel(DEMO_FOLDER, { contextTokens: 2000 })).toMatchObject(forecast);
  });

  it("counts the parameters of one token from the experts that are chosen", async () => {
    const { stdout } = await k2(["inspect", "demo", "--json"]);
    const { parameters, activeParameters, storageShares, config } = JSON.parse(stdout);
    const experts = storageShares.find((share: { part: string }) => share.part === "experts").parameters;
    const idle = experts * (1 - config.num_experts_per_tok / config.n_routed_experts);
    expect(activeParameters).toBe(parameters - idle);
  });

  it("looks at a checkpoint without a tokenizer and says what is missing", async () => {
    const copy = copyOfDemo("no-tokenizer");
    rmSync(join(copy, "tiktoken.model"));
    const { code, stdout } = await k2(["inspect", copy]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}problem {6}Expected .*tiktoken\.model/m);
    expect(stdout).not.toContain("chat layout");
  });

  it("names file and fault of a damaged checkpoint in one line", async () => {
    const cut = copyOfDemo("cut");
    truncateSync(join(cut, "model-00002-of-000004.safetensors"), 5000);
    const config = copyOfDemo("config");
    writeFileSync(join(config, "config.json"), "{");
    const empty = join(folder, "none");
    for (const [path, fault] of [
      [cut, /model-00002-of-000004\.safetensors/],
      [config, /config\.json/],
      [empty, /none/],
    ] as const) {
      const { code, stdout, stderr } = await k2(["inspect", path]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(/^k2: Expected .*\n$/);
      expect(stderr).toMatch(fault);
    }
  });

  it.skipIf(noTerminal !== undefined)("fits terminals of 80 columns", async () => {
    const { code, stdout } = await startInTerminal(["inspect", "demo"], { env: { NO_COLOR: "1" } }).ended;
    expect(code).toBe(0);
    const lines = stdout.split(/\r?\n/);
    // The first line is the path, whatever its length.
    expect(Math.max(...lines.slice(1).map((line) => line.length))).toBeLessThanOrEqual(80);
  });
});
