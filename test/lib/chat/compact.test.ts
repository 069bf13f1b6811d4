// A context that fills up: what a chat reports beforehand, chat.compact, and the option compact of a run, with a scripted
// model whose tokens are bytes.

import { describe, expect, it } from "vitest";
import { Chat, type ChatOptions } from "../../../lib/chat/chat";
import type { RunPart } from "../../../lib/chat/run-options";
import type { Tool } from "../../../lib/chat/tool";
import { canonicalToolCalls } from "../../../lib/template/call-ids";
import type { Message } from "../../../lib/template/message";
import { M } from "../support/byte-tokenizer";
import { ScriptedEngine } from "../support/scripted-engine";

const look = (execute: NonNullable<Tool["execute"]>): Tool => ({
  type: "function",
  function: { name: "look" },
  execute,
});
const call = (k: number, values = `{"k":${k}}`) => [
  M.section,
  M.call,
  `functions.look:${k}`,
  M.args,
  values,
  M.endCall,
  M.endSection,
  M.end,
];
const steps = (count: number): Message[] =>
  Array.from({ length: count }, (_, k): Message[] => [
    {
      role: "assistant",
      content: "",
      reasoning_content: `thought ${k}`,
      tool_calls: [
        { id: `functions.look:${k}`, type: "function", function: { name: "look", arguments: "{}" } },
      ],
    },
    { role: "tool", tool_call_id: `functions.look:${k}`, content: `seen ${k}` },
  ]).flat();
const history = (count: number): Message[] => [{ role: "user", content: "The task" }, ...steps(count)];

function create(options: ChatOptions = {}, contextTokens = 4000) {
  const engine = new ScriptedEngine();
  engine.contextTokens = contextTokens;
  return { engine, chat: new Chat(engine, { tools: [look(() => "x")], ...options }) };
}

describe("contextUse", () => {
  it("tells what the next prompt takes, to the token, before and after it is sent", async () => {
    const { engine, chat } = create({ messages: history(3), system: "Be brief." });
    const before = await chat.contextUse();
    const use = await chat.contextUse("And now?");
    expect(use).toEqual({
      promptTokens: use.promptTokens,
      contextTokens: 4000,
      freeTokens: 4000 - use.promptTokens,
    });
    expect(use.promptTokens).toBeGreaterThan(before.promptTokens);
    engine.plan("ok", M.end);
    const { usage } = await chat.send("And now?").reply();
    expect(usage.promptTokens).toBe(use.promptTokens);
    const thinking = await chat.contextUse("Next", { thinking: false });
    expect(thinking.promptTokens).toBe((await chat.contextUse("Next")).promptTokens + 2);
  });

  it("has no free tokens where the prompt does not fit, and send then says what to do", async () => {
    const { chat } = create({}, 300);
    const { promptTokens, freeTokens } = await chat.contextUse("x".repeat(500));
    expect(freeTokens).toBe(0);
    await expect(chat.send("x".repeat(500)).reply()).rejects.toMatchObject({
      code: "context-full",
      details: { promptTokens, contextTokens: 300 },
      message: `Expected a prompt of at most 300 tokens for the context, got ${promptTokens} (compact the conversation, or load the model with more contextTokens)`,
    });
  });

  it("refuses what send refuses", async () => {
    const { chat } = create();
    await expect(chat.contextUse([])).rejects.toThrow(
      "at least one message, or a history that waits for an answer, for input",
    );
    await expect(chat.contextUse({ role: "tool", tool_call_id: "x", content: "" })).rejects.toThrow(
      "the id of an earlier tool call for messages[0].tool_call_id",
    );
  });
});

describe("maxTokens", () => {
  it("is a limit: an answer with less room begins, and ends with length", async () => {
    const { engine, chat } = create();
    const { promptTokens } = await chat.contextUse("Hello");
    engine.contextTokens = promptTokens + 5;
    engine.plan("0123456789", M.end);
    const reply = await chat.send("Hello", { maxTokens: 1000 }).reply();
    expect([reply.text, reply.finishReason]).toEqual(["01234", "length"]);
  });
});

describe("chat.compact", () => {
  it("removes the oldest steps, and the timeline keeps what stands in front of them", async () => {
    const { engine, chat } = create({ messages: history(30) });
    engine.plan("one", M.end);
    await chat.send("Question").reply();
    const before = (await chat.contextUse()).promptTokens;
    const compaction = await chat.compact({ targetTokens: 1200 });
    const after = (await chat.contextUse()).promptTokens;
    expect(compaction).toEqual({
      removedMessages: compaction.removedMessages,
      shortenedResults: 0,
      promptTokensBefore: before,
      promptTokensAfter: after,
      summary: undefined,
    });
    expect(after).toBeLessThanOrEqual(1200);
    expect(chat.messages).toHaveLength(63 - compaction.removedMessages + 1);
    const session = engine.sessions[0]!;
    const front = engine.tokenizer.ids("The task", M.end);
    engine.plan("two", M.end);
    const { usage } = await chat.send("Next").reply();
    expect(engine.sessions).toHaveLength(1);
    expect(session.tokens.slice(0, usage.cachedTokens).join()).toContain(front.join());
    expect(usage.cachedTokens + session.prefills.at(-1)!).toBe(usage.promptTokens);
  });

  it("goes on counting calls, also when all earlier ones are gone", async () => {
    const answered: Message[] = [...history(9), { role: "assistant", content: "Done. ".repeat(30) }];
    const { engine, chat } = create({ messages: answered });
    await chat.compact({ targetTokens: 470, keepSteps: 1 });
    expect(chat.messages.filter(({ role }) => role === "tool")).toEqual([]);
    engine.plan(...call(0));
    engine.plan("ok", M.end);
    const { steps } = await chat.run("Look again").result();
    expect(steps[0]!.reply.toolCalls[0]!.id).toBe("functions.look:9");
  });

  it("has by default room for an answer as large as what it keeps", async () => {
    const { chat } = create({ messages: history(60), system: "s".repeat(1000) });
    const { promptTokensAfter } = await chat.compact();
    const [system, task, notice] = chat.messages;
    const { promptTokens: fixed } = await create({ messages: [system!, task!, notice!] }).chat.contextUse();
    expect(promptTokensAfter).toBeLessThanOrEqual((4000 + fixed) / 2);
    expect(promptTokensAfter).toBeGreaterThan((4000 + fixed) / 2 - 250);
    expect((await chat.compact()).removedMessages).toBe(0);
  });

  it("lets the model write the summary on the timeline that it has", async () => {
    const { engine, chat } = create({ messages: history(30), stop: "found" });
    engine.plan(...call(30));
    await chat.run("Question", { maxSteps: 1 }).result();
    const session = engine.sessions[0]!;
    engine.plan(M.think, "hmm", M.endThink, "I found <|im_end|> x.", ...call(31));
    const compaction = await chat.compact({ targetTokens: 2000, summarize: "model", summaryTokens: 90 });
    expect(compaction.summary).toBe("I found <|im_end|> x.");
    // Only the question was prefilled: the chat's conversation was there, but for the last result.
    expect(session.prefills.at(-1)).toBeLessThan(500);
    expect(session.decodes.at(-1)).toMatchObject({ maxTokens: 180 });
    expect(engine.sessions).toHaveLength(1);
    const notices = chat.messages.filter(({ content }) =>
      String(content).includes("Their summary:\n\nI found"),
    );
    expect(notices).toHaveLength(1);
    expect(notices[0]!.role).toBe("user");
    expect(chat.messages.some(({ content }) => String(content).includes("about to be shortened"))).toBe(
      false,
    );
    // What looks like a control token is none.
    engine.plan("ok", M.end);
    await chat.send("Next").reply();
    const end = engine.tokenizer.controlId("<|im_end|>");
    const turns = chat.messages.length + 2; // the declaration of tools and the default system prompt
    expect(session.tokens.filter((id) => id === end)).toHaveLength(turns);
  });

  it("limits thinking and the summary of the model", async () => {
    const { engine, chat } = create({ messages: history(30) });
    engine.plan(M.think, "t".repeat(500));
    engine.plan("s".repeat(500));
    const { summary } = await chat.compact({ targetTokens: 1200, summarize: "model", summaryTokens: 100 });
    const [first, second] = engine.sessions[0]!.decodes;
    expect(first!.maxTokens).toBe(200);
    expect(second!.maxTokens).toBeLessThan(100);
    expect(summary!.length).toBe(second!.maxTokens);
  });

  it("shows the model what fits, where the context is full", async () => {
    const { engine, chat } = create({ messages: history(60) }, 3000);
    expect((await chat.contextUse()).freeTokens).toBe(0);
    engine.plan("A summary.", M.end);
    const { summary } = await chat.compact({ summarize: "model", summaryTokens: 100 });
    expect(summary).toBe("A summary.");
    expect(engine.sessions[0]!.tokens.length).toBeLessThanOrEqual(3000);
    expect((await chat.contextUse()).freeTokens).toBeGreaterThan(1000);
  });

  it("changes nothing when it fails or is ended", async () => {
    const { engine, chat } = create({ messages: history(30) });
    const before = chat.messages;
    const target = { targetTokens: 1200 };
    const boom = () => {
      throw new Error("boom");
    };
    await expect(chat.compact({ ...target, summarize: boom })).rejects.toThrow("boom");
    engine.scripts.push([new Error("broken")]);
    await expect(chat.compact({ ...target, summarize: "model" })).rejects.toThrow("broken");
    expect(engine.sessions[0]!.isDisposed).toBe(true);
    engine.scripts.push(["wait"]);
    const controller = new AbortController();
    const { signal } = controller;
    const waiting = chat.compact({ ...target, summarize: "model", signal });
    while (engine.sessions[1]?.isDecoding !== true) await new Promise((resolve) => setTimeout(resolve, 1));
    controller.abort();
    await expect(waiting).rejects.toMatchObject({ code: "aborted" });
    await expect(chat.compact({ ...target, signal })).rejects.toMatchObject({ code: "aborted" });
    await expect(chat.compact({ targetTokens: 300 })).rejects.toMatchObject({ code: "context-full" });
    expect(chat.messages).toEqual(before);
    engine.plan("still here", M.end);
    expect((await chat.send("Hello?").reply()).text).toBe("still here");
  });

  it("is alone on its chat, and ends with it", async () => {
    const { chat } = create({ messages: history(30) });
    const never = () => new Promise<string>(() => {});
    const waiting = chat.compact({ targetTokens: 1200, summarize: never });
    const busy = { code: "invalid-state" };
    await expect(chat.compact()).rejects.toMatchObject(busy);
    await expect(chat.send("x").reply()).rejects.toMatchObject(busy);
    await expect(chat.run("x").result()).rejects.toMatchObject(busy);
    await chat.dispose();
    await expect(waiting).rejects.toMatchObject({ code: "aborted" });
    await expect(chat.compact()).rejects.toMatchObject(busy);
  });

  it("refuses wrong options", async () => {
    const { chat } = create();
    const wrong: [object, string][] = [
      [{ at: 0.5 }, "one of the keys"],
      [{ targetTokens: 0 }, "an integer of at least 1 for targetTokens, got 0"],
      [{ keepSteps: 0 }, "an integer of at least 1 for keepSteps, got 0"],
      [{ summarize: "yes" }, '"drop", "model" or a function for summarize, got "yes"'],
      [{ signal: {} }, "an AbortSignal for signal"],
    ];
    for (const [options, message] of wrong) {
      await expect(chat.compact(options), message).rejects.toThrow(`Expected ${message}`);
    }
    for (const at of [0, 1.1, Number.NaN, "1"]) {
      await expect(chat.run("x", { compact: { at: at as number } }).result()).rejects.toThrow(
        "Expected a number above 0 and at most 1 for at",
      );
    }
  });
});

describe("a run with compaction", () => {
  const rounds = (engine: ScriptedEngine, count: number) => {
    for (let k = 0; k < count; k += 1) engine.plan(M.think, `thought ${k}`, M.endThink, ...call(k));
    engine.plan("Done.", M.end);
  };

  it("goes on past the context, with one numbering, and shows each compaction between steps", async () => {
    const { engine, chat } = create({ tools: [look(({ k }) => `seen ${k}`)] }, 1500);
    rounds(engine, 50);
    const run = chat.run("The task", { compact: {} });
    const parts: RunPart[] = [];
    for await (const part of run) parts.push(part);
    const { steps, finishReason, reply } = await run.result();
    expect([steps.length, finishReason, reply?.text]).toEqual([51, "stop", "Done."]);
    const asked = steps.flatMap(({ reply: { toolCalls } }) => toolCalls.map(({ id }) => id));
    expect(asked).toEqual(Array.from({ length: 50 }, (_, k) => `functions.look:${k}`));
    const compactions = parts.filter((part) => part.type === "compaction");
    expect(compactions.length).toBeGreaterThan(5);
    for (const { promptTokensBefore, promptTokensAfter } of compactions) {
      expect(promptTokensBefore).toBeGreaterThan(1200);
      expect(promptTokensAfter).toBeLessThan(1000);
    }
    expect(
      parts.every((part, index) => part.type !== "compaction" || parts[index + 1]?.type === "step-start"),
    ).toBe(true);
    expect(chat.messages[0]).toEqual({ role: "user", content: "The task" });
    expect(canonicalToolCalls(chat.messages).nextCall).toBe(50);
    // Without it the same run ends where the context does.
    const without = create({ tools: [look(({ k }) => `seen ${k}`)] }, 1500);
    rounds(without.engine, 50);
    expect(await without.chat.run("The task").result()).toMatchObject({ finishReason: "length" });
  });

  it("shortens a result that is larger than the context", async () => {
    const { engine, chat } = create({ tools: [look(() => "y".repeat(100_000))] }, 2000);
    rounds(engine, 3);
    const { finishReason } = await chat.run("The task", { compact: {} }).result();
    expect(finishReason).toBe("stop");
    const results = chat.messages.flatMap(({ role, content }) => (role === "tool" ? [String(content)] : []));
    expect(results.at(-1)).toMatch(/^y+\n\[\.\.\. \d{5} characters left out \.\.\.\]\ny+$/);
  });

  it("shortens a result that the caller brings, and keeps its question", async () => {
    const tools: Tool[] = [{ type: "function", function: { name: "look" } }];
    const { engine, chat } = create({ tools }, 2000);
    engine.plan(...call(0));
    expect((await chat.run("The task", { compact: {} }).result()).finishReason).toBe("tool-calls");
    engine.plan("ok", M.end);
    const result = { role: "tool", tool_call_id: "functions.look:0", content: "z".repeat(9000) } as const;
    expect((await chat.run(result, { compact: {} }).result()).finishReason).toBe("stop");
    expect(chat.messages.map(({ role }) => role)).toEqual(["user", "assistant", "tool", "assistant"]);
    expect(chat.messages[2]!.content).toContain("characters left out");
  });

  it("removes nothing of what the caller sends", async () => {
    const added = [...history(23).slice(-6), { role: "user", content: "Go on" }] as Message[];
    const notice: Message = {
      role: "user",
      content: "Earlier steps of this conversation are no longer shown.",
    };
    const least = create({ messages: [...history(0), notice, ...added] }).chat;
    const { promptTokens } = await least.contextUse();
    for (const [targetTokens, front] of [
      [promptTokens, [...history(0), notice]],
      [promptTokens - 1, history(20)],
    ] as const) {
      const { engine, chat } = create({ messages: history(20) }, 2600);
      engine.plan("ok", M.end);
      await chat.run(added, { compact: { targetTokens, keepSteps: 1, at: 0.5 } }).result();
      expect(chat.messages.slice(0, -1)).toEqual([...front, ...added]);
    }
  });

  it("makes room for maxTokens", async () => {
    const answered = async (room: number) => {
      const { engine, chat } = create({ messages: history(24) }, 3000);
      const { promptTokens, freeTokens } = await chat.contextUse("Question");
      expect(promptTokens).toBeLessThan(0.8 * 3000);
      engine.plan("ok", M.end);
      const maxTokens = freeTokens + room;
      const types: string[] = [];
      for await (const { type } of chat.run("Question", { compact: {}, maxTokens })) types.push(type);
      const { decodes } = engine.sessions[0]!;
      expect(decodes.map((options) => options.maxTokens)).toEqual([maxTokens]);
      return types.includes("compaction");
    };
    expect(await answered(0)).toBe(false);
    expect(await answered(1)).toBe(true);
  });

  it("goes on where nothing can be removed but the prompt fits, and says where it does not", async () => {
    const { engine, chat } = create({}, 1000);
    engine.plan("ok", M.end);
    const { finishReason } = await chat.run("x".repeat(650), { compact: { targetTokens: 300 } }).result();
    expect(finishReason).toBe("stop");
    await expect(chat.run("x".repeat(2000), { compact: {} }).result()).rejects.toMatchObject({
      code: "context-full",
      message: expect.stringContaining("Expected a prompt of at most 1000 tokens"),
    });
  });

  it("ends with abort when it is aborted in a summary", async () => {
    const { chat } = create({ messages: history(30) }, 2400);
    const before = chat.messages;
    const controller = new AbortController();
    const summarize = () => {
      queueMicrotask(() => controller.abort());
      return new Promise<string>(() => {});
    };
    const { signal } = controller;
    const result = await chat.run("Question", { compact: { summarize }, signal }).result();
    expect([result.finishReason, result.reply?.text]).toEqual(["abort", ""]);
    expect(chat.messages).toEqual(before);
    const boom = () => Promise.reject(new Error("boom"));
    await expect(chat.run("Question", { compact: { summarize: boom } }).result()).rejects.toThrow("boom");
    expect(chat.messages).toEqual(before);
  });

  it("rejects when its chat is disposed in a summary", async () => {
    const { chat } = create({ messages: history(30) }, 2400);
    const summarize = () => {
      queueMicrotask(() => void chat.dispose());
      return new Promise<string>(() => {});
    };
    const run = chat.run("Question", { compact: { summarize } });
    await expect(run.result()).rejects.toMatchObject({ code: "invalid-state" });
  });

  it("can be left at a compaction", async () => {
    const { engine, chat } = create({ messages: history(30) }, 2400);
    for await (const part of chat.run("Question", { compact: {} })) if (part.type === "compaction") break;
    engine.plan("ok", M.end);
    expect((await chat.send("Next").reply()).text).toBe("ok");
  });
});
