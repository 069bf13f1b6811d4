// The layout of K2.5 and K2.6. The declarations in fixtures/kimi-k2.5-tools.json were recorded from a public copy of the
// checkpoint's own encoder (tool_declaration_ts.py). Beside them it was compared on 20,000 random lists of tools: all equal,
// 6,704 as text and the others given up by both.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { renderPrompt, renderSegments } from "../../../lib/template/render-prompt";
import { opensThinking, type PromptTokenizer, type Segment } from "../../../lib/template/segments";
import { parseTools } from "../../../lib/template/tool-definition";
import { typescriptTools } from "../../../lib/template/typescript-tools";
import { ByteTokenizer } from "../support/byte-tokenizer";
import { hasKimiTokenizer, loadKimiTokenizer, NO_KIMI_TOKENIZER } from "../support/kimi-tokenizer";

const tokenizer = new ByteTokenizer();
const template = chooseTemplate({ tokenizer, modelType: "kimi_k25" });
const HEAD = "<|im_assistant|>assistant<|im_middle|>";
const recorded: { tools: unknown; text: string | null }[] = JSON.parse(
  readFileSync(join(__dirname, "fixtures", "kimi-k2.5-tools.json"), "utf8"),
);

function textOf(segments: readonly Segment[]): string {
  return segments.map((segment) => (segment.kind === "control" ? segment.name : segment.text)).join("");
}

const render = (messages: unknown, options?: unknown) => textOf(renderSegments(template, messages, options));

const LOOP = [
  { role: "user", content: "a" },
  { role: "assistant", content: "b", reasoning_content: "r1" },
  { role: "user", content: "c" },
  {
    role: "assistant",
    content: "",
    reasoning_content: "r2",
    tool_calls: [{ id: "x", type: "function", function: { name: "f", arguments: "{}" } }],
  },
  { role: "tool", tool_call_id: "x", content: "1" },
];
const loop = (first: string, second: string) =>
  `<|im_user|>user<|im_middle|>a<|im_end|>${HEAD}<think>${first}</think>b<|im_end|>` +
  `<|im_user|>user<|im_middle|>c<|im_end|>${HEAD}<think>${second}</think>` +
  "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>" +
  "<|tool_calls_section_end|><|im_end|><|im_system|>tool<|im_middle|>## Return of functions.f:0\n1<|im_end|>";

describe("the layout of K2.5", () => {
  it("inserts no system prompt and opens the thinking block", () => {
    expect(template.name).toBe("kimi-k2.5");
    expect(render([{ role: "user", content: "Hi" }])).toBe(
      `<|im_user|>user<|im_middle|>Hi<|im_end|>${HEAD}<think>`,
    );
    expect(opensThinking(renderSegments(template, []))).toBe(true);
  });

  it("closes the block for instant mode, and then shows no reasoning", () => {
    expect(render(LOOP, { thinking: false })).toBe(`${loop("", "")}${HEAD}<think></think>`);
    expect(opensThinking(renderSegments(template, [], { thinking: false }))).toBe(false);
    expect(opensThinking(renderSegments(template, LOOP, { addGenerationPrompt: false }))).toBe(false);
  });

  it("keeps the reasoning of the task at hand", () => {
    expect(render(LOOP)).toBe(`${loop("", "r2")}${HEAD}<think>`);
  });

  it("keeps all reasoning on demand, also in instant mode, as K2.6 does", () => {
    expect(render(LOOP, { keepReasoning: true })).toBe(`${loop("r1", "r2")}${HEAD}<think>`);
    expect(render(LOOP, { keepReasoning: true, thinking: false })).toBe(
      `${loop("r1", "r2")}${HEAD}<think></think>`,
    );
  });
});

describe("tools in TypeScript", () => {
  it.each(recorded)("recorded declaration $#", ({ tools, text }) => {
    expect(typescriptTools(parseTools(tools)) ?? null).toBe(text);
  });

  it("stand in front of the conversation", () => {
    const { tools, text } = recorded[0]!;
    expect(render([], { tools })).toBe(
      `<|im_system|>tool_declare<|im_middle|>${text}<|im_end|>${HEAD}<think>`,
    );
  });

  it("are JSON where the published encoder gives up", () => {
    expect(render([], { tools: recorded.at(-1)!.tools })).toContain(
      '<|im_middle|>[{"function":{"name":"broken","parameters":{"properties":{"value":{"oneOf":[{"type":"string"}]}},' +
        '"type":"object"}},"type":"function"}]<|im_end|>',
    );
  });

  it.each([
    ["a list in an enum", { enum: [["a"]] }],
    ["an enum that is no list", { enum: "ab" }],
    ["a list as constraint", { type: "string", pattern: [] }],
    ["a type that is a number", { type: 3 }],
  ])("refuses %s, whose spelling nobody has recorded", (_, schema) => {
    const parameters = { type: "object", properties: { x: schema } };
    const tools = [{ type: "function", function: { name: "f", parameters } }];
    expect(() => render([], { tools })).toThrow(expect.objectContaining({ code: "invalid-argument" }));
  });
});

describe.skipIf(!hasKimiTokenizer)(`K2.5, published tokenizer (needs it: ${NO_KIMI_TOKENIZER})`, () => {
  it("gives the recorded ids", async () => {
    const published: PromptTokenizer = await loadKimiTokenizer();
    const prompt = (options: object) => [
      ...renderPrompt(template, published, [{ role: "user", content: "Hello!" }], options),
    ];
    const ids = [163587, 2482, 163601, 19180, 0, 163586, 163588, 69702, 163601, 163606];
    expect(prompt({})).toEqual(ids);
    expect(prompt({ thinking: false })).toEqual([...ids, 163607]);
  });
});
