import { describe, expect, it } from "vitest";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { renderSegments } from "../../../lib/template/render-prompt";
import { opensThinking, type Segment } from "../../../lib/template/segments";
import { ByteTokenizer, CONTROL_NAMES } from "../support/byte-tokenizer";

const KIMI = "You are Kimi, an AI assistant created by Moonshot AI.";
const tokenizer = new ByteTokenizer();
const withoutThink = new ByteTokenizer(CONTROL_NAMES.filter((name) => !name.includes("think")));
const withoutTools = new ByteTokenizer(CONTROL_NAMES.filter((name) => !/think|tool/.test(name)));
const thinking = chooseTemplate({ tokenizer });
const instruct = chooseTemplate({ tokenizer: withoutThink });

/** What a person would read: control tokens by name. */
function textOf(segments: readonly Segment[]): string {
  return segments.map((segment) => (segment.kind === "control" ? segment.name : segment.text)).join("");
}

function render(messages: unknown, options?: unknown, template = thinking): string {
  return textOf(renderSegments(template, messages, options));
}

function toolCall(id: string, name: string) {
  return { id, type: "function", function: { name, arguments: "{}" } };
}

const SYSTEM = `<|im_system|>system<|im_middle|>${KIMI}<|im_end|>`;
const GENERATION = "<|im_assistant|>assistant<|im_middle|>";

describe("the layout of K2 Thinking", () => {
  it("puts the default system prompt where none stands first, also in an empty conversation", () => {
    expect(render([])).toBe(SYSTEM + GENERATION);
    const late = [
      { role: "user", content: "a" },
      { role: "system", content: "b" },
    ];
    expect(render(late)).toBe(
      `${SYSTEM}<|im_user|>user<|im_middle|>a<|im_end|><|im_system|>system<|im_middle|>b<|im_end|>${GENERATION}`,
    );
    expect(render([{ role: "system", content: "" }])).toBe(
      `<|im_system|>system<|im_middle|><|im_end|>${GENERATION}`,
    );
  });

  it("writes names into heads, and the role where a name is empty", () => {
    const messages = [
      { role: "system", content: "s", name: "rules" },
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
        name: "Ann",
      },
      { role: "assistant", content: null, name: "" },
    ];
    expect(render(messages)).toBe(
      "<|im_system|>rules<|im_middle|>s<|im_end|><|im_user|>Ann<|im_middle|>ab<|im_end|>" +
        `<|im_assistant|>assistant<|im_middle|><think></think><|im_end|>${GENERATION}`,
    );
  });

  it("keeps the reasoning behind the last plain answer only", () => {
    const messages = [
      { role: "system", content: "s" },
      { role: "assistant", content: "first", reasoning_content: "r0" },
      { role: "assistant", content: "", reasoning_content: "r1", tool_calls: [toolCall("a", "f")] },
      { role: "tool", tool_call_id: "a", content: "1" },
      { role: "assistant", content: "answer", reasoning_content: "r2" },
      { role: "user", content: "more" },
      { role: "assistant", content: "", reasoning_content: "r3", tool_calls: [toolCall("b", "g")] },
      { role: "tool", tool_call_id: "b", name: "g", content: "2" },
      { role: "assistant", content: "x", tool_calls: [toolCall("c", "h")] },
    ];
    const section = (id: string) =>
      `<|tool_calls_section_begin|><|tool_call_begin|>${id}<|tool_call_argument_begin|>{}<|tool_call_end|><|tool_calls_section_end|>`;
    const head = "<|im_assistant|>assistant<|im_middle|>";
    expect(render(messages, { addGenerationPrompt: false })).toBe(
      "<|im_system|>system<|im_middle|>s<|im_end|>" +
        `${head}<think></think>first<|im_end|>` +
        `${head}<think></think>${section("functions.f:0")}<|im_end|>` +
        "<|im_system|>tool<|im_middle|>## Return of functions.f:0\n1<|im_end|>" +
        `${head}<think></think>answer<|im_end|>` +
        "<|im_user|>user<|im_middle|>more<|im_end|>" +
        `${head}<think>r3</think>${section("functions.g:1")}<|im_end|>` +
        "<|im_system|>g<|im_middle|>## Return of functions.g:1\n2<|im_end|>" +
        `${head}<think></think>x${section("functions.h:2")}<|im_end|>`,
    );
  });

  it("writes several calls into one section, arguments verbatim", () => {
    const broken = { id: "b", type: "function", function: { name: "g", arguments: '{ "a" :' } };
    const text = render([{ role: "assistant", tool_calls: [toolCall("a", "f"), broken] }]);
    expect(text).toContain(
      "<|tool_calls_section_begin|><|tool_call_begin|>functions.f:0<|tool_call_argument_begin|>{}<|tool_call_end|>" +
        '<|tool_call_begin|>functions.g:1<|tool_call_argument_begin|>{ "a" :<|tool_call_end|><|tool_calls_section_end|>',
    );
  });

  it("switches thinking off with a closed block, and starts no block otherwise", () => {
    expect(render([], { thinking: false })).toBe(`${SYSTEM}${GENERATION}<think></think>`);
    expect(render([], { thinking: true })).toBe(SYSTEM + GENERATION);
    expect(opensThinking(renderSegments(thinking, []))).toBe(false);
  });

  it("declares no tools for an empty list", () => {
    expect(render([], { tools: [] })).toBe(SYSTEM + GENERATION);
  });
});

describe("the layout of K2 Instruct", () => {
  it("has no thinking block and refuses to think", () => {
    const messages = [{ role: "assistant", content: "a", reasoning_content: "r" }];
    expect(render(messages, { thinking: false }, instruct)).toBe(
      `${SYSTEM}<|im_assistant|>assistant<|im_middle|>a<|im_end|>${GENERATION}`,
    );
    expect(() => render([], { thinking: true }, instruct)).toThrow(
      expect.objectContaining({ code: "invalid-argument" }),
    );
  });
});

describe("chooseTemplate", () => {
  const declare = (json: string) =>
    `{%- if tools -%}<|im_system|>tool_declare<|im_middle|>{{ ${json} }}<|im_end|>{%- endif -%}`;
  const system = (text: string) => `<|im_system|>system<|im_middle|>${text}<|im_end|>`;
  const calls = "<|tool_calls_section_begin|>";
  const tools = [{ type: "function", function: { name: "f", description: "d" } }];

  it("without template text: by the control tokens", () => {
    expect(thinking.name).toBe("kimi-k2-thinking");
    expect(instruct.name).toBe("kimi-k2-instruct");
    expect(chooseTemplate({ tokenizer: withoutTools }).name).toBe("moonlight");
  });

  it("the original K2 Instruct: spaces in JSON, another default system prompt", () => {
    const chatTemplate = declare("tools | tojson") + system("You are a helpful assistant") + calls;
    const template = chooseTemplate({ tokenizer, chatTemplate });
    expect(template.name).toBe("kimi-k2-instruct");
    expect(render([], { tools }, template)).toBe(
      '<|im_system|>tool_declare<|im_middle|>[{"function": {"description": "d", "name": "f"}, "type": "function"}]<|im_end|>' +
        `<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>${GENERATION}`,
    );
  });

  it("the current K2 Instruct: compact JSON, Kimi's system prompt", () => {
    const chatTemplate = declare("tools | tojson(separators=(',', ':'))") + system(KIMI) + calls;
    const template = chooseTemplate({ tokenizer, chatTemplate });
    expect(template.name).toBe("kimi-k2-instruct");
    expect(render([], { tools }, template)).toContain(
      '[{"function":{"description":"d","name":"f"},"type":"function"}]',
    );
  });

  it("takes the default system prompt of a fine-tune from its template", () => {
    const chatTemplate = `<think>${system("You are Max.")}${calls}`;
    expect(render([], {}, chooseTemplate({ tokenizer, chatTemplate }))).toBe(
      `<|im_system|>system<|im_middle|>You are Max.<|im_end|>${GENERATION}`,
    );
  });

  it("finds a default system prompt that template code inserts", () => {
    const chatTemplate = `<think>{% set s = "You are a helpful assistant" %}${system("{{ s }}")}${calls}`;
    expect(render([], {}, chooseTemplate({ tokenizer, chatTemplate }))).toContain(
      "<|im_middle|>You are a helpful assistant<|im_end|>",
    );
  });

  it("K2.5 by its template or its config, and its relatives by their own templates", () => {
    const chatTemplate =
      "<|im_middle|>{{ tools_ts_str }}{% if thinking is false %}<think></think>{% endif %}";
    expect(chooseTemplate({ tokenizer, chatTemplate }).name).toBe("kimi-k2.5");
    expect(chooseTemplate({ tokenizer, modelType: "kimi_k25" }).name).toBe("kimi-k2.5");
    expect(chooseTemplate({ tokenizer, chatTemplate: "<|im_middle|>{{ tools_ts_str }}<think>" }).name).toBe(
      "jinja",
    );
  });

  it("runs the template of another family", () => {
    const chatTemplate = "<|begin_of_text|>{{ messages }}";
    expect(chooseTemplate({ tokenizer: new ByteTokenizer(["[BOS]"]), chatTemplate }).name).toBe("jinja");
  });

  it("takes the caller's word for the family", () => {
    const chatTemplate = `<think>${system("You are Max.")}${calls}`;
    const template = chooseTemplate({ tokenizer, chatTemplate, family: "kimi-k2-instruct" });
    expect(template.name).toBe("kimi-k2-instruct");
    expect(render([], {}, template)).toBe(
      `<|im_system|>system<|im_middle|>You are Max.<|im_end|>${GENERATION}`,
    );
  });

  it("Moonlight refuses tools and tool messages", () => {
    const moonlight = chooseTemplate({ tokenizer, chatTemplate: system("You are a helpful assistant") });
    expect(moonlight.name).toBe("moonlight");
    const refusal = expect.objectContaining({ code: "invalid-argument" });
    expect(() => render([], { tools }, moonlight)).toThrow(refusal);
    expect(() => render([{ role: "assistant", tool_calls: [toolCall("a", "f")] }], {}, moonlight)).toThrow(
      refusal,
    );
  });

  it.each<[string, Parameters<typeof chooseTemplate>[0]]>([
    ["a tokenizer without message tokens", { tokenizer: new ByteTokenizer(["[BOS]"]) }],
    ["a template to run that is not there", { tokenizer, family: "jinja" }],
    ["think tags that are no tokens", { tokenizer: withoutThink, chatTemplate: "<|im_middle|><think>" }],
  ])("refuses %s", (_, facts) => {
    expect(() => chooseTemplate(facts)).toThrow(expect.objectContaining({ code: "unsupported-checkpoint" }));
  });
});
