// A run of hundreds of steps, within its context and far beyond it: each token is computed once, memory stays where it
// is, and the transcript is what the script said.

import { execFile } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { demoModelPath, type RunPart, type RunStep, type Usage } from "../../lib/index";

const packagePath = join(__dirname, "..", "..");
const STEPS = 300;
const MIB = 1 << 20;

interface Facts {
  finishReason: string;
  /** `before` is the step that followed. */
  compactions: (Extract<RunPart, { type: "compaction" }> & { before: number })[];
  /** After every 50 steps, without garbage. */
  memories: { heapUsed: number; rss: number }[];
  prefillTokens: number;
  cacheBytesPerToken: number;
  task: string;
  steps: { usage: Usage; message: RunStep["reply"]["message"]; results: { id: string; content: string }[] }[];
}

function run(scenario: "plain" | "compacted"): Promise<Facts> {
  const program = join(__dirname, "programs", "long-run.cjs");
  return new Promise((resolve, reject) => {
    const args = ["--expose-gc", "--max-semi-space-size=1", program, packagePath, demoModelPath, scenario];
    execFile(process.execPath, args, { timeout: 230_000, maxBuffer: 64 * MIB }, (error, stdout) =>
      error === null ? resolve(JSON.parse(stdout)) : reject(error),
    );
  });
}

function expectTranscript({ steps, finishReason, task }: Facts): void {
  expect([finishReason, steps.length, task]).toEqual(["stop", STEPS, "Look at everything."]);
  steps.slice(0, -1).forEach(({ message, results }, k) => {
    const id = `functions.f:${k}`;
    expect(message).toEqual({
      role: "assistant",
      content: "",
      reasoning_content: `Step ${k}.`,
      tool_calls: [{ id, type: "function", function: { name: "f", arguments: `{"a":${k}}` } }],
    });
    expect(results).toEqual([{ id, content: `r${k}` }]);
  });
  expect(steps.at(-1)!.message).toEqual({ role: "assistant", content: `Done after ${STEPS - 1}.` });
}

/** Steps whose prompt was not all on the timeline but for what is new: the results and the head of the answer. */
function stepsWithoutPrefix({ steps }: Facts): number[] {
  return steps.flatMap(({ usage }, index) => {
    const before = steps[index - 1]?.usage.totalTokens ?? 0;
    return usage.cachedTokens === before ? [] : [index + 1];
  });
}

/** Growth from the 50th step to the last. */
function growth({ memories }: Facts) {
  const first = memories[0]!;
  const last = memories.at(-1)!;
  return { heapUsed: last.heapUsed - first.heapUsed, rss: last.rss - first.rss };
}

describe("a run of 300 steps", () => {
  it("computes every token once, and keeps no more than the conversation", { timeout: 240_000 }, async () => {
    const facts = await run("plain");
    expectTranscript(facts);
    expect(facts.compactions).toEqual([]);
    expect(stepsWithoutPrefix(facts)).toEqual([]);
    const { totalTokens } = facts.steps.at(-1)!.usage;
    expect(facts.prefillTokens).toBe(totalTokens);
    const { heapUsed, rss } = growth(facts);
    // Messages, results and the ids of their texts.
    expect(heapUsed / (STEPS - 50)).toBeLessThan(8 * 1024);
    expect(rss).toBeLessThan(totalTokens * facts.cacheBytesPerToken + 24 * MIB);
  });

  it("goes on past a context of 2048 tokens in the same memory", { timeout: 240_000 }, async () => {
    const facts = await run("compacted");
    expectTranscript(facts);
    const total = facts.steps.reduce((sum, { usage }) => sum + usage.totalTokens - usage.cachedTokens, 0);
    expect(facts.prefillTokens).toBe(total);
    // Only a step behind a compaction prefills more than what is new, and it keeps the beginning up to the task.
    expect(facts.compactions.length).toBeGreaterThan(5);
    expect(stepsWithoutPrefix(facts)).toEqual(facts.compactions.map(({ before }) => before));
    const [{ usage: first }] = facts.steps as [Facts["steps"][0]];
    for (const { before, promptTokensAfter } of facts.compactions) {
      const { promptTokens, cachedTokens } = facts.steps[before - 1]!.usage;
      expect(promptTokens).toBe(promptTokensAfter);
      expect(cachedTokens).toBeGreaterThanOrEqual(first.promptTokens - 3);
    }
    expect(Math.max(...facts.steps.map(({ usage }) => usage.totalTokens))).toBeLessThan(2048);
    const { heapUsed, rss } = growth(facts);
    expect(heapUsed / (STEPS - 50)).toBeLessThan(8 * 1024);
    expect(rss).toBeLessThan(16 * MIB);
  });
});
