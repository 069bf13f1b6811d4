// What a schema asks for, as plain constraints without references and alternatives. `flatten` turns a conjunction of
// schemas into a list of them: a value is valid if one of the list holds.

import { describeValue, invalidArgument } from "../check";
import type { Bound } from "./numbers";
import type { Regex } from "./regex";
import type { Json, SchemaRef, SchemaSource } from "./schema-source";
import { memberPath } from "./source-text";
import { FORMAT_NAMES, formatRegex, patternRegex } from "./strings";
import { finishAtOnce, type Work } from "./work";

/** Types as bits. "number" is whole numbers and others. */
export const TYPE = { null: 1, boolean: 2, integer: 4, fraction: 8, string: 16, array: 32, object: 64 };
export const ALL_TYPES = 127;
const TYPE_BITS = new Map<unknown, number>([
  ["null", 1],
  ["boolean", 2],
  ["integer", 4],
  ["number", 12],
  ["string", 16],
  ["array", 32],
  ["object", 64],
]);

export interface ObjectPart {
  readonly properties: ReadonlyMap<string, SchemaRef>;
  readonly additional: SchemaRef | undefined;
}

export interface ArrayPart {
  readonly prefix: readonly SchemaRef[];
  readonly items: SchemaRef | undefined;
}

export interface Constraints {
  readonly types: number;
  readonly values?: readonly Json[];
  readonly lower?: Bound;
  readonly upper?: Bound;
  readonly multipleOf?: number;
  readonly minLength: number;
  readonly maxLength: number;
  readonly regex?: { readonly source: string; readonly tree: Regex };
  readonly minItems: number;
  readonly maxItems: number;
  readonly minProperties: number;
  readonly maxProperties: number;
  readonly isUnique: boolean;
  readonly required: ReadonlySet<string>;
  readonly objects: readonly ObjectPart[];
  readonly arrays: readonly ArrayPart[];
}

export const ANYTHING: Constraints = {
  types: ALL_TYPES,
  minLength: 0,
  maxLength: Infinity,
  minItems: 0,
  maxItems: Infinity,
  minProperties: 0,
  maxProperties: Infinity,
  isUnique: false,
  required: new Set(),
  objects: [],
  arrays: [],
};

/** Keywords that say nothing about which values are valid. */
export const IGNORED_KEYWORDS: ReadonlySet<string> = new Set(
  "$schema $id $comment $defs definitions $anchor title description default examples deprecated readOnly writeOnly contentMediaType contentEncoding contentSchema".split(
    " ",
  ),
);
/** Keywords that are enforced; all others are errors. */
export const SUPPORTED_KEYWORDS: ReadonlySet<string> = new Set(
  "$ref type enum const allOf anyOf oneOf properties required additionalProperties minProperties maxProperties items additionalItems prefixItems minItems maxItems uniqueItems minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength pattern format".split(
    " ",
  ),
);
const MOST_ALTERNATIVES = 256;
const LONGEST_CHAIN = 200;

/** The alternatives of all the schemas together. */
export function* flatten(source: SchemaSource, schemas: readonly SchemaRef[]): Work<readonly Constraints[]> {
  let alternatives: readonly Constraints[] = [ANYTHING];
  for (const schema of schemas)
    alternatives = cross(alternatives, yield* expand(source, schema, [], 0), schema.path);
  return alternatives;
}

function* expand(
  source: SchemaSource,
  schema: SchemaRef,
  open: readonly unknown[],
  depth: number,
): Work<readonly Constraints[]> {
  yield;
  const { value, path } = schema;
  if (value === true) return [ANYTHING];
  if (value === false) return [];
  if (open.includes(value))
    throw invalidArgument("a $ref that does not lead back to itself", path, "a cycle");
  if (depth > LONGEST_CHAIN)
    throw invalidArgument(`at most ${LONGEST_CHAIN} schemas in a chain`, path, "more");
  const keywords = source.keywords(schema);
  const inner = (child: SchemaRef) => expand(source, child, [...open, value], depth + 1);
  for (const key of Object.keys(keywords)) {
    if (IGNORED_KEYWORDS.has(key) || SUPPORTED_KEYWORDS.has(key)) continue;
    throw invalidArgument("a supported keyword", memberPath(path, key), keywords[key]);
  }
  let alternatives: readonly Constraints[] = [ownConstraints(source, schema, keywords)];
  if (keywords.$ref !== undefined)
    alternatives = cross(alternatives, yield* inner(source.resolve(schema)), path);
  for (const child of source.list(schema, "allOf") ?? [])
    alternatives = cross(alternatives, yield* inner(child), path);
  const any = source.list(schema, "anyOf");
  if (any !== undefined) {
    const branches: Constraints[] = [];
    for (const child of any) branches.push(...(yield* inner(child)));
    alternatives = cross(alternatives, branches, path);
  }
  const one = source.list(schema, "oneOf");
  if (one !== undefined) {
    const branches: (readonly Constraints[])[] = [];
    for (const child of one) branches.push(yield* inner(child));
    for (const [i, branch] of branches.entries()) {
      let isApart = true;
      for (const other of branches.slice(i + 1)) {
        yield;
        isApart &&= areDisjoint(source, branch, other, 0);
      }
      if (isApart) continue;
      throw invalidArgument(
        "branches that exclude each other",
        `${path}.oneOf`,
        `branch ${i} and a later one`,
      );
    }
    alternatives = cross(alternatives, branches.flat(), path);
  }
  return alternatives;
}

function cross(left: readonly Constraints[], right: readonly Constraints[], path: string) {
  if (left.length * right.length > MOST_ALTERNATIVES) {
    throw invalidArgument(`at most ${MOST_ALTERNATIVES} alternatives`, path, left.length * right.length);
  }
  return left.flatMap((a) => right.map((b) => merge(a, b, path)).filter((merged) => merged.types !== 0));
}

function merge(a: Constraints, b: Constraints, path: string): Constraints {
  const values =
    a.values && b.values ? a.values.filter((v) => b.values!.some((w) => same(v, w))) : (a.values ?? b.values);
  const lower = tighter(a.lower, b.lower, 1);
  const upper = tighter(a.upper, b.upper, -1);
  const multipleOf = commonMultiple(a.multipleOf, b.multipleOf, path);
  if (a.regex && b.regex && a.regex.source !== b.regex.source) {
    throw invalidArgument(
      "one pattern or format for a string",
      path,
      `${a.regex.source} and ${b.regex.source}`,
    );
  }
  const regex = a.regex ?? b.regex;
  return {
    types: a.types & b.types,
    minLength: Math.max(a.minLength, b.minLength),
    maxLength: Math.min(a.maxLength, b.maxLength),
    minItems: Math.max(a.minItems, b.minItems),
    maxItems: Math.min(a.maxItems, b.maxItems),
    minProperties: Math.max(a.minProperties, b.minProperties),
    maxProperties: Math.min(a.maxProperties, b.maxProperties),
    isUnique: a.isUnique || b.isUnique,
    required: new Set([...a.required, ...b.required]),
    objects: [...a.objects, ...b.objects],
    arrays: [...a.arrays, ...b.arrays],
    ...(values && { values }),
    ...(lower && { lower }),
    ...(upper && { upper }),
    ...(multipleOf !== undefined && { multipleOf }),
    ...(regex && { regex }),
  };
}

function tighter(a: Bound | undefined, b: Bound | undefined, sign: number): Bound | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  if (a.value === b.value) return a.isExclusive ? a : b;
  return (a.value - b.value) * sign > 0 ? a : b;
}

function commonMultiple(a: number | undefined, b: number | undefined, path: string): number | undefined {
  if (a === undefined || b === undefined || a === b) return a ?? b;
  if (a % b === 0) return a;
  if (b % a === 0) return b;
  throw invalidArgument("a multipleOf that divides the other", path, `${a} and ${b}`);
}

/** Deep equality of JSON, for which the order of members does not count. */
export function same(a: Json, b: Json): boolean {
  if (a === b) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Array.isArray(a) !== Array.isArray(b)) return false;
  const [left, right] = [a as Record<string, Json>, b as Record<string, Json>];
  const keys = Object.keys(left);
  return (
    keys.length === Object.keys(right).length &&
    keys.every((key) => Object.hasOwn(right, key) && same(left[key]!, right[key]!))
  );
}

export function typeOf(value: Json): number {
  if (value === null) return TYPE.null;
  if (typeof value === "boolean") return TYPE.boolean;
  if (typeof value === "number") return Number.isInteger(value) ? TYPE.integer : TYPE.fraction;
  if (typeof value === "string") return TYPE.string;
  return Array.isArray(value) ? TYPE.array : TYPE.object;
}

/** Whether it is certain that no value is in both lists: by type, by constant, or by a member that both require. */
function areDisjoint(
  source: SchemaSource,
  a: readonly Constraints[],
  b: readonly Constraints[],
  depth: number,
): boolean {
  return a.every((left) => b.every((right) => arePairDisjoint(source, left, right, depth)));
}

function arePairDisjoint(source: SchemaSource, a: Constraints, b: Constraints, depth: number): boolean {
  const bits = (c: Constraints) =>
    c.types & (c.values?.reduce<number>((sum, v) => sum | typeOf(v), 0) ?? ALL_TYPES);
  const common = bits(a) & bits(b);
  if (common === 0) return true;
  if (a.values && b.values) return !a.values.some((value) => b.values!.some((other) => same(value, other)));
  if (common & ~TYPE.object) {
    const isNumeric = (common & ~(TYPE.integer | TYPE.fraction)) === 0;
    const below = (x: Constraints, y: Constraints) =>
      x.upper !== undefined &&
      y.lower !== undefined &&
      (x.upper.value < y.lower.value ||
        (x.upper.value === y.lower.value && (x.upper.isExclusive || y.lower.isExclusive)));
    return isNumeric && (below(a, b) || below(b, a));
  }
  if (depth > 4) return false;
  const properties = (c: Constraints, key: string) =>
    c.objects.flatMap((part) => part.properties.get(key) ?? []);
  const isForbidden = (c: Constraints, key: string) =>
    c.objects.some((part) => !part.properties.has(key) && part.additional?.value === false);
  for (const key of [...a.required, ...b.required]) {
    if (a.required.has(key) ? isForbidden(b, key) : isForbidden(a, key)) return true;
    if (!a.required.has(key) || !b.required.has(key)) continue;
    const [left, right] = [a, b].map((c) => finishAtOnce(flatten(source, properties(c, key)))) as [
      readonly Constraints[],
      readonly Constraints[],
    ];
    if (areDisjoint(source, left, right, depth + 1)) return true;
  }
  return false;
}

const FLOAT_FORMATS: readonly string[] = ["float", "double"];
const INTEGER_FORMATS = new Map([
  ["int32", [-(2 ** 31), 2 ** 31 - 1]],
  // The double below 2^63: 2^63 - 1 itself would round up.
  ["int64", [-(2 ** 63), 2 ** 63 - 1024]],
]);

/** Values of `format`; all others are errors. */
export const SUPPORTED_FORMATS: readonly string[] = [
  ...FORMAT_NAMES,
  ...INTEGER_FORMATS.keys(),
  ...FLOAT_FORMATS,
];

function ownConstraints(
  source: SchemaSource,
  schema: SchemaRef,
  keywords: Readonly<Record<string, Json>>,
): Constraints {
  const { path } = schema;
  const at = (key: string) => memberPath(path, key);
  const count = (key: string, otherwise: number) => {
    const value = keywords[key];
    if (value === undefined) return otherwise;
    if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
    throw invalidArgument("a whole number from 0", at(key), value);
  };
  const bound = (key: string, isExclusive: boolean): Bound | undefined => {
    const value = keywords[key];
    if (value === undefined) return undefined;
    if (typeof value !== "number") throw invalidArgument("a number", at(key), value);
    return { value: value + 0, isExclusive };
  };
  /** In draft 4 `exclusiveMinimum: true` says something about `minimum`. */
  const limit = (inclusive: string, exclusive: string, sign: number) =>
    typeof keywords[exclusive] === "boolean"
      ? bound(inclusive, keywords[exclusive])
      : tighter(bound(inclusive, false), bound(exclusive, true), sign);
  let lower = limit("minimum", "exclusiveMinimum", 1);
  let upper = limit("maximum", "exclusiveMaximum", -1);
  const { pattern, format, multipleOf, uniqueItems, required } = keywords;
  let types = typesOf(keywords.type, at("type"));
  if (multipleOf !== undefined && !(typeof multipleOf === "number" && multipleOf > 0)) {
    throw invalidArgument("a number above 0", at("multipleOf"), multipleOf);
  }
  if (uniqueItems !== undefined && typeof uniqueItems !== "boolean") {
    throw invalidArgument("a boolean", at("uniqueItems"), uniqueItems);
  }
  let regex: Constraints["regex"];
  if (pattern !== undefined) {
    if (typeof pattern !== "string") throw invalidArgument("a string", at("pattern"), pattern);
    regex = { source: `pattern ${pattern}`, tree: patternRegex(pattern, at("pattern")) };
  }
  if (format !== undefined && !FLOAT_FORMATS.includes(format as string)) {
    const limits = INTEGER_FORMATS.get(format as string);
    if (limits !== undefined) {
      types &= ~TYPE.fraction;
      lower = tighter(lower, { value: limits[0]!, isExclusive: false }, 1);
      upper = tighter(upper, { value: limits[1]!, isExclusive: false }, -1);
    } else if (!FORMAT_NAMES.includes(format as string)) {
      throw invalidArgument(`one of the formats ${SUPPORTED_FORMATS.join(", ")}`, at("format"), format);
    } else if (regex !== undefined) throw invalidArgument("a format or a pattern", at("format"), format);
    else regex = { source: `format ${format}`, tree: formatRegex(format as string, at("format")) };
  }
  const names = required ?? [];
  if (!Array.isArray(names) || names.some((key) => typeof key !== "string")) {
    throw invalidArgument("an array of strings", at("required"), required);
  }
  let values: readonly Json[] | undefined;
  if (keywords.enum !== undefined) {
    if (!Array.isArray(keywords.enum)) throw invalidArgument("an array", at("enum"), keywords.enum);
    values = keywords.enum;
  }
  if (keywords.const !== undefined) {
    const constant = keywords.const;
    values = values === undefined || values.some((value) => same(value, constant)) ? [constant] : [];
  }
  const properties = source.children(schema, "properties");
  const additional = source.child(schema, "additionalProperties");
  // Before draft 2020 a list of `items` said what `prefixItems` says now, and `additionalItems` what `items` says.
  const isTuple = Array.isArray(keywords.items);
  if (isTuple && keywords.prefixItems !== undefined)
    throw invalidArgument("either prefixItems or a list of items", at("items"), keywords.items);
  const prefix = source.list(schema, isTuple ? "items" : "prefixItems");
  const items = source.child(schema, isTuple ? "additionalItems" : "items");
  return {
    types,
    minLength: count("minLength", 0),
    maxLength: count("maxLength", Infinity),
    minItems: count("minItems", 0),
    maxItems: count("maxItems", Infinity),
    minProperties: count("minProperties", 0),
    maxProperties: count("maxProperties", Infinity),
    isUnique: uniqueItems === true,
    required: new Set(names as string[]),
    objects: properties || additional ? [{ properties: properties ?? new Map(), additional }] : [],
    arrays: prefix || items ? [{ prefix: prefix ?? [], items }] : [],
    ...(values && { values }),
    ...(lower && { lower }),
    ...(upper && { upper }),
    ...(typeof multipleOf === "number" && { multipleOf }),
    ...(regex && { regex }),
  };
}

function typesOf(type: Json | undefined, path: string): number {
  if (type === undefined) return ALL_TYPES;
  const names = Array.isArray(type) ? type : [type];
  return names.reduce<number>((bits, name) => {
    const bit = TYPE_BITS.get(name);
    if (bit === undefined) throw invalidArgument("a type of JSON Schema", path, describeValue(name));
    return bits | bit;
  }, 0);
}
