// A turn from question to answer and what becomes visible of it, with a scripted model.

import { describe, expect, it } from "vitest";
import { Chat } from "../../../lib/chat/chat";
import type { Output } from "../../../lib/cli/terminal";
import { type Labels, plainLabels, TextView } from "../../../lib/cli/text-view";
import { runTurn } from "../../../lib/cli/turn";
import { JsonView, type View } from "../../../lib/cli/view";
import type { Tool } from "../../../lib/index";
import { M } from "../support/byte-tokenizer";
import { ScriptedEngine } from "../support/scripted-engine";
import { Screen } from "./screen";

function viewOn(screen: Output | undefined, text: Output, labels: Labels = plainLabels(true)): TextView {
  const outputs = { reasoning: screen, call: screen, result: screen, text, note: screen, rates: undefined };
  return new TextView(outputs, labels);
}

const call = (k: number, values: string) => [M.call, `functions.look:${k}`, M.args, values, M.endCall];

/** Runs one turn of a model that answers with these transcripts, one after the other. */
async function run(
  view: View,
  transcripts: readonly (readonly (string | { control: string })[])[],
  execute?: Tool["execute"],
  options: Parameters<typeof runTurn>[0]["options"] = {},
) {
  const engine = new ScriptedEngine();
  for (const transcript of transcripts) engine.plan(...transcript);
  const tool: Tool = { type: "function", function: { name: "look" } };
  const chat = new Chat(engine, { tools: [execute === undefined ? tool : { ...tool, execute }] });
  const { signal } = new AbortController();
  const turn = await runTurn({ chat, input: "Question", view, signal, options });
  return { turn, chat };
}

describe("runTurn", () => {
  it("executes calls and sends their results until the model answers", async () => {
    const screen = new Screen();
    const { turn, chat } = await run(
      viewOn(screen, screen),
      [
        [
          M.think,
          "Two looks.",
          M.endThink,
          M.section,
          ...call(0, "{}"),
          ...call(1, '{"a":1}'),
          M.endSection,
          M.end,
        ],
        [M.think, "Done.", M.endThink, "Seen.", M.end],
      ],
      (values) => `saw ${JSON.stringify(values)}`,
    );
    expect(screen.text).toBe(
      'Two looks.\n→ look {}\n→ look {"a":1}\n← saw {}\n← saw {"a":1}\nDone.\n\nSeen.\n',
    );
    expect(turn.reply.text).toBe("Seen.");
    expect(turn.stoppedBecause).toBeUndefined();
    expect(chat.messages.filter((message) => message.role === "tool")).toEqual([
      { role: "tool", tool_call_id: "functions.look:0", content: "saw {}" },
      { role: "tool", tool_call_id: "functions.look:1", content: 'saw {"a":1}' },
    ]);
  });

  it("ends with the calls where nobody executes them", async () => {
    const screen = new Screen();
    const { turn } = await run(viewOn(screen, screen), [[M.section, ...call(0, "{}"), M.endSection, M.end]]);
    expect(screen.text).toBe("→ look {}\n");
    expect(turn.reply.finishReason).toBe("tool-calls");
  });

  it("tells the model of a call that fails, and goes on", async () => {
    const screen = new Screen();
    const { turn } = await run(
      viewOn(screen, screen),
      [
        [M.section, ...call(0, "{"), ...call(1, '{"a":1}'), M.endSection, M.end],
        ["Sorry.", M.end],
      ],
      () => {
        throw new Error("no such thing");
      },
    );
    expect(screen.text).toMatch(/← \{"error":"Expected JSON for the arguments/);
    expect(screen.text).toContain('← {"error":"no such thing"}\n\nSorry.\n');
    expect([turn.reply.text, turn.stoppedBecause]).toEqual(["Sorry.", undefined]);
  });

  it("does not go round in circles", async () => {
    const rounds = (values: (k: number) => string) =>
      Array.from({ length: 40 }, (_, k) => [M.section, ...call(k, values(k)), M.endSection, M.end]);
    const reason = async (values: (k: number) => string, options = {}) => {
      const screen = new Screen();
      const { turn } = await run(viewOn(screen, screen), rounds(values), () => "again", options);
      expect(screen.text).toContain(`\n${turn.stoppedBecause}\n`);
      return turn.stoppedBecause;
    };
    expect(await reason((k) => `{"k":${k}}`)).toBe("the model called tools in 16 rounds without an answer");
    expect(await reason(() => "{}")).toBe("the model made the same calls again and again");
    expect(await reason(() => "{}", { onStep: () => "stop" })).toBe("a call was left without a result");
  });

  it("says what the model no longer sees", async () => {
    const screen = new Screen();
    const rounds = Array.from({ length: 6 }, (_, k) => [
      M.section,
      ...call(k, `{"k":${k}}`),
      M.endSection,
      M.end,
    ]);
    const options = { compact: { at: 0.001, targetTokens: 500, keepSteps: 1 } };
    await run(viewOn(screen, screen), [...rounds, ["Seen.", M.end]], () => "x".repeat(50), options);
    expect(screen.text).toContain("to make room in the context: 2 earlier messages left out\n");
  });

  it("leaves the cursor at the start of a line when an answer fails", async () => {
    const screen = new Screen();
    const engine = new ScriptedEngine();
    engine.scripts.push([...engine.tokenizer.ids("Half an ans"), new Error("broken")]);
    const chat = new Chat(engine);
    const { signal } = new AbortController();
    const view = viewOn(screen, screen);
    await expect(runTurn({ chat, input: "Question", view, signal })).rejects.toThrow("broken");
    expect(screen.text).toBe("Half an ans\n");
  });
});

describe("TextView", () => {
  it("gives a file the text as it is and a terminal nothing that could command it", async () => {
    const answer = [M.think, "t", M.endThink, "\n\na\u001b[2J\r\nb\n", M.end];
    const file = new Screen({ isTerminal: false });
    await run(viewOn(undefined, file), [answer]);
    expect(file.text).toBe("\n\na\u001b[2J\r\nb\n");
    const screen = new Screen();
    await run(viewOn(screen, screen), [answer]);
    expect(screen.text).toBe("t\n\na␛[2J␍\nb\n");
  });

  it("puts labels in front and indents what follows", async () => {
    const screen = new Screen();
    const labels = { reasoning: "think: ", call: "call: ", result: "result: ", text: "text: ", note: "" };
    await run(viewOn(screen, screen, labels), [[M.think, "a\nb", M.endThink, "c\nd", M.end]]);
    expect(screen.text).toBe("think: a\n       b\ntext: c\n      d\n");
  });
});

describe("JsonView", () => {
  it("tells a turn in lines, results included, and sums it up in the last", async () => {
    const file = new Screen({ isTerminal: false });
    const { turn } = await run(
      new JsonView(file),
      [
        [M.section, ...call(0, "{}"), M.endSection, M.end],
        ["Seen.", M.end],
      ],
      () => "saw",
    );
    const lines = file.text.trimEnd().split("\n");
    const parts = lines.map((line) => JSON.parse(line));
    const finished = parts.filter((part) => part.type === "finish");
    expect(finished).toHaveLength(2);
    for (const [key, sum] of Object.entries(turn.usage)) {
      expect(sum, key).toBe(finished[0].usage[key] + finished[1].usage[key]);
    }
    expect(parts).toContainEqual({
      type: "tool-result",
      id: "functions.look:0",
      name: "look",
      content: "saw",
      isError: false,
    });
    const { text, finishReason } = turn.reply;
    expect(parts.at(-1)).toMatchObject({ type: "reply", text, finishReason, usage: turn.usage });
  });
});
