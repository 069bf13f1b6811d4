// What a file of a chat holds beside its timeline: the messages, and the tools as the model sees them.

import { invalidArgument, requireObject } from "../check";
import { K2Error } from "../errors";
import { canonicalToolCalls } from "../template/call-ids";
import { type Message, parseMessages } from "../template/message";
import { parseTools, type ToolDefinition } from "../template/tool-definition";

export interface ChatNote {
  messages: Message[];
  tools: ToolDefinition[];
  /** The k of the next call: calls that were compacted away have counted too. */
  nextCall: number;
}

const FORMAT = "k2-chat";
const VERSION = 1;
/** As far as the numbers of calls go. */
const MOST_CALLS = 1_000_000_000;

export function encodeChatNote(note: {
  messages: readonly Message[];
  tools: readonly ToolDefinition[];
  nextCall: number;
}): string {
  return JSON.stringify({ format: FORMAT, version: VERSION, ...note });
}

/**
 * @param file Where the note comes from, for errors.
 * @throws K2Error `incompatible-file` for a session that was saved without a chat, or by a later version;
 *   `damaged-file` for one whose content is not that of a chat.
 */
export function decodeChatNote(note: string, file: string): ChatNote {
  if (note === "") throw incompatible("a chat", "a session without one", file);
  try {
    const { format, version, messages, tools, nextCall } = requireObject(JSON.parse(note), "chat");
    if (format !== FORMAT) throw invalidArgument(JSON.stringify(FORMAT), "format", format);
    if (version !== VERSION) throw incompatible(`a chat of version ${VERSION}`, `version ${version}`, file);
    if (!Number.isSafeInteger(nextCall) || (nextCall as number) < 0 || (nextCall as number) > MOST_CALLS) {
      throw invalidArgument(`an integer of 0..${MOST_CALLS}`, "nextCall", nextCall);
    }
    const parsed = parseMessages(messages);
    // Results without calls are no conversation either.
    canonicalToolCalls(parsed);
    return { messages: parsed, tools: parseTools(tools), nextCall: nextCall as number };
  } catch (cause) {
    if (cause instanceof K2Error && cause.code === "incompatible-file") throw cause;
    const message = `Expected the messages and tools of a chat in ${file}, got: ${(cause as Error).message}`;
    throw new K2Error("damaged-file", message, { file }, { cause });
  }
}

/**
 * That tools which are given again are those of the saved conversation: the model has read these definitions.
 * @throws K2Error `invalid-argument` naming the tool.
 */
export function checkSameTools(given: readonly ToolDefinition[], saved: readonly ToolDefinition[]): void {
  const names = (tools: readonly ToolDefinition[]) =>
    tools.map((tool) => tool.function.name).join(", ") || "none";
  if (names(given) !== names(saved)) {
    throw invalidArgument(`the tools that the chat was saved with (${names(saved)})`, "tools", names(given));
  }
  for (const [index, tool] of given.entries()) {
    if (JSON.stringify(tool) === JSON.stringify(saved[index])) continue;
    throw invalidArgument("the definition that the chat was saved with", `tools[${index}]`, tool);
  }
}

function incompatible(expected: string, got: string, file: string): K2Error {
  return new K2Error("incompatible-file", `Expected ${expected} in ${file}, got ${got}`, {
    file,
    expected,
    got,
  });
}
