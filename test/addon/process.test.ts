// The host process and its worker threads end cleanly whatever the engine is doing: no signal, no hang, the exit code
// that the host chose. Runs the built package in child processes.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readGolden } from "./support/golden-checkpoints";

const program = join(__dirname, "programs", "exits.cjs");
const packagePath = join(__dirname, "..", "..");
const { path } = readGolden("int4-group32");

interface Outcome {
  code: number;
  signal: string | null;
  stdout: string;
  stderr: string;
}

function run(scenario: string): Promise<Outcome> {
  return new Promise((resolve) => {
    const args = ["--expose-gc", program, packagePath, path, scenario];
    execFile(process.execPath, args, { timeout: 30_000 }, (error, stdout, stderr) => {
      const { code = 0, signal = null } = (error ?? {}) as { code?: number; signal?: string | null };
      resolve({ code: code as number, signal, stdout, stderr });
    });
  });
}

describe.concurrent("exit", () => {
  it.each([
    "disposed",
    "idle",
    "exitWhileLoading",
    "exitWhilePrefilling",
    "exitWhileDecoding",
    "exitWhileDisposing",
    "decodeUnread",
    "dropEverything",
    "dropWhilePrefilling",
    "workerEnds",
    "workerTerminatedWhilePrefilling",
    "workerTerminatedWhileDecoding",
    "workersTerminatedAtAnyMoment",
    "exitWhileWorkersWork",
    "twoWorkersAndMain",
  ])("%s", async (scenario) => {
    expect(await run(scenario)).toMatchObject({ code: 0, signal: null, stderr: "" });
  });

  it("unawaited", async () => {
    expect(await run("unawaited")).toMatchObject({ code: 0, signal: null, stdout: "prefilled\n" });
  });

  it("throwWhileDecoding", async () => {
    const { code, signal, stderr } = await run("throwWhileDecoding");
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toContain("the host's own fault");
  });
});
