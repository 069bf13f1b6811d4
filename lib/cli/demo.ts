// `k2 demo`: the embedded model at work, from question to answer, with nothing made up. What is shown is what the model
// writes; the tools it calls are small functions of this program.

import { setTimeout as sleep } from "node:timers/promises";
import { demoModelPath, type Model, openCheckpoint, type RunPart } from "../index";
import type { Command, Surroundings } from "./command";
import { demoTools } from "./demo-tools";
import { MODEL_FLAGS } from "./flags";
import { formatBytes, formatCount, formatMilliseconds, plural, wrap } from "./format";
import { INTERRUPTED } from "./interrupts";
import { loadOptions, openModel } from "./open-model";
import type { Output } from "./terminal";
import { type Labels, TextView } from "./text-view";
import { runTurn } from "./turn";

/** One conversation: the tools that the model is told of, and what it is asked. */
interface Scene {
  readonly tools: readonly string[];
  readonly questions: readonly string[];
}

const SCENES: readonly Scene[] = [
  {
    tools: ["find_contact", "get_weather", "convert_units"],
    questions: [
      "What is the temperature in fahrenheit where Ana lives?",
      "Compare the weather in Oslo and Rome.",
    ],
  },
  {
    tools: ["get_price", "calculator"],
    questions: ["How much do a lamp and a desk cost together?", "Write a poem about the sea."],
  },
];

const LABELS: Labels = {
  reasoning: "thinks   ",
  call: "calls    ",
  result: "returns  ",
  text: "answers  ",
  note: "         ",
};
const QUESTION_LABEL = "you ask  ";
const WIDEST = 88;
/** Between two pieces of text on a terminal: about a hundred tokens a second, which one can follow. */
const READING_MS = 10;

export const demoCommand: Command = {
  name: "demo",
  summary: "watch the embedded demo model think, call tools and answer",
  positionals: [],
  description: [
    "Loads the small model that comes with k2-native and asks it a few questions. It thinks, calls tools, reads their " +
      "results and answers; everything is computed while you watch.",
    "On a terminal the text appears at reading speed; the rates are those of the engine.",
  ],
  groups: [
    MODEL_FLAGS,
    { title: "Output", flags: [{ name: "fast", kind: "switch", help: "as fast as the model writes" }] },
  ],
  examples: ["k2 demo", "k2 demo --fast"],
  run(given, { terminal, interrupts }: Surroundings) {
    const { stdout, stderr } = terminal;
    return interrupts.during(async (signal) => {
      introduce(stdout);
      const start = performance.now();
      const model = await openModel(demoModelPath, loadOptions(given), { stderr, signal, isQuiet: false });
      try {
        await describe(model, performance.now() - start, stdout);
        const paceMs = stdout.isTerminal && !given.has("fast") ? READING_MS : 0;
        const exitCode = await play(model, { stdout, paceMs, signal });
        if (exitCode === 0) conclude(stdout);
        return exitCode;
      } finally {
        await model.dispose();
      }
    });
  },
};

async function play(
  model: Model,
  { stdout, paceMs, signal }: { stdout: Output; paceMs: number; signal: AbortSignal },
): Promise<number> {
  const { style } = stdout;
  const view = new PacedView(stdout, paceMs);
  let exitCode = 0;
  for (const { tools, questions } of SCENES) {
    const chat = model.createChat({ tools: demoTools(...tools), temperature: 0 });
    for (const question of questions) {
      const lines = wrap(question, Math.max(20, stdout.columns - QUESTION_LABEL.length));
      const shown = lines.join(`\n${" ".repeat(QUESTION_LABEL.length)}`);
      stdout.write(`\n${style.bold(QUESTION_LABEL + shown)}\n`);
      const turn = await runTurn({ chat, input: question, view, signal });
      if (signal.aborted) return INTERRUPTED;
      if (turn.stoppedBecause !== undefined) exitCode = 1;
    }
    await chat.dispose();
  }
  return exitCode;
}

/** Everything on one output, at a speed that can be read. */
class PacedView extends TextView {
  private readonly paceMs: number;

  constructor(output: Output, paceMs: number) {
    const outputs = {
      reasoning: output,
      call: output,
      result: output,
      text: output,
      note: output,
      rates: output,
    };
    super(outputs, LABELS);
    this.paceMs = paceMs;
  }

  override async part(part: RunPart): Promise<void> {
    super.part(part);
    if (this.paceMs > 0) await sleep(this.paceMs);
  }
}

function introduce(output: Output): void {
  const lines = [
    output.style.bold("k2-native: a Kimi K2 model at work inside Node.js"),
    "",
    ...paragraph(
      "This is a demonstration of the engine. The model has the architecture of Kimi K2 Thinking, but a few million " +
        "parameters instead of a trillion: it has learned to use a few tools, and knows nothing else.",
      output,
    ),
  ];
  output.write(`${lines.join("\n")}\n`);
}

async function describe(model: Model, loadMs: number, output: Output): Promise<void> {
  const { config, storageShares, weightBytes } = await openCheckpoint(model.path);
  const parameters = storageShares.reduce((sum, share) => sum + share.parameters, 0);
  const lines = paragraph(
    `Loaded in ${formatMilliseconds(loadMs)}: ${formatCount(parameters)} parameters in ${formatBytes(weightBytes)}, ` +
      `${config.num_experts_per_tok} of ${config.n_routed_experts} INT4 experts for each token, ` +
      `device ${model.device} with ${plural(model.threads, "thread")}.`,
    output,
  );
  output.write(`\n${output.style.dim(lines.join("\n"))}\n`);
}

function conclude(output: Output): void {
  output.write(
    [
      "",
      "Now you:",
      `  ${output.style.accent("npx k2 chat demo")}    ask it: What time is it in Tokyo?`,
      `  ${output.style.accent("npx k2 chat FOLDER")}  talk with a Kimi K2 checkpoint`,
      "",
    ].join("\n"),
  );
}

function paragraph(text: string, output: Output): string[] {
  return wrap(text, Math.min(WIDEST, output.columns));
}
