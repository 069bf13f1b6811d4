// One answer as a whole, and the object that `chat.send` returns: a stream of parts that can also be awaited.

import type { FinishReason, StreamPart, Usage } from "../generate/part";
import type { SampledToken } from "../sampling";
import type { AssistantMessage } from "../template/message";
import type { ReportedToolCall } from "../tools/call-parser";
import { PartStream, type Produce } from "./part-stream";
import type { ParsedFormat } from "./response-format";

/** What an answer with a `responseFormat` carries besides. */
export interface FormattedValue<Value = unknown> {
  /** The text as a value: parsed JSON, in the form that a library's schema gives it, or the text itself. */
  value?: Value;
  /** Why there is no value: the answer was cut off (also by `stop` or `stopTokens`), or the schema refuses for more than its JSON Schema says. */
  invalid?: string;
}

/** One whole answer. */
export interface Reply<Value = unknown> extends FormattedValue<Value> {
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

/**
 * The value of an answer that was to have a form; nothing where it is calls.
 * @param isCut A stop string or a stop token of the caller ended the answer: its text need not have the form.
 */
export async function readValue(
  { format }: { format: ParsedFormat | undefined },
  { text, finishReason }: Reply,
  isCut: boolean,
): Promise<FormattedValue> {
  if (format === undefined || finishReason === "tool-calls") return {};
  if (isCut) return { invalid: "Expected a whole answer, got one that ended with stop or stopTokens" };
  if (finishReason !== "stop")
    return { invalid: `Expected a whole answer, got one that ended with ${finishReason}` };
  try {
    return { value: await format.read(text) };
  } catch (error) {
    return { invalid: error instanceof Error ? error.message : String(error) };
  }
}

/** Produces the parts of an answer and hands over the reply before the last of them. */
export type Answer<Value = unknown> = Produce<StreamPart, Reply<Value>>;

/** The parts of one answer, to be read once, and its reply. Returned by `chat.send()`. */
export class ReplyStream<Value = unknown> extends PartStream<StreamPart, Reply<Value>> {
  /** The whole answer, once it has ended. Reads it to the end if nobody else does. */
  reply(): Promise<Reply<Value>> {
    return this.outcome();
  }
}
