// Tools as K2.5 was trained to read them: a TypeScript namespace with one function type per tool.
//
//   # Tools
//
//   ## functions
//   namespace functions {
//   // what the tool does
//   type NAME = (_: {
//     // what the parameter is
//     city: string,
//     days?: number
//   }) => any;
//   }
//
// Every rule here is one of the published encoder, odd ones included, since the model has seen no other text. Where that
// encoder raises (see `Unsupported`), the published pipeline declares all tools as JSON.

import { compareCodePoints, type JsonValue, pythonJson, SPACED } from "./json";
import type { ToolDefinition } from "./tool-definition";
import { type Schema, SchemaParser, Unsupported } from "./tool-schema";

const INDENT = "  ";

/** undefined where the published encoder gives up. */
export function typescriptTools(tools: readonly ToolDefinition[]): string | undefined {
  try {
    const functions = tools.map((tool, index) =>
      functionType(tool.function, `tools[${index}].function.parameters`),
    );
    return `# Tools\n\n## functions\nnamespace functions {\n${functions.join("\n")}\n}\n`;
  } catch (error) {
    if (error instanceof Unsupported) return undefined;
    throw error;
  }
}

function functionType(definition: ToolDefinition["function"], path: string): string {
  const parser = new SchemaParser(path);
  const root = parser.parseRoot(definition.parameters ?? {});
  // Whether the root refers to itself is known before its definitions are looked at, and later finds do not count.
  const isRecursive = parser.refersToRoot;
  const lines: string[] = [];
  if (isRecursive) {
    const fields = root.fields.map((field) => fieldText(field, INDENT)).join(",\n");
    lines.push(`interface parameters {${fields === "" ? "" : `\n${fields}\n`}}`);
  }
  for (const [name, definition] of [...parser.definitions]) {
    const schema = parser.parse(definition);
    if (typeof definition !== "object") throw new Unsupported();
    const text = `interface ${name} ${typeText(schema, "")}`;
    lines.push(...comment(schema.description, ""), text);
  }
  lines.push(...comment(definition.description ?? "", ""));
  lines.push(`type ${definition.name} = (_: ${isRecursive ? "parameters" : typeText(root, "")}) => any;`);
  return lines.join("\n");
}

function fieldText(field: Schema.Field, indent: string): string {
  const lines = notes(field.schema, indent);
  const value = field.defaultValue;
  if (value !== null && value !== undefined) lines.push(`${indent}// Default: ${defaultText(value)}`);
  const mark = field.isOptional ? "?" : "";
  lines.push(`${indent}${field.name}${mark}: ${typeText(field.schema, indent)}`);
  return lines.join("\n");
}

function typeText(schema: Schema, indent: string): string {
  switch (schema.kind) {
    case "plain":
      return schema.text;
    case "any-of":
      return schema.options.map((option) => typeText(option, indent)).join(" | ");
    case "array":
      return arrayText(schema, indent);
    case "object":
      return objectText(schema, indent);
  }
}

function arrayText({ item }: Schema.ArrayType, indent: string): string {
  const inner = indent + INDENT;
  const lines = notes(item, inner);
  if (lines.length === 0) return `Array<${typeText(item, indent)}>`;
  return `Array<\n${lines.join("\n")}\n${inner}${typeText(item, inner)}\n${indent}>`;
}

/** Required fields come first; both groups are sorted by name. */
function objectText({ fields, rest }: Schema.ObjectType, indent: string): string {
  const inner = indent + INDENT;
  const sorted = [...fields].sort(
    (a, b) => Number(a.isOptional) - Number(b.isOptional) || compareCodePoints(a.name, b.name),
  );
  const members = sorted.map((field) => fieldText(field, inner));
  if (rest !== undefined) members.push(`${inner}[k: string]: ${typeText(rest, inner)}`);
  return members.length === 0 ? "{}" : `{\n${members.join(",\n")}\n${indent}}`;
}

/** The comment lines above a field or an item: description, then constraints. */
function notes(schema: Schema, indent: string): string[] {
  const lines = comment(schema.description, indent);
  if (schema.constraints.length > 0) {
    const texts = schema.constraints.map(([key, value]) => `${key}: ${value}`);
    lines.push(`${indent}// ${texts.join(", ")}`);
  }
  return lines;
}

/** Empty lines of a description stay empty, without the slashes. */
function comment(description: string, indent: string): string[] {
  if (description === "") return [];
  return description.split("\n").map((line) => (line === "" ? "" : `${indent}// ${line}`));
}

/** Python's `repr` of numbers and booleans, JSON of everything else. */
function defaultText(value: JsonValue): string {
  if (typeof value === "boolean") return value ? "True" : "False";
  return pythonJson(value, { ...SPACED, sortKeys: true });
}
