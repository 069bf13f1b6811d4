import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Chat, type ChatOptions } from "../../../lib/chat/chat";
import type { ReplyStream } from "../../../lib/chat/reply";
import { K2Error } from "../../../lib/errors";
import type { StreamPart } from "../../../lib/generate/part";
import { renderPrompt } from "../../../lib/template/render-prompt";
import type { ToolDefinition } from "../../../lib/template/tool-definition";
import { M } from "../support/byte-tokenizer";
import { ScriptedEngine } from "../support/scripted-engine";

const TOOLS: ToolDefinition[] = [
  { type: "function", function: { name: "get_weather", parameters: { type: "object", properties: {} } } },
];

let engine: ScriptedEngine;
const unhandled: unknown[] = [];
const onUnhandled = (error: unknown) => unhandled.push(error);

beforeEach(() => {
  engine = new ScriptedEngine();
  unhandled.length = 0;
  process.on("unhandledRejection", onUnhandled);
});

afterEach(async () => {
  await new Promise((resolve) => setImmediate(resolve));
  process.off("unhandledRejection", onUnhandled);
  expect(unhandled).toEqual([]);
});

function createChat(options: ChatOptions = {}): Chat {
  return new Chat(engine, options);
}

async function partsOf(stream: ReplyStream): Promise<StreamPart[]> {
  const parts: StreamPart[] = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

function prompt(messages: unknown, options?: unknown): number[] {
  return [...renderPrompt(engine.template, engine.tokenizer, messages, options)];
}

async function codeOf(action: () => Promise<unknown>): Promise<string> {
  try {
    await action();
  } catch (error) {
    expect(error).toBeInstanceOf(K2Error);
    return (error as K2Error).code;
  }
  return "none";
}

const user = (content: string) => ({ role: "user" as const, content });

describe("one answer", () => {
  it("streams parts, and the reply sums them up", async () => {
    engine.plan(M.think, "hm", M.endThink, "Hello ü", M.end);
    const stream = createChat({ system: "s" }).send("Hi");
    const parts = await partsOf(stream);
    const reply = await stream.reply();
    const { promptTokens } = reply.usage;
    expect(promptTokens).toBe(prompt([{ role: "system", content: "s" }, user("Hi")]).length);
    expect(reply).toEqual({
      text: "Hello ü",
      reasoning: "hm",
      toolCalls: [],
      finishReason: "stop",
      usage: {
        promptTokens,
        completionTokens: 13,
        cachedTokens: 0,
        reasoningTokens: 2,
        insertedTokens: 0,
        totalTokens: promptTokens + 13,
      },
      message: { role: "assistant", content: "Hello ü", reasoning_content: "hm" },
    });
    expect(parts.map((part) => ("text" in part ? part.text : part.type)).join("")).toBe("hmHello üfinish");
    expect(parts.at(-1)).toEqual({ type: "finish", finishReason: "stop", usage: reply.usage });
  });

  it("prefills exactly the rendered prompt and passes sampling, limits and stop tokens on", async () => {
    engine.plan("x", M.end);
    const chat = createChat({ tools: TOOLS, topK: 5, temperature: 0.1, maxTokens: 7 });
    await chat.send("Hi", { temperature: 0.2, stopTokens: [65], seed: 3 }).reply();
    const session = engine.sessions[0]!;
    expect(session.tokens.slice(0, -2)).toEqual(prompt([user("Hi")], { tools: TOOLS }));
    expect(session.decodes[0]).toMatchObject({ topK: 5, temperature: 0.2, seed: 3, maxTokens: 7 });
    expect(session.decodes[0]!.stopTokens).toEqual([...engine.stopTokens, 65]);
  });

  it("uses the model's own sampling where the caller says nothing", async () => {
    engine.plan(M.end);
    await createChat().send("Hi").reply();
    expect(engine.sessions[0]!.decodes[0]!.temperature).toBe(0.6);
  });

  it("switches thinking by answer", async () => {
    engine.plan("a", M.end);
    engine.plan("b", M.end);
    const chat = createChat({ thinking: false });
    await chat.send("Hi").reply();
    const off = prompt([user("Hi")], { thinking: false });
    expect(engine.sessions[0]!.tokens.slice(0, off.length)).toEqual(off);
    const reply = await chat.send("Hi", { thinking: true }).reply();
    expect(reply.usage.promptTokens).toBe(
      prompt([user("Hi"), { role: "assistant", content: "a" }, user("Hi")]).length,
    );
  });

  it("ends at a stop string, which is no part of the answer", async () => {
    engine.plan("one END two");
    const chat = createChat({ stop: "END" });
    const reply = await chat.send("Hi").reply();
    expect([reply.text, reply.finishReason]).toEqual(["one ", "stop"]);
    expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: "one " });
    expect(engine.sessions[0]!.isDecoding).toBe(false);
  });

  it("ends with length at maxTokens, and asks for no more than the context holds", async () => {
    engine.plan("abcdef");
    const length = prompt([user("Hi")]).length;
    engine.contextTokens = length + 3;
    const reply = await createChat().send("Hi").reply();
    expect([reply.text, reply.finishReason]).toEqual(["abc", "length"]);
    expect(engine.sessions[0]!.decodes[0]!.maxTokens).toBe(3);
  });

  it("a prompt that fills the context ends with length at once, a longer one is an error", async () => {
    const length = prompt([user("Hi")]).length;
    engine.contextTokens = length;
    const chat = createChat();
    const reply = await chat.send("Hi").reply();
    expect([reply.text, reply.finishReason, reply.usage.completionTokens]).toEqual(["", "length", 0]);
    engine.contextTokens = length - 1;
    await expect(chat.send("Hi").reply()).rejects.toMatchObject({
      code: "context-full",
      details: { promptTokens: length, contextTokens: length - 1 },
    });
    expect(chat.messages).toEqual([]);
  });

  it("gives every sampled token where probabilities were asked for", async () => {
    engine.plan("ab", M.end);
    const end = engine.tokenizer.controlId("<|im_end|>")!;
    const reply = await createChat().send("Hi", { logprobs: true }).reply();
    expect(reply.tokens).toEqual([97, 98, end].map((id) => ({ id, logprob: -id })));
  });
});

describe("the conversation", () => {
  it("keeps history in OpenAI's shapes, as copies", async () => {
    engine.plan("one", M.end);
    engine.plan(M.think, "r", M.endThink, "two", M.end);
    const chat = createChat({ system: "s" });
    const input = { role: "user" as const, content: "first" };
    const stream = chat.send(input);
    input.content = "changed";
    (await stream.reply()).message.content = "changed";
    await chat
      .send([user("second"), { role: "user", content: [{ type: "text", text: "third" }], name: "Ann" }])
      .reply();
    chat.messages[0]!.content = "changed";
    expect(chat.messages).toEqual([
      { role: "system", content: "s" },
      user("first"),
      { role: "assistant", content: "one" },
      user("second"),
      { role: "user", content: [{ type: "text", text: "third" }], name: "Ann" },
      { role: "assistant", content: "two", reasoning_content: "r" },
    ]);
  });

  it("counts what the prefix cache held beside what the session kept", async () => {
    engine.plan("one", M.end);
    engine.plan("two", M.end);
    const chat = createChat({ thinking: false });
    engine.cachedTokens = 3;
    expect((await chat.send("first").reply()).usage.cachedTokens).toBe(3);
    const kept = engine.sessions[0]!.position;
    engine.cachedTokens = 2;
    expect((await chat.send("second").reply()).usage.cachedTokens).toBe(kept + 2);
  });

  it("computes only what is new: the common beginning of the token ids stays", async () => {
    engine.plan("one", M.end);
    engine.plan("two", M.end);
    engine.plan("three", M.end);
    const chat = createChat({ thinking: false });
    const first = await chat.send("first").reply();
    const session = engine.sessions[0]!;
    const afterFirst = session.position;
    const second = await chat.send("second").reply();
    expect(first.usage.cachedTokens).toBe(0);
    // Without reasoning nothing changes in what was computed: only the new turn is prefilled.
    expect(second.usage.cachedTokens).toBe(afterFirst);
    expect(session.prefills).toEqual([first.usage.promptTokens, second.usage.promptTokens - afterFirst]);
    await chat.send("third").reply();
    expect(engine.sessions).toHaveLength(1);
    expect(session.tokens.slice(0, -6)).toEqual(
      prompt([user("first"), ...chat.messages.slice(1, -1)], { thinking: false }),
    );
  });

  it("goes back to where dropped reasoning began", async () => {
    engine.plan(M.think, "long thought", M.endThink, "one", M.end);
    engine.plan("two", M.end);
    const chat = createChat();
    const first = await chat.send("first").reply();
    const second = await chat.send("second").reply();
    // The prompt, and the think token that stands in the history too.
    expect(second.usage.cachedTokens).toBe(first.usage.promptTokens + 1);
  });

  it("computes at least the last token of a prompt that it has computed before", async () => {
    engine.scripts.push([new K2Error("out-of-memory", "no")]);
    engine.plan("a", M.end);
    const chat = createChat();
    await chat
      .send("Hi")
      .reply()
      .catch(() => {});
    const reply = await chat.send("Hi").reply();
    expect(reply.usage.cachedTokens).toBe(reply.usage.promptTokens - 1);
    expect(engine.sessions[0]!.prefills).toEqual([reply.usage.promptTokens, 1]);
  });

  it("goes on with messages that it was given", async () => {
    engine.plan("two", M.end);
    const messages = [user("a"), { role: "assistant" as const, content: "one" }];
    const chat = createChat({ system: "s", messages });
    const reply = await chat.send("b").reply();
    const all = [{ role: "system", content: "s" }, ...messages, user("b")];
    expect(reply.usage.promptTokens).toBe(prompt(all).length);
    expect(chat.messages).toHaveLength(5);
  });
});

describe("tools", () => {
  const planCall = (id: string, args: string) =>
    engine.plan(
      M.think,
      "look",
      M.endThink,
      M.section,
      M.call,
      id,
      M.args,
      args,
      M.endCall,
      M.endSection,
      M.end,
    );

  it("calls, results in any order, and an answer; nothing is computed twice", async () => {
    engine.plan(
      ...[
        M.think,
        "both",
        M.endThink,
        M.section,
        M.call,
        "functions.get_weather:0",
        M.args,
        '{"a":1}',
        M.endCall,
      ],
      ...[M.call, "functions.get_weather:1", M.args, '{"a":2}', M.endCall, M.endSection, M.end],
    );
    planCall("functions.get_weather:2", "{}");
    engine.plan(M.think, "done", M.endThink, "Sunny.", M.end);
    const chat = createChat({ tools: TOOLS });
    const first = await chat.send("Weather?").reply();
    expect(first.finishReason).toBe("tool-calls");
    expect(first.toolCalls.map((call) => [call.id, call.function.arguments])).toEqual([
      ["functions.get_weather:0", '{"a":1}'],
      ["functions.get_weather:1", '{"a":2}'],
    ]);
    const session = engine.sessions[0]!;
    const computed = session.position;
    const second = await chat
      .send([
        { role: "tool", tool_call_id: "functions.get_weather:1", content: "rain" },
        { role: "tool", tool_call_id: "functions.get_weather:0", content: "sun", name: "get_weather" },
      ])
      .reply();
    expect(second.usage.cachedTokens).toBe(computed);
    expect(second.toolCalls[0]!.id).toBe("functions.get_weather:2");
    const third = await chat
      .send({ role: "tool", tool_call_id: "functions.get_weather:2", content: "x" })
      .reply();
    expect(third.usage.cachedTokens).toBe(second.usage.totalTokens);
    expect(third.text).toBe("Sunny.");
    // What was prefilled and sampled in turn equals the whole conversation laid out at once.
    expect(session.tokens.slice(0, third.usage.promptTokens)).toEqual(
      prompt(chat.messages.slice(0, -1), { tools: TOOLS }),
    );
    expect(session.prefills.reduce((sum, length) => sum + length, 0)).toBe(
      third.usage.promptTokens - first.usage.completionTokens - second.usage.completionTokens,
    );
  });

  it("gives canonical ids where the model wrote others, and takes results by them", async () => {
    planCall("call_abc", "{}");
    planCall("functions.get_weather:0", "{}");
    engine.plan("done", M.end);
    const chat = createChat({ tools: TOOLS });
    const ids: string[] = [];
    for (let next: Parameters<Chat["send"]>[0] = "Weather?"; ; ) {
      const { toolCalls } = await chat.send(next).reply();
      if (toolCalls.length === 0) break;
      ids.push(toolCalls[0]!.id);
      next = { role: "tool", tool_call_id: toolCalls[0]!.id, content: "x" };
    }
    expect(ids).toEqual(["functions.get_weather:0", "functions.get_weather:1"]);
  });

  it("reports calls that must not be executed, and takes their errors as results", async () => {
    planCall("functions.delete_all:0", "{}");
    engine.plan("sorry", M.end);
    const chat = createChat({ tools: TOOLS });
    const { toolCalls, finishReason } = await chat.send("x").reply();
    expect(finishReason).toBe("tool-calls");
    const { id, invalid } = toolCalls[0]!;
    expect(invalid!.reason).toBe("unknown-tool");
    await chat.send({ role: "tool", tool_call_id: id, content: invalid!.message }).reply();
    expect(chat.messages.map((message) => message.role)).toEqual(["user", "assistant", "tool", "assistant"]);
    expect(chat.messages[1]).not.toHaveProperty("tool_calls[0].invalid");
  });

  it("a call that was cut off is reported, but stays out of the history", async () => {
    engine.plan(M.section, M.call, "functions.get_weather:0", M.args, '{"a":');
    engine.plan("again", M.end);
    const chat = createChat({ tools: TOOLS });
    const reply = await chat.send("x").reply();
    expect([reply.finishReason, reply.toolCalls[0]!.invalid!.reason]).toEqual(["length", "incomplete"]);
    expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: "" });
    await chat.send("y").reply();
  });

  it("rejects results that belong to no call, and leaves the history as it was", async () => {
    planCall("functions.get_weather:0", "{}");
    const chat = createChat({ tools: TOOLS });
    await chat.send("x").reply();
    const before = chat.messages;
    const result = (id: string) => ({ role: "tool" as const, tool_call_id: id, content: "" });
    await expect(chat.send([result("functions.get_weather:1")]).reply()).rejects.toMatchObject({
      code: "invalid-argument",
      details: { option: "messages[0].tool_call_id" },
    });
    const twice = [result("functions.get_weather:0"), result("functions.get_weather:0")];
    await expect(chat.send(twice).reply()).rejects.toMatchObject({
      details: { option: "messages[1].tool_call_id" },
    });
    expect(chat.messages).toEqual(before);
  });
});

describe("ends that the caller wants", () => {
  it("an abort keeps what came, and the next answer goes on", async () => {
    engine.scripts.push([...engine.tokenizer.ids(M.think, "hm", M.endThink, "par"), "wait"]);
    engine.plan("two", M.end);
    const chat = createChat();
    const controller = new AbortController();
    const stream = chat.send("Hi", { signal: controller.signal });
    let text = "";
    for await (const part of stream) {
      if (part.type === "text-delta") text += part.text;
      if (text === "par" && part.type !== "finish") setImmediate(() => controller.abort());
    }
    const reply = await stream.reply();
    expect([reply.finishReason, reply.text, reply.usage.completionTokens]).toEqual(["abort", "par", 7]);
    expect(chat.messages).toEqual([
      user("Hi"),
      { role: "assistant", content: "par", reasoning_content: "hm" },
    ]);
    expect((await chat.send("go on").reply()).text).toBe("two");
  });

  it("an abort while the prompt is computed, or before, leaves the history as it was", async () => {
    const chat = createChat();
    engine.nextPrefill = "wait";
    const controller = new AbortController();
    const reply = chat.send("Hi", { signal: controller.signal }).reply();
    await vi.waitFor(() => expect(engine.sessions).toHaveLength(1));
    controller.abort();
    expect((await reply).finishReason).toBe("abort");
    const late = await chat.send("Hi", { signal: controller.signal }).reply();
    expect([late.finishReason, late.text, late.usage.completionTokens]).toEqual(["abort", "", 0]);
    expect(chat.messages).toEqual([]);
    engine.plan("a", M.end);
    expect((await chat.send("Hi").reply()).text).toBe("a");
  });

  it("leaving the loop is an abort", async () => {
    engine.plan("abc", M.end);
    engine.plan("two", M.end);
    const chat = createChat();
    const stream = chat.send("Hi");
    for await (const part of stream) if (part.type === "text-delta" && part.text === "b") break;
    expect(engine.sessions[0]!.isDecoding).toBe(false);
    expect(await stream.reply()).toMatchObject({ finishReason: "abort", text: "ab" });
    expect(chat.messages.at(-1)).toEqual({ role: "assistant", content: "ab" });
    await chat.send("next").reply();
  });

  it("an iterator that is given up unread starts nothing and settles the reply", async () => {
    const stream = createChat().send("Hi");
    await stream[Symbol.asyncIterator]().return!();
    expect(await stream.reply()).toMatchObject({ finishReason: "abort", text: "" });
    expect(engine.sessions).toEqual([]);
  });

  it("removes its listener from the caller's signal", async () => {
    engine.plan("a", M.end);
    const { signal } = new AbortController();
    let listeners = 0;
    const { addEventListener, removeEventListener } = signal;
    signal.addEventListener = (...args: Parameters<typeof addEventListener>) => {
      listeners += 1;
      addEventListener.apply(signal, args);
    };
    signal.removeEventListener = (...args: Parameters<typeof removeEventListener>) => {
      listeners -= 1;
      removeEventListener.apply(signal, args);
    };
    await createChat().send("Hi", { signal }).reply();
    expect(listeners).toBe(0);
  });
});

describe("who reads", () => {
  it("nobody: nothing starts, whatever was wrong", async () => {
    const chat = createChat();
    chat.send("Hi");
    chat.send(5 as never);
    await new Promise((resolve) => setImmediate(resolve));
    expect(engine.sessions).toEqual([]);
    engine.plan("a", M.end);
    expect((await chat.send("Hi").reply()).text).toBe("a");
  });

  it("a loop and reply() in either order", async () => {
    engine.plan("a", M.end);
    engine.plan("b", M.end);
    const chat = createChat();
    const first = chat.send("x");
    const reply = first.reply();
    expect(await partsOf(first)).toHaveLength(2);
    expect((await reply).text).toBe("a");
    const second = chat.send("y");
    for await (const part of second)
      if (part.type === "finish") expect((await second.reply()).text).toBe("b");
  });

  it("a second reader is refused", async () => {
    engine.plan("a", M.end);
    const stream = createChat().send("x");
    await stream.reply();
    expect(await codeOf(() => partsOf(stream))).toBe("invalid-state");
    expect((await stream.reply()).text).toBe("a");
  });

  it("one answer at a time", async () => {
    engine.plan("abc", M.end);
    engine.plan("d", M.end);
    const chat = createChat();
    const iterator = chat.send("x")[Symbol.asyncIterator]();
    await iterator.next();
    expect(await codeOf(() => chat.send("y").reply())).toBe("invalid-state");
    expect(await codeOf(() => partsOf(chat.send("y")))).toBe("invalid-state");
    while ((await iterator.next()).done !== true);
    const replies = await Promise.allSettled([chat.send("y").reply(), chat.send("z").reply()]);
    expect(replies.map((each) => each.status)).toEqual(["fulfilled", "rejected"]);
    expect(chat.messages.map((message) => message.content)).toEqual(["x", "abc", "y", "d"]);
  });

  it("whoever sees the last part may send again inside the loop", async () => {
    engine.plan("a", M.end);
    engine.plan("bc", M.end);
    const chat = createChat();
    let second: AsyncIterator<StreamPart> | undefined;
    for await (const part of chat.send("x")) {
      if (part.type !== "finish") continue;
      second = chat.send("y")[Symbol.asyncIterator]();
      await second.next();
    }
    // The end of the first loop must not have freed the chat from its second answer.
    await expect(chat.send("z").reply()).rejects.toThrow(/without a running answer/);
    await second!.return!();
    expect(chat.messages.map((message) => message.content)).toEqual(["x", "a", "y", "b"]);
  });
});

describe("failures", () => {
  it.each<[string, () => void]>([
    ["in the prefill", () => (engine.nextPrefill = new K2Error("numerical-fault", "NaN"))],
    ["in the decode", () => engine.scripts.push([97, new K2Error("numerical-fault", "NaN")])],
  ])("%s reject the loop and the reply alike, and the chat goes on with a new session", async (_, plan) => {
    plan();
    const chat = createChat();
    const stream = chat.send("x");
    expect(await codeOf(() => partsOf(stream))).toBe("numerical-fault");
    expect(await codeOf(() => stream.reply())).toBe("numerical-fault");
    expect(chat.messages).toEqual([]);
    expect(engine.sessions[0]!.isDisposed).toBe(true);
    engine.plan("a", M.end);
    expect((await chat.send("x").reply()).text).toBe("a");
    expect(engine.sessions).toHaveLength(2);
  });

  it("that leave the session as it was keep what is computed", async () => {
    engine.scripts.push([new K2Error("out-of-memory", "no")]);
    const chat = createChat();
    expect(await codeOf(() => chat.send("x").reply())).toBe("out-of-memory");
    expect(engine.sessions[0]!.isDisposed).toBe(false);
  });

  it("of no known kind become internal, with their cause", async () => {
    const cause = new TypeError("x is not a function");
    engine.scripts.push([cause]);
    await expect(createChat().send("x").reply()).rejects.toMatchObject({ code: "internal", cause });
  });

  it("of a reply that nobody awaits stay silent", async () => {
    engine.scripts.push([new K2Error("numerical-fault", "NaN")]);
    void createChat().send("x").reply();
    await new Promise((resolve) => setTimeout(resolve, 5));
  });
});

describe("wrong arguments", () => {
  it.each<[string, unknown, unknown, string]>([
    ["a number as input", 5, {}, "input"],
    ["no input", undefined, {}, "input"],
    ["no message", [], {}, "input"],
    ["a message without role", { content: "x" }, {}, "message.role"],
    ["a wrong message in a list", [user("x"), { role: "user" }], {}, "messages[1].content"],
    ["options that are no object", "x", 5, "options"],
    ["an unknown option", "x", { temprature: 1 }, "options.temprature"],
    ["a wrong temperature", "x", { temperature: -1 }, "temperature"],
    ["maxTokens of 0", "x", { maxTokens: 0 }, "maxTokens"],
    ["maxTokens with a fraction", "x", { maxTokens: 1.5 }, "maxTokens"],
    ["an empty stop string", "x", { stop: ["a", ""] }, "stop[1]"],
    ["a stop token out of the vocabulary", "x", { stopTokens: [300] }, "stopTokens[0]"],
    ["thinking that is no boolean", "x", { thinking: "no" }, "thinking"],
    ["a signal that is none", "x", { signal: {} }, "signal"],
  ])("%s", async (_, input, options, option) => {
    const chat = createChat();
    await expect(chat.send(input as never, options as never).reply()).rejects.toMatchObject({
      code: "invalid-argument",
      details: { option },
    });
    expect(engine.sessions).toEqual([]);
  });

  it.each<[string, unknown, string]>([
    ["no object", null, "options"],
    ["an unknown option", { toolz: [] }, "options.toolz"],
    ["a signal, which belongs to send", { signal: new AbortController().signal }, "signal"],
    ["a system prompt that is no string", { system: 5 }, "system"],
    ["two system prompts", { system: "a", messages: [{ role: "system", content: "b" }] }, "system"],
    ["wrong tools", { tools: [{}] }, "tools[0].type"],
    ["wrong messages", { messages: [{}] }, "messages[0].role"],
    [
      "a result without call",
      { messages: [{ role: "tool", tool_call_id: "x", content: "" }] },
      "messages[0].tool_call_id",
    ],
    ["wrong defaults", { maxTokens: "many" }, "maxTokens"],
  ])("of createChat: %s", (_, options, option) => {
    expect(() => createChat(options as never)).toThrow(
      expect.objectContaining({ code: "invalid-argument", details: expect.objectContaining({ option }) }),
    );
  });
});

describe("dispose", () => {
  it("ends a running answer, gives the session back and refuses later sends", async () => {
    engine.scripts.push([97, "wait"]);
    const chat = createChat();
    const reply = chat.send("x").reply();
    await vi.waitFor(() => expect(engine.sessions[0]?.tokens.at(-1)).toBe(97));
    await chat.dispose();
    expect(await reply).toMatchObject({ finishReason: "abort", text: "a" });
    expect(engine.sessions[0]!.isDisposed).toBe(true);
    expect(await codeOf(() => chat.send("y").reply())).toBe("invalid-state");
    await chat.dispose();
  });

  it("before an answer has begun leaves no session behind", async () => {
    engine.scripts.push([97]);
    const chat = createChat();
    const reply = chat.send("x").reply();
    await new Promise((resolve) => setImmediate(resolve));
    await chat.dispose();
    expect(await reply).toMatchObject({ finishReason: "abort", text: "" });
    expect(engine.sessions).toEqual([]);
  });
});
