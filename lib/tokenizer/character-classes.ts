// What the split rule asks about a code point. Text is scanned as "units": one integer per code point, its class
// flags above bit 21 and the code point below, so that the scanner never looks a character up twice.

import { classFlags, classRuns } from "./unicode-classes";

const CLASS_SHIFT = 21;
const CODE_POINT_COUNT = 0x110000;

/** The low bits of a unit: its code point. */
export const CODE_POINT_MASK = 0x1fffff;

/** Script Han. Such a code point is in neither `UPPER` nor `LOWER`. */
export const HAN = 1 << CLASS_SHIFT;
/** Lu, Lt, Lm, Lo and marks, without Han. */
export const UPPER = 2 << CLASS_SHIFT;
/** Ll, Lm, Lo and marks, without Han: caseless letters and marks are in both. */
export const LOWER = 4 << CLASS_SHIFT;
/** General category L. */
export const LETTER = 8 << CLASS_SHIFT;
/** General category N. */
export const NUMBER = 16 << CLASS_SHIFT;
/** The property White_Space, which is not JavaScript's `\s`: it has U+0085 and lacks U+FEFF. */
export const WHITE_SPACE = 32 << CLASS_SHIFT;
/** Carriage return and line feed. */
export const LINE_BREAK = 64 << CLASS_SHIFT;
/** Python's `str.isspace`: White_Space and U+001C to U+001F. */
export const PYTHON_SPACE = 128 << CLASS_SHIFT;

let flagsByCodePoint: Uint8Array | undefined;

/**
 * The class flags of every code point, shifted down: `unit = codePoint | (table[codePoint] << 21)`. One table of
 * 1.1 MB per thread, made at the first call. Surrogates have no flags, exactly like the U+FFFD they are encoded as.
 */
export function characterClasses(): Uint8Array {
  flagsByCodePoint ??= expandRuns();
  return flagsByCodePoint;
}

/** The unit of one code point. */
export function unitOf(codePoint: number, classes: Uint8Array): number {
  return codePoint | (classes[codePoint]! << CLASS_SHIFT);
}

function expandRuns(): Uint8Array {
  const classes = new Uint8Array(CODE_POINT_COUNT);
  let codePoint = 0;
  for (let at = 0; at < classRuns.length; ) {
    const flags = classFlags[classRuns.charCodeAt(at++) - 0x61]!;
    let length = 0;
    while (at < classRuns.length) {
      const digit = classRuns.charCodeAt(at) - 0x30;
      if (digit > 9) break;
      length = length * 10 + digit;
      at++;
    }
    const end = codePoint + (length === 0 ? 1 : length);
    classes.fill(flags, codePoint, end);
    codePoint = end;
  }
  return classes;
}
