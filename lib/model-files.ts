// Sessions and chats that a file makes again.

import type { NativeSession } from "./addon/contract";
import { Chat, type ChatOptions } from "./chat";
import type { ChatEngine } from "./chat-engine";
import { checkSameTools, decodeChatNote } from "./chat-note";
import { aborted, checkSignal, invalidArgument, requireObject } from "./check";
import { checkSessionOptions } from "./routing";
import { type CallOptions, Session, type SessionFacts } from "./session";
import { checkPath, settleFile } from "./session-files";
import { parseChatTools } from "./tool";

/**
 * Options of `model.restoreChat`: those of a chat but for what the file holds. `tools` gives `execute` again; the
 * definitions must be the saved ones.
 */
export type RestoreChatOptions = Omit<ChatOptions, "system" | "messages"> & CallOptions;

export interface CheckedRestore {
  /** Absolute path. */
  file: string;
  signal: AbortSignal | undefined;
  trace: boolean;
}

export interface RestoredSession {
  session: Session;
  /** What `saveWithNote` was given. */
  note: string;
}

export function checkRestore(path: unknown, options: unknown): CheckedRestore {
  const { signal, ...session } = requireObject(options, "options");
  return { file: checkPath(path), signal: checkSignal(signal), ...checkSessionOptions(session) };
}

/** Fills the empty session `native`, or disposes it. */
export async function restoreSession(
  native: NativeSession,
  facts: SessionFacts,
  { file, signal }: CheckedRestore,
): Promise<RestoredSession> {
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

/** @param restore Makes the session of a file. */
export async function restoreChat(
  engine: ChatEngine,
  path: string,
  options: RestoreChatOptions,
  restore: (checked: CheckedRestore) => Promise<RestoredSession>,
): Promise<Chat> {
  const { signal, ...rest } = requireObject(options, "options") as RestoreChatOptions;
  for (const name of ["system", "messages"]) {
    const value = (rest as Record<string, unknown>)[name];
    if (value !== undefined) throw invalidArgument("undefined (the file has the messages)", name, value);
  }
  const given = rest.tools && parseChatTools(rest.tools).definitions;
  const checked = checkRestore(path, { signal, trace: rest.trace });
  const { session, note } = await restore(checked);
  try {
    const saved = decodeChatNote(note, checked.file);
    if (given !== undefined) checkSameTools(given, saved.tools);
    const tools = rest.tools ?? saved.tools;
    return new Chat(engine, { ...rest, messages: saved.messages, tools }, session);
  } catch (error) {
    session.dispose();
    throw error;
  }
}
