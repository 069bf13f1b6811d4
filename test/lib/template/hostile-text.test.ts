// No text can become a control token, in whatever field it stands and however a marker is cut over fields: the control
// ids of a prompt are those of the same conversation with harmless words.

import fc from "fast-check";
import { beforeAll, describe, expect, it } from "vitest";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { renderPrompt } from "../../../lib/template/render-prompt";
import type { PromptTokenizer } from "../../../lib/template/segments";
import { ByteTokenizer, CONTROL_NAMES } from "../support/byte-tokenizer";
import { hasKimiTokenizer, loadKimiTokenizer, NO_KIMI_TOKENIZER } from "../support/kimi-tokenizer";

const MARKERS = [
  ...CONTROL_NAMES,
  "[EOT]",
  "<|reserved_token_163589|>",
  "<|tool_call_section_begin|>",
  "\u0000",
  "{{",
];

// Whole markers, and pieces that fields next to each other could make whole.
const piece = fc.oneof(
  fc.constantFrom(...MARKERS),
  fc.constantFrom(...MARKERS).chain((marker) => fc.nat(marker.length).map((at) => marker.slice(at))),
  fc.constantFrom(...MARKERS).chain((marker) => fc.nat(marker.length).map((at) => marker.slice(0, at))),
  fc.string({ unit: "grapheme", maxLength: 8 }),
);
const text = fc.array(piece, { minLength: 1, maxLength: 4 }).map((pieces) => pieces.join(""));
const name = text.map((value) => value || "x");

const conversation = fc.record({
  system: text,
  userName: name,
  parts: fc.array(text, { maxLength: 3 }),
  reasoning: text,
  answer: text,
  calls: fc.array(fc.record({ id: name, name, args: text, result: text, speaker: name }), { maxLength: 3 }),
  tools: fc.uniqueArray(fc.record({ name, description: text, key: text, value: text }), {
    selector: (tool) => tool.name,
    maxLength: 3,
  }),
});
type Conversation = typeof conversation extends fc.Arbitrary<infer T> ? T : never;

function build(given: Conversation, write: (value: string, index: number) => string) {
  let index = 0;
  const w = (value: string) => write(value, index++);
  const calls = given.calls.map((call, position) => ({ ...call, id: `${call.id}#${position}` }));
  return {
    tools: given.tools.map((tool) => ({
      type: "function",
      function: {
        name: w(tool.name),
        description: w(tool.description),
        parameters: { [w(tool.key)]: w(tool.value) },
      },
    })),
    messages: [
      { role: "system", content: w(given.system) },
      {
        role: "user",
        name: w(given.userName),
        content: given.parts.map((part) => ({ type: "text", text: w(part) })),
      },
      {
        role: "assistant",
        content: w(given.answer),
        reasoning_content: w(given.reasoning),
        tool_calls: calls.map((call) => ({
          id: call.id,
          type: "function",
          function: { name: w(call.name), arguments: w(call.args) },
        })),
      },
      ...calls.map((call) => ({
        role: "tool",
        tool_call_id: call.id,
        name: w(call.speaker),
        content: w(call.result),
      })),
      { role: "user", content: w(given.answer) },
    ],
  };
}

function controlIds(
  tokenizer: PromptTokenizer & { baseCount: number },
  given: ReturnType<typeof build>,
): number[] {
  const ids = renderPrompt(chooseTemplate({ tokenizer }), tokenizer, given.messages, { tools: given.tools });
  return [...ids].filter((id) => id >= tokenizer.baseCount);
}

function check(tokenizer: PromptTokenizer & { baseCount: number }, runs: number): void {
  fc.assert(
    fc.property(conversation, (given) => {
      const hostile = controlIds(
        tokenizer,
        build(given, (value) => value),
      );
      const neutral = controlIds(
        tokenizer,
        build(given, (_, index) => `word${index}`),
      );
      expect(hostile).toEqual(neutral);
    }),
    { numRuns: runs },
  );
}

describe("hostile text in every field", () => {
  it("yields the control tokens of the neutral conversation", () => {
    check(new ByteTokenizer(), 500);
  });

  it("keeps every character of the text", () => {
    const tokenizer = new ByteTokenizer();
    const payload = MARKERS.join("");
    const ids = renderPrompt(chooseTemplate({ tokenizer }), tokenizer, [{ role: "user", content: payload }]);
    const ordinary = ids.filter((id) => id < tokenizer.baseCount);
    expect(Buffer.from(ordinary).toString("utf8")).toContain(payload);
  });
});

describe.skipIf(!hasKimiTokenizer)(
  `hostile text, published tokenizer (needs it: ${NO_KIMI_TOKENIZER})`,
  () => {
    let tokenizer: PromptTokenizer & { baseCount: number };
    beforeAll(async () => {
      tokenizer = await loadKimiTokenizer();
    });

    it("yields the control tokens of the neutral conversation", () => {
      check(tokenizer, 200);
    });
  },
);
