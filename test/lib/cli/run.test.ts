// `k2 run` on the demo model: what goes where, reproducible answers, JSON, Ctrl-C, and failures.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEMO_FOLDER, k2, noTerminal, start, startInTerminal } from "./command-line";
import { ENDLESS, REPEATED } from "./questions";

const RATES = /^prefill [\d,]+ at [\d,.]+ tok\/s( · [\d,]+ cached)? · decode [\d,]+( at [\d,.]+ tok\/s)?$/m;

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "k2-run-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileWith(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** The lines of `--json`, and the last of them. */
async function runJson(...args: string[]) {
  const { code, stdout, stderr } = await k2(["run", ...args, "--json"]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const lines = stdout.trimEnd().split("\n");
  const parts = lines.map((line) => JSON.parse(line));
  return { parts, reply: parts.at(-1) };
}

describe("k2 run", () => {
  it("gives a pipe the answer alone; thinking and rates go to standard error", async () => {
    const { code, stdout, stderr } = await k2(["run", "demo", "Who are you?"]);
    expect(code).toBe(0);
    expect(stdout).toBe("I am a tiny demo model with the architecture of Kimi K2.\n");
    expect(stderr).toMatch(/^\(thinking\) \w/);
    expect(stderr).toMatch(RATES);
    expect(stdout + stderr).not.toContain("␛");
  });

  it("reads the prompt from standard input, and prints nothing else when quiet", async () => {
    const answer = {
      code: 0,
      stdout: "I am a tiny demo model with the architecture of Kimi K2.\n",
      stderr: "",
    };
    expect(await k2(["run", "demo", "-", "--quiet"], { input: "Who are you?\n" })).toEqual(answer);
    expect(await k2(["run", "demo", "-q", "--", "Who are you?"])).toEqual(answer);
  });

  it("executes the demo model's calls with its own tools", async () => {
    const { parts, reply } = await runJson("demo", "What is the weather in Rome?");
    const result = parts.find((part) => part.type === "tool-result");
    expect(result).toEqual({
      type: "tool-result",
      id: "functions.get_weather:0",
      name: "get_weather",
      content: '{"city":"Rome","temp_c":27,"sky":"clear"}',
      isError: false,
    });
    expect(reply.text).toBe("It is 27 degrees and clear in Rome.");
    expect(reply.finishReason).toBe("stop");
    const { usage, timings } = reply;
    expect(usage.cachedTokens).toBeGreaterThan(0);
    // The token that ended the first answer was sampled, but not computed with; the second prefill does that.
    expect(timings.prefillTokens - (usage.promptTokens - usage.cachedTokens)).toBeOneOf([0, 1]);
    expect(usage.completionTokens - timings.decodeTokens).toBeOneOf([0, 1, 2]);
  });

  it("prints calls that it cannot execute, and ends", async () => {
    const tools = fileWith(
      "tools.json",
      JSON.stringify([
        {
          type: "function",
          function: {
            name: "get_weather",
            description: "Weather in a city",
            parameters: { type: "object", required: ["city"], properties: { city: { type: "string" } } },
          },
        },
      ]),
    );
    const { code, stdout } = await k2(["run", "demo", "What is the weather in Oslo?", "--tools", tools]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '→ get_weather {"city":"Oslo"}\n' });
  });

  it("draws the same tokens from the same seed, whatever the number of threads", async () => {
    const args = [DEMO_FOLDER, "Hello!", "--temperature", "3", "--max-tokens", "40"];
    const [first, second, other] = [
      await runJson(...args, "--seed", "7", "--threads", "1"),
      await runJson(...args, "--seed", "7", "--threads", "2"),
      await runJson(...args, "--seed", "8"),
    ];
    expect(second.parts.slice(0, -1)).toEqual(first.parts.slice(0, -1));
    expect(other.parts.slice(0, -1)).not.toEqual(first.parts.slice(0, -1));
  });

  it("prints every part as a line of JSON, and the whole reply last", async () => {
    const { parts, reply } = await runJson(DEMO_FOLDER, "Hello!", "--temperature", "0");
    const joined = (type: string) =>
      parts
        .filter((part) => part.type === type)
        .map((part) => part.text)
        .join("");
    expect(reply).toMatchObject({
      type: "reply",
      text: joined("text-delta"),
      reasoning: joined("reasoning-delta"),
      toolCalls: [],
      finishReason: "stop",
    });
    expect(reply.text).not.toBe("");
    expect(reply.usage).toEqual(parts.at(-2).usage);
    expect(reply.timings.prefillTokens).toBe(reply.usage.promptTokens);
    expect(reply.timings.decodeMs).toBeGreaterThan(0);
  });

  it("passes its flags on", async () => {
    const short = await runJson(DEMO_FOLDER, "Hello!", "--max-tokens", "3");
    expect(short.reply.usage.completionTokens).toBe(3);
    expect(short.reply.finishReason).toBe("length");
    const silent = await runJson(DEMO_FOLDER, "Hello!", "--no-thinking", "--temperature", "0");
    expect(silent.reply.reasoning).toBe("");
    const args = [DEMO_FOLDER, "Hello!", "--temperature", "0", "--no-thinking"];
    const stopped = await runJson(...args, "--stop", "zzz", "--stop", silent.reply.text.slice(1, 3));
    expect(stopped.reply.text).toBe(silent.reply.text.slice(0, 1));
    const system = await runJson(
      DEMO_FOLDER,
      "Hello!",
      "--max-tokens",
      "1",
      "--system",
      "Answer briefly, please.",
    );
    expect(system.reply.usage.promptTokens).not.toBe(short.reply.usage.promptTokens);
  });

  it("says when an answer was cut off", async () => {
    const { code, stderr } = await k2(["run", DEMO_FOLDER, "Hello!", "--max-tokens", "2"]);
    expect(code).toBe(0);
    expect(stderr).toContain("cut off: --max-tokens");
  });

  it("fails with one line and exit code 1", async () => {
    const notJson = fileWith("broken.json", "[{");
    const notArray = fileWith("object.json", "{}");
    const notTool = fileWith("wrong.json", '[{"type":"function","function":{}}]');
    const failures: [args: string[], message: RegExp][] = [
      [["/nowhere", "hi"], /^k2: Expected a checkpoint folder for \/nowhere, got no such file/],
      [["demo", "hi", "--tools", "/nowhere"], /^k2: Expected a readable file for --tools, got: ENOENT/],
      [["demo", "hi", "--tools", notJson], /^k2: Expected JSON for --tools .*broken\.json, got: /],
      [["demo", "hi", "--tools", notArray], /^k2: Expected a JSON array of tools for --tools/],
      [["demo", "hi", "--tools", notTool], /^k2: Expected .* for tools\[0\]\.function\.name/],
      [["demo", "hi", "--isa", "abacus"], /^k2: Expected one of .*scalar.* for isa, got "abacus"/],
      [["demo", "word ".repeat(5000)], /^k2: Expected a prompt of at most 4096 tokens for the context/],
    ];
    for (const [args, message] of failures) {
      const { code, stdout, stderr } = await k2(["run", ...args]);
      expect({ code, stdout }).toEqual({ code: 1, stdout: "" });
      expect(stderr).toMatch(message);
      expect(stderr).toMatch(/^.*\n$/);
    }
  });

  it("ends with 130 at Ctrl-C", async () => {
    const running = start(["run", DEMO_FOLDER, REPEATED, "--json", ...ENDLESS]);
    await running.until("stdout", /\n/);
    running.child.kill("SIGINT");
    const { code, stdout } = await running.ended;
    expect(code).toBe(130);
    expect(JSON.parse(stdout.trimEnd().split("\n").at(-1)!)).toMatchObject({ finishReason: "abort" });
  });

  it("ends quietly when nobody reads its output any longer", async () => {
    const running = start(["run", DEMO_FOLDER, REPEATED, "--json", ...ENDLESS]);
    await running.until("stdout", /\n/);
    running.child.stdout.destroy();
    const { code, stderr } = await running.ended;
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });
});

describe.skipIf(noTerminal !== undefined)(`k2 run at a terminal (${noTerminal ?? "of script"})`, () => {
  it("shows thinking dimmed, then the answer, then the rates", async () => {
    const { code, stdout } = await startInTerminal(["run", "demo", "Who are you?"]).ended;
    expect(code).toBe(0);
    expect(stdout).toMatch(/␛\[2m\w.*\r\n\r\nI am a tiny demo model.*\r\n␛\[2mprefill /);
  });

  it("marks thinking by a word where there are no colours", async () => {
    const env = { NO_COLOR: "1" };
    const { stdout } = await startInTerminal(["run", "demo", "Who are you?"], { env }).ended;
    expect(stdout).toMatch(/\(thinking\) \w.*\r\n\r\nI am a tiny/);
    expect(stdout).not.toMatch(/␛\[\d+m/);
  });

  it("ends with 130 at Ctrl-C", async () => {
    const running = startInTerminal(["run", DEMO_FOLDER, REPEATED, ...ENDLESS]);
    await running.until("stdout", /7777/);
    running.type("\x03");
    const { code, stdout } = await running.ended;
    expect(code).toBe(130);
    expect(stdout).toContain("stopped");
  });
});
