// What a caller hands to a chat: the input is read at once, what is wrong with it is told where the outcome is awaited, and
// a signal reaches what runs.

import { invalidArgument } from "../check";
import { type Message, parseMessage, parseMessages } from "../template/message";

/**
 * The messages of an input.
 * @param history An empty input goes on with it, where its last message waits for an answer.
 */
export function parseInput(input: unknown, history: readonly Message[]): Message[] {
  if (typeof input === "string") return [{ role: "user", content: input }];
  if (!Array.isArray(input)) {
    if (typeof input === "object" && input !== null) return [parseMessage(input, "message")];
    throw invalidArgument("a string, a message or an array of messages", "input", input);
  }
  const waits = history.at(-1)?.role === "user" || history.at(-1)?.role === "tool";
  if (input.length === 0 && !waits) {
    throw invalidArgument("at least one message, or a history that waits for an answer,", "input", input);
  }
  return parseMessages(input);
}

/** Runs at once, and throws only when the result is asked for. */
export function attempt<T>(action: () => T): () => T {
  try {
    const result = action();
    return () => result;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}

/** Aborts `controller` when `signal` fires; the returned function stops that. */
export function forwardAbort(signal: AbortSignal | undefined, controller: AbortController): () => void {
  if (signal === undefined) return () => {};
  const abort = () => controller.abort();
  if (signal.aborted) abort();
  signal.addEventListener("abort", abort);
  return () => signal.removeEventListener("abort", abort);
}
