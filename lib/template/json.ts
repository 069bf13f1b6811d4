// JSON as Python's `json.dumps` writes it, because models were trained on prompts that Python rendered: separators with
// or without spaces, keys in given order or sorted by code point, non-ASCII text unescaped.
//
// A limit that JavaScript sets: `1.0` and `1` are one value here, so a schema's `1.0` is written `1` where Python
// writes `1.0`. Numbers with a fraction are spelled exactly as Python spells them (1e-07, 1e-05).

import { invalidArgument } from "../check";

/** Any JSON value. */
export type JsonValue = null | boolean | number | string | readonly JsonValue[] | JsonObject;
/** A JSON object. */
export interface JsonObject {
  readonly [key: string]: JsonValue;
}

export interface JsonStyle {
  itemSeparator: string;
  keySeparator: string;
  /** Sorts the keys of every object by code point. */
  sortKeys: boolean;
}

/** Python's default separators, keys in given order. (JavaScript itself puts integer-like keys first.) */
export const SPACED: JsonStyle = { itemSeparator: ", ", keySeparator: ": ", sortKeys: false };

/** Deeper nesting is refused: Python's own writer ends near 1000, and later code may recurse. */
const MAX_DEPTH = 256;

/**
 * Checks that a value is plain JSON data and copies it. Keys whose value is `undefined` are left out.
 * @throws K2Error `invalid-argument` for functions, class instances, NaN, cycles and nesting beyond 256.
 */
export function copyJson(value: unknown, name: string): JsonValue {
  return copyAt(value, { name, depth: 0 });
}

/** Where a value lies; spelled out for errors only, because schemas have thousands of values. */
interface Place {
  /** Of the whole value, or a key or an index in the one above. */
  readonly name: string | number;
  readonly above?: Place;
  readonly depth: number;
}

function nameOf({ name, above }: Place): string {
  if (above === undefined) return String(name);
  return nameOf(above) + (typeof name === "number" ? `[${name}]` : `.${name}`);
}

function copyAt(value: unknown, place: Place): JsonValue {
  if (value === null || typeof value === "boolean" || typeof value === "string") return value;
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw invalidArgument("a finite number", nameOf(place), value);
    return value;
  }
  if (typeof value !== "object") throw invalidArgument("JSON data", nameOf(place), value);
  const depth = place.depth + 1;
  if (depth > MAX_DEPTH) {
    throw invalidArgument(`at most ${MAX_DEPTH} levels of nesting`, nameOf(place), value);
  }
  if (Array.isArray(value)) {
    // Array.from also visits holes, which JSON does not have.
    return Array.from(value, (item, name) => copyAt(item, { name, above: place, depth }));
  }
  // Also true for objects of another realm (a vm context, a worker's message), unlike a look at the prototype.
  if (Object.prototype.toString.call(value) !== "[object Object]") {
    throw invalidArgument("JSON data", nameOf(place), value);
  }
  const copy: Record<string, JsonValue> = {};
  for (const name of Object.keys(value)) {
    const item = (value as Record<string, unknown>)[name];
    if (item !== undefined) setOwn(copy, name, copyAt(item, { name, above: place, depth }));
  }
  return copy;
}

/** Keeps a key named __proto__ data. */
function setOwn(target: Record<string, JsonValue>, key: string, value: JsonValue): void {
  if (key !== "__proto__") target[key] = value;
  else Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true });
}

/** Writes a value that `copyJson` returned. */
export function pythonJson(value: JsonValue, style: JsonStyle): string {
  if (typeof value === "number") return pythonNumber(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (value === null || typeof value === "boolean") return String(value);
  if (isArray(value)) return `[${value.map((item) => pythonJson(item, style)).join(style.itemSeparator)}]`;
  const keys = Object.keys(value);
  if (style.sortKeys) sortByCodePoint(keys);
  const members = keys.map(
    (key) => JSON.stringify(key) + style.keySeparator + pythonJson(value[key]!, style),
  );
  return `{${members.join(style.itemSeparator)}}`;
}

/** JavaScript's own order, many times as fast, is another one only where there are surrogates. */
function sortByCodePoint(keys: string[]): void {
  if (keys.some((key) => /[\ud800-\udfff]/.test(key))) keys.sort(compareCodePoints);
  else keys.sort();
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}

/** Both languages print the shortest digits that read back; they differ in when and how they use an exponent. */
function pythonNumber(value: number): string {
  if (Number.isInteger(value)) return JSON.stringify(value);
  if (Math.abs(value) >= 1e-4) return String(value);
  return value.toExponential().replace(/e-(\d)$/, "e-0$1");
}

/** JavaScript sorts by UTF-16 unit, where U+1F600 (a surrogate pair) comes before U+FF01; Python's order is reversed. */
export function compareCodePoints(left: string, right: string): number {
  const length = Math.min(left.length, right.length);
  for (let i = 0; i < length; i++) {
    const a = left.charCodeAt(i);
    const b = right.charCodeAt(i);
    if (a !== b) return orderOfUnit(a) - orderOfUnit(b);
  }
  return left.length - right.length;
}

/** Moves surrogates behind all other units. Units before the first difference are equal, so pairs stay aligned. */
function orderOfUnit(unit: number): number {
  return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
}
