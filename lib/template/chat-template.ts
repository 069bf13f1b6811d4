// What a chat layout is to the rest of the library: messages in, segments out. One file per family implements it.

import type { Message } from "./message";
import type { Segment } from "./segments";
import type { ToolDefinition } from "./tool-definition";

/** Options of a prompt. */
export interface RenderOptions {
  /** Tools that are declared to the model; none by default. */
  tools?: readonly ToolDefinition[];
  /** Whether the model is to think before it answers. Default: as the model was trained. */
  thinking?: boolean;
  /**
   * Shows the reasoning of every earlier turn again (K2.6 calls it `preserve_thinking`). Default: only that of the task at
   * hand, the turns after the last answer without tool calls, as K2 was trained.
   */
  keepReasoning?: boolean;
  /** Ends the prompt with the head of the assistant's turn. Default true. */
  addGenerationPrompt?: boolean;
}

export interface ChatTemplate {
  /** The family, for errors and `k2 inspect`. */
  readonly name: string;
  /**
   * Lays out a conversation whose messages passed `parseMessages` and `canonicalToolCalls`.
   * @throws K2Error `invalid-argument` where the family cannot express an option or a message.
   */
  render(messages: readonly Message[], options?: RenderOptions): Segment[];
}

/**
 * Writes segments in order; the methods return the writer, so that a message reads as one line. `Control` is the set of
 * control tokens that the family has.
 */
export class SegmentWriter<Control extends string> {
  readonly segments: Segment[] = [];

  control(name: Control): this {
    this.segments.push({ kind: "control", name });
    return this;
  }

  template(text: string): this {
    this.segments.push({ kind: "template", text });
    return this;
  }

  content(text: string): this {
    this.segments.push({ kind: "content", text });
    return this;
  }
}
