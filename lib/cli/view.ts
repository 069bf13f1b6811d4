// What becomes visible of an answer while it streams. One interface, two forms: text for people, lines of JSON for
// programs.

import type { ReportedToolCall, StreamPart } from "../index";
import type { Output } from "./terminal";
import type { Turn } from "./turn";

export interface View {
  /** The model is asked; parts will follow. */
  begin(): void;
  part(part: StreamPart): void | Promise<void>;
  /** What the tool of a call has returned. */
  result(call: ReportedToolCall, content: string): void;
  /** The turn is over, also one that stopped early. */
  end(turn: Turn): void;
  /** The turn failed; what failed is reported elsewhere. */
  fail(): void;
}

/** One line per part as the library delivers it, one per result of a tool, and the whole turn in the last line. */
export class JsonView implements View {
  private readonly output: Output;

  constructor(output: Output) {
    this.output = output;
  }

  begin(): void {
    // The parts tell everything.
  }

  part(part: StreamPart): void {
    this.line(part);
  }

  result(call: ReportedToolCall, content: string): void {
    this.line({ type: "tool-result", id: call.id, name: call.function.name, content });
  }

  end({ reply, usage, timings, stoppedBecause }: Turn): void {
    const { text, reasoning, toolCalls, finishReason } = reply;
    this.line({ type: "reply", text, reasoning, toolCalls, finishReason, stoppedBecause, usage, timings });
  }

  fail(): void {
    // Its last line is missing.
  }

  private line(value: object): void {
    this.output.write(`${JSON.stringify(value)}\n`);
  }
}
