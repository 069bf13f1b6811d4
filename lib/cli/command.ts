// What a command is to the rest: a grammar, words that describe it, and a function that gives the exit code.

import type { Arguments, Grammar } from "./arguments";
import type { Interrupts } from "./interrupts";
import type { Terminal } from "./terminal";

/** What a command works with. */
export interface Surroundings {
  readonly terminal: Terminal;
  readonly interrupts: Interrupts;
}

export interface Command extends Grammar {
  /** Half a line for the list of commands. */
  readonly summary: string;
  /** Paragraphs of the command's own help. */
  readonly description: readonly string[];
  readonly examples: readonly string[];
  /** Resolves with the exit code. What it throws is printed in one line and ends with code 1 or 2. */
  run(given: Arguments, surroundings: Surroundings): Promise<number>;
}
