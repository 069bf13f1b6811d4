// What becomes visible of an answer while it streams. One interface, two forms: text for people, lines of JSON for
// programs.

import type { RunPart } from "../index";
import type { Output } from "./terminal";
import type { Turn } from "./turn";

export interface View {
  part(part: RunPart): void | Promise<void>;
  /** The turn is over, also one that stopped early. */
  end(turn: Turn): void;
  /** The turn failed; what failed is reported elsewhere. */
  fail(): void;
}

/** One line per part as the library delivers it, and the whole turn in the last line. */
export class JsonView implements View {
  private readonly output: Output;

  constructor(output: Output) {
    this.output = output;
  }

  part(part: RunPart): void {
    this.line(part);
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
