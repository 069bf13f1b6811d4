import { describe, expect, it } from "vitest";
import { K2Error } from "../../../lib/errors";
import { generate } from "../../../lib/generate/generate";
import { emptyUsage, type StreamPart } from "../../../lib/generate/part";
import type { TokenSource } from "../../../lib/generate/token-source";
import type { TokenEnd } from "../../../lib/sampling";
import { createKimiK2CallParser } from "../../../lib/tools/kimi-k2-call-parser";
import { ByteTokenizer, M } from "../support/byte-tokenizer";

type Piece = string | { control: string };

const tokenizer = new ByteTokenizer();
const CALL: Piece[] = [M.section, M.call, "functions.f:0", M.args, "{}", M.endCall, M.endSection];

interface Given {
  pieces: readonly Piece[];
  end?: TokenEnd;
  failure?: unknown;
  stop?: string[];
  controller?: AbortController;
}

function start({ pieces, end = "max-tokens", failure, stop, controller = new AbortController() }: Given) {
  const state = { isLeft: false, read: 0 };
  const source: TokenSource = {
    get end() {
      return end;
    },
    async *[Symbol.asyncIterator]() {
      try {
        for (const id of tokenizer.ids(...pieces)) {
          state.read += 1;
          yield { id };
        }
        if (failure !== undefined) throw failure;
      } finally {
        state.isLeft = true;
      }
    },
  };
  const usage = emptyUsage();
  const parts = generate({
    start: async () => {
      usage.promptTokens = 10;
      return source;
    },
    parser: createKimiK2CallParser({ tokenizer }),
    usage,
    signal: controller.signal,
    ...(stop === undefined ? {} : { stop }),
  });
  return { parts, state, controller };
}

async function all(given: Given) {
  const { parts, state } = start(given);
  const list: StreamPart[] = [];
  for await (const part of parts) list.push(part);
  const last = list.pop()!;
  if (last.type !== "finish") throw new Error("expected finish as the last part");
  const text = list.map((part) => (part.type === "text-delta" ? part.text : "")).join("");
  return { list, text, last, state };
}

describe("generate", () => {
  it("counts thinking apart, and the token that ends the turn", async () => {
    const { list, last } = await all({ pieces: [M.think, "abc", M.endThink, "de", M.end], end: "stop" });
    expect(list.map((part) => part.type)).toEqual([
      ...Array(3).fill("reasoning-delta"),
      ...Array(2).fill("text-delta"),
    ]);
    expect(last).toEqual({
      type: "finish",
      finishReason: "stop",
      usage: {
        promptTokens: 10,
        completionTokens: 8,
        cachedTokens: 0,
        reasoningTokens: 3,
        insertedTokens: 0,
        totalTokens: 18,
      },
    });
  });

  it.each<[string, Given, string]>([
    ["the end of the turn", { pieces: ["a", M.end], end: "stop" }, "stop"],
    ["the token limit", { pieces: ["a"] }, "length"],
    ["a full context", { pieces: ["a"], end: "context-full" }, "length"],
    ["an abort that the source reports", { pieces: ["a"], end: "aborted" }, "abort"],
    ["calls and the end of the turn", { pieces: [...CALL, M.end], end: "stop" }, "tool-calls"],
    ["calls and the token limit", { pieces: CALL }, "length"],
    [
      "a call that was cut off by the turn's end",
      { pieces: [M.call, "functions.f", M.end], end: "stop" },
      "stop",
    ],
    ["a failure", { pieces: ["a"], failure: new K2Error("numerical-fault", "NaN") }, "error"],
  ])("finishes after %s", async (_, given, reason) => {
    expect((await all(given)).last.finishReason).toBe(reason);
  });

  it("stops at a stop string, shows nothing of it and leaves the source", async () => {
    const { text, last, state } = await all({ pieces: ["one END two"], stop: ["END"] });
    expect(text).toBe("one ");
    expect(last.finishReason).toBe("stop");
    expect(state).toEqual({ isLeft: true, read: "one END".length });
  });

  it("looks for stop strings in text only, and never across other parts", async () => {
    const pieces = [M.think, "END", M.endThink, "EN", M.think, "x", M.endThink, "D", ...CALL, "E", M.end];
    const { text, list, last } = await all({ pieces, stop: ["END"], end: "stop" });
    expect(text).toBe("ENDE");
    expect(list.findIndex((part) => part.type === "text-delta")).toBe(3);
    expect(list.at(-1)).toEqual({ type: "text-delta", text: "E" });
    expect(last.finishReason).toBe("tool-calls");
  });

  it("shows nothing behind a stop string, even of the same token", async () => {
    const pieces = ["<|to", M.args, "{}", M.endCall, M.end];
    const { list, last } = await all({ pieces, stop: ["|to"] });
    expect(list).toEqual([{ type: "text-delta", text: "<" }]);
    expect(last.finishReason).toBe("stop");
  });

  it("passes on the error of a failure, and wraps what is none of ours", async () => {
    const fault = new K2Error("numerical-fault", "NaN");
    expect((await all({ pieces: ["a"], failure: fault })).last.error).toBe(fault);
    const other = new TypeError("x is not a function");
    expect((await all({ pieces: [], failure: other })).last.error).toMatchObject({
      code: "internal",
      cause: other,
    });
  });

  it("ends with abort as soon as the signal fired, also when the source throws for it", async () => {
    const { parts, state, controller } = start({ pieces: ["abcdef", M.end] });
    const list: StreamPart[] = [];
    for await (const part of parts) {
      list.push(part);
      if (list.length === 2) controller.abort();
    }
    expect(list.map((part) => part.type)).toEqual(["text-delta", "text-delta", "finish"]);
    expect(list.at(-1)).toMatchObject({ finishReason: "abort" });
    expect(state.isLeft).toBe(true);

    const throwing = start({ pieces: ["a"], failure: new K2Error("aborted", "x") });
    throwing.controller.signal.addEventListener("abort", () => {});
    const seen: StreamPart[] = [];
    const iterator = throwing.parts[Symbol.asyncIterator]();
    await iterator.next();
    throwing.controller.abort();
    for (let step = await iterator.next(); !step.done; step = await iterator.next()) seen.push(step.value);
    expect(seen).toMatchObject([{ type: "finish", finishReason: "abort" }]);
  });

  it("does not start at all when the signal has fired before", async () => {
    const controller = new AbortController();
    controller.abort();
    const { last, state } = await all({ pieces: ["abc"], controller });
    expect(last.finishReason).toBe("abort");
    expect(state.read).toBe(0);
  });

  it("leaves the source when the reader leaves", async () => {
    const { parts, state } = start({ pieces: ["abc"] });
    for await (const _ of parts) break;
    expect(state).toEqual({ isLeft: true, read: 1 });
  });
});
