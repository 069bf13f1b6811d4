// What the text of an answer is to be: JSON of a schema, any JSON object, a match of a regular expression, or one of some
// texts. It is enforced while sampling, so an answer that ends by itself always has the form.

import { invalidArgument, refuseUnknownKeys, requireArray, requireObject, requireString } from "../check";
import { prepareGrammar, readSource } from "../compile/grammar-cache";
import type { GrammarSource } from "../grammar/compile";
import type { GrammarProgram } from "../grammar/program";
import type { JsonObject } from "../template/json";
import { type TypedSchema, toJsonSchema, typedSchemaOf, validateBy } from "./typed-schema";

/**
 * The form of an answer's text. `Value` is the type of the reply's `value`. It is read when it is given; one of thousands of
 * properties must not change until the answer begins.
 */
export type ResponseFormat<Value = unknown> =
  /** JSON that is valid under the schema: JSON Schema, or one of a library such as Zod, whose output is the value. */
  | { type: "json_schema"; schema: TypedSchema<Value> | JsonObject }
  /** The shape of the OpenAI API. */
  | {
      type: "json_schema";
      json_schema: { name?: string; description?: string; strict?: boolean; schema: JsonObject };
    }
  /** Any JSON object. */
  | { type: "json_object" }
  /** Text that the pattern matches as a whole; the syntax is that of JavaScript with the flag `u`. */
  | { type: "regex"; pattern: string }
  /** Exactly one of the texts. */
  | { type: "choice"; choices: readonly Value[] & readonly string[] };

/** A checked format. */
export interface ParsedFormat {
  compile(signal?: AbortSignal): Promise<GrammarProgram>;
  /** The value of a whole text. Rejects where the schema of a library refuses it for more than JSON Schema can say. */
  read(text: string): Promise<unknown>;
}

const KEYS: Readonly<Record<string, ReadonlySet<string>>> = {
  json_schema: new Set(["type", "schema", "json_schema"]),
  json_object: new Set(["type"]),
  regex: new Set(["type", "pattern"]),
  choice: new Set(["type", "choices"]),
};
const OPENAI_KEYS: ReadonlySet<string> = new Set(["name", "description", "strict", "schema"]);

/** @throws K2Error `invalid-argument` naming the wrong part. */
export function parseFormat(value: unknown, name = "responseFormat"): ParsedFormat {
  const format = requireObject(value, name);
  const keys =
    typeof format.type === "string" && Object.hasOwn(KEYS, format.type) ? KEYS[format.type] : undefined;
  if (keys === undefined) {
    throw invalidArgument('"json_schema", "json_object", "regex" or "choice"', `${name}.type`, format.type);
  }
  refuseUnknownKeys(format, keys, name);
  switch (format.type) {
    case "json_schema":
      return schemaFormat(format, name);
    case "regex":
      return textFormat("regex", requireString(format.pattern, `${name}.pattern`), `${name}.pattern`);
    case "choice":
      return textFormat("choice", requireArray(format.choices, `${name}.choices`), `${name}.choices`);
    default:
      return jsonFormat({ type: "object" }, name);
  }
}

function schemaFormat(format: Record<string, unknown>, name: string): ParsedFormat {
  if (format.json_schema !== undefined) {
    if (format.schema !== undefined) throw invalidArgument("either schema or json_schema", name, "both");
    const inner = requireObject(format.json_schema, `${name}.json_schema`);
    refuseUnknownKeys(inner, OPENAI_KEYS, `${name}.json_schema`);
    return jsonFormat(
      requireObject(inner.schema, `${name}.json_schema.schema`),
      `${name}.json_schema.schema`,
    );
  }
  const typed = typedSchemaOf(format.schema);
  if (typed === undefined)
    return jsonFormat(requireObject(format.schema, `${name}.schema`), `${name}.schema`);
  const schema = toJsonSchema(typed, `${name}.schema`);
  return {
    ...jsonFormat(schema, `${name}.schema`),
    read: async (text) => validateBy(typed, JSON.parse(text)),
  };
}

function jsonFormat(schema: unknown, name: string): ParsedFormat {
  return { compile: compiler("schema", schema, name), read: async (text) => JSON.parse(text) };
}

function textFormat(kind: "regex" | "choice", value: unknown, name: string): ParsedFormat {
  return { compile: compiler(kind, value, name), read: async (text) => text };
}

/** Reads the value now: what the caller does with it later does not matter. */
function compiler(kind: GrammarSource["kind"], value: unknown, name: string): ParsedFormat["compile"] {
  const source = readSource(kind, value, name);
  // Whoever compiles it hears of the failure.
  source.catch(() => {});
  return async (signal) => prepareGrammar(await source, signal);
}

/**
 * A grammar for `session.decode`, where no chat is wanted.
 * @throws K2Error `invalid-argument` that names an unsupported keyword by its place.
 */
export async function createGrammar(format: ResponseFormat): Promise<GrammarProgram> {
  return parseFormat(format, "format").compile();
}
