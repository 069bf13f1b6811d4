// One answer as a whole, and the object that `chat.send` returns: a stream of parts that can also be awaited. Nothing
// runs before somebody reads it, so an answer that nobody wants costs nothing and cannot fail unseen.

import { K2Error } from "./errors";
import type { FinishReason, StreamPart, Usage } from "./generate/part";
import type { SampledToken } from "./sampling";
import type { AssistantMessage } from "./template/message";
import type { ReportedToolCall } from "./tools/call-parser";

/** One whole answer. */
export interface Reply {
  /** The answer without thinking and calls. */
  text: string;
  reasoning: string;
  /** All calls in order; those that must not be executed as they stand carry `invalid`. */
  toolCalls: ReportedToolCall[];
  finishReason: FinishReason;
  usage: Usage;
  /** Every sampled token, markers too; only where `logprobs` or `topLogprobs` asked for probabilities. */
  tokens?: SampledToken[];
  /** The answer as a message of the history. Calls that were cut off are not part of it. */
  message: AssistantMessage;
}

/** Collects parts into a reply. */
export class ReplyBuilder {
  private readonly text: string[] = [];
  private readonly reasoning: string[] = [];
  private readonly toolCalls: ReportedToolCall[] = [];
  private readonly tokens: SampledToken[] | undefined;

  /** @param tokens A list that grows with the answer, where the reply is to have one. */
  constructor(tokens?: SampledToken[]) {
    this.tokens = tokens;
  }

  add(part: StreamPart): void {
    if (part.type === "text-delta") this.text.push(part.text);
    else if (part.type === "reasoning-delta") this.reasoning.push(part.text);
    else if (part.type === "tool-call-end") this.toolCalls.push(part.toolCall);
  }

  build(finishReason: FinishReason, usage: Usage): Reply {
    const text = this.text.join("");
    const reasoning = this.reasoning.join("");
    return {
      text,
      reasoning,
      toolCalls: [...this.toolCalls],
      finishReason,
      usage: { ...usage },
      ...(this.tokens === undefined ? {} : { tokens: this.tokens }),
      message: this.message(text, reasoning),
    };
  }

  private message(text: string, reasoning: string): AssistantMessage {
    const message: AssistantMessage = { role: "assistant", content: text };
    if (reasoning !== "") message.reasoning_content = reasoning;
    const calls = this.toolCalls.filter((call) => call.invalid?.reason !== "incomplete");
    if (calls.length > 0) {
      message.tool_calls = calls.map(({ id, type, function: target }) => ({
        id,
        type,
        function: { ...target },
      }));
    }
    return message;
  }
}

/** Produces the parts of an answer and hands over the reply before the last of them. */
export type Answer = (deliver: (reply: Reply) => void) => AsyncGenerator<StreamPart, void, undefined>;

/**
 * The parts of one answer, to be read once, and its reply. `for await` over it streams; `reply()` resolves when the
 * stream has ended, and reads it to the end if nobody else does. Leaving the loop early ends the answer like an abort.
 * Both reject with the same K2Error when the answer fails.
 */
export class ReplyStream implements AsyncIterable<StreamPart> {
  private readonly parts: AsyncGenerator<StreamPart, void, undefined>;
  private readonly outcome: Promise<Reply>;
  private resolve!: (reply: Reply) => void;
  private reject!: (error: unknown) => void;
  private readonly whenLeft: () => Reply;
  private isTaken = false;
  private isStarted = false;

  /** @param whenLeft The reply of an answer that was given up before it began. */
  constructor(answer: Answer, whenLeft: () => Reply) {
    this.outcome = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    // The failure also reaches whoever reads the stream; a reply that nobody awaits must not bring the process down.
    this.outcome.catch(() => {});
    this.parts = answer(this.resolve);
    this.whenLeft = whenLeft;
  }

  /** @throws K2Error `invalid-state` when the parts are read a second time. */
  [Symbol.asyncIterator](): AsyncIterator<StreamPart, void, undefined> {
    if (this.isTaken) {
      throw new K2Error(
        "invalid-state",
        "Expected one reader for the parts of an answer, got a second one (call reply() within the loop or after it)",
      );
    }
    this.isTaken = true;
    return { next: () => this.next(), return: () => this.leave() };
  }

  /** The whole answer, once it has ended. Reads it to the end if nobody else does. */
  reply(): Promise<Reply> {
    // A loop over the parts that starts in this same turn of the program goes first.
    queueMicrotask(() => {
      if (!this.isTaken) void this.drain();
    });
    return this.outcome;
  }

  private async next(): Promise<IteratorResult<StreamPart, void>> {
    this.isStarted = true;
    try {
      return await this.parts.next();
    } catch (error) {
      this.reject(error);
      throw error;
    }
  }

  private async leave(): Promise<IteratorResult<StreamPart, void>> {
    if (!this.isStarted) this.resolve(this.whenLeft());
    try {
      return await this.parts.return();
    } catch (error) {
      this.reject(error);
      throw error;
    }
  }

  private async drain(): Promise<void> {
    this.isTaken = true;
    try {
      while ((await this.next()).done !== true);
    } catch {
      // `next` has rejected the outcome.
    }
  }
}
