// Helps, versions, and everything that can be wrong with a command line: one line, and the right exit code.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { k2, noTerminal, PROJECT, startInTerminal } from "./command-line";

const COMMANDS = ["run", "chat", "inspect", "trace", "bench", "demo"];

describe("help", () => {
  it("lists the commands and goes to standard output", async () => {
    for (const args of [["--help"], ["-h"], ["help"]]) {
      const { code, stdout, stderr } = await k2(args);
      expect(code).toBe(0);
      expect(stderr).toBe("");
      for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} .*\\w`, "m"));
    }
  });

  it("describes each command with its flags and examples", async () => {
    for (const command of COMMANDS) {
      const { code, stdout, stderr } = await k2([command, "--help"]);
      expect(code).toBe(0);
      expect(stderr).toBe("");
      expect(stdout).toMatch(new RegExp(`^Usage  k2 ${command}\\b`));
      expect(stdout).toMatch(/^ {2}--threads COUNT {2,}\w/m);
      expect(stdout).toMatch(new RegExp(`^Examples\\n  .*k2 ${command}\\b`, "m"));
      // Without a terminal there are 80 columns; only commands to copy may be longer.
      const prose = stdout.slice(0, stdout.indexOf("Examples"));
      expect(Math.max(...prose.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
      expect((await k2(["help", command])).stdout).toBe(stdout);
    }
  });

  it("is given whatever else the line says", async () => {
    const { code, stdout } = await k2(["run", "--nonsense", "--temperature", "x", "-h"]);
    expect(code).toBe(0);
    expect(stdout).toContain("--temperature T");
  });

  it("without any word goes to standard error, as nothing was done", async () => {
    const { code, stdout, stderr } = await k2([]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("inspect MODEL");
  });

  it("names the version of the package", async () => {
    const { version } = JSON.parse(readFileSync(join(PROJECT, "package.json"), "utf8")) as {
      version: string;
    };
    for (const flag of ["--version", "-V"]) {
      expect(await k2([flag])).toEqual({ code: 0, stdout: `k2-native ${version}\n`, stderr: "" });
    }
  });
});

describe("a command line that cannot be understood", () => {
  const CASES: [args: string[], message: string][] = [
    [["foo"], 'Expected a command (run, chat, inspect, trace, bench, demo), got "foo" (see k2 --help)'],
    [
      ["rnu"],
      'Expected a command (run, chat, inspect, trace, bench, demo), got "rnu"; did you mean run? (see k2 --help)',
    ],
    [["--frob"], 'Expected a command (run, chat, inspect, trace, bench, demo), got "--frob" (see k2 --help)'],
    [
      ["help", "foo"],
      'Expected a command (run, chat, inspect, trace, bench, demo), got "foo" (see k2 --help)',
    ],
    [["run"], "Expected MODEL for k2 run, got none (see k2 run --help)"],
    [["run", "demo"], "Expected PROMPT for k2 run, got none (see k2 run --help)"],
    [
      ["run", "demo", "two", "words"],
      'Expected no further argument for k2 run, got "words"; put a prompt of several words in quotes (see k2 run --help)',
    ],
    [["run", "demo", ""], "Expected text for PROMPT, got none (see k2 run --help)"],
    [["run", "demo", "-"], "Expected text for PROMPT, got none (see k2 run --help)"],
    [
      ["inspect", "demo", "x"],
      'Expected no further argument for k2 inspect, got "x" (see k2 inspect --help)',
    ],
    [
      ["run", "demo", "hi", "--temprature", "1"],
      'Expected a flag of k2 run, got "--temprature"; did you mean --temperature? (see k2 run --help)',
    ],
    [["chat", "demo", "-x"], 'Expected a flag of k2 chat, got "-x" (see k2 chat --help)'],
    [["chat", "demo", "--json"], 'Expected a flag of k2 chat, got "--json" (see k2 chat --help)'],
    [
      ["run", "demo", "hi", "--temperature"],
      "Expected a value (T) for --temperature, got none (see k2 run --help)",
    ],
    [
      ["run", "demo", "hi", "--system", "--quiet"],
      "Expected a value (TEXT) for --system, got the flag --quiet (see k2 run --help)",
    ],
    [["run", "demo", "hi", "--quiet=1"], 'Expected no value for --quiet, got "1" (see k2 run --help)'],
    [
      ["run", "demo", "hi", "--temperature", "warm"],
      'Expected a number of 0..100 for --temperature, got "warm" (see k2 run --help)',
    ],
    [
      ["run", "demo", "hi", "--temperature", "101"],
      'Expected a number of 0..100 for --temperature, got "101" (see k2 run --help)',
    ],
    [
      ["run", "demo", "hi", "--temperature="],
      'Expected a number of 0..100 for --temperature, got "" (see k2 run --help)',
    ],
    [
      ["run", "demo", "hi", "--top-p", "0"],
      'Expected a number above 0, at most 1 for --top-p, got "0" (see k2 run --help)',
    ],
    [
      ["run", "demo", "hi", "--seed", "0x10"],
      'Expected an integer of at least 0 for --seed, got "0x10" (see k2 run --help)',
    ],
    [
      ["run", "demo", "hi", "--threads", "1.5"],
      'Expected an integer of 1..1024 for --threads, got "1.5" (see k2 run --help)',
    ],
    [
      ["demo", "--device", "abacus"],
      'Expected one of auto, cpu, cuda, metal, reference for --device, got "abacus" (see k2 demo --help)',
    ],
  ];

  it.each(CASES)("%j", async (args, message) => {
    expect(await k2(args)).toEqual({ code: 2, stdout: "", stderr: `k2: ${message}\n` });
  });

  it("sends no control character of an argument to the terminal", async () => {
    const { code, stderr } = await k2(["run", "demo", "hi", "--\u001b[2J"]);
    expect(code).toBe(2);
    expect(stderr).not.toContain("␛");
  });
});

describe.skipIf(noTerminal !== undefined)(`colours (${noTerminal ?? "at a terminal"})`, () => {
  const help = (env: Record<string, string>) => startInTerminal(["--help"], { env }).ended;

  it("are there at a terminal and absent under NO_COLOR and TERM=dumb", async () => {
    expect((await help({})).stdout).toContain("␛[1mCommands␛[22m");
    expect((await help({ NO_COLOR: "1" })).stdout).not.toContain("␛");
    expect((await help({ TERM: "dumb" })).stdout).not.toContain("␛");
  });

  it("leave help as wide as the terminal", async () => {
    for (const columns of [40, 60, 100]) {
      const { stdout } = await startInTerminal(["--help"], { columns, env: { NO_COLOR: "1" } }).ended;
      const widest = Math.max(...stdout.split(/\r?\n/).map((line) => line.length));
      expect(widest).toBeLessThanOrEqual(columns);
      expect(widest).toBeGreaterThan(columns - 20);
    }
  });
});
