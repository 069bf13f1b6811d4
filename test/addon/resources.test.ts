// What a model takes it gives back, and it never holds JavaScript's thread for long. Bounds on time are generous:
// the machine may be busy, and a bound that fails by chance tests nothing.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readGolden } from "./support/golden-checkpoints";

const packagePath = join(__dirname, "..", "..");
const { path } = readGolden("int4-group32");

function run(scenario: string): Promise<Record<string, number>> {
  const program = join(__dirname, "programs", "resources.cjs");
  return new Promise((resolve, reject) => {
    // A small young generation: V8 growing its own is not what is measured here.
    const args = ["--expose-gc", "--max-semi-space-size=1", program, packagePath, path, scenario];
    execFile(process.execPath, args, { timeout: 110_000 }, (error, stdout) =>
      error === null ? resolve(JSON.parse(stdout)) : reject(error),
    );
  });
}

describe("resources", () => {
  it("loading and disposing again and again leaks nothing", { timeout: 120_000 }, async () => {
    const { grownBytes, cycles, threads, files } = await run("cycles");
    // Fragmentation takes about 15 KB a cycle here; a leaked model or session would take megabytes.
    expect(grownBytes! / cycles!).toBeLessThan(48 * 1024);
    expect(threads).toBe(0);
    expect(files).toBe(0);
  });

  it("the event loop stays free while the engine works", { timeout: 120_000 }, async () => {
    const { lateMs, idleMs, busyMs } = await run("eventLoop");
    expect(busyMs).toBeGreaterThan(100);
    expect(lateMs! - idleMs!).toBeLessThan(10);
  });

  it("no synchronous call is long, whatever is under way", { timeout: 120_000 }, async () => {
    const { slowestMs, medianMs } = await run("synchronousCalls");
    expect(medianMs).toBeLessThan(1);
    expect(slowestMs).toBeLessThan(50);
  });
});
