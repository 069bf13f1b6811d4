// chat.run and the thinking budget, with a scripted model.

import { describe, expect, it } from "vitest";
import { Chat, type ChatOptions } from "../../../lib/chat/chat";
import type { RunPart } from "../../../lib/chat/run-options";
import { defineTool, type Tool } from "../../../lib/chat/tool";
import type { TypedSchema } from "../../../lib/chat/typed-schema";
import { M } from "../support/byte-tokenizer";
import { ScriptedEngine } from "../support/scripted-engine";

const call = (k: number, values: string, name = "look") => [
  M.call,
  `functions.${name}:${k}`,
  M.args,
  values,
  M.endCall,
];
const calls = (...each: ReturnType<typeof call>[]) => [M.section, ...each.flat(), M.endSection, M.end];
const look = (execute: NonNullable<Tool["execute"]>): Tool => ({
  type: "function",
  function: { name: "look" },
  execute,
});

function create(tools: Tool[], transcripts: (string | { control: string })[][], options: ChatOptions = {}) {
  const engine = new ScriptedEngine();
  for (const transcript of transcripts) engine.plan(...transcript);
  return { engine, chat: new Chat(engine, { tools, ...options }) };
}

const results = (chat: Chat) =>
  chat.messages.flatMap((message) => (message.role === "tool" ? [message.content] : []));

/** Every call of the history has one result. */
function expectConsistent(chat: Chat): void {
  const asked = chat.messages.flatMap((message) =>
    message.role === "assistant" ? (message.tool_calls ?? []).map(({ id }) => id) : [],
  );
  const answered = chat.messages.flatMap((message) =>
    message.role === "tool" ? [message.tool_call_id] : [],
  );
  expect(answered.sort()).toEqual(asked.sort());
}

describe("a run", () => {
  it("executes calls until the model answers, and shows everything", async () => {
    const { chat } = create(
      [look(({ a }) => ({ saw: a }))],
      [calls(call(0, '{"a":1}'), call(1, '{"a":2}')), ["Seen.", M.end]],
    );
    const run = chat.run("Question");
    const parts: RunPart[] = [];
    for await (const part of run) parts.push(part);
    const result = await run.result();
    expect(result).toMatchObject({ finishReason: "stop", reply: { text: "Seen." } });
    expect(result.steps[0]!.results.map(({ content }) => content)).toEqual(['{"saw":1}', '{"saw":2}']);
    const sum = result.steps.reduce((total, { reply }) => total + reply.usage.totalTokens, 0);
    expect(result.usage.totalTokens).toBe(sum);
    expect(parts.filter(({ type }) => type === "step-start" || type === "tool-result")).toHaveLength(4);
    expect(parts.at(-1)).toEqual({ type: "run-finish", finishReason: "stop", usage: result.usage });
    expectConsistent(chat);
  });

  it("runs calls of one answer side by side", async () => {
    let waiting = 0;
    let most = 0;
    const { chat } = create(
      [
        look(async () => {
          waiting += 1;
          most = Math.max(most, waiting);
          await new Promise((resolve) => setTimeout(resolve, 5));
          waiting -= 1;
        }),
      ],
      [calls(call(0, "{}"), call(1, "{}")), ["ok", M.end]],
    );
    await chat.run("Question").result();
    expect(most).toBe(2);
    expect(results(chat)).toEqual(["null", "null"]);
  });

  it("tells the model what went wrong", async () => {
    const { chat } = create(
      [
        look(() => {
          throw new Error("it is dark");
        }),
      ],
      [calls(call(0, "{}"), call(1, "{"), call(2, "{}", "other")), ["ok", M.end]],
    );
    await chat.run("Question").result();
    expect(results(chat)[0]).toBe('{"error":"it is dark"}');
    expect(results(chat)[1]).toContain("Expected JSON for the arguments");
    expect(results(chat)[2]).toContain("Expected one of the tools look");
    expectConsistent(chat);
  });

  it("survives whatever a tool throws", async () => {
    const hostile = Object.defineProperty(new Error(""), "message", {
      get: () => {
        throw new Error("not even this");
      },
    });
    const thrown = [null, Object.create(null), Object.assign(new Error(""), { message: 10n }), hostile];
    for (const value of thrown) {
      const { chat } = create(
        [
          look(() => {
            throw value;
          }),
        ],
        [calls(call(0, "{}")), ["ok", M.end]],
      );
      expect((await chat.run("Question").result()).finishReason).toBe("stop");
      expect(results(chat)[0]).toMatch(/^{"error":"/);
      expectConsistent(chat);
    }
  });

  it("leaves calls of tools without execute to the caller", async () => {
    const { chat } = create(
      [look(() => "seen"), { type: "function", function: { name: "ask" } }],
      [calls(call(0, "{}"), call(1, "{}", "ask")), ["ok", M.end]],
    );
    const { finishReason } = await chat.run("Question").result();
    expect([finishReason, results(chat)]).toEqual(["tool-calls", ["seen"]]);
    const answer = { role: "tool", tool_call_id: "functions.ask:1", content: "yes" } as const;
    expect((await chat.run(answer).result()).finishReason).toBe("stop");
    expectConsistent(chat);
  });

  it("stops at maxSteps, at repeated calls, and where the hook says so", async () => {
    const rounds = (same: boolean) =>
      Array.from({ length: 9 }, (_, k) => calls(call(k, same ? "{}" : `{"k":${k}}`)));
    const outcome = async (same: boolean, options: object) => {
      const { chat } = create([look(() => "x")], rounds(same));
      const { finishReason, steps } = await chat.run("Question", options).result();
      expectConsistent(chat);
      return [finishReason, steps.length];
    };
    expect(await outcome(false, { maxSteps: 5 })).toEqual(["max-steps", 5]);
    expect(await outcome(true, {})).toEqual(["repeated-calls", 3]);
    expect(await outcome(true, { maxRepeats: 7 })).toEqual(["repeated-calls", 7]);
    await expect(outcome(true, { maxRepeats: 1 })).rejects.toThrow("an integer of at least 2 for maxRepeats");
    await expect(outcome(false, { onStep: () => "STOP" })).rejects.toThrow("the result of onStep");
    expect(
      await outcome(false, { onStep: ({ index }: { index: number }) => (index === 2 ? "stop" : undefined) }),
    ).toEqual(["stopped", 2]);
  });

  it("does not wait for the hook after an abort", async () => {
    for (const end of ["signal", "dispose"]) {
      const abort = new AbortController();
      const { chat } = create([look(() => "x")], [calls(call(0, "{}")), ["ok", M.end]]);
      const onStep = () => {
        setTimeout(() => (end === "signal" ? abort.abort() : void chat.dispose()), 1);
        return new Promise<undefined>(() => {});
      };
      const { finishReason, steps } = await chat.run("Question", { onStep, signal: abort.signal }).result();
      expect([finishReason, steps.length]).toEqual(["abort", 1]);
      expectConsistent(chat);
    }
  });

  it("goes on with messages of the hook", async () => {
    const { chat } = create(
      [],
      [
        ["a", M.end],
        ["b", M.end],
      ],
    );
    const { reply } = await chat
      .run("Question", {
        onStep: ({ index }) => (index === 1 ? [{ role: "user", content: "Sure?" }] : undefined),
      })
      .result();
    expect(reply?.text).toBe("b");
    expect(chat.messages.map(({ content }) => content)).toEqual(["Question", "a", "Sure?", "b"]);
  });

  it("is not held by a tool that ignores the signal", async () => {
    const controller = new AbortController();
    const { chat } = create(
      [
        look(() => {
          queueMicrotask(() => controller.abort());
          return new Promise(() => {});
        }),
      ],
      [calls(call(0, "{}"))],
    );
    const { finishReason } = await chat.run("Question", { signal: controller.signal }).result();
    expect(finishReason).toBe("abort");
    expect(results(chat)).toEqual(['{"error":"Expected the tool to finish, got an abort"}']);
  });

  it("that is left early leaves a consistent history, and the chat free", async () => {
    for (const type of ["step-start", "tool-call-end", "finish", "tool-result"]) {
      const { chat, engine } = create([look(() => "x")], [calls(call(0, "{}"), call(1, "{}"))]);
      for await (const part of chat.run("Question")) if (part.type === type) break;
      expectConsistent(chat);
      engine.scripts = [];
      engine.plan("ok", M.end);
      expect((await chat.send("And now?").reply()).text).toBe("ok");
    }
  });

  it("that fails rejects, and keeps the whole steps", async () => {
    const { chat, engine } = create([look(() => "x")], [calls(call(0, "{}"))]);
    engine.scripts.push([new Error("broken")]);
    await expect(chat.run("Question").result()).rejects.toThrow("broken");
    expect(chat.messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool"]);
    expectConsistent(chat);
  });

  it("is alone on its chat", async () => {
    const { chat } = create(
      [
        look(async () => {
          await expect(chat.send("x").reply()).rejects.toMatchObject({ code: "invalid-state" });
          await expect(chat.run("x").result()).rejects.toMatchObject({ code: "invalid-state" });
          return "seen";
        }),
      ],
      [calls(call(0, "{}")), ["ok", M.end]],
    );
    await chat.run("Question").result();
    expect(results(chat)).toEqual(["seen"]);
  });

  it("of hundreds of steps prefills only what is new", async () => {
    const rounds = Array.from({ length: 300 }, (_, k) => calls(call(k, `{"k":${k}}`)));
    const { chat, engine } = create([look(() => "x")], rounds, {});
    await chat.run("Question").result();
    const [session, ...others] = engine.sessions;
    expect(others).toEqual([]);
    expect(Math.max(...session!.prefills.slice(1))).toBeLessThan(200);
  });

  it("refuses wrong options", async () => {
    const { chat } = create([], []);
    await expect(chat.run("x", { maxSteps: 0 }).result()).rejects.toThrow("for maxSteps, got 0");
    await expect(chat.run("x", { steps: 1 } as never).result()).rejects.toMatchObject({
      code: "invalid-argument",
    });
  });
});

describe("a tool with a schema", () => {
  const schema: TypedSchema<{ city: string }> = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value) => {
        const { city } = value as { city?: unknown };
        return typeof city === "string"
          ? { value: { city: city.trim() } }
          : { issues: [{ message: "no city" }] };
      },
      jsonSchema: { input: ({ target }) => ({ $schema: target, type: "object" }) },
    },
  };

  it("is declared as JSON Schema and gets what the schema makes of the arguments", async () => {
    const tool = defineTool({ name: "look", parameters: schema, execute: ({ city }) => city });
    const { chat } = create([tool], [calls(call(0, '{"city":" Rome "}'), call(1, "{}")), ["ok", M.end]]);
    expect(chat.tools[0]!.function.parameters).toEqual({ type: "object" });
    await chat.run("Question").result();
    expect(results(chat)).toEqual(["Rome", '{"error":"Expected a value that fits the schema, got no city"}']);
  });
});

describe("maxThinkingTokens", () => {
  it("closes the block with a message and lets the model answer", async () => {
    const { chat, engine } = create(
      [],
      [
        [M.think, "abcdefgh"],
        ["Answer", M.end],
      ],
    );
    const reply = await chat.send("Question", { maxThinkingTokens: 4 }).reply();
    expect(reply).toMatchObject({ text: "Answer", finishReason: "stop" });
    expect(reply.reasoning).toMatch(/^abcd\n\n.*\n$/);
    const session = engine.sessions[0]!;
    expect(session.prefills[1]).toBe(reply.usage.insertedTokens);
    expect(session.tokens).toHaveLength(reply.usage.totalTokens);
    expect(reply.usage.reasoningTokens).toBe(4);
  });

  it("counts against maxTokens, and does nothing where thinking is short", async () => {
    const long = create([], [[M.think, "abcdefgh"]]);
    const cut = await long.chat.send("Question", { maxThinkingTokens: 4, maxTokens: 8 }).reply();
    expect([cut.finishReason, cut.reasoning]).toEqual(["length", "abcd"]);
    const short = create([], [[M.think, "ab", M.endThink, "x", M.end]]);
    const reply = await short.chat.send("Question", { maxThinkingTokens: 4 }).reply();
    expect([reply.text, reply.usage.insertedTokens]).toEqual(["x", 0]);
  });
});
