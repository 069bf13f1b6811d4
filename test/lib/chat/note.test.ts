import { describe, expect, it } from "vitest";
import { checkSameTools, decodeChatNote, encodeChatNote } from "../../../lib/chat/note";
import { K2Error } from "../../../lib/errors";
import type { Message } from "../../../lib/template/message";
import { parseTools } from "../../../lib/template/tool-definition";

const messages: Message[] = [
  { role: "system", content: "Be brief. \u2028 \ud800 \u0000" },
  { role: "user", content: [{ type: "text", text: "one" }], name: "Ann" },
  {
    role: "assistant",
    content: null,
    reasoning_content: "hm",
    tool_calls: [{ id: "functions.a:0", type: "function", function: { name: "a", arguments: '{"x": 1.0}' } }],
  },
  { role: "tool", content: "", tool_call_id: "functions.a:0" },
];
const tools = parseTools([
  { function: { parameters: { b: 1, a: [{}] }, name: "a" }, type: "function" },
  { type: "function", function: { name: "b", strict: true } },
]);

function errorOf(action: () => unknown): K2Error {
  try {
    action();
  } catch (error) {
    if (error instanceof K2Error) return error;
  }
  throw new Error("expected a K2Error");
}

describe("the note of a chat", () => {
  it("gives back messages and tools, keys in their order, and how many calls there were", () => {
    const note = decodeChatNote(encodeChatNote({ messages, tools, nextCall: 7 }), "x");
    expect(note.nextCall).toBe(7);
    expect(note.messages).toEqual(messages);
    expect(JSON.stringify(note.tools)).toBe(JSON.stringify(tools));
    const empty = { messages: [], tools: [], nextCall: 0 };
    expect(decodeChatNote(encodeChatNote(empty), "x")).toEqual(empty);
  });

  it.each([
    ["", "incompatible-file"],
    ['{"format":"k2-chat","version":2}', "incompatible-file"],
    ["{", "damaged-file"],
    ["null", "damaged-file"],
    ["[]", "damaged-file"],
    ['{"format":"other","version":1,"messages":[],"tools":[],"nextCall":0}', "damaged-file"],
    ['{"format":"k2-chat","version":1}', "damaged-file"],
    ['{"format":"k2-chat","version":1,"messages":[{"role":"root"}],"tools":[],"nextCall":0}', "damaged-file"],
    ['{"format":"k2-chat","version":1,"messages":[],"tools":[{}],"nextCall":0}', "damaged-file"],
    ['{"format":"k2-chat","version":1,"messages":[],"tools":[],"nextCall":-1}', "damaged-file"],
    ['{"format":"k2-chat","version":1,"messages":[],"tools":[],"nextCall":1000000001}', "damaged-file"],
    ['{"format":"k2-chat","version":1,"messages":[],"tools":[]}', "damaged-file"],
    [
      '{"format":"k2-chat","version":1,"messages":[{"role":"tool","tool_call_id":"q","content":""}],"tools":[],"nextCall":0}',
      "damaged-file",
    ],
  ])("refuses %j", (note, code) => {
    const error = errorOf(() => decodeChatNote(note, "/some/file"));
    expect(error).toMatchObject({ code, details: { file: "/some/file" } });
    expect(error.message).toMatch(/^Expected .*\/some\/file.*, got/);
  });

  it("knows its tools again", () => {
    checkSameTools(tools, structuredClone(tools));
    const [first, second] = tools as [(typeof tools)[0], (typeof tools)[0]];
    const other = { ...second, function: { ...second.function, strict: false } };
    // The model reads the keys in the order in which they were given.
    const turned = { ...first, function: { name: "a", parameters: first.function.parameters! } };
    for (const [given, option] of [
      [[first], "tools"],
      [[], "tools"],
      [[second, first], "tools"],
      [[first, other], "tools[1]"],
      [[turned, second], "tools[0]"],
    ] as const) {
      const error = errorOf(() => checkSameTools(given, tools));
      expect(error).toMatchObject({ code: "invalid-argument", details: { option } });
    }
  });
});
