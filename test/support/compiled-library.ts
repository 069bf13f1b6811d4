// The checkpoint room as plain JavaScript in a temporary folder, for tests that measure it in a process of its own.

import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { ModuleKind, ScriptTarget, transpileModule } from "typescript";

const PROJECT = join(import.meta.dirname, "../..");
const MEASURE = join(PROJECT, "tools/make-checkpoint/measure-open.mjs");

/** What tools/make-checkpoint/measure-open.mjs prints. */
export interface Measured {
  readonly error?: string;
  readonly tensorCount: number;
  readonly files: number;
  readonly weightBytes: number;
  readonly elapsedMs: number;
  readonly cpuMs: number;
  readonly heldMs: number;
  readonly rssBefore: number;
  readonly peakRss: number;
}

/** Compiles lib/checkpoint and the four files that it uses into `folder`. */
export function compileCheckpointRoom(folder: string): void {
  const room = readdirSync(join(PROJECT, "lib/checkpoint")).map((name) => `checkpoint/${name}`);
  for (const name of ["errors.ts", "check.ts", "time-slice.ts", "addon/contract.ts", ...room]) {
    const { outputText } = transpileModule(readFileSync(join(PROJECT, "lib", name), "utf8"), {
      compilerOptions: { module: ModuleKind.CommonJS, target: ScriptTarget.ES2022 },
    });
    const output = join(folder, name.replace(/\.ts$/, ".js"));
    mkdirSync(dirname(output), { recursive: true });
    writeFileSync(output, outputText);
  }
}

/** Opens `checkpoint` in a new process with the library compiled to `library`. */
export async function measureOpen(checkpoint: string, library: string): Promise<Measured> {
  const { stdout } = await promisify(execFile)(process.execPath, [MEASURE, checkpoint, library, "--json"]);
  return JSON.parse(stdout) as Measured;
}
