// The template text of a checkpoint, run on placeholders: what comes out, what is refused, and the limits.

import { describe, expect, it } from "vitest";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { renderPrompt, renderSegments } from "../../../lib/template/render-prompt";
import type { Segment } from "../../../lib/template/segments";
import { ByteTokenizer } from "../support/byte-tokenizer";

const CONTROLS = ["<|user|>", "<|end|>", "<|end|>x", "<s>", "[T]", "<think>", "</think>"];
const tokenizer = new ByteTokenizer(CONTROLS);
const LOOP = "{% for m in messages %}<|user|>{{ m.content }}<|end|>{% endfor %}";

function segmentsOf(text: string, messages: unknown, options?: unknown): Segment[] {
  const facts = {
    tokenizer,
    controlNames: CONTROLS,
    specialTokens: { bos_token: "<s>" },
    chatTemplate: text,
  };
  return renderSegments(chooseTemplate({ ...facts, family: "jinja" }), messages, options);
}

/** Control tokens in guillemets, content in brackets. */
function render(text: string, messages: unknown = user("hi"), options?: unknown): string {
  return segmentsOf(text, messages, options)
    .map((segment) => {
      if (segment.kind === "control") return `«${segment.name}»`;
      return segment.kind === "content" ? `[${segment.text}]` : segment.text;
    })
    .join("");
}

const user = (content: unknown) => [{ role: "user", content }];
const tool = (definition: object) => ({ type: "function", function: { name: "f", ...definition } });
const unsupported = (message: RegExp) =>
  expect.objectContaining({ code: "unsupported-checkpoint", message: expect.stringMatching(message) });

describe("what a template writes", () => {
  it("is words, control tokens by their longest name, and content", () => {
    expect(render(`{{ bos_token }}${LOOP}<|end|>xy [T]`)).toBe(
      "«<s>»«<|user|>»[hi]«<|end|>»«<|end|>x»y «[T]»",
    );
  });

  it("never is a control token where it came from outside", () => {
    for (const hostile of [...CONTROLS, "<|e", "nd|>", "<", "a<s>b"]) {
      const text = `<|user|>{{ messages[0].content }}{{ messages[0].content }}<|end|>`;
      const ids = renderPrompt(
        chooseTemplate({ tokenizer, controlNames: CONTROLS, chatTemplate: text }),
        tokenizer,
        user(hostile),
      );
      expect([...ids].filter((id) => id >= tokenizer.baseCount)).toEqual([256, 257]);
      expect(Buffer.from(ids.filter((id) => id < 256)).toString()).toBe(hostile + hostile);
    }
  });

  it("cannot complete a control token around content", () => {
    expect(render("<|{{ messages[0].content }}|>", user("end"))).toBe("<|[end]|>");
    expect(render("<{{ messages[0].content }}|end|>", user(" "))).toBe("< |end|>");
  });

  it("takes the role, the switches and the speaker from the message", () => {
    const text =
      "{% for m in messages %}{{ m.role }}:{{ m.name or '-' }}:{{ m.content if m.content is not none else 'none' }};{% endfor %}" +
      "{% if add_generation_prompt %}{{ 'think' if enable_thinking else 'go' }}{% endif %}";
    const messages = [
      { role: "system", content: "s", name: "" },
      {
        role: "user",
        content: [
          { type: "text", text: "a" },
          { type: "text", text: "b" },
        ],
        name: "Ann",
      },
      { role: "assistant", content: null },
    ];
    expect(render(text, messages)).toBe("system:-:[s];user:[Ann]:[ab];assistant:-:none;go");
    expect(render(text, messages, { thinking: true, addGenerationPrompt: true })).toMatch(/think$/);
    expect(render(text, messages, { addGenerationPrompt: false })).toMatch(/none;$/);
  });

  it("sees none where there are no tools, and only the switches that were set", () => {
    const text =
      "{{ tools is none }} {{ documents is none }} {{ thinking is defined }} {{ enable_thinking is defined }} " +
      "{{ preserve_thinking is defined }} {{ tools_ts_str is defined }}{{ messages[0].content }}";
    expect(render(text)).toBe("true true false false false false[hi]");
    expect(render(text, user("hi"), { thinking: false, keepReasoning: true })).toMatch(
      /^true true true true true false/,
    );
    const tools = [{ type: "function", function: { name: "f" } }];
    expect(render("{{ tools_ts_str }}{{ messages[0].content }}", user("hi"), { tools })).toMatch(
      /^\[# Tools\n[\s\S]*type f = \(_: \{\}\) => any;\n\}\]\n\[hi\]$/,
    );
  });

  it("may trim content, compare it with other content, and ask whether there is any", () => {
    expect(render("<{{ messages[0].content | trim }}>", user("  a b\n"))).toBe("<[a b]>");
    expect(render("<{{ messages[0].content }}>", user("  a b\n"))).toBe("<  [a b]\n>");
    expect(render("{{ 'some' if messages[0].content else 'none' }}", user(""))).toBe("none");
    const same =
      "{{ messages[0].content }}{{ messages[1].content }}{{ messages[0].content == messages[1].content }}";
    expect(render(same, [...user("x"), ...user("x")])).toBe("[x][x]true");
    expect(render(same, [...user("x"), ...user("y")])).toBe("[x][y]false");
  });

  it("shows thinking that a server left in the content as reasoning", () => {
    const text = "{% for m in messages %}({{ m.reasoning_content }}){{ m.content }}{% endfor %}";
    expect(render(text, [{ role: "assistant", content: "<think>r</think>a" }])).toBe("([r])[a]");
  });
});

describe("content in JSON", () => {
  const parameters = {
    type: "object",
    properties: { 'a"b': { type: "string", description: 'x\ny"ü' } },
    required: ['a"b'],
  };
  const declare = (filter: string) => `{{ tools | ${filter} }}${LOOP}`;

  it("is escaped as often as the template does it", () => {
    const tools = [tool({ description: '"q"\\', parameters })];
    const expected = JSON.stringify(tools);
    const text = segmentsOf(declare("tojson(separators=(',', ':'))"), user("hi"), { tools });
    const joined = text.map((segment) => (segment.kind === "control" ? "" : segment.text)).join("");
    expect(joined).toBe(`${expected}hi`);
    const twice = segmentsOf(declare("tojson(separators=(',', ':')) | tojson"), user("hi"), { tools });
    expect(twice.map((segment) => (segment.kind === "control" ? "" : segment.text)).join("")).toBe(
      `${JSON.stringify(expected)}hi`,
    );
  });

  it("is ASCII where the template wants that", () => {
    const tools = [tool({ description: "ü" })];
    expect(render(declare("tojson(ensure_ascii=true)"), user("hi"), { tools })).toContain(
      '"description": "[\\u00fc]"',
    );
  });

  it("keeps the words that templates look for", () => {
    const text = `{% for t in tools %}{{ t.function.name }}{% for k, v in t.function.parameters.properties | items %}:{{ k }}={{ v.type }}{{ '' if k in t.function.parameters.required else '?' }}{% endfor %}{% endfor %}${LOOP}`;
    const tools = [
      tool({
        parameters: { ...parameters, properties: { ...parameters.properties, c: { type: "integer" } } },
      }),
    ];
    expect(render(text, user("hi"), { tools })).toMatch(/^\[f\]:\[a"b\]=string:\[c\]=integer\?/);
  });

  it("is arguments as an object only where the template goes through them", () => {
    const messages = [
      {
        role: "assistant",
        tool_calls: [{ id: "x", type: "function", function: { name: "f", arguments: '{"a": [1, "b"]}' } }],
      },
    ];
    expect(render("{{ messages[0].tool_calls[0].function.arguments }}", messages)).toBe('[{"a": [1, "b"]}]');
    const each =
      "{% for k, v in messages[0].tool_calls[0].function.arguments | items %}{{ k }}={{ v | tojson }}{% endfor %}";
    expect(render(each, messages)).toBe('[a]=[1, "[b]"]');
  });
});

describe("a template is refused", () => {
  it.each([
    ["cuts content", "{{ messages[0].content[:3] }}"],
    ["cuts its first character", "{{ messages[0].content[0] }}"],
    ["changes its case", "{{ messages[0].content | upper }}"],
    ["measures it", "{{ messages[0].content }}{{ messages[0].content | length }}"],
    ["splits it into words", "{{ messages[0].content.split(' ')[0] }}"],
    ["indents its lines", "{{ messages[0].content | indent(4) }}"],
    ["replaces in it", "{{ messages[0].content.replace('\"', '') }}"],
    ["asks for a line break", "{{ messages[0].content }}{{ 'lines' if '\\n' in messages[0].content }}"],
  ])("that %s", (_, text) => {
    expect(() => render(text)).toThrow(
      unsupported(/^Expected a template that passes content on .* got one that cuts/),
    );
  });

  it("that leaves out what somebody said", () => {
    const text = "{% for m in messages if m.role != 'system' %}{{ m.content }}{% endfor %}";
    expect(() => render(text, [{ role: "system", content: "s" }, ...user("x")])).toThrow(
      unsupported(/leaves out messages\[0\] \(role system\)$/),
    );
  });

  it.each([
    ["tools", LOOP, { tools: [tool({})] }],
    ["tools", `{{ tools | tojson(sort_keys=true) }}${LOOP}`, { tools: [tool({})] }],
    ["thinking", LOOP, { thinking: false }],
    ["keepReasoning", LOOP, { keepReasoning: true }],
  ])("with %s that it does not know", (option, text, options) => {
    expect(() => render(text, user("x"), options)).toThrow(
      expect.objectContaining({ code: "invalid-argument", details: expect.objectContaining({ option }) }),
    );
  });

  it("that is none, or complains, with the line where it is known", () => {
    expect(() => render("{% if %}")).toThrow(unsupported(/for chat_template\.jinja, got: /));
    expect(() => render("\n\n{{ raise_exception('Roles must alternate') }}")).toThrow(
      unsupported(/for chat_template\.jinja, line 3, got: Roles must alternate$/),
    );
    expect(() => render("{{ messages | nonsense }}")).toThrow(unsupported(/got: Unknown .*nonsense/));
  });

  it.each([
    ["a huge range", "{% for i in range(10**9) %}x{% endfor %}"],
    ["loops in loops", `${"{% for i in range(1000) %}".repeat(3)}x${"{% endfor %}".repeat(3)}`],
    [
      "a text that doubles",
      "{% set ns = namespace(x='ab') %}{% for i in range(60) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}{{ ns.x }}",
    ],
    [
      "a list that doubles",
      "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    ],
    ["endless recursion", "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}"],
    ["deep nesting", `{{ ${"(".repeat(30_000)}1${")".repeat(30_000)} }}`],
    ["a long output", `{% for i in range(100000) %}${"x".repeat(1000)}{% endfor %}`],
  ])("that goes beyond the limits: %s", (_, text) => {
    const start = performance.now();
    expect(() => render(text)).toThrow(unsupported(/within its limits|renders this prompt/));
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  it("but not for a long conversation", () => {
    const messages = Array.from({ length: 2_000 }, (_, index) => ({ role: "user", content: `m${index}` }));
    expect(render(LOOP, messages)).toContain("[m1999]");
  });
});
