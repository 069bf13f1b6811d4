// DeepSeek's layouts on segments: its tokenizer.json is not read yet, so ids do not matter here.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type ChatTemplateName, chooseTemplate } from "../../../lib/template/choose-template";
import { renderSegments } from "../../../lib/template/render-prompt";
import { opensThinking, type Segment } from "../../../lib/template/segments";
import { ALL_CONTROL_NAMES, ByteTokenizer } from "../support/byte-tokenizer";

const tokenizer = new ByteTokenizer(ALL_CONTROL_NAMES.filter((name) => !name.includes("im_")));

function layoutOf(name: ChatTemplateName) {
  const chatTemplate = readFileSync(join(__dirname, "fixtures", `${name}.jinja`), "utf8");
  const template = chooseTemplate({ tokenizer, chatTemplate });
  expect(template.name).toBe(name);
  const segments = (messages: unknown, options?: unknown) => renderSegments(template, messages, options);
  return { segments, render: (messages: unknown, options?: unknown) => textOf(segments(messages, options)) };
}

function textOf(segments: readonly Segment[]): string {
  return segments.map((segment) => (segment.kind === "control" ? segment.name : segment.text)).join("");
}

const v3 = layoutOf("deepseek-v3");
const r1 = layoutOf("deepseek-r1");
const v31 = layoutOf("deepseek-v3.1");

const BOS = "<｜begin▁of▁sentence｜>";
const EOS = "<｜end▁of▁sentence｜>";
const ARGUMENTS = '{"city": "Seattle"}';
const call = (id: string) => ({
  id,
  type: "function",
  function: { name: "get_weather", arguments: ARGUMENTS },
});
const TASK = [
  { role: "user", content: "Weather?" },
  { role: "assistant", content: null, tool_calls: [call("a"), call("b")] },
  { role: "tool", tool_call_id: "b", content: "rain" },
  { role: "tool", tool_call_id: "a", content: "sun" },
];
const FENCED = `<｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n\`\`\`json\n${ARGUMENTS}\n\`\`\`<｜tool▁call▁end｜>`;
const CALLS = `<｜tool▁calls▁begin｜>${FENCED}\n${FENCED}<｜tool▁calls▁end｜>${EOS}`;
const TURNS = [
  { role: "user", content: "1" },
  { role: "assistant", content: "<think>r</think>2", name: "ignored" },
  { role: "system", content: "s" },
  { role: "user", content: [{ type: "text", text: "3" }] },
  { role: "system", content: "t" },
];

describe("the layout of DeepSeek-V3", () => {
  it("collects system texts in front and writes the assistant's head behind the user", () => {
    expect(v3.render(TURNS)).toBe(
      `${BOS}s\n\nt<｜User｜>1<｜Assistant｜><think>r</think>2${EOS}<｜User｜>3<｜Assistant｜>`,
    );
    expect(v3.render([])).toBe(`${BOS}<｜Assistant｜>`);
    expect(v3.render(TURNS.slice(0, 2))).toMatch(/2<｜end▁of▁sentence｜><｜Assistant｜>$/);
  });

  it("frames calls and results, and lets the model go on behind them", () => {
    const results =
      "<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>rain<｜tool▁output▁end｜>\n" +
      "<｜tool▁output▁begin｜>sun<｜tool▁output▁end｜><｜tool▁outputs▁end｜>";
    const text = `${BOS}<｜User｜>Weather?<｜Assistant｜>${CALLS}${results}`;
    expect(v3.render(TASK)).toBe(text);
    expect(
      v3.render([...TASK, { role: "assistant", content: "Both." }], { addGenerationPrompt: false }),
    ).toBe(`${text}Both.${EOS}`);
  });

  it("does not think", () => {
    expect(() => v3.render([], { thinking: true })).toThrow(/Expected .* for thinking, got true/);
    expect(opensThinking(v3.segments(TURNS))).toBe(false);
  });
});

describe("the layout of DeepSeek-R1", () => {
  it("writes the head in front of answers, drops their thinking, and opens the block", () => {
    expect(r1.render(TURNS)).toBe(
      `${BOS}s\n\nt<｜User｜>1<｜Assistant｜>2${EOS}<｜User｜>3<｜Assistant｜><think>\n`,
    );
    expect(opensThinking(r1.segments(TURNS))).toBe(true);
  });

  it("opens no block behind results", () => {
    expect(r1.render(TASK)).toBe(
      `${BOS}<｜User｜>Weather?<｜Assistant｜>${CALLS}<｜tool▁outputs▁begin｜><｜tool▁output▁begin｜>rain<｜tool▁output▁end｜>` +
        "<｜tool▁output▁begin｜>sun<｜tool▁output▁end｜><｜tool▁outputs▁end｜>",
    );
    expect(opensThinking(r1.segments(TASK))).toBe(false);
  });

  it("cannot be kept from thinking", () => {
    expect(() => r1.render([], { thinking: false })).toThrow(/Expected .* for thinking, got false/);
  });

  it("leaves the block to R1-0528, whose prompt does not open it", () => {
    const chatTemplate =
      "is_last_user <｜User｜><｜Assistant｜> ```json '</think>' \n<｜tool▁output▁begin｜>";
    const template = chooseTemplate({ tokenizer, chatTemplate });
    expect(template.name).toBe("deepseek-r1");
    const segments = renderSegments(template, TURNS.slice(0, 1));
    expect(textOf(segments)).toBe(`${BOS}<｜User｜>1<｜Assistant｜>`);
    expect(opensThinking(segments)).toBe(false);
  });
});

describe("the layout of DeepSeek-V3.1", () => {
  it("closes the block of earlier answers, and that of the next unless it is to think", () => {
    const text = `${BOS}s\n\nt<｜User｜>1<｜Assistant｜></think>2${EOS}<｜User｜>3<｜Assistant｜>`;
    expect(v31.render(TURNS)).toBe(`${text}</think>`);
    expect(v31.render(TURNS, { thinking: true })).toBe(`${text}<think>`);
    expect(opensThinking(v31.segments(TURNS, { thinking: true }))).toBe(true);
    expect(opensThinking(v31.segments(TURNS))).toBe(false);
  });

  it("writes calls and results without frames", () => {
    const one = `<｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>${ARGUMENTS}<｜tool▁call▁end｜>`;
    expect(v31.render(TASK)).toBe(
      `${BOS}<｜User｜>Weather?<｜Assistant｜></think><｜tool▁calls▁begin｜>${one}${one}<｜tool▁calls▁end｜>${EOS}` +
        "<｜tool▁output▁begin｜>rain<｜tool▁output▁end｜><｜tool▁output▁begin｜>sun<｜tool▁output▁end｜>",
    );
  });
});

describe.each([
  ["DeepSeek-V3", v3],
  ["DeepSeek-R1", r1],
  ["DeepSeek-V3.1", v31],
])("the layout of %s", (_, { render }) => {
  it("refuses what its template cannot say", () => {
    const refusal = expect.objectContaining({ code: "invalid-argument" });
    expect(() => render([], { tools: [{ type: "function", function: { name: "f" } }] })).toThrow(refusal);
    expect(() => render([], { keepReasoning: true })).toThrow(refusal);
  });
});

describe("which DeepSeek", () => {
  it("cannot be told by tokens alone", () => {
    expect(() => chooseTemplate({ tokenizer })).toThrow(
      /chat_template\.jinja, or the load option chatTemplate/,
    );
    expect(chooseTemplate({ tokenizer, family: "deepseek-v3.1" }).name).toBe("deepseek-v3.1");
  });

  it.each([
    ["declares tools", "<｜User｜><｜Assistant｜>```json{{ tools }}"],
    ["is another revision", "<｜User｜><｜Assistant｜><｜tool▁sep｜></think> is_only_sys"],
    ["has no calls", "<｜User｜><｜Assistant｜>"],
  ])("is left to the template itself where it %s", (_, chatTemplate) => {
    expect(chooseTemplate({ tokenizer, chatTemplate }).name).toBe("jinja");
  });
});
