// The two small vocabularies of test/golden/tokenizer-small.json as tokenizer files, and random texts over awkward
// characters. "trained" is an ordinary byte-pair vocabulary; "shuffled" has its ranks in random order, so that merges
// come up in orders that training never produces.

import { readFileSync } from "node:fs";
import { join } from "node:path";

import { Tokenizer } from "../../../lib/tokenizer/tokenizer";

export interface SmallVocabulary {
  name: string;
  /** Base64 by rank, joined by spaces. */
  tokens: string;
  /** A text, and its ids as base64 of little-endian 16-bit numbers. */
  texts: [string, string][];
  longTexts: { parts: [string, number][]; count: number; sha256: string }[];
}

const GOLDEN = join(__dirname, "../../golden/tokenizer-small.json");

export const smallVocabularies: SmallVocabulary[] = JSON.parse(readFileSync(GOLDEN, "utf8"));
export const CONTROL_COUNT = 256;

export function smallVocabulary(name: "trained" | "shuffled"): SmallVocabulary {
  return smallVocabularies.find((vocabulary) => vocabulary.name === name)!;
}

export function tokensOf(vocabulary: SmallVocabulary): Buffer[] {
  return vocabulary.tokens.split(" ").map((token) => Buffer.from(token, "base64"));
}

/** The content of a tiktoken.model. */
export function modelFile(vocabulary: SmallVocabulary): string {
  return vocabulary.tokens
    .split(" ")
    .map((token, rank) => `${token} ${rank}\n`)
    .join("");
}

/** Names by their distance from the first control id, where K2 has them. */
export const K2_NAMES: Record<number, string> = {
  0: "[BOS]",
  1: "[EOS]",
  2: "<|im_end|>",
  3: "<|im_user|>",
  4: "<|im_assistant|>",
  9: "[EOT]",
  10: "<|im_system|>",
  11: "<|tool_calls_section_begin|>",
  12: "<|tool_calls_section_end|>",
  13: "<|tool_call_begin|>",
  14: "<|tool_call_argument_begin|>",
  15: "<|tool_call_end|>",
  17: "<|im_middle|>",
  18: "<|media_begin|>",
  19: "<|media_content|>",
  20: "<|media_end|>",
  21: "<|media_pad|>",
  22: "<think>",
  23: "</think>",
  254: "[UNK]",
  255: "[PAD]",
};

/** The content of a tokenizer_config.json. */
export function configuration(baseCount: number, names: Record<number, string> = K2_NAMES): string {
  const declarations: Record<string, unknown> = {};
  for (const [offset, content] of Object.entries(names)) {
    declarations[baseCount + Number(offset)] = { content, special: !content.includes("tool") };
  }
  return JSON.stringify({ added_tokens_decoder: declarations, tokenizer_class: "TikTokenTokenizer" });
}

export async function loadSmall(name: "trained" | "shuffled"): Promise<Tokenizer> {
  const vocabulary = smallVocabulary(name);
  const baseCount = vocabulary.tokens.split(" ").length;
  return Tokenizer.load(
    { vocabulary: Buffer.from(modelFile(vocabulary)), configuration: Buffer.from(configuration(baseCount)) },
    { vocabSize: baseCount + CONTROL_COUNT },
  );
}

const AWKWARD = [
  ..."abcABCzZ019 '_-.!?{}\"/\\\n\r\t",
  ..."éÉßſǅʰªא١½Ⅷ中国〇⺁々カかא한ไ\u0301\u20dd\u0085\u00a0\u3000\u2028\u001c\u200b\u200d\ufeff\0",
  ..."😀👩🏻𠀀𝟘",
  ...["'s", "'LL", "'ve", "  ", "\r\n", "<|im_end|>", "<think>", "[EOS]", "\ud800", "\udc00"],
];

/** 1 to `longest` awkward pieces. */
export function awkwardText(random: () => number, longest: number): string {
  const count = 1 + Math.floor(random() * longest);
  let text = "";
  for (let i = 0; i < count; i++) {
    const piece = AWKWARD[Math.floor(random() * AWKWARD.length)]!;
    text += random() < 0.1 ? piece.repeat(1 + Math.floor(random() * 12)) : piece;
  }
  return text;
}
