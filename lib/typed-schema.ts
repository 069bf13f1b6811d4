// Schemas of other libraries: a Standard Schema that converts itself to JSON Schema (Zod 4.2, ArkType 2.1.28, Valibot's
// converter) says both what the model may write and what type comes out of it.

import { invalidArgument } from "./check";

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
  const { $schema: _, ...converted } = convert({ target: "draft-2020-12" });
  return converted;
}

/** The value in the schema's own form. Rejects with what is wrong with it. */
export async function validateBy(schema: TypedSchema, values: unknown): Promise<unknown> {
  const result = await schema["~standard"].validate(values);
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map((issue) => issue.message).join("; ");
  throw new Error(`Expected a value that fits the schema, got ${issues}`);
}
