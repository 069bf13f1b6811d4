// Schemas of other libraries: a Standard Schema that converts itself to JSON Schema (Zod 4.2, ArkType 2.1.28, Valibot's
// converter) says both what the model may write and what type comes out of it.

import { invalidArgument } from "../check";
import { K2Error } from "../errors";

/** A schema of any library that implements Standard Schema and Standard JSON Schema, both version 1. */
export interface TypedSchema<Value = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly types?: { readonly input: unknown; readonly output: Value } | undefined;
    /** The value in the schema's own form, or what is wrong with it. */
    readonly validate: (value: unknown) => SchemaResult<Value> | Promise<SchemaResult<Value>>;
    readonly jsonSchema: {
      /** The JSON Schema of what `validate` takes. */
      readonly input: (options: { target: "draft-2020-12" }) => Record<string, unknown>;
    };
  };
}

/** What a schema says about a value. */
export type SchemaResult<Value> =
  | { readonly value: Value; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** A schema may be an object or, in ArkType, a function. */
export function typedSchemaOf(value: unknown): TypedSchema | undefined {
  const canCarry = (typeof value === "object" && value !== null) || typeof value === "function";
  return canCarry && "~standard" in value ? (value as TypedSchema) : undefined;
}

/** The JSON Schema of what a typed schema takes; `path` names it in the error. */
export function toJsonSchema(schema: TypedSchema, path: string): Record<string, unknown> {
  const convert = schema["~standard"].jsonSchema?.input;
  if (typeof convert !== "function") {
    const expected = "JSON Schema, or a schema with ~standard.jsonSchema (Zod 4.2 or newer)";
    throw invalidArgument(expected, path, schema);
  }
  const { $schema: _, ...converted } = convertOf(convert, path);
  return withoutEchoes(converted) as Record<string, unknown>;
}

/** What the schema converts itself to; a library throws where JSON Schema has no word for it. */
function convertOf(
  convert: TypedSchema["~standard"]["jsonSchema"]["input"],
  path: string,
): Record<string, unknown> {
  try {
    return convert({ target: "draft-2020-12" });
  } catch (error) {
    const expected = "a schema that JSON Schema can express";
    const got = error instanceof Error ? error.message : String(error);
    const message = `Expected ${expected} for ${path}, got ${got}`;
    throw new K2Error("invalid-argument", message, { option: path, expected, got }, { cause: error });
  }
}

/** Keywords that hold values and no schemas. */
const VALUES: ReadonlySet<string> = new Set(["const", "enum", "default", "examples"]);

/**
 * Without what a library says twice: the name of a `format` beside the `pattern` that it stands for (Zod writes both, also
 * for names of its own), and `propertyNames` that are any strings. The library checks the value itself in the end.
 */
function withoutEchoes(schema: unknown): unknown {
  if (Array.isArray(schema)) return schema.map(withoutEchoes);
  if (typeof schema !== "object" || schema === null) return schema;
  const { format, pattern, propertyNames } = schema as Record<string, unknown>;
  const isEcho = (key: string) =>
    (key === "format" && typeof format === "string" && typeof pattern === "string") ||
    (key === "propertyNames" && isAnyString(propertyNames));
  const entries = Object.entries(schema).filter(([key]) => !isEcho(key));
  return Object.fromEntries(
    entries.map(([key, value]) => [key, VALUES.has(key) ? value : withoutEchoes(value)]),
  );
}

function isAnyString(schema: unknown): boolean {
  return JSON.stringify(schema) === '{"type":"string"}';
}

/** The value in the schema's own form. Rejects with what is wrong with it. */
export async function validateBy(schema: TypedSchema, values: unknown): Promise<unknown> {
  const result = await schema["~standard"].validate(values);
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map((issue) => issue.message).join("; ");
  throw new Error(`Expected a value that fits the schema, got ${issues}`);
}
