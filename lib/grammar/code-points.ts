// Sets of code points, and their nodes: as plain UTF-8, or as they stand inside a JSON string. A set is a sorted list of
// inclusive ranges, flat: [lo, hi, lo, hi]. Surrogates are in no set, because well-formed text has none.

import type { GrammarBuilder } from "./program";

export type CodePointSet = readonly number[];

export const ANY_CODE_POINT: CodePointSet = [0, 0xd7ff, 0xe000, 0x10ffff];

/** Sorts, joins and removes surrogates. */
export function codePointSet(ranges: readonly number[]): CodePointSet {
  const pairs: [number, number][] = [];
  for (let i = 0; i < ranges.length; i += 2) pairs.push([ranges[i]!, ranges[i + 1]!]);
  pairs.sort((a, b) => a[0] - b[0]);
  const joined: number[] = [];
  for (const [lo, hi] of pairs) {
    if (joined.length > 0 && lo <= joined.at(-1)! + 1)
      joined[joined.length - 1] = Math.max(joined.at(-1)!, hi);
    else joined.push(lo, hi);
  }
  return intersect(joined, ANY_CODE_POINT);
}

export function complement(set: CodePointSet): CodePointSet {
  const rest: number[] = [];
  let next = 0;
  for (let i = 0; i < set.length; i += 2) {
    if (set[i]! > next) rest.push(next, set[i]! - 1);
    next = set[i + 1]! + 1;
  }
  if (next <= 0x10ffff) rest.push(next, 0x10ffff);
  return intersect(rest, ANY_CODE_POINT);
}

export function intersect(left: CodePointSet, right: CodePointSet): CodePointSet {
  const both: number[] = [];
  for (let i = 0, j = 0; i < left.length && j < right.length; ) {
    const lo = Math.max(left[i]!, right[j]!);
    const hi = Math.min(left[i + 1]!, right[j + 1]!);
    if (lo <= hi) both.push(lo, hi);
    if (left[i + 1]! < right[j + 1]!) i += 2;
    else j += 2;
  }
  return both;
}

export function contains(set: CodePointSet, codePoint: number): boolean {
  for (let i = 0; i < set.length; i += 2) if (codePoint >= set[i]! && codePoint <= set[i + 1]!) return true;
  return false;
}

/** How a code point is written. */
export type CodePointWriter = (builder: GrammarBuilder, set: CodePointSet) => number;

/** As UTF-8. */
export const plainText: CodePointWriter = (builder, set) =>
  builder.once(`plain ${set.join()}`, () => writePlain(builder, set));

function writePlain(builder: GrammarBuilder, set: CodePointSet): number {
  const parts = [builder.bytes(...intersect(set, [0, 0x7f]))];
  for (const { lo, hi, lead, bits } of LENGTHS) {
    const part = intersect(set, [lo, hi]);
    if (part.length > 0) parts.push(withLead(builder, part, lead, bits));
  }
  return builder.alt(...parts);
}

/** The lengths of UTF-8 beyond one byte: code points, first lead byte, bits that follow the lead. */
const LENGTHS = [
  { lo: 0x80, hi: 0x7ff, lead: 0xc0, bits: 6 },
  { lo: 0x800, hi: 0xffff, lead: 0xe0, bits: 12 },
  { lo: 0x10000, hi: 0x10ffff, lead: 0xf0, bits: 18 },
];

/** One byte of `lead` plus the high bits, then the continuation of the low `bits`. Leads with equal continuations share. */
function withLead(builder: GrammarBuilder, set: CodePointSet, lead: number, bits: number): number {
  const size = 2 ** bits;
  const whole: number[] = [];
  const broken = new Map<number, number[]>();
  const addBroken = (high: number, lo: number, hi: number) => {
    const ranges = broken.get(high) ?? [];
    ranges.push(lo - high * size, hi - high * size);
    broken.set(high, ranges);
  };
  for (let i = 0; i < set.length; i += 2) {
    let lo = set[i]!;
    let hi = set[i + 1]!;
    const [first, last] = [Math.floor(lo / size), Math.floor(hi / size)];
    const endsBlock = hi === last * size + size - 1;
    // A range is at most a piece of a block, whole blocks, and another piece.
    if (lo !== first * size || (first === last && !endsBlock)) {
      addBroken(first, lo, Math.min(hi, first * size + size - 1));
      lo = (first + 1) * size;
    }
    if (lo <= hi && !endsBlock) {
      addBroken(last, last * size, hi);
      hi = last * size - 1;
    }
    if (lo <= hi) whole.push(lead + lo / size, lead + (hi + 1) / size - 1);
  }
  const leadsOf = new Map<number, number[]>();
  if (whole.length > 0) leadsOf.set(anyContinuation(builder, bits), whole);
  for (const [high, low] of broken) {
    const rest = withLead(builder, low, 0x80, bits - 6);
    leadsOf.set(rest, [...(leadsOf.get(rest) ?? []), lead + high, lead + high]);
  }
  return builder.alt(...[...leadsOf].map(([rest, leads]) => builder.seq(builder.bytes(...leads), rest)));
}

function anyContinuation(builder: GrammarBuilder, bits: number): number {
  const byte = builder.bytes(0x80, 0xbf);
  return builder.seq(...Array.from({ length: bits / 6 }, () => byte));
}

const SHORT_ESCAPES: readonly [codePoint: number, letter: string][] = [
  [0x22, '"'],
  [0x5c, "\\"],
  [0x2f, "/"],
  [0x08, "b"],
  [0x0c, "f"],
  [0x0a, "n"],
  [0x0d, "r"],
  [0x09, "t"],
];

/** What stands in a JSON string as itself. */
const RAW: CodePointSet = [0x20, 0x21, 0x23, 0x5b, 0x5d, 0xd7ff, 0xe000, 0x10ffff];

/** As in a JSON string: raw where that is allowed, the short escapes, \u for other control characters. */
export const jsonText: CodePointWriter = (builder, set) =>
  builder.once(`json ${set.join()}`, () => writeJson(builder, set));

function writeJson(builder: GrammarBuilder, set: CodePointSet): number {
  if (set.length === 4 && set.every((value, i) => value === ANY_CODE_POINT[i]))
    return anyJsonCharacter(builder);
  const escapes = SHORT_ESCAPES.filter(([codePoint]) => contains(set, codePoint));
  const parts = escapes.map(([, letter]) => builder.literal(letter));
  for (let codePoint = 0; codePoint < 0x20; codePoint++) {
    if (!contains(set, codePoint)) continue;
    const last = hexDigit(builder, codePoint & 15);
    parts.push(builder.seq(builder.literal(`u00${codePoint >> 4}`), last));
  }
  const escaped = builder.seq(builder.literal("\\"), builder.alt(...parts));
  return builder.alt(plainText(builder, intersect(set, RAW)), escaped);
}

/** A code point of a key in the one spelling of `JSON.stringify`. */
export const canonicalText: CodePointWriter = (builder, set) =>
  builder.once(`canonical ${set.join()}`, () => writeCanonical(builder, set));

function writeCanonical(builder: GrammarBuilder, set: CodePointSet): number {
  const parts: number[] = [];
  for (const codePoint of [...Array(0x20).keys(), 0x22, 0x5c]) {
    if (!contains(set, codePoint)) continue;
    parts.push(builder.literal(JSON.stringify(String.fromCodePoint(codePoint)).slice(1, -1)));
  }
  return builder.alt(plainText(builder, intersect(set, RAW)), ...parts);
}

function hexDigit(builder: GrammarBuilder, value: number): number {
  const digit = value.toString(16);
  return builder.alt(builder.literal(digit), builder.literal(digit.toUpperCase()));
}

/** Every spelling of one code point; \u surrogates only as pairs. */
function anyJsonCharacter(builder: GrammarBuilder): number {
  const hex = builder.bytes(0x30, 0x39, 0x41, 0x46, 0x61, 0x66);
  const d = builder.bytes(0x44, 0x44, 0x64, 0x64);
  const notD = builder.bytes(0x30, 0x39, 0x41, 0x43, 0x45, 0x46, 0x61, 0x63, 0x65, 0x66);
  const high = builder.bytes(0x38, 0x39, 0x41, 0x42, 0x61, 0x62);
  const low = builder.bytes(0x43, 0x46, 0x63, 0x66);
  const single = builder.alt(
    builder.seq(notD, hex, hex, hex),
    builder.seq(d, builder.bytes(0x30, 0x37), hex, hex),
  );
  const pair = builder.seq(d, high, hex, hex, builder.literal("\\u"), d, low, hex, hex);
  const short = builder.alt(...SHORT_ESCAPES.map(([, letter]) => builder.literal(letter)));
  const long = builder.seq(builder.literal("u"), builder.alt(single, pair));
  const escaped = builder.seq(builder.literal("\\"), builder.alt(short, long));
  return builder.alt(plainText(builder, RAW), escaped);
}
