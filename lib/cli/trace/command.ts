// `k2 trace`: one answer, and a page that shows which experts the model sent each of its tokens to.

import { constants, createWriteStream } from "node:fs";
import { access, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { K2Error, type Model } from "../../index";
import { UsageError } from "../arguments";
import type { Command, Surroundings } from "../command";
import { ANSWER_FLAGS, type FlagGroup, MODEL_FLAGS, QUIET_FLAG, SAMPLING_FLAGS } from "../flags";
import { formatBytes } from "../format";
import { INTERRUPTED } from "../interrupts";
import {
  type ChatSetup,
  loadOptions,
  MODEL_ARGUMENT,
  modelPath,
  openModel,
  readChatSetup,
} from "../open-model";
import type { Output, Terminal } from "../terminal";
import { createTextView, plainLabels, TextView } from "../text-view";
import { runTurn } from "../turn";
import type { View } from "../view";
import { traceLines } from "./json-lines";
import { tracePage } from "./page";
import { AnswerMarks, type Recording, record } from "./recording";
import { computeStatistics, type Statistics } from "./statistics";
import { findings, scope } from "./words";

/** Its words are in the world of the demo model. */
const DEFAULT_PROMPT = "What is the temperature in fahrenheit where Ana lives?";
const DEFAULT_PAGE = "trace.html";
const STANDARD_OUTPUT = "-";

const TRACE_FLAGS: FlagGroup = {
  title: "Trace",
  flags: [
    { name: "prompt", kind: "text", value: "TEXT", help: `what to ask (default: ${DEFAULT_PROMPT})` },
    {
      name: "output",
      short: "o",
      kind: "text",
      value: "FILE",
      help: `file to write, - for standard output (default: ${DEFAULT_PAGE}, with --json standard output)`,
    },
    {
      name: "with-prompt",
      kind: "switch",
      help: "show the tokens of the prompt too, not only what follows it",
    },
    { name: "json", kind: "switch", help: "every id and weight as JSON lines, instead of a page" },
    QUIET_FLAG,
  ],
};

export const traceCommand: Command = {
  name: "trace",
  summary: "draw which experts each token of an answer goes through",
  positionals: [MODEL_ARGUMENT],
  description: [
    "Answers one prompt, and writes a page that shows which experts the model sent each token to: layer by layer, how even the " +
      "load is, what consecutive tokens share, and what a cache of experts would hit. The page is one HTML file and needs no " +
      "network.",
    "With --json each line is one object with a type: first trace, which holds layers, expertCount and expertsPerToken; then a " +
      "token each with position, id, text, isWritten, and experts and weights by layer, which are left out where nothing was " +
      "computed; last statistics.",
    "Ctrl-C stops the answer, and what came so far is drawn. The model demo takes the most likely token by default, and comes with its own tools, which are executed.",
  ],
  groups: [TRACE_FLAGS, ANSWER_FLAGS, SAMPLING_FLAGS, MODEL_FLAGS],
  examples: [
    "k2 trace demo",
    "k2 trace ./Kimi-K2-Thinking --prompt 'Why is the sky blue?' --max-tokens 300 -o sky.html",
    "k2 trace demo --json | head -n 1",
  ],
  async run(given, { terminal, interrupts }: Surroundings) {
    const target = given.text("output") ?? (given.has("json") ? STANDARD_OUTPUT : DEFAULT_PAGE);
    const prompt = given.text("prompt") ?? DEFAULT_PROMPT;
    if (prompt.trim() === "") throw new UsageError("Expected text for --prompt, got none", "k2 trace");
    if (target !== STANDARD_OUTPUT) await checkWritable(target);
    const setup = await readChatSetup(given);
    return interrupts.during(async (signal) => {
      const isQuiet = given.has("quiet") || target === STANDARD_OUTPUT;
      const path = modelPath(given.positionals[0]!);
      const model = await openModel(path, loadOptions(given), { stderr: terminal.stderr, signal, isQuiet });
      try {
        const view = createView(terminal, { isQuiet, executesCalls: setup.execute !== undefined, target });
        const isWhole = given.has("with-prompt");
        const recording = await answer(model, setup, view, { prompt, isWhole, signal });
        if (recording === undefined) return signal.aborted ? INTERRUPTED : 1;
        const statistics = computeStatistics(recording.routing);
        const content = given.has("json")
          ? traceLines(recording, statistics)
          : [tracePage(recording, statistics)];
        await write(content, target, terminal);
        if (!isQuiet) await report(recording, statistics, target, terminal.stderr);
        return signal.aborted ? INTERRUPTED : 0;
      } finally {
        await model.dispose();
      }
    });
  },
};

/** The answer itself is not shown where its trace is. */
function createView(
  terminal: Terminal,
  { isQuiet, executesCalls, target }: { isQuiet: boolean; executesCalls: boolean; target: string },
): View {
  if (target !== STANDARD_OUTPUT) return createTextView(terminal, { isQuiet, executesCalls });
  const nowhere = {
    reasoning: undefined,
    call: undefined,
    result: undefined,
    text: undefined,
    rates: undefined,
  };
  return new TextView({ ...nowhere, note: terminal.stderr }, plainLabels(false));
}

/** undefined where there is no answer: it failed for a reason that was said, or was stopped before its beginning. */
async function answer(
  model: Model,
  { options, execute }: ChatSetup,
  view: View,
  { prompt, isWhole, signal }: { prompt: string; isWhole: boolean; signal: AbortSignal },
): Promise<Recording | undefined> {
  const chat = model.createChat({ ...options, trace: true });
  const marks = new AnswerMarks(view);
  const turn = await runTurn({ chat, input: prompt, view: marks, signal, execute });
  if (turn.stoppedBecause !== undefined) return undefined;
  const from = isWhole ? 0 : marks.start;
  const recording = await record({ model, chat, marks, prompt }, from ?? 0);
  if (marks.start !== undefined && recording.routing.isKnown.includes(1)) return recording;
  if (signal.aborted) return undefined;
  throw new K2Error(
    "invalid-argument",
    "Expected an answer of at least 2 tokens to trace (the last one is sampled, but never enters the model), got fewer",
  );
}

/** Before a model is loaded for minutes. */
async function checkWritable(file: string): Promise<void> {
  const refuse = (reason: string, cause?: unknown) =>
    new K2Error(
      "io",
      `Expected a file that can be written for --output, got: ${reason}`,
      { file },
      { cause },
    );
  const existing = await stat(file).catch(() => undefined);
  if (existing?.isDirectory()) throw refuse(`${file} is a folder`);
  try {
    await access(existing === undefined ? dirname(file) : file, constants.W_OK);
  } catch (cause) {
    throw refuse(cause instanceof Error ? cause.message : String(cause), cause);
  }
}

async function write(content: Iterable<string>, target: string, { stdout }: Terminal): Promise<void> {
  if (target === STANDARD_OUTPUT) {
    for (const piece of content) stdout.write(piece);
    return;
  }
  try {
    await pipeline(Readable.from(content), createWriteStream(target));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new K2Error("io", `Expected to write ${target}, got: ${reason}`, { file: target }, { cause });
  }
}

async function report(
  recording: Recording,
  statistics: Statistics,
  target: string,
  output: Output,
): Promise<void> {
  const { size } = await stat(target);
  const lines = findings(recording, statistics).map(({ title }) => `  ${title}`);
  output.write(
    `${output.style.dim(scope(recording, statistics))}\n${lines.join("\n")}\n` +
      `Wrote ${output.style.accent(target)} (${formatBytes(size)}).\n`,
  );
}
