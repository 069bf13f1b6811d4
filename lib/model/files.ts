// Sessions and chats that a file makes again.

import type { NativeSession } from "../addon/contract";
import { Chat, type ChatOptions } from "../chat/chat";
import type { ChatEngine } from "../chat/engine";
import { checkSameTools, decodeChatNote } from "../chat/note";
import { parseChatTools } from "../chat/tool";
import { aborted, checkSignal, invalidArgument, requireObject } from "../check";
import { checkPath, settleFile } from "../session/files";
import { checkSessionOptions } from "../session/routing";
import { type CallOptions, Session, type SessionFacts } from "../session/session";

/**
 * Options of `model.restoreChat`: those of a chat but for what the file holds. `tools` gives `execute` again; the
 * definitions must be the saved ones.
 */
export type RestoreChatOptions = Omit<ChatOptions, "system" | "messages"> & CallOptions;

/** Fills the empty session `native`, or disposes it. */
export async function restoreSession(
  native: NativeSession,
  facts: SessionFacts,
  file: string,
  signal: AbortSignal | undefined,
): Promise<{ session: Session; note: string }> {
  const abort = () => native.abort();
  try {
    if (signal?.aborted) throw aborted(signal);
    const restored = settleFile(native.restore(file), file);
    signal?.addEventListener("abort", abort);
    const { ids, note } = await restored;
    return { session: new Session(native, facts, Array.from(ids)), note };
  } catch (error) {
    native.dispose();
    throw signal?.aborted ? aborted(signal) : error;
  } finally {
    signal?.removeEventListener("abort", abort);
  }
}

export function checkRestore(
  path: unknown,
  options: unknown,
): { file: string; trace: boolean; signal: AbortSignal | undefined } {
  const { signal, ...session } = requireObject(options, "options");
  const { trace } = checkSessionOptions(session);
  return { file: checkPath(path), trace, signal: checkSignal(signal) };
}

/** @param restore Makes the session of the file. */
export async function restoreChat(
  engine: ChatEngine,
  path: string,
  options: RestoreChatOptions,
  restore: (file: string, signal: AbortSignal | undefined) => Promise<{ session: Session; note: string }>,
): Promise<Chat> {
  const { signal, tools, ...rest } = requireObject(options, "options") as RestoreChatOptions;
  for (const name of ["system", "messages"]) {
    const value = (rest as Record<string, unknown>)[name];
    if (value !== undefined) throw invalidArgument("undefined (the file has the messages)", name, value);
  }
  const given = tools === undefined ? undefined : parseChatTools(tools).definitions;
  const file = checkPath(path);
  const { session, note } = await restore(file, checkSignal(signal));
  try {
    const saved = decodeChatNote(note, file);
    if (given !== undefined) checkSameTools(given, saved.tools);
    const { messages, nextCall } = saved;
    return new Chat(engine, { ...rest, messages, tools: tools ?? saved.tools }, { session, nextCall });
  } catch (error) {
    session.dispose();
    throw error;
  }
}
