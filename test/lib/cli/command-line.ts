// Starts the compiled command line as people do: with pipes, or inside a terminal that `script` provides.

import { type ChildProcessWithoutNullStreams, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";

export const PROJECT = join(import.meta.dirname, "../../..");
export const DEMO_FOLDER = join(PROJECT, "demo-model");
const MAIN = join(PROJECT, "dist/cli/main.js");

if (!existsSync(MAIN)) throw new Error(`Expected ${MAIN}, got no such file: run \`npm run build\` first`);

/** Why tests at a terminal cannot run here, or undefined. */
export const noTerminal: string | undefined =
  process.platform !== "linux" || spawnSync("script", ["--version"]).status !== 0
    ? "`script` of util-linux is missing"
    : undefined;

export interface Outcome {
  /** null when a signal ended the process. */
  code: number | null;
  stdout: string;
  stderr: string;
}

/** What a terminal would obey, as a character that a test can see. */
function showEscapes(text: string): string {
  return text.replaceAll("\u001b", "␛");
}

/** A running command. Texts grow while it runs; escapes appear as ␛. */
export class Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly ended: Promise<Outcome>;
  stdout = "";
  stderr = "";

  constructor(child: ChildProcessWithoutNullStreams) {
    this.child = child;
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += showEscapes(text);
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += showEscapes(text);
    });
    // A command may end before it has read its input.
    child.stdin.on("error", () => {});
    this.ended = new Promise((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (code) => resolve({ code, stdout: this.stdout, stderr: this.stderr }));
    });
  }

  type(text: string): void {
    this.child.stdin.write(text);
  }

  /** Resolves once an output holds `pattern`, looking from `from` on; gives the position behind the match. */
  async until(output: "stdout" | "stderr", pattern: RegExp, from = 0): Promise<number> {
    const stream = this.child[output];
    for (;;) {
      const match = pattern.exec(this[output].slice(from));
      if (match !== null) return from + match.index + match[0].length;
      await new Promise<void>((resolve, reject) => {
        if (stream.readableEnded) reject(new Error(`Expected ${pattern} in ${output}, got ${this[output]}`));
        stream.once("data", () => resolve());
        stream.once("end", () => resolve());
      });
    }
  }
}

interface StartOptions {
  env?: Record<string, string | undefined>;
}

function environment(more: StartOptions["env"]): NodeJS.ProcessEnv {
  // Node takes each of these for a wish about colours.
  const { NO_COLOR, FORCE_COLOR, CI, ...inherited } = process.env;
  return { ...inherited, TERM: "xterm-256color", ...more };
}

export function start(args: readonly string[], { env }: StartOptions = {}): Running {
  return new Running(spawn(process.execPath, [MAIN, ...args], { env: environment(env) }));
}

/** Runs to the end with all of standard input given at once. */
export function k2(
  args: readonly string[],
  { input = "", ...options }: StartOptions & { input?: string } = {},
) {
  const running = start(args, options);
  running.child.stdin.end(input);
  return running.ended;
}

/** Starts in a terminal of the given width; what the screen gets is `stdout`. */
export function startInTerminal(
  args: readonly string[],
  { columns = 80, ...options }: StartOptions & { columns?: number } = {},
): Running {
  const words = [process.execPath, MAIN, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`);
  const command = `stty cols ${columns} rows 40; exec ${words.join(" ")}`;
  return new Running(spawn("script", ["-qec", command, "/dev/null"], { env: environment(options.env) }));
}
