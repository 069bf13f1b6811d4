// Numbers within bounds, digit by digit. Bounds are taken as the decimals that JavaScript writes for them; reading a
// number rounds in order, so a decimal within inclusive bounds is still within them as a double. An exclusive bound
// becomes the next double, inclusive: 0.99999999999999999 is below 1 but reads as 1.

import { invalidArgument } from "../check";
import type { GrammarBuilder } from "./program";
import type { Work } from "./work";

export interface Bound {
  readonly value: number;
  readonly isExclusive: boolean;
}

export interface NumberRange {
  readonly isInteger: boolean;
  readonly lower?: Bound | undefined;
  readonly upper?: Bound | undefined;
  readonly multipleOf?: number | undefined;
}

/** Digits after the point. */
const FRACTION = 17;
const UNIT = 10n ** BigInt(FRACTION);
/** A side without bound ends here, and so does a bound that is out of all proportion. */
const MOST = 10n ** 15n - 1n;
const LARGEST_TAKEN = 2n ** 64n;
/** Remainders that the digits of a multiple are followed with. */
const LARGEST_MULTIPLE = 100;

export function* numberNode(builder: GrammarBuilder, range: NumberRange, name: string): Work<number> {
  const { isInteger, lower, upper, multipleOf } = range;
  const digit = builder.bytes(0x30, 0x39);
  if (!isInteger && multipleOf === undefined && lower === undefined && upper === undefined) {
    const minus = builder.optional(builder.literal("-"));
    const whole = yield* new Integers(builder, 1).from(0n, MOST);
    const fraction = builder.optional(builder.seq(builder.literal("."), builder.repeat(digit, 1, FRACTION)));
    const sign = builder.optional(builder.bytes(0x2b, 0x2b, 0x2d, 0x2d));
    const exponent = builder.seq(builder.bytes(0x45, 0x45, 0x65, 0x65), sign, builder.repeat(digit, 1, 2));
    return builder.seq(minus, whole, fraction, builder.optional(exponent));
  }
  const lowest = lower && scaled(lower.isExclusive ? nextDouble(lower.value, 1) : lower.value, 1);
  const highest = upper && scaled(upper.isExclusive ? nextDouble(upper.value, -1) : upper.value, -1);
  const [lo, hi] = filled(lowest, highest);
  if (multipleOf !== undefined && !(Number.isInteger(multipleOf) && multipleOf <= LARGEST_MULTIPLE)) {
    throw invalidArgument(`a whole number of at most ${LARGEST_MULTIPLE}`, `${name}.multipleOf`, multipleOf);
  }
  // Every multiple of a whole number is whole.
  const isWhole = isInteger || multipleOf !== undefined;
  const integers = new Integers(builder, multipleOf ?? 1);
  function* side(from: bigint, to: bigint): Work<number> {
    if (from > to) return builder.fail;
    if (!isWhole) return yield* decimals(builder, from, to);
    const [a, b] = [ceilDivide(from, UNIT), to / UNIT];
    // Beyond 2^53 a multiple may read as its neighbour.
    const most = multipleOf === undefined ? b : min(b, MOST);
    return yield* integers.from(a, most);
  }
  const smallestNegative = isWhole ? UNIT : 1n;
  const negative = yield* side(max(-hi, smallestNegative), -lo);
  return builder.alt(yield* side(max(lo, 0n), hi), builder.seq(builder.literal("-"), negative));
}

/** Sides without a bound filled in, in units of 10^-17. */
function filled(lowest: bigint | undefined, highest: bigint | undefined): [bigint, bigint] {
  const limit = MOST * UNIT;
  const taken = LARGEST_TAKEN * UNIT;
  let lo = lowest ?? -limit;
  let hi = highest ?? limit;
  if (highest === undefined && lo > limit) hi = lo * 10n;
  if (lowest === undefined && hi < -limit) lo = hi * 10n;
  if (hi > taken && lo <= limit) hi = limit;
  if (lo < -taken && hi >= -limit) lo = -limit;
  return [lo, hi];
}

/** The double as a decimal in units of 10^-17, rounded into the range. */
function scaled(value: number, direction: 1 | -1): bigint {
  const [, sign, whole, fraction = "", exponent = "0"] = /^(-?)(\d+)(?:\.(\d+))?(?:e([+-]\d+))?$/.exec(
    String(value),
  )!;
  const digits = BigInt(`${sign}${whole}${fraction}`);
  const power = FRACTION + Number(exponent) - fraction.length;
  if (power >= 0) return digits * 10n ** BigInt(power);
  const divisor = 10n ** BigInt(-power);
  return direction === 1 ? ceilDivide(digits, divisor) : -ceilDivide(-digits, divisor);
}

function nextDouble(value: number, direction: 1 | -1): number {
  const view = new DataView(new ArrayBuffer(8));
  if (value === 0) return direction * Number.MIN_VALUE;
  view.setFloat64(0, value);
  const away = value > 0 === direction > 0 ? 1n : -1n;
  view.setBigInt64(0, view.getBigInt64(0) + away);
  const next = view.getFloat64(0);
  return Number.isFinite(next) ? next : value;
}

/** `lo` to `hi` in units of 10^-17, neither negative. */
function* decimals(builder: GrammarBuilder, lo: bigint, hi: bigint): Work<number> {
  const point = builder.literal(".");
  const [loWhole, hiWhole] = [lo / UNIT, hi / UNIT];
  const loFraction = String(lo % UNIT).padStart(FRACTION, "0");
  const hiFraction = String(hi % UNIT).padStart(FRACTION, "0");
  const lowest = "0".repeat(FRACTION);
  const highest = "9".repeat(FRACTION);
  const ending = (from: string, to: string) => {
    const fraction = builder.seq(point, fractions(builder, from, to, true));
    return builder.alt(from === lowest ? builder.empty : builder.fail, fraction);
  };
  const whole = (value: bigint) => builder.literal(String(value));
  if (loWhole === hiWhole) return builder.seq(whole(loWhole), ending(loFraction, hiFraction));
  const between = yield* new Integers(builder, 1).from(loWhole + 1n, hiWhole - 1n);
  return builder.alt(
    builder.seq(whole(loWhole), ending(loFraction, highest)),
    builder.seq(between, ending(lowest, highest)),
    builder.seq(whole(hiWhole), ending(lowest, hiFraction)),
  );
}

/** Digits after the point between two strings of digits; digits that are left out are zeros. */
function fractions(builder: GrammarBuilder, lo: string, hi: string, isFirst: boolean): number {
  const end = !isFirst && /^0*$/.test(lo) ? builder.empty : builder.fail;
  if (lo === "") return end;
  if (/^0+$/.test(lo) && /^9+$/.test(hi)) {
    return builder.repeat(builder.bytes(0x30, 0x39), isFirst ? 1 : 0, lo.length);
  }
  const parts = splitDigits(lo, hi).map(({ digits, restLo, restHi }) =>
    builder.seq(builder.bytes(...digits), fractions(builder, restLo, restHi, false)),
  );
  return builder.alt(end, ...parts);
}

/** The multiples of a number, between any bounds; what has been written for some is used again for others. */
class Integers {
  private readonly known = new Map<string, number>();

  constructor(
    private readonly builder: GrammarBuilder,
    private readonly multiple: number,
  ) {}

  /** Those from `lo` to `hi`, neither negative. */
  *from(lo: bigint, hi: bigint): Work<number> {
    const parts: number[] = [];
    for (let length = String(lo).length; length <= String(hi).length && lo <= hi; length++) {
      const from = max(lo, length === 1 ? 0n : 10n ** BigInt(length - 1));
      const to = min(hi, 10n ** BigInt(length) - 1n);
      parts.push(yield* this.between(String(from), String(to), 0));
    }
    return this.builder.alt(...parts);
  }

  /** Strings of as many digits as `lo` and `hi`, whose value behind the remainder so far is a multiple. */
  private *between(lo: string, hi: string, remainder: number): Work<number> {
    const { builder, multiple, known } = this;
    if (lo === "") return remainder === 0 ? builder.empty : builder.fail;
    if (multiple === 1 && /^0+$/.test(lo) && /^9+$/.test(hi)) {
      return builder.repeat(builder.bytes(0x30, 0x39), lo.length, lo.length);
    }
    const key = `${lo},${hi},${remainder}`;
    const before = known.get(key);
    if (before !== undefined) return before;
    yield;
    const parts: number[] = [];
    for (const { digits, restLo, restHi } of splitDigits(lo, hi)) {
      const [first, last] = digits as [number, number];
      if (multiple === 1) {
        parts.push(builder.seq(builder.bytes(first, last), yield* this.between(restLo, restHi, 0)));
        continue;
      }
      for (let d = first; d <= last; d++) {
        const rest = yield* this.between(restLo, restHi, (remainder * 10 + d - 0x30) % multiple);
        parts.push(builder.seq(builder.bytes(d, d), rest));
      }
    }
    const node = builder.alt(...parts);
    known.set(key, node);
    return node;
  }
}

/** First digits between two strings of equal length, with the bounds of what follows each. */
function splitDigits(lo: string, hi: string) {
  const [first, last] = [lo.charCodeAt(0), hi.charCodeAt(0)];
  const [restLo, restHi] = [lo.slice(1), hi.slice(1)];
  const [zeros, nines] = ["0".repeat(restLo.length), "9".repeat(restLo.length)];
  if (first === last) return [{ digits: [first, last], restLo, restHi }];
  const split = [
    { digits: [first, first], restLo, restHi: nines },
    { digits: [last, last], restLo: zeros, restHi },
  ];
  if (last - first > 1) split.push({ digits: [first + 1, last - 1], restLo: zeros, restHi: nines });
  return split;
}

function ceilDivide(value: bigint, divisor: bigint): bigint {
  return value > 0n ? (value + divisor - 1n) / divisor : value / divisor;
}

function max(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}

function min(a: bigint, b: bigint): bigint {
  return a < b ? a : b;
}

/** The same in doubles, for the values of an enum. */
export function isInRange(value: number, { isInteger, lower, upper, multipleOf }: NumberRange): boolean {
  if (isInteger && !Number.isInteger(value)) return false;
  if (lower && (lower.isExclusive ? value <= lower.value : value < lower.value)) return false;
  if (upper && (upper.isExclusive ? value >= upper.value : value > upper.value)) return false;
  return multipleOf === undefined || Number.isInteger(value / multipleOf);
}
