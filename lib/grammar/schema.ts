// A JSON Schema as a grammar of the JSON text that is valid under it. Every conjunction of schemas is a rule, so that
// recursion and repetition cost nothing; objects and arrays have rules of their own, because a rule is where native code
// asks whether what follows still fits into the nesting that is left.

import { invalidArgument } from "../check";
import { Automaton } from "./automaton";

import { ALL_TYPES, type Constraints, flatten, same, TYPE, typeOf } from "./constraints";
import { finishWork } from "./finish";
import { anyKey, canonicalJson, keyExcept, oneOfTexts, whiteSpace } from "./json-text";
import { isInRange, numberNode } from "./numbers";
import { GrammarBuilder, type GrammarMember, type GrammarProgram, NO_LIMIT } from "./program";
import { type Json, type SchemaRef, SchemaSource } from "./schema-source";
import { sourceText } from "./source-text";
import { stringNode } from "./strings";
import { uniqueNode } from "./unique";
import { finishAtOnce, type Work } from "./work";

const MOST_RULES = 20_000;

/**
 * The grammar of the JSON texts of a schema, without white space around them. Members come in any order. A schema that
 * declares `properties` and says nothing about others allows no others: fewer texts than the schema, all of them valid.
 * @throws K2Error `invalid-argument` that names the place of an unsupported keyword, or says that nothing is valid.
 */
export function compileSchema(schema: unknown, name: string): GrammarProgram {
  return finishAtOnce(schemaWork(JSON.parse(finishAtOnce(sourceText(schema, name))) as Json, name));
}

/** The same in small steps, for a schema that was read as `sourceText` reads it. */
export function* schemaWork(schema: Json, name: string): Work<GrammarProgram> {
  return yield* new SchemaCompiler(yield* SchemaSource.read(schema, name), name).compile();
}

class SchemaCompiler {
  private readonly builder = new GrammarBuilder();
  private readonly ws = whiteSpace(this.builder);
  private readonly known = new Map<string, number>();
  private readonly pending: { rule: number; schemas: readonly SchemaRef[] }[] = [];

  constructor(
    private readonly source: SchemaSource,
    private readonly name: string,
  ) {}

  *compile(): Work<GrammarProgram> {
    const start = this.ruleOf([this.source.root]);
    // A list instead of recursion: schemas may lead from one to the next for longer than the stack is deep.
    for (let next = this.pending.pop(); next !== undefined; next = this.pending.pop()) {
      const { rule, schemas } = next;
      const path = schemas[0]?.path ?? this.name;
      const nodes: number[] = [];
      for (const constraints of yield* flatten(this.source, schemas))
        nodes.push(...(yield* this.values(constraints, path)));
      this.builder.defineRule(rule, this.builder.alt(...nodes));
    }
    return yield* finishWork(this.builder, { start, name: this.name, keyExcept });
  }

  /** The rule of all the schemas together. */
  private ruleOf(schemas: readonly SchemaRef[]): number {
    const key = [...new Set(schemas.map((schema) => this.source.idOf(schema)))].sort().join();
    const known = this.known.get(key);
    if (known !== undefined) return known;
    if (this.known.size === MOST_RULES)
      throw invalidArgument(`at most ${MOST_RULES} schemas`, this.name, "more");
    const rule = this.builder.declareRule();
    this.known.set(key, rule);
    this.pending.push({ rule, schemas });
    return rule;
  }

  private *values(constraints: Constraints, path: string): Work<number[]> {
    const { builder } = this;
    if (constraints.values !== undefined) {
      const texts: string[] = [];
      const nodes: number[] = [];
      const { values, ...others } = constraints;
      for (const value of values) {
        yield;
        if (!this.isValid(value, others, path)) continue;
        if (typeof value === "object" && value !== null) nodes.push(this.constant(value));
        else texts.push(canonicalJson(value));
      }
      return [yield* oneOfTexts(builder, texts), ...nodes];
    }
    const types = constraints.types === ALL_TYPES ? impliedTypes(constraints) : constraints.types;
    const nodes: number[] = [];
    if (types & TYPE.null) nodes.push(builder.literal("null"));
    if (types & TYPE.boolean) nodes.push(builder.literal("true"), builder.literal("false"));
    if (types & TYPE.integer) {
      nodes.push(yield* numberNode(builder, { ...constraints, isInteger: !(types & TYPE.fraction) }, path));
    }
    if (types & TYPE.string) {
      nodes.push(yield* stringNode(builder, { ...constraints, regex: constraints.regex?.tree }, path));
    }
    if (types & TYPE.array) nodes.push(this.container(yield* this.array(constraints, path)));
    if (types & TYPE.object) nodes.push(this.container(this.object(constraints)));
    return nodes;
  }

  private container(node: number): number {
    return this.builder.rule(this.builder.addRule(node));
  }

  private *array(constraints: Constraints, path: string): Work<number> {
    const { builder, ws } = this;
    const { arrays, minItems, maxItems, isUnique } = constraints;
    if (minItems > maxItems) return builder.fail;
    if (isUnique && maxItems > 1) return this.brackets(yield* this.uniqueItems(constraints, path));
    const declared = Math.max(0, ...arrays.map((part) => part.prefix.length));
    const hasItems = declared === 0 || minItems > declared || arrays.some((part) => part.items !== undefined);
    const itemAt = (i: number) =>
      builder.rule(this.ruleOf(arrays.flatMap((part) => part.prefix[i] ?? part.items ?? [])));
    // A comma promises an item. As a rule it is refused together with an item that would be nested too deeply.
    const next = (i: number, after: number) =>
      builder.seq(this.container(builder.seq(ws, builder.literal(","), ws, itemAt(i))), after);
    const most = hasItems ? maxItems : Math.min(maxItems, declared);
    const rest = Math.max(declared, 1);
    const limit = most === Infinity ? NO_LIMIT : Math.max(0, most - rest);
    let after = builder.repeat(next(rest, builder.empty), Math.max(0, minItems - rest), limit);
    for (let i = rest - 1; i >= 0 && i < rest; i--) {
      const here = i === 0 ? builder.seq(itemAt(0), after) : next(i, after);
      after = i >= most ? builder.empty : i >= minItems ? builder.optional(this.container(here)) : here;
    }
    return this.brackets(after);
  }

  private brackets(content: number): number {
    const { builder, ws } = this;
    return builder.deeper(builder.seq(builder.literal("["), ws, content, ws, builder.literal("]")));
  }

  /** Different items, where all possible ones are known by their values. */
  private *uniqueItems({ arrays, minItems, maxItems }: Constraints, path: string): Work<number> {
    const { builder, ws } = this;
    const refuse = (expected: string) => invalidArgument(expected, `${path}.uniqueItems`, true);
    if (arrays.some((part) => part.prefix.length > 0))
      throw refuse("no uniqueItems beside items of fixed places");
    const schemas = arrays.flatMap((part) => part.items ?? []);
    const texts = new Set<string>();
    for (const { values, ...others } of yield* flatten(this.source, schemas)) {
      if (values === undefined) throw refuse("items with an enum or const, or maxItems of at most 1,");
      for (const value of values) {
        if (typeof value === "object" && value !== null) throw refuse("items without objects and arrays");
        if (this.isValid(value, others, path)) texts.add(canonicalJson(value));
      }
    }
    const comma = builder.seq(ws, builder.literal(","), ws);
    const node = uniqueNode(builder, { texts: [...texts], minItems, maxItems, comma });
    if (node === undefined) throw refuse("fewer items to choose from");
    return node;
  }

  private object(constraints: Constraints): number {
    const { objects, required, minProperties, maxProperties } = constraints;
    const keys = new Set([...objects.flatMap((part) => [...part.properties.keys()]), ...required]);
    const hasDeclared = objects.some((part) => part.properties.size > 0);
    const others = objects.flatMap((part) => part.additional ?? []);
    const members = [...keys].map((key): GrammarMember => {
      const schemas = objects.flatMap((part) => part.properties.get(key) ?? part.additional ?? []);
      return { key: canonicalJson(key), rule: this.ruleOf(schemas), isRequired: required.has(key) };
    });
    const additional = others.length > 0 || !hasDeclared ? this.ruleOf(others) : -1;
    // Limits that say nothing would make native code count members for nothing.
    const isLimited = maxProperties < (additional === -1 ? members.length : Infinity);
    return this.builder.object({
      ws: this.ws,
      key: anyKey(this.builder),
      additional,
      minProperties: minProperties <= required.size ? 0 : minProperties,
      maxProperties: isLimited ? maxProperties : NO_LIMIT,
      members,
    });
  }

  /** A value of const or enum, with the white space that JSON allows. */
  private constant(value: Json): number {
    const { builder, ws } = this;
    if (typeof value !== "object" || value === null) return builder.byteLiteral(canonicalJson(value));
    if (Array.isArray(value)) {
      const comma = builder.seq(ws, builder.literal(","), ws);
      const items = value.flatMap((item: Json, i) =>
        i === 0 ? [this.constant(item)] : [comma, this.constant(item)],
      );
      const content = builder.seq(builder.literal("["), ws, ...items, ws, builder.literal("]"));
      return this.container(builder.deeper(content));
    }
    const members = Object.entries(value).map(([key, item]) => {
      return { key: canonicalJson(key), rule: builder.addRule(this.constant(item)), isRequired: true };
    });
    const key = anyKey(builder);
    return this.container(
      builder.object({ ws, key, additional: -1, minProperties: 0, maxProperties: NO_LIMIT, members }),
    );
  }

  /** Whether a constant satisfies the constraints beside it. */
  private isValid(value: Json, constraints: Constraints, path: string): boolean {
    const { types, values, minLength, maxLength, regex, required, objects, arrays } = constraints;
    if (!(types & typeOf(value)) || (values && !values.some((one) => same(one, value)))) return false;
    const isOne = (item: Json, schemas: readonly SchemaRef[]) =>
      finishAtOnce(flatten(this.source, schemas)).some((alternative) =>
        this.isValid(item, alternative, path),
      );
    if (typeof value === "number") return isInRange(value, { ...constraints, isInteger: false });
    if (typeof value === "string") {
      const length = [...value].length;
      if (length < minLength || length > maxLength) return false;
      return regex === undefined || new Automaton(regex.tree, path).matches(value);
    }
    if (Array.isArray(value)) {
      if (value.length < constraints.minItems || value.length > constraints.maxItems) return false;
      if (
        constraints.isUnique &&
        value.some((item, i) => value.slice(0, i).some((other) => same(item, other)))
      ) {
        return false;
      }
      return value.every((item: Json, i) =>
        isOne(
          item,
          arrays.flatMap((part) => part.prefix[i] ?? part.items ?? []),
        ),
      );
    }
    if (typeof value !== "object" || value === null) return true;
    const entries = Object.entries(value);
    if (entries.length < constraints.minProperties || entries.length > constraints.maxProperties)
      return false;
    if ([...required].some((key) => !Object.hasOwn(value, key))) return false;
    return entries.every(([key, item]) =>
      isOne(
        item,
        objects.flatMap((part) => part.properties.get(key) ?? part.additional ?? []),
      ),
    );
  }
}

/** Without any `type`, constraints of one type say what is meant: `{"properties": ...}` is an object. */
function impliedTypes(constraints: Constraints): number {
  const { lower, upper, multipleOf, minLength, maxLength, regex, arrays, minItems, maxItems } = constraints;
  let types = 0;
  if (lower || upper || multipleOf !== undefined) types |= TYPE.integer | TYPE.fraction;
  if (minLength > 0 || maxLength < Infinity || regex) types |= TYPE.string;
  if (arrays.length > 0 || minItems > 0 || maxItems < Infinity || constraints.isUnique) types |= TYPE.array;
  const { objects, required, minProperties, maxProperties } = constraints;
  if (objects.length > 0 || required.size > 0 || minProperties > 0 || maxProperties < Infinity)
    types |= TYPE.object;
  return types === 0 ? ALL_TYPES : types;
}
