// `k2 run`: one prompt, one answer.

import type { Model } from "../index";
import { UsageError } from "./arguments";
import type { Command, Surroundings } from "./command";
import { ANSWER_FLAGS, type FlagGroup, MODEL_FLAGS, QUIET_FLAG, SAMPLING_FLAGS } from "./flags";
import { INTERRUPTED } from "./interrupts";
import {
  type ChatSetup,
  loadOptions,
  MODEL_ARGUMENT,
  modelPath,
  openModel,
  readChatSetup,
} from "./open-model";
import { createTextView } from "./text-view";
import { runTurn } from "./turn";
import { JsonView, type View } from "./view";

const OUTPUT_FLAGS: FlagGroup = {
  title: "Output",
  flags: [
    QUIET_FLAG,
    { name: "json", kind: "switch", help: "JSON lines: every part as it comes, then the whole reply" },
  ],
};

export const runCommand: Command = {
  name: "run",
  summary: "answer one prompt",
  positionals: [
    MODEL_ARGUMENT,
    { name: "PROMPT", help: "the question, as one argument; - reads it from standard input" },
  ],
  description: [
    "Loads a model, answers one prompt and prints the answer as it is written.",
    "On a terminal the model's thinking is shown dimmed. Where standard output is a file or a pipe it gets the answer " +
      "alone, and the thinking goes to standard error, like the token rates at the end.",
    "With --tools the answer may be calls; they are printed, not executed. The model demo comes with its own tools, " +
      "which are executed.",
    "With --json each line is one object with a type: step-start, reasoning-delta, text-delta, tool-call-start, tool-call-delta, " +
      "tool-call-end, finish, tool-result, run-finish, and last reply, which holds text, reasoning, toolCalls, " +
      "finishReason, usage and timings.",
  ],
  groups: [ANSWER_FLAGS, SAMPLING_FLAGS, MODEL_FLAGS, OUTPUT_FLAGS],
  examples: [
    'k2 run demo "What is the weather in Rome?"',
    'k2 run ./Kimi-K2-Thinking "Why is the sky blue?" --max-tokens 500',
    "git diff | k2 run ./Kimi-K2-Instruct - --system 'Review this change.' > review.md",
    "k2 run demo 'What is 12 % of 340?' --json --seed 1 | tail -n 1",
  ],
  async run(given, { terminal, interrupts }: Surroundings) {
    const prompt = await readPrompt(given.positionals[1]!);
    const setup = await readChatSetup(given);
    return interrupts.during(async (signal) => {
      const isQuiet = given.has("quiet") || given.has("json");
      const path = modelPath(given.positionals[0]!);
      const model = await openModel(path, loadOptions(given), { stderr: terminal.stderr, signal, isQuiet });
      const { executesCalls } = setup;
      const view = given.has("json")
        ? new JsonView(terminal.stdout)
        : createTextView(terminal, { isQuiet, executesCalls });
      try {
        return await answer(model, prompt, setup, view, signal);
      } finally {
        await model.dispose();
      }
    });
  },
};

async function answer(
  model: Model,
  prompt: string,
  { options }: ChatSetup,
  view: View,
  signal: AbortSignal,
): Promise<number> {
  const chat = model.createChat(options);
  const turn = await runTurn({ chat, input: prompt, view, signal });
  if (signal.aborted) return INTERRUPTED;
  return turn.stoppedBecause === undefined ? 0 : 1;
}

async function readPrompt(argument: string): Promise<string> {
  let prompt = argument;
  if (argument === "-") {
    const chunks: Buffer[] = [];
    for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
    prompt = Buffer.concat(chunks)
      .toString("utf8")
      .replace(/\r?\n$/, "");
  }
  if (prompt.trim() !== "") return prompt;
  throw new UsageError("Expected text for PROMPT, got none", "k2 run");
}
