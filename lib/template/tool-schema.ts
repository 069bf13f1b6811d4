// The JSON Schema of a tool's parameters as K2.5's encoder understands it: which of a schema's keys decide, and in which
// order references are looked up. How the result is written is typescript-tools.ts.

import { invalidArgument } from "../check";
import { compareCodePoints, type JsonObject, type JsonValue, pythonJson, SPACED } from "./json";

/** A schema that the published encoder does not know. */
export class Unsupported extends Error {}

interface Notes {
  description: string;
  /** Written constraints, sorted by key. */
  constraints: readonly (readonly [key: string, value: string])[];
}

export type Schema = Schema.PlainType | Schema.AnyOfType | Schema.ArrayType | Schema.ObjectType;

export declare namespace Schema {
  /** A type that is one word or a union of words and literals. */
  interface PlainType extends Notes {
    kind: "plain";
    text: string;
  }
  interface AnyOfType extends Notes {
    kind: "any-of";
    options: readonly Schema[];
  }
  interface ArrayType extends Notes {
    kind: "array";
    item: Schema;
  }
  interface ObjectType extends Notes {
    kind: "object";
    /** In the order of sorted keys. */
    fields: readonly Field[];
    /** The type of additional properties; undefined where the schema does not speak of them. */
    rest: Schema | undefined;
  }
  interface Field {
    name: string;
    schema: Schema;
    isOptional: boolean;
    defaultValue: JsonValue | undefined;
  }
}

const UNION_WORDS: Readonly<Record<string, string>> = {
  string: "string",
  number: "number",
  integer: "number",
  boolean: "boolean",
  null: "null",
  object: "{}",
  array: "Array<any>",
};
const CONSTRAINTS: Readonly<Record<string, readonly string[]>> = {
  string: ["maxLength", "minLength", "pattern"],
  number: ["maximum", "minimum"],
  integer: ["maximum", "minimum"],
};
const ARRAY_CONSTRAINTS = ["maxItems", "minItems"];
const DEFINITION = "#/$defs/";

/** Reads the schema of one tool. References find only definitions that stood before them. */
export class SchemaParser {
  readonly definitions = new Map<string, JsonValue>();
  /** Some part of the schema refers to `#`. */
  refersToRoot = false;
  private readonly path: string;

  /** @param path How errors call the schema. */
  constructor(path: string) {
    this.path = path;
  }

  /** The root is an object, whatever it says of its type. */
  parseRoot(schema: JsonObject): Schema.ObjectType {
    return this.object(schema);
  }

  parse(schema: JsonValue): Schema {
    if (typeof schema === "boolean") return plain(schema ? "any" : "null");
    if (!isObject(schema)) throw new Unsupported();
    if (Object.hasOwn(schema, "$ref")) return this.reference(schema);
    if (Object.hasOwn(schema, "anyOf")) return this.anyOf(schema);
    if (Object.hasOwn(schema, "enum")) return this.enumeration(schema);
    if (Object.hasOwn(schema, "type")) return this.typed(schema);
    if (Object.keys(schema).length === 0) return plain("any");
    throw new Unsupported();
  }

  private reference(schema: JsonObject): Schema {
    const reference = schema.$ref;
    const description = descriptionOf(schema);
    if (reference === "#") {
      this.refersToRoot = true;
      return plain("parameters", description);
    }
    if (typeof reference !== "string" || !reference.startsWith(DEFINITION)) throw new Unsupported();
    const name = reference.slice(reference.lastIndexOf("/") + 1);
    if (!isObject(this.definitions.get(name))) throw new Unsupported();
    return plain(name, description);
  }

  private anyOf(schema: JsonObject): Schema {
    const options = this.array(schema.anyOf, "anyOf").map((option) => this.parse(option));
    return { kind: "any-of", options, description: descriptionOf(schema), constraints: [] };
  }

  private enumeration(schema: JsonObject): Schema {
    const values = this.array(schema.enum, "enum");
    const type = Object.hasOwn(schema, "type") ? enumType(schema.type) : undefined;
    if (!values.every((value) => value === null || fitsType(value, type))) throw new Unsupported();
    const literals = values.map((value) =>
      typeof value === "string" ? `"${value}"` : this.scalar(value, "enum"),
    );
    return plain(literals.join(" | "), descriptionOf(schema));
  }

  private typed(schema: JsonObject): Schema {
    const { type } = schema;
    const description = descriptionOf(schema);
    if (type !== undefined && isArray(type)) {
      const words = type.map((word) => {
        if (typeof word !== "string" || !Object.hasOwn(UNION_WORDS, word)) throw new Unsupported();
        return UNION_WORDS[word];
      });
      return plain(words.join(" | "), description);
    }
    if (type === "object") return this.object(schema);
    if (type === "array") {
      const { items } = schema;
      const item = isTruthy(items) ? this.parse(items) : plain("any");
      return { kind: "array", item, description, constraints: this.constraints(schema, ARRAY_CONSTRAINTS) };
    }
    if (typeof type !== "string") throw invalidArgument("a string or an array", `${this.path} (type)`, type);
    const keys = Object.hasOwn(CONSTRAINTS, type) ? CONSTRAINTS[type]! : [];
    const text = type === "integer" ? "number" : type;
    return { kind: "plain", text, description, constraints: this.constraints(schema, keys) };
  }

  private object(schema: JsonObject): Schema.ObjectType {
    if (isTruthy(schema.$defs)) {
      if (!isObject(schema.$defs)) throw new Unsupported();
      for (const [name, definition] of sortedEntries(schema.$defs)) this.definitions.set(name, definition);
    }
    const rest = this.additional(schema.additionalProperties);
    const result = { kind: "object", description: descriptionOf(schema), constraints: [], rest } as const;
    if (!Object.hasOwn(schema, "properties")) return { ...result, fields: [] };
    const { properties } = schema;
    if (!isObject(properties)) throw new Unsupported();
    const required = requiredNames(schema);
    const fields = sortedEntries(properties).map(([name, property]) => ({
      name,
      schema: this.parse(property),
      isOptional: !required.has(name),
      defaultValue: isObject(property) ? property.default : undefined,
    }));
    return { ...result, fields };
  }

  private additional(schema: JsonValue | undefined): Schema | undefined {
    if (schema === undefined || schema === null) return undefined;
    if (typeof schema === "boolean") return plain(schema ? "any" : "never");
    return this.parse(schema);
  }

  private constraints(schema: JsonObject, keys: readonly string[]): Notes["constraints"] {
    return keys
      .filter((key) => Object.hasOwn(schema, key))
      .map((key) => [key, this.scalar(schema[key]!, key)] as const);
  }

  /** Python's `str` of a scalar. Its spelling of lists and objects is not known well enough to claim it. */
  private scalar(value: JsonValue, key: string): string {
    if (typeof value === "string") return value;
    if (value === null) return "None";
    if (typeof value === "boolean") return value ? "True" : "False";
    if (typeof value === "number") return pythonJson(value, SPACED);
    throw invalidArgument("strings, numbers, booleans or null", `${this.path} (${key})`, value);
  }

  private array(value: JsonValue | undefined, key: string): readonly JsonValue[] {
    if (value !== undefined && isArray(value)) return value;
    throw invalidArgument("an array", `${this.path} (${key})`, value);
  }
}

function plain(text: string, description = ""): Schema.PlainType {
  return { kind: "plain", text, description, constraints: [] };
}

function descriptionOf({ description }: JsonObject): string {
  if (!isTruthy(description)) return "";
  if (typeof description !== "string") throw new Unsupported();
  return description;
}

/** The type that the values of an enum are checked against: a word, or the other one beside "null". */
function enumType(type: JsonValue | undefined): JsonValue | undefined {
  if (type === undefined || !isArray(type)) return type;
  if (type.length === 1) return type[0];
  if (type.length === 2 && type.includes("null")) return type[0] === "null" ? type[1] : type[0];
  throw new Unsupported();
}

/** In Python a boolean is an integer; what is neither of these words is not checked. */
function fitsType(value: JsonValue, type: JsonValue | undefined): boolean {
  const isNumber = typeof value === "number" || typeof value === "boolean";
  if (type === "string") return typeof value === "string";
  if (type === "number") return isNumber;
  if (type === "integer") return isNumber && (typeof value === "boolean" || Number.isInteger(value));
  return type !== "boolean" || typeof value === "boolean";
}

function requiredNames(schema: JsonObject): ReadonlySet<JsonValue> {
  if (!Object.hasOwn(schema, "required")) return new Set();
  const { required } = schema;
  if (
    required === undefined ||
    !isArray(required) ||
    required.some((name) => typeof name === "object" && name !== null)
  ) {
    throw new Unsupported();
  }
  return new Set(required);
}

/** The published tokenizer sorts all keys of a tool before it looks at them. */
function sortedEntries(object: JsonObject): [string, JsonValue][] {
  return Object.entries(object).sort(([a], [b]) => compareCodePoints(a, b));
}

/** As Python sees it. */
function isTruthy(value: JsonValue | undefined): value is JsonValue {
  if (value === undefined || value === null) return false;
  if (typeof value === "object") return Object.keys(value).length > 0;
  return Boolean(value);
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isArray(value: JsonValue): value is readonly JsonValue[] {
  return Array.isArray(value);
}
