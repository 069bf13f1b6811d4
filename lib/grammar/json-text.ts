// Fixed JSON text: white space, keys, literals of const and enum, and sets of literals as one tree.

import { ANY_CODE_POINT, canonicalText, complement } from "./code-points";
import { type GrammarBuilder, NO_LIMIT, utf8 } from "./program";
import type { Work } from "./work";

/** Deepest indentation, in spaces or tabs. */
const MOST_INDENTATION = 256;

/**
 * Nothing, a space, or a line break with indentation: compact, spaced and indented JSON. A model that falls into a loop of
 * white space would never end.
 */
export function whiteSpace(builder: GrammarBuilder): number {
  const lineBreak = builder.seq(builder.optional(builder.literal("\r")), builder.literal("\n"));
  const indentation = builder.repeat(builder.bytes(0x09, 0x09, 0x20, 0x20), 0, MOST_INDENTATION);
  return builder.optional(builder.alt(builder.literal(" "), builder.seq(lineBreak, indentation)));
}

/** The one spelling of a string or number, one character per byte. */
export function canonicalJson(value: string | number | boolean | null): string {
  return utf8(JSON.stringify(value));
}

/** One of the texts (one character per byte). Common beginnings are shared, so that a long list costs little per byte. */
export function* oneOfTexts(builder: GrammarBuilder, texts: readonly string[]): Work<number> {
  const sorted = [...new Set(texts)].sort();
  function* tree(from: number, to: number, depth: number): Work<number> {
    yield;
    const first = sorted[from]!;
    const last = sorted[to - 1]!;
    let shared = depth;
    while (shared < first.length && first[shared] === last[shared]) shared += 1;
    const prefix = builder.byteLiteral(first.slice(depth, shared));
    if (to - from === 1) return prefix;
    const parts: number[] = [];
    let start = from;
    if (first.length === shared) {
      parts.push(builder.empty);
      start += 1;
    }
    for (let i = start + 1; i <= to; i++) {
      if (i < to && sorted[i]![shared] === sorted[start]![shared]) continue;
      parts.push(yield* tree(start, i, shared));
      start = i;
    }
    return builder.seq(prefix, builder.alt(...parts));
  }
  return sorted.length === 0 ? builder.fail : yield* tree(0, sorted.length, 0);
}

/** Any key in the one spelling of `JSON.stringify`. */
export function anyKey(builder: GrammarBuilder): number {
  return builder.once("any key", () => keyExcept(builder, []));
}

/** A key in canonical escaping that is none of `keys` (JSON texts, one character per byte). */
export function keyExcept(builder: GrammarBuilder, keys: readonly string[]): number {
  const any = builder.repeat(canonicalText(builder, ANY_CODE_POINT), 0, NO_LIMIT);
  const decode = (key: string) =>
    [...(JSON.parse(fromUtf8(key)) as string)].map((character) => character.codePointAt(0)!);
  const node = (words: readonly (readonly number[])[], depth: number): number => {
    if (words.length === 0) return any;
    const nexts = new Set(words.filter((word) => word.length > depth).map((word) => word[depth]!));
    const parts = [...nexts].map((next) => {
      const rest = words.filter((word) => word[depth] === next);
      return builder.seq(canonicalText(builder, [next, next]), node(rest, depth + 1));
    });
    const points = [...nexts].sort((a, b) => a - b).flatMap((next) => [next, next]);
    parts.push(builder.seq(canonicalText(builder, complement(points)), any));
    const isWord = words.some((word) => word.length === depth);
    return builder.alt(...(isWord ? [] : [builder.empty]), ...parts);
  };
  const quote = builder.literal('"');
  return builder.seq(quote, node(keys.map(decode), 0), quote);
}

function fromUtf8(bytes: string): string {
  return new TextDecoder().decode(Uint8Array.from(bytes, (byte) => byte.charCodeAt(0)));
}
