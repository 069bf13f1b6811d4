// A tool as a chat takes it: the definition that the model sees, and what the program does when the model calls it.

import { invalidArgument, requireArray } from "../check";
import type { JsonObject } from "../template/json";
import { parseTools, type ToolDefinition } from "../template/tool-definition";
import { type TypedSchema, toJsonSchema, typedSchemaOf, validateBy } from "./typed-schema";

/** What `execute` is told besides the arguments. */
export interface ToolContext {
  /** The id of the call. */
  id: string;
  /** Fires when the run ends before the tool does; its result is then of no use. */
  signal: AbortSignal;
}

/** A tool that the model may call. Without `execute` its calls are for the caller to answer. */
export interface Tool {
  type: "function";
  function: Omit<ToolDefinition["function"], "parameters"> & { parameters?: JsonObject | TypedSchema };
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
  parameters: TypedSchema<Values>;
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
    const schema = typedSchemaOf(definition.function?.parameters);
    executors.push({
      execute: execute?.bind(item),
      validate: validate?.bind(item) ?? (schema && ((values) => validateBy(schema, values))),
    });
    if (schema === undefined) return definition;
    return {
      ...definition,
      function: { ...definition.function, parameters: toJsonSchema(schema, `${path}.function.parameters`) },
    };
  });
  const definitions = parseTools(plain);
  for (const [index, tool] of definitions.entries())
    checkName(tool.function.name, `tools[${index}].function.name`);
  return {
    definitions,
    executors: new Map(definitions.map((tool, index) => [tool.function.name, executors[index]!])),
  };
}

/** Whether a name can be read back from a call: white space around it is lost there, and half a character cannot be written. */
function checkName(name: string, path: string): void {
  if (name.trim() !== name) throw invalidArgument("a name without white space around it", path, name);
  if (/\p{Surrogate}/u.test(name)) throw invalidArgument("well-formed text", path, name);
}
