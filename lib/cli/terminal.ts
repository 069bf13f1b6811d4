// Where the command line writes: standard output and standard error, each with what it can show.

import type { WriteStream } from "node:tty";
import { type Style, styleOf } from "./style";

export interface Output {
  readonly isTerminal: boolean;
  /** Whether a line that was written can be written over. */
  readonly canRedraw: boolean;
  /** Width to lay out for; 80 where nobody knows. */
  readonly columns: number;
  readonly style: Style;
  write(text: string): void;
}

export interface Terminal {
  /** The answer, and nothing else where it is not a terminal. */
  readonly stdout: Output;
  /** Everything about the answer: progress, rates, errors. */
  readonly stderr: Output;
}

const DEFAULT_COLUMNS = 80;

/** @param onClosed Called when nobody reads an output any longer, or it cannot be written. */
export function openTerminal(onClosed: (error: NodeJS.ErrnoException) => void): Terminal {
  return { stdout: openOutput(process.stdout, onClosed), stderr: openOutput(process.stderr, onClosed) };
}

function openOutput(stream: WriteStream, onClosed: (error: NodeJS.ErrnoException) => void): Output {
  const isTerminal = stream.isTTY === true;
  stream.on("error", onClosed);
  return {
    isTerminal,
    canRedraw: isTerminal && process.env.TERM !== "dumb",
    style: styleOf(stream),
    // A terminal of unknown size says 0.
    get columns() {
      return stream.columns || DEFAULT_COLUMNS;
    },
    write(text) {
      if (text !== "") stream.write(text);
    },
  };
}
