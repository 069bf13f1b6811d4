// Reads the id that K2 writes in front of a call, `functions.NAME:INDEX`, and its damaged forms. Names may contain dots,
// hyphens and colons, so the prefix is cut at its known length and the index at the last colon.

import type { ToolDefinition } from "../template/tool-definition";

const PREFIX = "functions.";

export interface CallId {
  /** The name without prefix and index; may be empty. */
  name: string;
  /** The name without prefix only, for tools whose own name ends in a colon and digits. */
  nameWithIndex: string;
  /** Neither prefix nor index: a foreign id such as `call_00003`, or a mere name. */
  isBare: boolean;
}

/** The inverse of `readCallId`: the id that K2 gives to call number `index` of a conversation, counted from 0. */
export function writeCallId(toolName: string, index: number): string {
  return `${PREFIX}${toolName}:${index}`;
}

export function readCallId(text: string): CallId {
  const trimmed = text.trim();
  const hasPrefix = trimmed.startsWith(PREFIX);
  const nameWithIndex = hasPrefix ? trimmed.slice(PREFIX.length).trim() : trimmed;
  const colon = nameWithIndex.lastIndexOf(":");
  const hasIndex = colon !== -1 && isIndex(nameWithIndex.slice(colon + 1).trim());
  const name = hasIndex ? nameWithIndex.slice(0, colon).trimEnd() : nameWithIndex;
  return { name, nameWithIndex, isBare: !hasPrefix && !hasIndex };
}

/**
 * The name of the tool that an id means, as far as the id tells; "" where there is no id at all.
 * @returns undefined where only the arguments can tell: a bare id, several tools.
 */
export function nameOfCall(id: CallId, tools: readonly ToolDefinition[] | undefined): string | undefined {
  if (id.name === "") return "";
  if (tools === undefined) return id.isBare ? undefined : id.name;
  for (const name of [id.name, id.nameWithIndex]) {
    if (tools.some((tool) => tool.function.name === name)) return name;
  }
  if (!id.isBare) return id.name;
  return tools.length === 1 ? tools[0]!.function.name : undefined;
}

/** The only tool whose parameters fit the keys of these arguments, or undefined. */
export function toolOfArguments(
  value: unknown,
  tools: readonly ToolDefinition[],
): ToolDefinition | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
  const fitting = tools.filter((tool) => fitsKeys(value, tool));
  return fitting.length === 1 ? fitting[0] : undefined;
}

function fitsKeys(value: object, tool: ToolDefinition): boolean {
  const properties = tool.function.parameters?.properties ?? {};
  const required = tool.function.parameters?.required ?? [];
  if (typeof properties !== "object" || properties === null || !Array.isArray(required)) return false;
  const isKnown = (key: string) => Object.hasOwn(properties, key);
  return (
    Object.keys(value).every(isKnown) && required.every((key: unknown) => Object.hasOwn(value, String(key)))
  );
}

/** Digits, or nothing: an index that was left out still ends with its colon. */
function isIndex(text: string): boolean {
  return /^[0-9]*$/.test(text);
}
