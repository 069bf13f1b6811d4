// What a chat layout is to the rest of the library: messages in, segments out. One file per family implements it.

import type { Message } from "./message";
import type { ControlName, Segment } from "./segments";
import type { ToolDefinition } from "./tool-definition";

/** Options of a prompt. */
export interface RenderOptions {
  /** Tools that are declared to the model; none by default. */
  tools?: readonly ToolDefinition[];
  /** Whether the model is to think before it answers. Default: as the model was trained. */
  thinking?: boolean;
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
  /** Whether generation starts inside a thinking block that the prompt has opened. */
  opensThinking(thinking: boolean | undefined): boolean;
}

/** Writes segments in order; the methods return the writer, so that a message reads as one line. */
export class SegmentWriter {
  readonly segments: Segment[] = [];

  control(name: ControlName): this {
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
