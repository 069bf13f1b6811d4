// Our renderers against templates: for every family a Jinja text, written by us from the rules of its layout, goes through
// the interpreter with its placeholders, and both ways must give the same tokens.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseTemplate, type TemplateFacts } from "../../../lib/template/choose-template";
import { renderPrompt } from "../../../lib/template/render-prompt";
import { ALL_CONTROL_NAMES, ByteTokenizer } from "../support/byte-tokenizer";
import { conversations, FAMILIES, type Family, ORDINARY } from "../support/conversations";

const RUNS = 300;
const BOS = "<｜begin▁of▁sentence｜>";

function factsOf(name: string, change = (text: string) => text): TemplateFacts {
  return {
    tokenizer: new ByteTokenizer(ALL_CONTROL_NAMES),
    controlNames: ALL_CONTROL_NAMES,
    specialTokens: { bos_token: BOS },
    chatTemplate: change(readFileSync(join(__dirname, "fixtures", `${name}.jinja`), "utf8")),
  };
}

/** The published tokenizer sorts the keys of tools before its template sees them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sorted(item)]));
}

/** The switches that a template has, in all their positions. */
function switchesOf(text: string, family: Family): fc.Arbitrary<Record<string, boolean | undefined>> {
  const positions = fc.constantFrom(undefined, true, false);
  return fc.record({
    addGenerationPrompt: fc.boolean(),
    ...(family.thinks && /\bthinking\b/.test(text) ? { thinking: positions } : {}),
    ...(text.includes("preserve_thinking") ? { keepReasoning: positions } : {}),
  });
}

/** The first revision wrote spaces into JSON and another system prompt. */
const original = (text: string) =>
  text.replace("(separators=(',', ':'))", "").replace(/You are Kimi[^<]*/, "You are a helpful assistant");

const CASES: [string, Family, TemplateFacts][] = [
  ...FAMILIES.map((family): [string, Family, TemplateFacts] => [family.name, family, factsOf(family.name)]),
  ["the first K2 Instruct", FAMILIES[0]!, factsOf(FAMILIES[0]!.name, original)],
];

describe.each(CASES)("the layout of %s", (_, family, facts) => {
  const ours = chooseTemplate(facts);
  const theirs = chooseTemplate({ ...facts, family: "jinja" });
  const tokenizer = new ByteTokenizer(ALL_CONTROL_NAMES);

  it("is chosen for its template", () => {
    expect(ours.name).toBe(family.name);
    expect(theirs.name).toBe("jinja");
  });

  it(`gives the tokens of its template in ${RUNS} random conversations`, () => {
    const switches = switchesOf(facts.chatTemplate!, family);
    fc.assert(
      fc.property(conversations(family, ORDINARY), switches, (given, options) => {
        const all = { ...options, tools: sorted(given.tools) };
        const expected = renderPrompt(theirs, tokenizer, given.messages, all);
        expect([...renderPrompt(ours, tokenizer, given.messages, all)]).toEqual([...expected]);
      }),
      { numRuns: RUNS },
    );
  });
});
