// Tool-call ids as K2 knows them. The model copies whatever ids its history shows, and foreign ones (call_x, toolu_x)
// make it malform calls or give up. So before rendering, the calls of a conversation become `functions.NAME:k` with one
// k that runs over all of them, and results follow their call by id, in whatever order they arrive. A canonical id keeps
// its k as long as the k still grow: a conversation whose oldest calls were removed goes on counting where it was.

import { invalidArgument } from "../check";
import type { AssistantMessage, Message, ToolCall } from "./message";

export interface CanonicalConversation {
  messages: Message[];
  /** The k of the next call. */
  nextCall: number;
}

interface IssuedCall {
  canonicalId: string;
  message: number;
  isAnswered: boolean;
}

/** The id that K2 gives to call number `index` of a conversation, counted from 0. */
export function canonicalCallId(toolName: string, index: number): string {
  return `functions.${toolName}:${index}`;
}

/** The k of an id that is canonical. One that no real conversation reaches is not: it would stay in all ids to come. */
function canonicalIndex({ id, function: { name } }: ToolCall): number | undefined {
  const digits = /:(0|[1-9][0-9]{0,8})$/.exec(id)?.[1];
  return digits !== undefined && id === canonicalCallId(name, Number(digits)) ? Number(digits) : undefined;
}

/**
 * Rewrites the ids of all calls and results. An id may come again in a later message once its call is answered (servers
 * that count per message do that); a result belongs to the latest call of its id.
 * @param firstIndex What errors subtract from the index of a message: the length of a history that the caller did not pass.
 * @throws K2Error `invalid-argument` for a result without a call, a second result of a call, or an ambiguous id.
 */
export function canonicalToolCalls(
  messages: readonly Message[],
  name = "messages",
  firstIndex = 0,
): CanonicalConversation {
  const calls = new Map<string, IssuedCall>();
  let nextCall = 0;

  function issue(call: ToolCall, message: number, path: string): ToolCall {
    const previous = calls.get(call.id);
    if (previous !== undefined && (previous.message === message || !previous.isAnswered)) {
      throw invalidArgument("an id that no other unanswered call has", `${path}.id`, call.id);
    }
    const index = Math.max(nextCall, canonicalIndex(call) ?? 0);
    const id = canonicalCallId(call.function.name, index);
    nextCall = index + 1;
    calls.set(call.id, { canonicalId: id, message, isAnswered: false });
    return { ...call, id };
  }

  function answer(callId: string, path: string): string {
    const call = calls.get(callId);
    if (call === undefined) throw invalidArgument("the id of an earlier tool call", path, callId);
    if (call.isAnswered) throw invalidArgument("the id of a tool call that has no result yet", path, callId);
    call.isAnswered = true;
    return call.canonicalId;
  }

  const canonical = messages.map((message, index): Message => {
    const path = `${name}[${index - firstIndex}]`;
    if (message.role === "tool") {
      return { ...message, tool_call_id: answer(message.tool_call_id, `${path}.tool_call_id`) };
    }
    if (message.role !== "assistant" || message.tool_calls === undefined) return message;
    const toolCalls = message.tool_calls.map((call, position) =>
      issue(call, index, `${path}.tool_calls[${position}]`),
    );
    return { ...message, tool_calls: toolCalls } satisfies AssistantMessage;
  });
  return { messages: canonical, nextCall };
}
