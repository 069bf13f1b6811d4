// Messages to prompt, for callers that bring a whole conversation: check, rewrite call ids, lay out, encode.

import { optionalBoolean, refuseUnknownKeys, requireObject } from "../check";
import { canonicalToolCalls } from "./call-ids";
import type { ChatTemplate, RenderOptions } from "./chat-template";
import { parseMessages } from "./message";
import { encodeSegments, type PromptTokenizer, type Segment } from "./segments";
import { parseTools } from "./tool-definition";

const RENDER_KEYS = new Set(["tools", "thinking", "keepReasoning", "addGenerationPrompt"]);

/** Checks options as a caller gave them; unknown keys are errors. */
export function parseRenderOptions(value: unknown, name = "options"): RenderOptions {
  if (value === undefined) return {};
  const options = requireObject(value, name);
  refuseUnknownKeys(options, RENDER_KEYS, name);
  const result: RenderOptions = {};
  if (options.tools !== undefined) result.tools = parseTools(options.tools);
  const thinking = optionalBoolean(options.thinking, "thinking");
  if (thinking !== undefined) result.thinking = thinking;
  const keepReasoning = optionalBoolean(options.keepReasoning, "keepReasoning");
  if (keepReasoning !== undefined) result.keepReasoning = keepReasoning;
  const addGenerationPrompt = optionalBoolean(options.addGenerationPrompt, "addGenerationPrompt");
  if (addGenerationPrompt !== undefined) result.addGenerationPrompt = addGenerationPrompt;
  return result;
}

/**
 * The segments of a conversation given in OpenAI's shapes.
 * @throws K2Error `invalid-argument` naming the wrong field.
 */
export function renderSegments(template: ChatTemplate, messages: unknown, options?: unknown): Segment[] {
  const conversation = canonicalToolCalls(parseMessages(messages));
  return template.render(conversation.messages, parseRenderOptions(options));
}

/** The ids of a conversation given in OpenAI's shapes: the whole prompt, with a BOS token only where the layout has one. */
export function renderPrompt(
  template: ChatTemplate,
  tokenizer: PromptTokenizer,
  messages: unknown,
  options?: unknown,
): Int32Array {
  return encodeSegments(renderSegments(template, messages, options), tokenizer);
}
