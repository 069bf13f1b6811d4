import { describe, expect, it } from "vitest";
import { K2Error } from "../../../lib/errors";
import { contentText, parseMessages } from "../../../lib/template/message";
import { parseRenderOptions } from "../../../lib/template/render-prompt";
import { parseTools } from "../../../lib/template/tool-definition";

function errorOf(action: () => unknown): K2Error {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(K2Error);
    expect((error as K2Error).code).toBe("invalid-argument");
    return error as K2Error;
  }
  throw new Error("expected an error, got none");
}

const call = { id: "functions.f:0", type: "function", function: { name: "f", arguments: "{}" } };

describe("parseMessages", () => {
  it("copies every shape that OpenAI clients send", () => {
    const given = [
      { role: "system", content: "s", name: "boss" },
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
      },
      { role: "assistant", content: null, reasoning_content: "r", tool_calls: [call] },
      { role: "tool", tool_call_id: "functions.f:0", content: "", name: "f" },
      { role: "assistant", content: "", reasoning_content: null, tool_calls: [] },
    ];
    const parsed = parseMessages(given);
    expect(parsed).toEqual([...given.slice(0, 4), { role: "assistant", content: "" }]);
    given[0]!.content = "changed";
    expect(parsed[0]!.content).toBe("s");
    expect(contentText(parsed[1]!.content)).toBe("ab");
  });

  it("takes an answer of the OpenAI client back as it came", () => {
    const answer = {
      ...{
        role: "assistant",
        content: null,
        refusal: null,
        annotations: [],
        audio: null,
        function_call: null,
      },
      tool_calls: [{ index: 0, ...call }],
    };
    expect(parseMessages([answer])).toEqual([{ role: "assistant", content: null, tool_calls: [call] }]);
  });

  it("may leave out the content beside calls only", () => {
    expect(parseMessages([{ role: "assistant", tool_calls: [call] }])[0]!.content).toBeNull();
    expect(errorOf(() => parseMessages([{ role: "assistant" }])).details.option).toBe("messages[0].content");
  });

  it("writes an arguments object as the published templates do", () => {
    const target = { name: "f", arguments: { b: 1, a: ["ü", true] } };
    const [message] = parseMessages([{ role: "assistant", tool_calls: [{ ...call, function: target }] }]);
    expect(message).toMatchObject({
      tool_calls: [{ function: { arguments: '{"b": 1, "a": ["ü", true]}' } }],
    });
  });

  it.each<[string, unknown, string]>([
    ["no array", { role: "user", content: "x" }, "messages"],
    ["a string", "hello", "messages"],
    ["null", [null], "messages[0]"],
    ["an array as message", [[]], "messages[0]"],
    ["a hole", [{ role: "user", content: "x" }, undefined], "messages[1]"],
    ["no role", [{ content: "x" }], "messages[0].role"],
    ["an unknown role", [{ role: "developer", content: "x" }], "messages[0].role"],
    ["a role from the prototype", [{ role: "constructor", content: "x" }], "messages[0].role"],
    ["a number as content", [{ role: "user", content: 5 }], "messages[0].content"],
    ["an object as content", [{ role: "user", content: { text: "x" } }], "messages[0].content"],
    ["a string as part", [{ role: "user", content: ["x"] }], "messages[0].content[0]"],
    [
      "an image",
      [
        {
          role: "user",
          content: [
            { type: "text", text: "" },
            { type: "image_url", image_url: { url: "x" } },
          ],
        },
      ],
      "messages[0].content[1].type",
    ],
    ["a part without text", [{ role: "user", content: [{ type: "text" }] }], "messages[0].content[0].text"],
    [
      "an unknown key of a part",
      [{ role: "user", content: [{ type: "text", text: "x", cache: 1 }] }],
      "messages[0].content[0].cache",
    ],
    ["an unknown key", [{ role: "user", content: "x", tool_calls: [] }], "messages[0].tool_calls"],
    ["a misspelt key", [{ role: "assistant", content: "x", reasoning: "r" }], "messages[0].reasoning"],
    ["a refusal", [{ role: "assistant", content: "x", refusal: "no" }], "messages[0].refusal"],
    ["a number as name", [{ role: "user", content: "x", name: 1 }], "messages[0].name"],
    [
      "reasoning that is no string",
      [{ role: "assistant", content: "x", reasoning_content: [] }],
      "messages[0].reasoning_content",
    ],
    [
      "calls that are no array",
      [{ role: "assistant", content: "", tool_calls: {} }],
      "messages[0].tool_calls",
    ],
    [
      "no call id",
      [{ role: "assistant", tool_calls: [{ ...call, id: "" }] }],
      "messages[0].tool_calls[0].id",
    ],
    [
      "another call type",
      [{ role: "assistant", tool_calls: [{ ...call, type: "custom" }] }],
      "messages[0].tool_calls[0].type",
    ],
    [
      "no function",
      [{ role: "assistant", tool_calls: [{ id: "x", type: "function" }] }],
      "messages[0].tool_calls[0].function",
    ],
    [
      "a function name that is no string",
      [{ role: "assistant", tool_calls: [{ ...call, function: { name: 3, arguments: "" } }] }],
      "messages[0].tool_calls[0].function.name",
    ],
    [
      "arguments that are an array",
      [{ role: "assistant", tool_calls: [{ ...call, function: { name: "f", arguments: [] } }] }],
      "messages[0].tool_calls[0].function.arguments",
    ],
    ["a result without id", [{ role: "tool", content: "x" }], "messages[0].tool_call_id"],
  ])("refuses %s", (_, messages, option) => {
    const error = errorOf(() => parseMessages(messages));
    expect(error.details.option).toBe(option);
    expect(error.message).toMatch(/^Expected .+ for .+, got .+$/s);
  });
});

describe("parseTools", () => {
  const tool = { type: "function", function: { name: "f" } };

  it("copies definitions with the keys they have", () => {
    const given = [
      { type: "function", function: { name: "f", description: "d", parameters: { a: [1] }, strict: true } },
    ];
    const parsed = parseTools(given);
    expect(parsed).toEqual(given);
    expect(parsed[0]!.function.parameters).not.toBe(given[0]!.function.parameters);
    expect(Object.keys(parseTools([tool])[0]!.function)).toEqual(["name"]);
  });

  it("keeps the order of keys, which a model sees", () => {
    const given =
      '[{"function":{"parameters":{},"strict":false,"name":"f","description":"d"},"type":"function"}]';
    expect(JSON.stringify(parseTools(JSON.parse(given)))).toBe(given);
  });

  it("leaves out undefined keys and keeps a key named __proto__ as data", () => {
    const parameters = JSON.parse('{"__proto__":{"type":"string"}}') as Record<string, unknown>;
    parameters.none = undefined;
    const [parsed] = parseTools([{ type: "function", function: { name: "f", parameters } }]);
    expect(JSON.stringify(parsed!.function.parameters)).toBe('{"__proto__":{"type":"string"}}');
  });

  const cyclic: Record<string, unknown> = {};
  cyclic.self = cyclic;

  it.each<[string, unknown, RegExp]>([
    ["no array", tool, /^tools$/],
    ["the short form", [{ name: "f" }], /^tools\[0\]\.type$/],
    ["an unknown key", [{ ...tool, execute: 1 }], /^tools\[0\]\.execute$/],
    ["an empty name", [{ type: "function", function: { name: "" } }], /^tools\[0\]\.function\.name$/],
    ["two tools of one name", [tool, tool], /^tools\[1\]\.function\.name$/],
    [
      "a description that is no string",
      [{ type: "function", function: { name: "f", description: null } }],
      /description$/,
    ],
    [
      "parameters that are an array",
      [{ type: "function", function: { name: "f", parameters: [] } }],
      /parameters$/,
    ],
    ["NaN", [{ type: "function", function: { name: "f", parameters: { a: Number.NaN } } }], /parameters\.a$/],
    [
      "a function",
      [{ type: "function", function: { name: "f", parameters: { a: [() => 1] } } }],
      /parameters\.a\[0\]$/,
    ],
    [
      "a date",
      [{ type: "function", function: { name: "f", parameters: { a: new Date() } } }],
      /parameters\.a$/,
    ],
    [
      "a hole",
      [{ type: "function", function: { name: "f", parameters: { a: new Array(1) } } }],
      /parameters\.a\[0\]$/,
    ],
    ["a cycle", [{ type: "function", function: { name: "f", parameters: cyclic } }], /parameters(\.self)+$/],
  ])("refuses %s", (_, tools, option) => {
    expect(errorOf(() => parseTools(tools)).details.option).toMatch(option);
  });
});

describe("parseRenderOptions", () => {
  it.each<[unknown, string]>([
    [null, "options"],
    [{ tool: [] }, "options.tool"],
    [{ thinking: "yes" }, "thinking"],
    [{ addGenerationPrompt: 0 }, "addGenerationPrompt"],
    [{ tools: {} }, "tools"],
  ])("refuses %j", (options, name) => {
    expect(errorOf(() => parseRenderOptions(options)).details.option).toBe(name);
  });
});
