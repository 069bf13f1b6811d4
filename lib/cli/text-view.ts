// An answer as people read it: thinking dimmed, calls and their results as lines of their own, then the text. Parts of
// one kind form a block; the kinds may go to different outputs.

import type { RunPart } from "../index";
import { WaitingClock } from "./progress";
import { visible } from "./style";
import type { Output, Terminal } from "./terminal";
import type { Turn } from "./turn";
import { compactionNote, turnNotes, turnRates } from "./turn-report";
import type { View } from "./view";
import { WordWrap } from "./word-wrap";

export type BlockKind = "reasoning" | "call" | "result" | "text" | "note";

/** What stands in front of each block. */
export type Labels = Readonly<Record<BlockKind, string>>;

/** Where each kind of block goes; one without an output is not shown. */
export type Outputs = Readonly<Record<BlockKind, Output | undefined>> & {
  readonly rates: Output | undefined;
};

/** Arrows mark what goes to a tool and what comes back. Without colours, thinking needs a mark too. */
export function plainLabels(hasColors: boolean): Labels {
  return { reasoning: hasColors ? "" : "(thinking) ", call: "→ ", result: "← ", text: "", note: "" };
}

/**
 * The view of run and chat. Standard output gets the answer; a terminal gets everything else there too, but a file or a
 * pipe nothing else.
 * @param executesCalls Calls that this program executes lead to the answer; others are the answer.
 */
export function createTextView(
  { stdout, stderr }: Terminal,
  { isQuiet, executesCalls }: { isQuiet: boolean; executesCalls: boolean },
): TextView {
  const aside = isQuiet ? undefined : stdout.isTerminal ? stdout : stderr;
  const report = isQuiet ? undefined : stderr;
  const call = executesCalls ? aside : stdout;
  const outputs = { reasoning: aside, call, result: aside, text: stdout, note: report, rates: report };
  return new TextView(outputs, plainLabels((aside ?? stdout).style.hasColors));
}

interface Block {
  kind: BlockKind;
  output: Output;
  isEmpty: boolean;
  endsLine: boolean;
  paint: (text: string) => string;
  /** On a terminal, where lines end; a file or a pipe gets the text as it is. */
  wrap: WordWrap | undefined;
}

export class TextView implements View {
  private readonly outputs: Outputs;
  private readonly labels: Labels;
  private readonly clock: WaitingClock;
  private block: Block | undefined;
  private readonly used = new Set<Output>();

  constructor(outputs: Outputs, labels: Labels) {
    this.clock = new WaitingClock(outputs.rates);
    this.outputs = outputs;
    this.labels = labels;
  }

  part(part: RunPart): void {
    this.clock.stop();
    switch (part.type) {
      case "step-start":
        this.clock.start();
        break;
      case "reasoning-delta":
        this.write("reasoning", part.text, (output) => output.style.dim);
        break;
      case "text-delta":
        this.write("text", part.text);
        break;
      case "tool-call-start":
        this.close();
        this.write("call", `${part.name} `, (output) => output.style.accent);
        break;
      case "tool-call-delta":
        this.write("call", part.text);
        break;
      case "tool-call-end":
        this.close();
        break;
      case "tool-result":
        this.close();
        this.write("result", part.content, ({ style }) => (part.isError ? style.bad : style.dim));
        this.close();
        break;
      case "compaction":
        this.close();
        this.write("note", compactionNote(part), (output) => output.style.dim);
        this.close();
        break;
      case "finish":
      case "run-finish":
        break;
    }
  }

  end(turn: Turn): void {
    // A terminal shows Ctrl-C as ^C where the cursor was.
    const { note } = this.outputs;
    if (turn.reply.finishReason === "abort" && note?.isTerminal && !this.block) note.write("\n");
    for (const note of turnNotes(turn)) {
      this.close();
      this.write("note", note, (output) => output.style.bad);
    }
    this.close();
    this.used.clear();
    const { rates } = this.outputs;
    if (rates === undefined) return;
    const indent = this.indent("note");
    const width = rates.isTerminal ? rates.columns - indent.length : Number.POSITIVE_INFINITY;
    for (const line of turnRates(turn, width)) rates.write(`${indent}${rates.style.dim(line)}\n`);
  }

  fail(): void {
    this.clock.stop();
    this.close();
    this.used.clear();
  }

  private write(
    kind: BlockKind,
    text: string,
    paint: (output: Output) => (text: string) => string = () => (plain) => plain,
  ): void {
    const output = this.outputs[kind];
    if (output === undefined) return;
    if (this.block?.kind !== kind) this.open(kind, output, paint(output));
    const block = this.block!;
    // A terminal gets nothing that could command it, and no empty first line.
    let shown = output.isTerminal ? visible(text) : text;
    if (block.isEmpty && output.isTerminal) shown = shown.replace(/^\n+/, "");
    if (shown === "") return;
    block.isEmpty = false;
    block.endsLine = shown.endsWith("\n");
    const lines = block.wrap?.push(shown) ?? shown.replaceAll("\n", `\n${this.indent(kind)}`);
    if (lines !== "") output.write(block.paint(lines));
  }

  private open(kind: BlockKind, output: Output, paint: (text: string) => string): void {
    this.close();
    const label = this.labels[kind];
    if (kind === "text" && label === "" && this.used.has(output)) output.write("\n");
    this.used.add(output);
    // The answer stands out, and with it its label.
    const { bold, dim } = output.style;
    output.write(kind === "text" ? bold(label) : dim(label));
    const wrap = output.isTerminal ? new WordWrap(label.length, () => output.columns) : undefined;
    this.block = { kind, output, isEmpty: true, endsLine: false, paint, wrap };
  }

  private close(): void {
    const { block } = this;
    this.block = undefined;
    if (block === undefined) return;
    const rest = block.wrap?.flush() ?? "";
    if (rest !== "") block.output.write(block.paint(rest));
    if (!block.endsLine) block.output.write("\n");
  }

  private indent(kind: BlockKind): string {
    return " ".repeat(this.labels[kind].length);
  }
}
