// Whether a call that the model wrote can be executed: its tool is declared and its arguments are JSON. A call that fails
// is reported with the reason and never dropped, so that a caller can answer the model.

import type { ToolDefinition } from "../template/tool-definition";
import type { InvalidCall } from "./call-parser";

/** Later code walks arguments recursively; no real tool comes near. */
const MAX_DEPTH = 256;

export type ParsedArguments = { value: unknown } | { invalid: InvalidCall };

/** Parses the arguments of a call, of any size, in linear time. Any JSON value is accepted. */
export function parseArguments(text: string): ParsedArguments {
  if (nestingDepth(text) > MAX_DEPTH) {
    return { invalid: invalidArguments(`at most ${MAX_DEPTH} levels of nesting`, "more") };
  }
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    return { invalid: invalidArguments("JSON", error instanceof Error ? error.message : String(error)) };
  }
}

/** What is wrong with a complete call, or undefined. Without `tools` every name is accepted. */
export function checkCall(
  name: string,
  argumentsText: string,
  tools: readonly ToolDefinition[] | undefined,
): InvalidCall | undefined {
  if (tools !== undefined && !tools.some((tool) => tool.function.name === name)) {
    const names = tools.map((tool) => tool.function.name).join(", ");
    const expected = tools.length === 0 ? "no call, as no tool is declared" : `one of the tools ${names}`;
    return {
      reason: "unknown-tool",
      message: `Expected ${expected} for a tool call, got ${JSON.stringify(name)}`,
    };
  }
  const parsed = parseArguments(argumentsText);
  return "invalid" in parsed ? parsed.invalid : undefined;
}

function invalidArguments(expected: string, got: string): InvalidCall {
  return {
    reason: "invalid-arguments",
    message: `Expected ${expected} for the arguments of a tool call, got ${got}`,
  };
}

/** The deepest nesting of brackets outside strings, if `text` is JSON; a bound on what the parser would build. */
function nestingDepth(text: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (inString) {
      if (unit === BACKSLASH) i += 1;
      else if (unit === QUOTE) inString = false;
    } else if (unit === QUOTE) inString = true;
    else if (unit === OPEN_BRACE || unit === OPEN_BRACKET) {
      depth += 1;
      if (depth > deepest) deepest = depth;
    } else if (unit === CLOSE_BRACE || unit === CLOSE_BRACKET) depth -= 1;
  }
  return deepest;
}

const QUOTE = 0x22;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
