// `k2 chat` through a pipe and at a terminal: the conversation goes on, Ctrl-C ends the right thing, slash commands work.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { DEMO_FOLDER, k2, noTerminal, type Running, start, startInTerminal } from "./command-line";
import { ENDLESS, REPEATED } from "./questions";

const PROMPT = /> $|> ␛\[\d*[A-Za-z]/;

describe("k2 chat through a pipe", () => {
  it("answers line by line and remembers the conversation", async () => {
    const input = "What time is it in Tokyo?\nAnd in New York?\n\n";
    const { code, stdout, stderr } = await k2(["chat", "demo"], { input });
    expect(code).toBe(0);
    expect(stdout).toBe("It is 23:05 in Tokyo.\nIt is 09:05 in New York.\n");
    const rates = stderr.match(/^prefill .*$/gm) ?? [];
    expect(rates).toHaveLength(2);
    expect(rates[1]).toMatch(/ [\d,]+ cached /);
  });

  it("runs slash commands", async () => {
    const input = "/help\n/tools\n/system Answer briefly.\n/system\n/nonsense\n/reset\n/exit\nWho are you?\n";
    const { code, stdout, stderr } = await k2(["chat", "demo"], { input });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "" });
    expect(stderr).toContain("/system [TEXT]  show the system prompt");
    expect(stderr).toMatch(/^get_weather +Weather in a city$/m);
    expect(stderr.match(/System prompt: Answer briefly\./g)).toHaveLength(2);
    expect(stderr).toContain('Expected one of /help, /reset, /system, /tools, /exit, got "/nonsense".');
    expect(stderr.match(/A new conversation\./g)).toHaveLength(2);
  });

  it("forgets the conversation at /reset", async () => {
    const input = "Who are you?\n/reset\nWho are you?\n";
    const { stderr } = await k2(["chat", DEMO_FOLDER, "--temperature", "0"], { input });
    const [first, second] = stderr.match(/^prefill [\d,]+ at/gm) ?? [];
    expect(first).toBeDefined();
    expect(second).toBe(first);
  });

  it("stops an answer at Ctrl-C, and goes on", async () => {
    const running = start(["chat", DEMO_FOLDER, ...ENDLESS]);
    let at = 0;
    for (let round = 0; round < 2; round += 1) {
      const answered = running.stdout.length;
      running.type(`${REPEATED}\n`);
      await running.until("stdout", /7777/, answered);
      running.child.kill("SIGINT");
      at = await running.until("stderr", /^stopped\nprefill .*\n/m, at);
    }
    running.child.stdin.end();
    const { code, stderr } = await running.ended;
    expect(code).toBe(0);
    // The second answer stood on the first.
    expect(stderr.match(/^prefill .*$/gm)?.[1]).toMatch(/ [\d,]+ cached /);
  });

  it("leaves at the second Ctrl-C while nobody asks anything", async () => {
    const running = start(["chat", DEMO_FOLDER]);
    running.type("/tools\n");
    await running.until("stderr", /No tools/);
    running.child.kill("SIGINT");
    await running.until("stderr", /Ctrl-C again leaves/);
    running.child.kill("SIGINT");
    expect((await running.ended).code).toBe(130);
  });

  it("goes on past the context, and says what was left out", async () => {
    const input = "What time is it in Tokyo?\n".repeat(8);
    const { code, stdout, stderr } = await k2(["chat", "demo", "--context", "900"], { input });
    expect({ code, stdout }).toEqual({ code: 0, stdout: "It is 23:05 in Tokyo.\n".repeat(8) });
    expect(stderr).toMatch(/^to make room in the context: \d+ earlier messages left out$/m);
  });

  it("ends with one line where an answer fails", async () => {
    const { code, stderr } = await k2(["chat", DEMO_FOLDER, "--context", "10"], {
      input: "Where does Ana live?\n",
    });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^k2: Expected a prompt of at most 10 tokens for the context, got \d+ \(.*\)\n$/);
  });
});

describe("k2 chat with tools of the person", () => {
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "k2-chat-"));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  function declared(): string {
    const parameters = { type: "object", required: ["city"], properties: { city: { type: "string" } } };
    const tool = { name: "get_weather", description: "Weather in a city", parameters };
    const file = join(folder, "tools.json");
    writeFileSync(file, JSON.stringify([{ type: "function", function: tool }]));
    return file;
  }

  it("takes the next line as the result of a call", async () => {
    const input = 'What is the weather in Rome?\n{"city":"Rome","temp_c":5,"sky":"foggy"}\n';
    const { code, stdout } = await k2(["chat", "demo", "--tools", declared()], { input });
    expect(code).toBe(0);
    expect(stdout).toMatch(/^→ get_weather \{"city":"Rome"\}\n[\s\S]*It is 5 degrees and foggy in Rome\.\n$/);
  });

  it("asks for one result after the other", async () => {
    const result = (city: string, temperature: number) =>
      `{"city":"${city}","temp_c":${temperature},"sky":"clear"}`;
    const input = `Compare the weather in Oslo and Rome.\n${result("Oslo", 1)}\n${result("Rome", 2)}\n`;
    const { stdout } = await k2(["chat", "demo", "--tools", declared()], { input });
    expect(stdout).toMatch(/It is 1 degrees and clear in Oslo\. It is 2 degrees and clear in Rome\.\n$/);
  });

  it.skipIf(noTerminal !== undefined)(
    "asks one after the other at a terminal, until there is no answer",
    async () => {
      const running = startInTerminal(["chat", "demo", "--tools", declared()], { env: { NO_COLOR: "1" } });
      const asked = /result of get_weather> /;
      const question = "Compare the weather in Oslo and Rome.\r";
      let at = await running.until("stdout", PROMPT);
      running.type(question);
      at = await running.until("stdout", asked, at);
      running.type('{"city":"Oslo","temp_c":1,"sky":"clear"}\r');
      at = await running.until("stdout", asked, at);
      running.type('{"city":"Rome","temp_c":2,"sky":"clear"}\r');
      at = await running.until("stdout", /It is 2 degrees and clear in Rome\.[\s\S]*prefill .*\r\n/, at);
      expect(running.stdout).toContain("It is 1 degrees and clear in Oslo.");
      await running.until("stdout", PROMPT, at);
      running.type(question);
      at = await running.until("stdout", asked, at);
      running.type("\x04");
      const end = await running.until("stdout", /a call was left without a result[\s\S]*prefill .*\r\n/, at);
      expect(running.stdout.slice(at, end)).not.toMatch(asked);
      await running.until("stdout", PROMPT, end);
      running.type("\x04");
      expect((await running.ended).code).toBe(0);
    },
  );

  it("ends the turn where there is no result, and asks no further", async () => {
    const input = "Compare the weather in Oslo and Rome.\n";
    const { code, stdout, stderr } = await k2(["chat", "demo", "--tools", declared()], { input });
    expect({ code, stdout }).toEqual({
      code: 0,
      stdout: '→ get_weather {"city":"Oslo"}\n→ get_weather {"city":"Rome"}\n',
    });
    expect(stderr.match(/← \{"error":"no result was given"\}/g)).toHaveLength(2);
    expect(stderr).toMatch(/^a call was left without a result$/m);
  });
});

describe.skipIf(noTerminal !== undefined)(`k2 chat at a terminal (${noTerminal ?? "of script"})`, () => {
  /** Waits for a new prompt and types a line into it. */
  async function say(running: Running, text: string, from = 0): Promise<number> {
    const at = await running.until("stdout", PROMPT, from);
    running.type(text);
    return at;
  }

  it("stops an answer at Ctrl-C and leaves at Ctrl-D", async () => {
    const running = startInTerminal(["chat", DEMO_FOLDER, ...ENDLESS]);
    let at = 0;
    for (let round = 0; round < 2; round += 1) {
      at = await say(running, `${REPEATED}\r`, at);
      // The editor shows the question and ends its line; the answer follows.
      at = await running.until("stdout", /\n[\s\S]*7777/, at);
      running.type("\x03");
      at = await running.until("stdout", /stopped[\s\S]*prefill .*\r\n/, at);
    }
    await say(running, "\x04", at);
    expect((await running.ended).code).toBe(0);
  });

  it("clears a line at Ctrl-C, and leaves at the second one at an empty prompt", async () => {
    const running = startInTerminal(["chat", DEMO_FOLDER]);
    let at = await say(running, "half a question");
    at = await running.until("stdout", /half a question/, at);
    running.type("\x03");
    at = await say(running, "\x03", at);
    at = await running.until("stdout", /Ctrl-C again leaves/, at);
    await say(running, "\x03", at);
    const { code, stdout } = await running.ended;
    expect(code).toBe(130);
    expect(stdout).not.toContain("prefill");
  });

  it("takes pasted lines as one message", async () => {
    const running = startInTerminal(["chat", DEMO_FOLDER, "--temperature", "0", "--max-tokens", "5"]);
    let at = await say(running, "\u001b[200~first\rsecond\u001b[201~\r");
    at = await running.until("stdout", /prefill .*\r\n/, at);
    await say(running, "\x04", at);
    const { stdout } = await running.ended;
    expect(stdout.match(/prefill /g)).toHaveLength(1);
  });
});
