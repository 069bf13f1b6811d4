// `k2 chat`: a conversation at the terminal, or line by line through a pipe.

import { type Chat, type ChatOptions, K2Error, type Model, type Tool } from "../index";
import { COMMANDS_HELP, type Conversation, runSlashCommand } from "./chat-commands";
import type { Command, Surroundings } from "./command";
import { ANSWER_FLAGS, MODEL_FLAGS, QUIET_FLAG, SAMPLING_FLAGS } from "./flags";
import { plural } from "./format";
import { INTERRUPTED } from "./interrupts";
import { type LineInput, openLineInput } from "./line-input";
import {
  type ChatSetup,
  loadOptions,
  MODEL_ARGUMENT,
  modelPath,
  openModel,
  readChatSetup,
} from "./open-model";
import type { Terminal } from "./terminal";
import { createTextView, type TextView } from "./text-view";
import { runTurn } from "./turn";

export const chatCommand: Command = {
  name: "chat",
  summary: "talk with a model",
  positionals: [MODEL_ARGUMENT],
  description: [
    "Loads a model and answers what you type, with the whole conversation in mind. Thinking is shown dimmed.",
    "When the context is nearly full, the oldest messages are left out, and a line says so.",
    "Ctrl-C stops an answer, not the program; Ctrl-D leaves, and so do two Ctrl-C at an empty prompt. Several lines that " +
      "are pasted are one message. /help lists the commands.",
    "With --tools you are asked for the result when the model calls a tool. The model demo comes with its own tools, " +
      "which are executed.",
    "Where standard input is a file or a pipe, each line of it is a message.",
  ],
  groups: [ANSWER_FLAGS, SAMPLING_FLAGS, MODEL_FLAGS, { title: "Output", flags: [QUIET_FLAG] }],
  examples: ["k2 chat demo", "k2 chat ./Kimi-K2-Thinking --context 16384 --system 'Answer briefly.'"],
  async run(given, { terminal, interrupts }: Surroundings) {
    const setup = await readChatSetup(given);
    const isQuiet = given.has("quiet");
    const path = modelPath(given.positionals[0]!);
    const model = await interrupts.during((signal) =>
      openModel(path, loadOptions(given), { stderr: terminal.stderr, signal, isQuiet }),
    );
    try {
      const lines = openLineInput(interrupts);
      return await new ChatLoop(model, setup, lines, { terminal, interrupts, isQuiet }).run();
    } finally {
      await model.dispose();
    }
  },
};

interface LoopSurroundings extends Surroundings {
  readonly isQuiet: boolean;
}

class ChatLoop implements Conversation {
  readonly options: Conversation["options"];
  private readonly model: Model;
  private readonly lines: LineInput;
  private readonly terminal: Terminal;
  private readonly interrupts: Surroundings["interrupts"];
  private readonly view: TextView;
  private readonly isQuiet: boolean;
  private chat: Chat;
  /** The last question for a result: calls run side by side, but a person answers one after the other. */
  private asked: Promise<unknown> = Promise.resolve();
  private hasGivenUp = false;

  constructor(model: Model, setup: ChatSetup, lines: LineInput, surroundings: LoopSurroundings) {
    const { terminal, interrupts, isQuiet } = surroundings;
    this.model = model;
    const { tools } = setup.options;
    this.options = { ...setup.options };
    if (!setup.executesCalls && tools !== undefined) this.options.tools = this.withQuestions(tools);
    this.lines = lines;
    this.terminal = terminal;
    this.interrupts = interrupts;
    this.isQuiet = isQuiet;
    this.chat = model.createChat(this.options);
    this.view = createTextView(terminal, { isQuiet, executesCalls: setup.executesCalls });
  }

  async run(): Promise<number> {
    if (this.lines.isInteractive && !this.isQuiet) this.greet();
    let interruptions = 0;
    try {
      for (;;) {
        const input = await this.lines.ask(this.prompt("> "));
        if (input.kind === "end") return 0;
        if (input.kind === "interrupt") {
          interruptions += 1;
          if (interruptions === 2) return INTERRUPTED;
          this.say("Ctrl-C again leaves, and so does Ctrl-D.");
          continue;
        }
        interruptions = 0;
        const { text } = input;
        if (text.trim() === "") continue;
        if (!text.startsWith("/")) await this.answer(text);
        else if ((await runSlashCommand(text, this)) === "leave") return 0;
        if (this.lines.isInteractive) this.terminal.stderr.write("\n");
      }
    } finally {
      this.lines.close();
    }
  }

  say(text: string): void {
    this.terminal.stderr.write(`${this.terminal.stderr.style.dim(text)}\n`);
  }

  async restart(): Promise<void> {
    const chat = this.model.createChat(this.options);
    await this.chat.dispose();
    this.chat = chat;
  }

  private greet(): void {
    const { path, device, threads, contextTokens } = this.model;
    const { stderr } = this.terminal;
    stderr.write(`${stderr.style.bold(path)}\n`);
    this.say(`${device}, ${plural(threads, "thread")}, context of ${plural(contextTokens, "token")}`);
    this.say(`Ctrl-C stops an answer, Ctrl-D leaves. ${COMMANDS_HELP}\n`);
  }

  private async answer(input: string): Promise<void> {
    const { chat, view } = this;
    this.hasGivenUp = false;
    const onStep = () => (this.hasGivenUp ? "stop" : undefined);
    const options = { compact: {}, onStep } as const;
    try {
      await this.interrupts.during((signal) => runTurn({ chat, input, view, signal, options }), true);
    } catch (error) {
      if (!(error instanceof K2Error) || !this.lines.isInteractive) throw error;
      const { stderr } = this.terminal;
      stderr.write(`${stderr.style.bad("k2:")} ${error.message}\n`);
    }
  }

  /** The tools of a file, executed by the person at the keyboard. */
  private withQuestions(tools: NonNullable<ChatOptions["tools"]>): Tool[] {
    return tools.map((tool) => ({ ...tool, execute: () => this.askForResult(tool.function.name) }));
  }

  private askForResult(name: string): Promise<string> {
    const result = this.asked.then(async () => {
      const input = this.hasGivenUp ? undefined : await this.lines.ask(this.prompt(`result of ${name}> `));
      if (input?.kind === "line") return input.text;
      this.hasGivenUp = true;
      throw new Error("no result was given");
    });
    this.asked = result.catch(() => {});
    return result;
  }

  private prompt(text: string): string {
    return this.terminal.stdout.style.bold(text);
  }
}
