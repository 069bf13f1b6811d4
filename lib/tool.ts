// A tool as a chat takes it: the definition that the model sees, and what the program does when the model calls it.
// Parameters may be a Standard Schema that converts itself to JSON Schema (Zod 4.2, ArkType 2.1.28, Valibot's converter).

import { invalidArgument, requireArray } from "./check";
import type { JsonObject } from "./template/json";
import { parseTools, type ToolDefinition } from "./template/tool-definition";

/** What `execute` is told besides the arguments. */
export interface ToolContext {
  /** The id of the call. */
  id: string;
  /** Fires when the run ends before the tool does; its result is then of no use. */
  signal: AbortSignal;
}

/** A schema of any library that implements Standard Schema and Standard JSON Schema, both version 1. */
export interface ToolSchema<Values = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly types?: { readonly input: unknown; readonly output: Values } | undefined;
    /** The value in the schema's own form, or what is wrong with it. */
    readonly validate: (value: unknown) => SchemaResult<Values> | Promise<SchemaResult<Values>>;
    readonly jsonSchema: {
      /** The JSON Schema of what `validate` takes. */
      readonly input: (options: { target: "draft-2020-12" }) => Record<string, unknown>;
    };
  };
}

/** What a schema says about a value. */
export type SchemaResult<Values> =
  | { readonly value: Values; readonly issues?: undefined }
  | { readonly issues: readonly { readonly message: string }[] };

/** A tool that the model may call. Without `execute` its calls are for the caller to answer. */
export interface Tool {
  type: "function";
  function: Omit<ToolDefinition["function"], "parameters"> & { parameters?: JsonObject | ToolSchema };
  /** Checks the parsed arguments and returns what `execute` gets; what it throws is the call's result. */
  validate?(values: unknown): unknown;
  /** Returns the result: text as it is, anything else as JSON. What it throws is the call's result too. */
  // biome-ignore lint/suspicious/noExplicitAny: the arguments have whatever type the tool's schema gives them.
  execute?(values: any, context: ToolContext): unknown;
}

/** The part of a tool that the model never sees. */
export interface Executor {
  validate: ((values: unknown) => unknown) | undefined;
  execute: ((values: unknown, context: ToolContext) => unknown) | undefined;
}

/** A tool whose `execute` gets the type that its schema produces. */
export function defineTool<Values>(tool: {
  name: string;
  description?: string;
  parameters: ToolSchema<Values>;
  execute: (values: Values, context: ToolContext) => unknown;
}): Tool {
  const { execute, ...definition } = tool;
  return { type: "function", function: definition, execute };
}

/** Separates what the model sees from what the program does. */
export function parseChatTools(value: unknown): {
  definitions: ToolDefinition[];
  executors: Map<string, Executor>;
} {
  const executors: Executor[] = [];
  const plain = requireArray(value, "tools").map((item, index) => {
    if (typeof item !== "object" || item === null) return item;
    const path = `tools[${index}]`;
    const { execute, validate, ...definition } = item as Record<string, unknown> & Partial<Tool>;
    for (const [name, action] of Object.entries({ execute, validate })) {
      if (action !== undefined && typeof action !== "function") {
        throw invalidArgument("a function or undefined", `${path}.${name}`, action);
      }
    }
    const schema = schemaOf(definition.function?.parameters);
    executors.push({
      execute: execute?.bind(item),
      validate: validate?.bind(item) ?? (schema && ((values) => validateBy(schema, values))),
    });
    if (schema === undefined) return definition;
    return { ...definition, function: { ...definition.function, parameters: toJsonSchema(schema, path) } };
  });
  const definitions = parseTools(plain);
  return {
    definitions,
    executors: new Map(definitions.map((tool, index) => [tool.function.name, executors[index]!])),
  };
}

/** A schema may be an object or, in ArkType, a function. */
function schemaOf(value: unknown): ToolSchema | undefined {
  const canCarry = (typeof value === "object" && value !== null) || typeof value === "function";
  return canCarry && "~standard" in value ? (value as ToolSchema) : undefined;
}

function toJsonSchema(schema: ToolSchema, path: string): Record<string, unknown> {
  const convert = schema["~standard"].jsonSchema?.input;
  if (typeof convert !== "function") {
    throw invalidArgument(
      "JSON Schema, or a schema with ~standard.jsonSchema (Zod 4.2 or newer)",
      `${path}.function.parameters`,
      schema,
    );
  }
  const { $schema: _, ...converted } = convert({ target: "draft-2020-12" });
  return converted;
}

async function validateBy(schema: ToolSchema, values: unknown): Promise<unknown> {
  const result = await schema["~standard"].validate(values);
  if (result.issues === undefined) return result.value;
  const issues = result.issues.map((issue) => issue.message).join("; ");
  throw new Error(`Expected arguments that fit the schema, got ${issues}`);
}
