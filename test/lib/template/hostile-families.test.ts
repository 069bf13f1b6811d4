// Hostile text in every field of every family, through our renderers and through templates: the control tokens are those
// of the same conversation with harmless words.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ChatTemplate } from "../../../lib/template/chat-template";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { renderPrompt } from "../../../lib/template/render-prompt";
import { ALL_CONTROL_NAMES, ByteTokenizer } from "../support/byte-tokenizer";
import { type Conversation, conversations, FAMILIES, type Words } from "../support/conversations";

const RUNS = 200;
const tokenizer = new ByteTokenizer(ALL_CONTROL_NAMES);
const MARKERS = [...ALL_CONTROL_NAMES, "{{", "{% raw %}", "\\u003cthink>", '"', "function", "type"];

// Whole markers, and pieces that neighbours could make whole.
const piece = fc.oneof(
  fc.constantFrom(...MARKERS),
  fc.constantFrom(...MARKERS).chain((marker) => fc.nat(marker.length).map((at) => marker.slice(at))),
  fc.constantFrom(...MARKERS).chain((marker) => fc.nat(marker.length).map((at) => marker.slice(0, at))),
  fc.constantFrom(" ", "\n", "x"),
);
const text = fc.array(piece, { maxLength: 3 }).map((pieces) => pieces.join(""));
const HOSTILE: Words = { text, name: text.map((value) => value || "x") };

/** The same shape with other words; equal strings stay equal. */
function neutral(given: Conversation): Conversation {
  const known = new Map<string, string>();
  const word = (value: string) => {
    if (value === "") return "";
    if (!known.has(value)) known.set(value, `word${known.size}`);
    return known.get(value)!;
  };
  const keptKeys = /^(role|type|format)$/;
  const walk = (value: unknown, key = "", isSchemaMap = false): unknown => {
    if (typeof value === "string") return keptKeys.test(key) && !isSchemaMap ? value : word(value);
    if (Array.isArray(value)) return value.map((item) => walk(item, key === "content" ? "" : key));
    if (typeof value !== "object" || value === null) return value;
    const isMap = key === "properties" && !isSchemaMap;
    const entries = Object.entries(value).map(([name, item]) => [
      isMap ? word(name) : name,
      walk(item, name, isMap),
    ]);
    return Object.fromEntries(entries as [string, unknown][]);
  };
  return walk(given) as Conversation;
}

function controlIds(template: ChatTemplate, { messages, tools }: Conversation): number[] {
  const ids = renderPrompt(template, tokenizer, messages, { tools });
  return [...ids].filter((id) => id >= tokenizer.baseCount);
}

describe.each(FAMILIES)("hostile text in $name", (family) => {
  const facts = {
    tokenizer,
    controlNames: ALL_CONTROL_NAMES,
    specialTokens: { bos_token: "<｜begin▁of▁sentence｜>" },
    chatTemplate: readFileSync(join(__dirname, "fixtures", `${family.name}.jinja`), "utf8"),
  };

  it.each([
    ["our renderer", chooseTemplate(facts)],
    ["the template", chooseTemplate({ ...facts, family: "jinja" })],
  ])("yields the control tokens of harmless words through %s", (_, template) => {
    fc.assert(
      fc.property(conversations(family, HOSTILE), (given) => {
        expect(controlIds(template, given)).toEqual(controlIds(template, neutral(given)));
      }),
      { numRuns: RUNS },
    );
  });
});
