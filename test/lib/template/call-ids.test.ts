import { describe, expect, it } from "vitest";
import { K2Error } from "../../../lib/errors";
import { canonicalCallId, canonicalToolCalls } from "../../../lib/template/call-ids";
import type { Message } from "../../../lib/template/message";
import { writeCallId } from "../../../lib/tools/call-id";

function calls(...ids: [id: string, name: string][]): Message {
  return {
    role: "assistant",
    content: null,
    tool_calls: ids.map(([id, name]) => ({ id, type: "function", function: { name, arguments: "{}" } })),
  };
}

function result(id: string): Message {
  return { role: "tool", tool_call_id: id, content: `of ${id}` };
}

function idsOf(messages: readonly Message[]): string[] {
  return messages.flatMap((message) => {
    if (message.role === "tool") return [`${message.tool_call_id} < ${String(message.content)}`];
    if (message.role !== "assistant") return [];
    return (message.tool_calls ?? []).map((call) => call.id);
  });
}

describe("canonicalToolCalls", () => {
  it("numbers calls over the whole conversation and matches results by id, in any order", () => {
    const { messages, nextCall } = canonicalToolCalls([
      { role: "user", content: "x" },
      calls(["call_a", "search"], ["call_b", "ns.my-tool"]),
      result("call_b"),
      result("call_a"),
      calls(["toolu_1", "search"]),
      result("toolu_1"),
    ]);
    expect(idsOf(messages)).toEqual([
      "functions.search:0",
      "functions.ns.my-tool:1",
      "functions.ns.my-tool:1 < of call_b",
      "functions.search:0 < of call_a",
      "functions.search:2",
      "functions.search:2 < of toolu_1",
    ]);
    expect(nextCall).toBe(3);
  });

  it("keeps ids that are canonical already", () => {
    const given = [calls(["functions.f:0", "f"], ["functions.g:1", "g"]), result("functions.g:1")];
    expect(canonicalToolCalls(given).messages).toEqual(given);
  });

  it("goes on counting where the oldest calls were removed", () => {
    const given = [
      calls(["functions.f:57", "f"], ["call_a", "g"]),
      result("functions.f:57"),
      calls(["functions.f:60", "f"], ["functions.f:3", "f"], ["functions.g:7", "f"]),
      calls(["functions.f:99999999999", "f"], ["functions.f:0070", "f"]),
    ];
    const { messages, nextCall } = canonicalToolCalls(given);
    expect(idsOf(messages)).toEqual([
      "functions.f:57",
      "functions.g:58",
      "functions.f:57 < of functions.f:57",
      "functions.f:60",
      "functions.f:61",
      "functions.f:62",
      "functions.f:63",
      "functions.f:64",
    ]);
    expect(nextCall).toBe(65);
  });

  it("lets an id come again after its call was answered, as servers do that count per message", () => {
    const given = [calls(["f:0", "f"]), result("f:0"), calls(["f:0", "f"]), result("f:0")];
    expect(idsOf(canonicalToolCalls(given).messages)).toEqual([
      "functions.f:0",
      "functions.f:0 < of f:0",
      "functions.f:1",
      "functions.f:1 < of f:0",
    ]);
  });

  it.each<[string, Message[], string]>([
    ["a result without a call", [result("x")], "messages[0].tool_call_id"],
    ["a result before its call", [result("x"), calls(["x", "f"])], "messages[0].tool_call_id"],
    ["a second result", [calls(["x", "f"]), result("x"), result("x")], "messages[2].tool_call_id"],
    ["one id twice in a message", [calls(["x", "f"], ["x", "g"])], "messages[0].tool_calls[1].id"],
    [
      "an id that is still unanswered",
      [calls(["x", "f"]), calls(["x", "f"])],
      "messages[1].tool_calls[0].id",
    ],
  ])("refuses %s", (_, messages, option) => {
    const expected = expect.objectContaining({
      code: "invalid-argument",
      details: expect.objectContaining({ option }),
    });
    expect(() => canonicalToolCalls(messages)).toThrow(expected);
    expect(() => canonicalToolCalls(messages)).toThrow(K2Error);
  });

  it("counts messages from the caller's first", () => {
    const option = "messages[0].tool_call_id";
    expect(() => canonicalToolCalls([{ role: "user", content: "x" }, result("x")], "messages", 1)).toThrow(
      expect.objectContaining({ details: expect.objectContaining({ option }) }),
    );
  });

  it("writes ids as the parser does", () => {
    expect(canonicalCallId("a.b-c", 7)).toBe("functions.a.b-c:7");
    expect(canonicalCallId("a.b-c", 7)).toBe(writeCallId("a.b-c", 7));
  });
});
