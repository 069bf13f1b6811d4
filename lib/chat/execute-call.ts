// One call of a tool: arguments parsed and validated, the tool run, and its result as text for the model. Nothing here
// throws: whatever goes wrong is a result that the model can read.

import type { ReportedToolCall } from "../tools/call-parser";
import type { Executor, ToolContext } from "./tool";

/** The result of one call. */
export interface ToolResult {
  id: string;
  name: string;
  /** What the model reads: text as the tool gave it, JSON of anything else, `{"error": message}` of a failure. */
  content: string;
  isError: boolean;
}

export function failedCall(call: ReportedToolCall, message: string): ToolResult {
  const content = JSON.stringify({ error: message });
  return { id: call.id, name: call.function.name, content, isError: true };
}

/** Settles at the latest when the signal fires, whatever the tool does. */
export async function executeCall(
  call: ReportedToolCall,
  executor: Executor,
  context: ToolContext,
): Promise<ToolResult> {
  let stopListening = () => {};
  const aborted = new Promise<never>((_, reject) => {
    const abort = () => reject(new Error("Expected the tool to finish, got an abort"));
    if (context.signal.aborted) abort();
    context.signal.addEventListener("abort", abort);
    stopListening = () => context.signal.removeEventListener("abort", abort);
  });
  aborted.catch(() => {});
  try {
    const content = await Promise.race([aborted, contentOf(call, executor, context)]);
    return { id: call.id, name: call.function.name, content, isError: false };
  } catch (error) {
    return failedCall(call, messageOf(error));
  } finally {
    stopListening();
  }
}

/** What a tool threw, as text. It may be anything, and looking at it may throw too. */
function messageOf(error: unknown): string {
  try {
    return String(error instanceof Error ? error.message : error);
  } catch {
    return "Expected the tool to give a result, got a failure without a message";
  }
}

async function contentOf(call: ReportedToolCall, executor: Executor, context: ToolContext): Promise<string> {
  // A tool whose run is over does not begin.
  context.signal.throwIfAborted();
  const parsed: unknown = JSON.parse(call.function.arguments);
  const values = executor.validate === undefined ? parsed : await executor.validate(parsed);
  const value = await executor.execute!(values, context);
  return typeof value === "string" ? value : (JSON.stringify(value) ?? "null");
}
