// Reasoning of earlier turns, wherever a server has put it. Our own answers carry it in `reasoning_content`. Servers
// without a reasoning parser leave it in the content, between the model's own tags, and an answer that was cut off leaves
// the block open. A history that repeated such content as it is would show the model its thinking as an answer.

import { type AssistantMessage, contentText } from "./message";

const OPEN = "<think>";
const CLOSE = "</think>";

/** An assistant message with its thinking apart from its answer. */
export interface ReasoningApart {
  reasoning: string;
  content: string;
}

/**
 * Takes a thinking block out of the content. A block counts only at the very beginning, where the model writes it: the
 * tags in the middle of an answer are what the answer talks about. A block without end takes all of the content. Content
 * beside `reasoning_content` is left as it is.
 * @param promptOpens The prompt opens the block, so that the model's text begins inside it: a closing tag without an
 *   opening one then ends a block too.
 */
export function withReasoningApart(message: AssistantMessage, promptOpens: boolean): ReasoningApart {
  const content = contentText(message.content);
  const given = message.reasoning_content ?? "";
  if (given !== "") return { reasoning: withoutTags(given), content };
  const text = content.trimStart();
  const isOpened = text.startsWith(OPEN);
  if (!isOpened && !promptOpens) return { reasoning: "", content };
  const body = isOpened ? text.slice(OPEN.length) : content;
  const end = body.indexOf(CLOSE);
  if (end !== -1) return { reasoning: body.slice(0, end), content: body.slice(end + CLOSE.length) };
  return isOpened ? { reasoning: body, content: "" } : { reasoning: "", content };
}

/** Some servers hand out the block with its tags. */
function withoutTags(reasoning: string): string {
  const trimmed = reasoning.trim();
  if (!trimmed.startsWith(OPEN)) return reasoning;
  const body = trimmed.slice(OPEN.length);
  return body.endsWith(CLOSE) ? body.slice(0, -CLOSE.length) : body;
}
