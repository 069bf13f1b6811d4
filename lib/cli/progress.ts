// Signs of life on standard error: a bar while a model is loaded, a clock while it reads a prompt. Only on a terminal,
// and only when it takes a while.

import type { LoadProgress } from "../index";
import { formatBytes } from "./format";
import type { Output } from "./terminal";

const LABELS: Record<LoadProgress["phase"], string> = {
  index: "reading the index",
  headers: "reading headers",
  check: "checking weights",
  tokenizer: "reading the tokenizer",
  map: "mapping weights",
};
const LABEL_WIDTH = Math.max(...Object.values(LABELS).map((label) => label.length));
const BAR_WIDTH = 24;
const APPEARS_AFTER_MS = 200;
const REDRAW_MS = 50;
const FRACTIONS = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
const ERASE_LINE = "\r\x1b[2K";

export class ProgressBar {
  private readonly output: Output;
  private readonly start = performance.now();
  private lastDrawn = 0;
  private isDrawn = false;

  constructor(output: Output) {
    this.output = output;
  }

  readonly show = (progress: LoadProgress): void => {
    if (!this.output.canRedraw) return;
    const now = performance.now();
    if (now - this.start < APPEARS_AFTER_MS || now - this.lastDrawn < REDRAW_MS) return;
    this.lastDrawn = now;
    this.isDrawn = true;
    this.output.write(`${ERASE_LINE}${this.line(progress)}`);
  };

  /** Takes the bar away. */
  clear(): void {
    if (this.isDrawn) this.output.write(ERASE_LINE);
    this.isDrawn = false;
  }

  private line({ phase, bytes, total }: LoadProgress): string {
    const { style, columns } = this.output;
    const label = LABELS[phase];
    // The tokenizer is counted in files, not in bytes.
    if (phase === "tokenizer" || total === 0) return label;
    const done = Math.min(1, bytes / total);
    const percent = `${Math.floor(100 * done)} %`.padStart(6);
    if (columns < LABEL_WIDTH + BAR_WIDTH + 32) return `${label}${percent}`;
    const amount = style.dim(`${formatBytes(bytes)} of ${formatBytes(total)}`);
    return `${label.padEnd(LABEL_WIDTH)}  ${style.accent(bar(done))}${percent}  ${amount}`;
  }
}

function bar(done: number): string {
  const eighths = Math.round(done * BAR_WIDTH * 8);
  const full = "█".repeat(Math.floor(eighths / 8)) + FRACTIONS[eighths % 8];
  return `${full.padEnd(BAR_WIDTH, "░")}`;
}

const CLOCK_MS = 1000;

/** Counts the seconds until the first token of an answer. */
export class WaitingClock {
  private readonly output: Output | undefined;
  private timer: NodeJS.Timeout | undefined;
  private isDrawn = false;

  constructor(output: Output | undefined) {
    if (output?.canRedraw) this.output = output;
  }

  start(): void {
    const { output } = this;
    if (output === undefined || this.timer !== undefined) return;
    const start = performance.now();
    this.timer = setInterval(() => {
      const seconds = Math.round((performance.now() - start) / 1000);
      this.isDrawn = true;
      output.write(`${ERASE_LINE}${output.style.dim(`reading the prompt, ${seconds} s`)}`);
    }, CLOCK_MS);
  }

  stop(): void {
    clearInterval(this.timer);
    this.timer = undefined;
    if (this.isDrawn) this.output?.write(ERASE_LINE);
    this.isDrawn = false;
  }
}
