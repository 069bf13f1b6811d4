// Lines that a person types, or that a pipe delivers. On a terminal each question gets an editor of its own, so that
// between questions, while the model answers, the terminal works as usual and Ctrl-C is a signal.

import { createInterface, type Interface } from "node:readline";
import type { Interrupts } from "./interrupts";

export type Input =
  | { readonly kind: "line"; readonly text: string }
  /** Ctrl-C at an empty line. */
  | { readonly kind: "interrupt" }
  /** Ctrl-D, or the end of the pipe. */
  | { readonly kind: "end" };

export interface LineInput {
  /** Whether somebody types. */
  readonly isInteractive: boolean;
  ask(prompt: string): Promise<Input>;
  close(): void;
}

export function openLineInput(interrupts: Interrupts): LineInput {
  const screen = process.stdout.isTTY ? process.stdout : process.stderr;
  return process.stdin.isTTY && screen.isTTY ? new Editor(interrupts, screen) : new Pipe(interrupts);
}

// A terminal that knows these puts marks around pasted text, and so tells a pasted newline from Enter.
const MARK_PASTES = "\x1b[?2004h";
const LEAVE_PASTES = "\x1b[?2004l";

class Editor implements LineInput {
  readonly isInteractive = true;
  private readonly interrupts: Interrupts;
  private readonly screen: NodeJS.WriteStream;
  private history: string[] = [];
  /** Lines that were entered before somebody asked for them. */
  private readonly ahead: string[] = [];
  /** What was typed after them. */
  private draft = "";

  constructor(interrupts: Interrupts, screen: NodeJS.WriteStream) {
    this.interrupts = interrupts;
    this.screen = screen;
  }

  async ask(prompt: string): Promise<Input> {
    const text = this.ahead.shift();
    if (text !== undefined) {
      this.screen.write(`${prompt}${text}\n`);
      return { kind: "line", text };
    }
    const editor = createInterface({
      input: process.stdin,
      output: this.screen,
      terminal: true,
      prompt,
      history: this.history,
      historySize: 1000,
      removeHistoryDuplicates: true,
    });
    editor.on("history", (history) => {
      this.history = history;
    });
    this.screen.write(MARK_PASTES);
    try {
      return await this.edit(editor);
    } finally {
      this.draft = editor.line;
      editor.close();
      this.screen.write(LEAVE_PASTES);
    }
  }

  close(): void {
    // Every question has closed its editor.
  }

  private edit(editor: Interface): Promise<Input> {
    /** Finished lines of the message that is being edited; only a paste has several. */
    let lines: string[] = [];
    let isPasting = false;
    let interrupt = () => {};
    const onKey = (_text: unknown, key: { name?: string } | undefined) => {
      if (key?.name === "paste-start") isPasting = true;
      if (key?.name === "paste-end") isPasting = false;
    };
    const result = new Promise<Input>((resolve) => {
      let isDone = false;
      const settle = (input: Input) => {
        isDone = true;
        resolve(input);
      };
      editor.on("line", (line) => {
        if (isDone) {
          this.ahead.push(line);
        } else {
          lines.push(line);
          if (!isPasting) settle({ kind: "line", text: lines.join("\n") });
        }
      });
      editor.on("close", () => {
        if (isDone) return;
        this.screen.write("\n");
        settle({ kind: "end" });
      });
      interrupt = () => {
        const isEmpty = editor.line === "" && lines.length === 0;
        this.screen.write("\n");
        if (isEmpty) return settle({ kind: "interrupt" });
        lines = [];
        // What was typed stays on the screen; the editor goes on below it with an empty line.
        editor.write(null, { ctrl: true, name: "e" });
        editor.write(null, { ctrl: true, name: "u" });
        editor.prompt();
      };
      editor.on("SIGINT", interrupt);
      process.stdin.on("keypress", onKey);
      editor.prompt();
      editor.write(this.draft);
    });
    return this.interrupts.with(interrupt, () => result).finally(() => process.stdin.off("keypress", onKey));
  }
}

class Pipe implements LineInput {
  readonly isInteractive = false;
  private readonly interrupts: Interrupts;
  private readonly reader = createInterface({ input: process.stdin, terminal: false });
  private readonly lines: string[] = [];
  private isAtEnd = false;
  private deliver: (input?: Input) => void = () => {};

  constructor(interrupts: Interrupts) {
    this.interrupts = interrupts;
    this.reader.on("line", (line) => {
      this.lines.push(line);
      this.deliver();
    });
    this.reader.on("close", () => {
      this.isAtEnd = true;
      this.deliver();
    });
  }

  async ask(): Promise<Input> {
    const result = new Promise<Input>((resolve) => {
      this.deliver = (input) => {
        const line = input === undefined ? this.lines.shift() : undefined;
        if (input !== undefined) resolve(input);
        else if (line !== undefined) resolve({ kind: "line", text: line });
        else if (this.isAtEnd) resolve({ kind: "end" });
        else return;
        this.deliver = () => {};
      };
      this.deliver();
    });
    return this.interrupts.with(
      () => this.deliver({ kind: "interrupt" }),
      () => result,
    );
  }

  close(): void {
    this.reader.close();
    process.stdin.destroy();
  }
}
