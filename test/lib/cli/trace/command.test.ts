// `k2 trace` on the demo model: the page, the JSON, where they go, and everything that can be wrong.

import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEMO_FOLDER, k2, PROJECT, start } from "../command-line";
import { ENDLESS, REPEATED } from "../questions";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "k2-trace-"));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const fileOf = (name: string) => join(folder, name);

async function traceJson(...args: string[]) {
  const { code, stdout, stderr } = await k2(["trace", "demo", "--json", ...args]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  const lines = stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  return { head: lines[0], tokens: lines.slice(1, -1), statistics: lines.at(-1) };
}

describe("k2 trace", () => {
  it("answers, writes a page, and says what it found", async () => {
    const file = fileOf("page.html");
    const { code, stdout, stderr } = await k2(["trace", "demo", "--prompt", "Who are you?", "-o", file]);
    expect(code).toBe(0);
    expect(stdout).toBe("I am a tiny demo model with the architecture of Kimi K2.\n");
    expect(stderr).toMatch(/\d+ tokens that the model wrote, in 3 layers of 8 experts, 2 for each token\./);
    expect(stderr).toMatch(/^ {2}As even as [\d.]+ of 8 experts$/m);
    expect(stderr).toMatch(/^ {2}\d+ % stay from token to token$/m);
    expect(stderr).toContain(`Wrote ${file} (`);
    const page = readFileSync(file, "utf8");
    expect(page).toMatch(/^<!DOCTYPE html>/);
    expect(page).toContain("<title>How demo-model chose its experts</title>");
    expect(page).toContain("<blockquote>Who are you?</blockquote>");
    expect(page).toContain("·tiny</text>");
    expect(page).toContain("&lt;/think&gt;</text>");
    expect(page.trimEnd()).toMatch(/<\/html>$/);
    // The same answer gives the same page.
    const again = fileOf("again.html");
    await k2(["trace", "demo", "--prompt", "Who are you?", "--threads", "1", "-q", "--output", again]);
    expect(readFileSync(again, "utf8")).toBe(page);
  });

  it("escapes what the prompt says", async () => {
    const file = fileOf("hostile.html");
    const { code } = await k2([
      "trace",
      "demo",
      "--prompt",
      "<img src=x onerror=alert(1)>",
      "-q",
      "-o",
      file,
    ]);
    expect(code).toBe(0);
    const page = readFileSync(file, "utf8");
    expect(page).toContain("<blockquote>&lt;img src=x onerror=alert(1)&gt;</blockquote>");
    expect(page).not.toContain("<img");
  });

  it("--json gives every token, in agreement with the statistics", async () => {
    const { head, tokens, statistics } = await traceJson("--prompt", "What is the weather in Rome?");
    expect(head).toMatchObject({
      type: "trace",
      model: join(PROJECT, "demo-model"),
      prompt: "What is the weather in Rome?",
      tokens: tokens.length,
      layers: [1, 2, 3],
      expertCount: 8,
      expertsPerToken: 2,
    });
    const counts = [0, 1, 2].map(() => Array(8).fill(0));
    for (const [index, token] of tokens.entries()) {
      expect(token).toMatchObject({ type: "token", position: head.firstPosition + index });
      if (index === tokens.length - 1) {
        expect(token).not.toHaveProperty("experts");
        continue;
      }
      for (const [layer, experts] of token.experts.entries()) {
        expect(experts).toHaveLength(2);
        for (const expert of experts) counts[layer]![expert] += 1;
        const [one, two] = token.weights[layer];
        expect(one + two).toBeGreaterThan(0.1);
        expect([one, two]).toEqual([Math.fround(one), Math.fround(two)].map((w) => Number(w.toPrecision(9))));
      }
    }
    expect(statistics.layers.map((layer: { counts: number[] }) => layer.counts)).toEqual(counts);
    expect(statistics.tokens).toBe(tokens.length - 1);
    const texts = tokens.filter(({ isWritten }) => isWritten).map(({ text }) => text);
    expect(texts.join("")).toContain("get_weather");
    const read = tokens.filter(({ isWritten }) => !isWritten).map(({ text }) => text);
    expect(read.join("")).toContain('"sky":"clear"');
    expect(read.join("")).not.toContain("The weather");
  });

  it("--with-prompt begins at the first token, and the rest is the same", async () => {
    const question = ["--prompt", "Who are you?"];
    const answer = await traceJson(...question);
    const whole = await traceJson(...question, "--with-prompt");
    expect(whole.head.firstPosition).toBe(0);
    const first = answer.head.firstPosition;
    expect(first).toBeGreaterThan(10);
    expect(whole.tokens.slice(first)).toEqual(answer.tokens);
    expect(whole.tokens.slice(0, first).every(({ isWritten }) => isWritten === false)).toBe(true);
    expect(
      whole.tokens
        .slice(0, first)
        .map(({ text }) => text)
        .join(""),
    ).toContain("Who are you?");
  });

  it("writes JSON to a file, and a page to standard output", async () => {
    const file = fileOf("trace.jsonl");
    const json = await k2(["trace", "demo", "--json", "-q", "--prompt", "Who are you?", "-o", file]);
    expect(json).toMatchObject({ code: 0, stderr: "" });
    const { head } = await traceJson("--prompt", "Who are you?");
    expect(JSON.parse(readFileSync(file, "utf8").split("\n")[0]!)).toEqual(head);
    const page = await k2(["trace", "demo", "--prompt", "Who are you?", "-o", "-"]);
    expect(page).toMatchObject({ code: 0, stderr: "" });
    expect(page.stdout).toMatch(/^<!DOCTYPE html>[\s\S]*<\/html>\n$/);
  });

  it("Ctrl-C ends the answer with 130, and what came so far is drawn", async () => {
    const file = fileOf("stopped.html");
    const running = start(["trace", DEMO_FOLDER, "--prompt", REPEATED, ...ENDLESS, "-o", file]);
    await running.until("stdout", /7777/);
    running.child.kill("SIGINT");
    const { code, stderr } = await running.ended;
    expect(code).toBe(130);
    expect(stderr).toContain("stopped");
    expect(readFileSync(file, "utf8")).toMatch(/<\/html>\n$/);
  });
});

describe("a trace that cannot be", () => {
  const failed = async (...args: string[]) => {
    const { code, stdout, stderr } = await k2(["trace", ...args]);
    expect(stdout).toBe("");
    return { code, stderr };
  };

  it("a place that cannot be written is refused before the model is loaded", async () => {
    expect(await failed("no-such-model", "-o", folder)).toEqual({
      code: 1,
      stderr: `k2: Expected a file that can be written for --output, got: ${folder} is a folder\n`,
    });
    const missing = join(folder, "missing", "page.html");
    expect((await failed("no-such-model", "-o", missing)).stderr).toMatch(
      /^k2: Expected a file that can be written for --output, got: ENOENT/,
    );
    const locked = fileOf("locked");
    mkdirSync(locked);
    writeFileSync(join(locked, "page.html"), "");
    chmodSync(locked, 0o555);
    // Whoever is root may write everywhere.
    if (process.getuid?.() !== 0) {
      expect((await failed("demo", "-o", join(locked, "new.html"))).stderr).toMatch(/EACCES/);
    }
  });

  it("wrong words", async () => {
    expect(await failed()).toEqual({
      code: 2,
      stderr: "k2: Expected MODEL for k2 trace, got none (see k2 trace --help)\n",
    });
    expect((await failed("demo", "--promt", "x")).stderr).toContain("did you mean --prompt?");
    expect(await failed("demo", "--prompt", " ", "-o", "-")).toEqual({
      code: 2,
      stderr: "k2: Expected text for --prompt, got none (see k2 trace --help)\n",
    });
    expect((await failed("no-such-model", "-o", "-")).code).toBe(1);
  });

  it("an answer of one token has no experts", async () => {
    const { code, stderr } = await failed("demo", "--max-tokens", "1", "-o", "-");
    expect(code).toBe(1);
    expect(stderr).toContain("k2: Expected an answer of at least 2 tokens to trace");
  });
});
