// What a caller declares a tool with: the OpenAI Chat Completions shape, checked and copied. The copy holds the same keys
// in the same order as the original, because published templates show the model the definition "as passed".

import {
  invalidArgument,
  optionalBoolean,
  refuseUnknownKeys,
  requireArray,
  requireNonEmptyString,
  requireObject,
  requireString,
} from "../check";
import { copyJson, type JsonObject } from "./json";

/** A tool that the model may call, in the shape of the OpenAI Chat Completions API. */
export interface ToolDefinition {
  type: "function";
  function: {
    name: string;
    description?: string;
    /** JSON Schema of the arguments object. */
    parameters?: JsonObject;
    strict?: boolean;
  };
}

const TOOL_KEYS = new Set(["type", "function"]);
const FUNCTION_KEYS = new Set(["name", "description", "parameters", "strict"]);

/**
 * Checks and copies a list of tools.
 * @throws K2Error `invalid-argument` naming the first wrong field; two tools of one name are an error too.
 */
export function parseTools(value: unknown, name = "tools"): ToolDefinition[] {
  const names = new Set<string>();
  return requireArray(value, name).map((item, index) => {
    const tool = parseTool(item, `${name}[${index}]`);
    if (names.has(tool.function.name)) {
      throw invalidArgument(
        "a name that no other tool has",
        `${name}[${index}].function.name`,
        tool.function.name,
      );
    }
    names.add(tool.function.name);
    return tool;
  });
}

function parseTool(value: unknown, name: string): ToolDefinition {
  const tool = requireObject(value, name);
  if (tool.type !== "function") throw invalidArgument('"function"', `${name}.type`, tool.type);
  refuseUnknownKeys(tool, TOOL_KEYS, name);
  const definition = requireObject(tool.function, `${name}.function`);
  refuseUnknownKeys(definition, FUNCTION_KEYS, `${name}.function`);
  const result: ToolDefinition["function"] = {
    name: requireNonEmptyString(definition.name, `${name}.function.name`),
  };
  if (definition.description !== undefined) {
    result.description = requireString(definition.description, `${name}.function.description`);
  }
  if (definition.parameters !== undefined) {
    const path = `${name}.function.parameters`;
    result.parameters = copyJson(requireObject(definition.parameters, path), path) as JsonObject;
  }
  const strict = optionalBoolean(definition.strict, `${name}.function.strict`);
  if (strict !== undefined) result.strict = strict;
  return ordered({ type: "function", function: ordered(result, definition) }, tool);
}

/** The checked copy with its keys in the order of the original. */
function ordered<T extends object>(copy: T, original: object): T {
  const keys = Object.keys(original).filter((key) => Object.hasOwn(copy, key));
  return Object.fromEntries(keys.map((key) => [key, copy[key as keyof T]])) as T;
}
