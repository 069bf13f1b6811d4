// Messages in the shape of the OpenAI Chat Completions API plus `reasoning_content`. `parseMessages` turns what a caller
// gave into fresh objects of exactly these types, or says which field is wrong; later code never looks at the originals.

import {
  invalidArgument,
  refuseUnknownKeys,
  requireArray,
  requireNonEmptyString,
  requireObject,
  requireString,
} from "../check";
import { copyJson, pythonJson, SPACED } from "./json";

/** A piece of text content. */
export interface TextPart {
  type: "text";
  text: string;
}

/** Text, nothing (`null`), or parts that are joined without a separator. */
export type MessageContent = string | null | readonly TextPart[];

/** A call of a tool that the model asked for. */
export interface ToolCall {
  /** What the result refers to. The library issues `functions.NAME:k` and accepts any id in history. */
  id: string;
  type: "function";
  function: {
    name: string;
    /** JSON text, as the model wrote it; rendered verbatim. */
    arguments: string;
  };
}

/** Instructions to the model. */
export interface SystemMessage {
  role: "system";
  content: MessageContent;
  /** Stands in the head of the message instead of the role; also in the other roles. */
  name?: string;
}

/** What the user says. */
export interface UserMessage {
  role: "user";
  content: MessageContent;
  name?: string;
}

/** An answer of the model. */
export interface AssistantMessage {
  role: "assistant";
  content: MessageContent;
  name?: string;
  /** The model's thinking. Whether a prompt shows it again is the rule of the chat template. */
  reasoning_content?: string;
  /** Never empty: absent where the message has no calls. */
  tool_calls?: readonly ToolCall[];
}

/** The result of one call. */
export interface ToolMessage {
  role: "tool";
  content: MessageContent;
  tool_call_id: string;
  name?: string;
}

/** A message of a conversation, in the shape of the OpenAI Chat Completions API. */
export type Message = SystemMessage | UserMessage | AssistantMessage | ToolMessage;

const ROLES = "one of system, user, assistant, tool";
const COMMON_KEYS = ["role", "content", "name"];
// OpenAI's answers carry these; where they hold nothing, an answer can be sent back as it came.
const EMPTY_RESPONSE_KEYS = ["refusal", "annotations", "audio", "function_call"];
const KEYS = {
  system: new Set(COMMON_KEYS),
  user: new Set(COMMON_KEYS),
  assistant: new Set([...COMMON_KEYS, "reasoning_content", "tool_calls"]),
  tool: new Set([...COMMON_KEYS, "tool_call_id"]),
};
const TEXT_PART_KEYS = new Set(["type", "text"]);
const TOOL_CALL_KEYS = new Set(["id", "type", "function", "index"]);
const FUNCTION_KEYS = new Set(["name", "arguments"]);

/**
 * Checks and copies a list of messages.
 * @param name How errors call the list.
 * @throws K2Error `invalid-argument` naming the first wrong field. How calls and results refer to each other is checked
 *   by `canonicalToolCalls`, which sees the whole conversation.
 */
export function parseMessages(value: unknown, name = "messages"): Message[] {
  return requireArray(value, name).map((item, index) => parseMessage(item, `${name}[${index}]`));
}

/** Checks and copies one message; see `parseMessages`. */
export function parseMessage(value: unknown, name: string): Message {
  const message = requireObject(value, name);
  const { role } = message;
  if (role !== "system" && role !== "user" && role !== "assistant" && role !== "tool") {
    throw invalidArgument(ROLES, `${name}.role`, role);
  }
  const known = withoutEmptyResponseKeys(message, role);
  refuseUnknownKeys(known, KEYS[role], name);
  const speaker = known.name === undefined ? {} : { name: requireString(known.name, `${name}.name`) };
  if (role === "assistant") return { ...parseAssistant(known, name), ...speaker };
  const content = parseContent(known.content, `${name}.content`);
  if (role !== "tool") return { role, content, ...speaker };
  const id = requireNonEmptyString(known.tool_call_id, `${name}.tool_call_id`);
  return { role, content, tool_call_id: id, ...speaker };
}

/** All text of a content. */
export function contentText(content: MessageContent): string {
  if (content === null) return "";
  if (typeof content === "string") return content;
  return content.map((part) => part.text).join("");
}

function parseAssistant(message: Record<string, unknown>, name: string): AssistantMessage {
  const calls = parseToolCalls(message.tool_calls ?? [], `${name}.tool_calls`);
  const absent = message.content === undefined && calls.length > 0;
  const result: AssistantMessage = {
    role: "assistant",
    content: absent ? null : parseContent(message.content, `${name}.content`),
  };
  const reasoning = message.reasoning_content ?? undefined;
  if (reasoning !== undefined) {
    result.reasoning_content = requireString(reasoning, `${name}.reasoning_content`);
  }
  if (calls.length > 0) result.tool_calls = calls;
  return result;
}

function parseContent(value: unknown, name: string): MessageContent {
  if (value === null || typeof value === "string") return value;
  if (!Array.isArray(value)) throw invalidArgument("a string, null or an array of text parts", name, value);
  return value.map((item, index) => parsePart(item, `${name}[${index}]`));
}

function parsePart(value: unknown, name: string): TextPart {
  const part = requireObject(value, name);
  if (part.type !== "text") {
    const isImage = typeof part.type === "string" && part.type.includes("image");
    const expected = isImage ? '"text" (images are not supported)' : '"text"';
    throw invalidArgument(expected, `${name}.type`, part.type);
  }
  refuseUnknownKeys(part, TEXT_PART_KEYS, name);
  return { type: "text", text: requireString(part.text, `${name}.text`) };
}

function parseToolCalls(value: unknown, name: string): ToolCall[] {
  return requireArray(value, name).map((item, index) => parseToolCall(item, `${name}[${index}]`));
}

function parseToolCall(value: unknown, name: string): ToolCall {
  const call = requireObject(value, name);
  refuseUnknownKeys(call, TOOL_CALL_KEYS, name);
  const id = requireNonEmptyString(call.id, `${name}.id`);
  if (call.type !== undefined && call.type !== "function") {
    throw invalidArgument('"function"', `${name}.type`, call.type);
  }
  const target = requireObject(call.function, `${name}.function`);
  refuseUnknownKeys(target, FUNCTION_KEYS, `${name}.function`);
  return {
    id,
    type: "function",
    function: {
      name: requireNonEmptyString(target.name, `${name}.function.name`),
      arguments: parseArguments(target.arguments, `${name}.function.arguments`),
    },
  };
}

/** Published templates write text as it is, and an object as Python's `json.dumps` does by default. */
function parseArguments(value: unknown, name: string): string {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidArgument("JSON text or an object", name, value);
  }
  return pythonJson(copyJson(value, name), SPACED);
}

function withoutEmptyResponseKeys(
  message: Record<string, unknown>,
  role: Message["role"],
): Record<string, unknown> {
  if (role !== "assistant" || !EMPTY_RESPONSE_KEYS.some((key) => key in message)) return message;
  const rest = { ...message };
  for (const key of EMPTY_RESPONSE_KEYS) {
    const value = rest[key];
    if (value === null || (Array.isArray(value) && value.length === 0)) delete rest[key];
  }
  return rest;
}
