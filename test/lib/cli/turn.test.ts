// A turn from question to answer and what becomes visible of it, with a scripted model.

import { describe, expect, it } from "vitest";
import { Chat } from "../../../lib/chat";
import type { Output } from "../../../lib/cli/terminal";
import { type Labels, plainLabels, TextView } from "../../../lib/cli/text-view";
import { type CallOutcome, runTurn } from "../../../lib/cli/turn";
import { JsonView, type View } from "../../../lib/cli/view";
import type { ReportedToolCall } from "../../../lib/index";
import { M } from "../support/byte-tokenizer";
import { ScriptedEngine } from "../support/scripted-engine";
import { Screen } from "./screen";

function viewOn(screen: Output | undefined, text: Output, labels: Labels = plainLabels(true)): TextView {
  const outputs = { reasoning: screen, call: screen, result: screen, text, note: screen, rates: undefined };
  return new TextView(outputs, labels);
}

const TOOLS = [{ type: "function" as const, function: { name: "look" } }];
const call = (k: number, values: string) => [M.call, `functions.look:${k}`, M.args, values, M.endCall];

/** Runs one turn of a model that answers with these transcripts, one after the other. */
async function run(
  view: View,
  transcripts: readonly (readonly (string | { control: string })[])[],
  execute?: (call: ReportedToolCall) => CallOutcome,
) {
  const engine = new ScriptedEngine();
  for (const transcript of transcripts) engine.plan(...transcript);
  const chat = new Chat(engine, { tools: TOOLS });
  const { signal } = new AbortController();
  const turn = await runTurn({ chat, input: "Question", view, signal, execute });
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
      ({ function: { arguments: text } }) => ({ content: `saw ${text}` }),
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

  it("stops at a call that is not valid, and executes none after it", async () => {
    for (const [values, reason] of [
      ["{", /^the call cannot be executed: Expected JSON for the arguments/],
      ['{"bad":1}', /^the call cannot be executed: no such thing$/],
    ] as const) {
      const screen = new Screen();
      const executed: string[] = [];
      const { turn } = await run(
        viewOn(screen, screen),
        [[M.section, ...call(0, values), ...call(1, "{}"), M.endSection, M.end]],
        ({ id }) => {
          executed.push(id);
          return { refused: "no such thing" };
        },
      );
      expect(turn.stoppedBecause).toMatch(reason);
      // The screen breaks long lines.
      expect(screen.text.replaceAll("\n", " ")).toContain(turn.stoppedBecause);
      expect(executed).not.toContain("functions.look:1");
    }
  });

  it("does not go round in circles", async () => {
    const screen = new Screen();
    const rounds = Array.from({ length: 40 }, (_, k) => [M.section, ...call(k, "{}"), M.endSection, M.end]);
    const { turn } = await run(viewOn(screen, screen), rounds, () => ({ content: "again" }));
    expect(turn.stoppedBecause).toBe("the model called tools in 16 rounds without an answer");
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
      () => ({ content: "saw" }),
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
    });
    const { text, finishReason } = turn.reply;
    expect(parts.at(-1)).toMatchObject({ type: "reply", text, finishReason, usage: turn.usage });
  });
});
