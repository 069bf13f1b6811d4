// Kimi's split rule as a hand-written scanner: eight alternatives, the first that matches wins. The published rule is a
// regular expression with class intersections; scanned by hand it is linear in the length of any text, because every
// look-ahead of an alternative that fails is taken whole by one of the next.

import {
  CODE_POINT_MASK,
  HAN,
  LETTER,
  LINE_BREAK,
  LOWER,
  NUMBER,
  UPPER,
  WHITE_SPACE,
} from "./character-classes";

/** Digits of one piece at most. */
const NUMBER_RUN = 3;
const SPACE = 0x20;
const APOSTROPHE = 0x27;

/**
 * Where the piece that starts at `start` ends, in units (see character-classes.ts). `end` is the end of the text;
 * `start < end`, and the result is in (start, end].
 */
export function endOfPiece(units: Int32Array, start: number, end: number): number {
  const first = units[start]!;
  if (first & HAN) return endOfRun(units, start + 1, end, HAN);

  const word = endOfWord(units, start, end);
  if (word !== -1) return word;

  if (first & NUMBER) return endOfRun(units, start + 1, Math.min(end, start + NUMBER_RUN), NUMBER);

  const symbols = (first & CODE_POINT_MASK) === SPACE ? start + 1 : start;
  const symbolsEnd = endOfOther(units, symbols, end, WHITE_SPACE | LETTER | NUMBER);
  if (symbolsEnd > symbols) return endOfRun(units, symbolsEnd, end, LINE_BREAK);

  return endOfWhiteSpace(units, start, end);
}

/** One optional character before a word, the word, and a contraction; -1 where none stands. */
function endOfWord(units: Int32Array, start: number, end: number): number {
  const hasPrefix = (units[start]! & (LETTER | NUMBER | LINE_BREAK)) === 0;
  let stop = hasPrefix ? endOfLowerWord(units, start + 1, end) : -1;
  if (stop === -1) stop = endOfLowerWord(units, start, end);
  if (stop === -1 && hasPrefix) stop = endOfUpperWord(units, start + 1, end);
  if (stop === -1) stop = endOfUpperWord(units, start, end);
  return stop === -1 ? -1 : endOfContraction(units, stop, end);
}

/** `UPPER* LOWER+`, with the backtracking of a greedy expression: a caseless character can end the upper run. */
function endOfLowerWord(units: Int32Array, start: number, end: number): number {
  const upperEnd = endOfRun(units, start, end, UPPER);
  if (upperEnd < end && units[upperEnd]! & LOWER) return endOfRun(units, upperEnd + 1, end, LOWER);
  for (let last = upperEnd - 1; last >= start; last--) {
    if (units[last]! & LOWER) return last + 1;
  }
  return -1;
}

/** `UPPER+ LOWER*`. */
function endOfUpperWord(units: Int32Array, start: number, end: number): number {
  const upperEnd = endOfRun(units, start, end, UPPER);
  return upperEnd > start ? endOfRun(units, upperEnd, end, LOWER) : -1;
}

/** After `'s 't 're 've 'm 'll 'd` in any case, or `at` where none of them stands. */
function endOfContraction(units: Int32Array, at: number, end: number): number {
  if (at + 1 >= end || (units[at]! & CODE_POINT_MASK) !== APOSTROPHE) return at;
  const second = foldedLetter(units[at + 1]!);
  if (second === "s" || second === "t" || second === "m" || second === "d") return at + 2;
  if (at + 2 >= end) return at;
  const third = foldedLetter(units[at + 2]!);
  const isLong = second === "l" ? third === "l" : (second === "r" || second === "v") && third === "e";
  return isLong ? at + 3 : at;
}

function foldedLetter(unit: number): string {
  const codePoint = unit & CODE_POINT_MASK;
  // The long s folds to s under Unicode's simple case folding, which the published expression uses.
  if (codePoint === 0x17f) return "s";
  return codePoint < 0x80 ? String.fromCharCode(codePoint | SPACE) : "";
}

/** A white-space run: up to its last line break, else all but the character that belongs to the next piece. */
function endOfWhiteSpace(units: Int32Array, start: number, end: number): number {
  const runEnd = endOfRun(units, start, end, WHITE_SPACE);
  for (let last = runEnd - 1; last >= start; last--) {
    if (units[last]! & LINE_BREAK) return last + 1;
  }
  return runEnd === end || runEnd - start === 1 ? runEnd : runEnd - 1;
}

function endOfRun(units: Int32Array, start: number, end: number, flags: number): number {
  let at = start;
  while (at < end && units[at]! & flags) at++;
  return at;
}

function endOfOther(units: Int32Array, start: number, end: number, flags: number): number {
  let at = start;
  while (at < end && (units[at]! & flags) === 0) at++;
  return at;
}
