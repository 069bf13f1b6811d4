// The whole way on a trained model: messages, template, tokenizer, engine, sampler, parser, and back to messages.
// The goldens were made by PyTorch from the same checkpoint (tools/demo-model/heldout.py).

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demoModelPath, loadModel, type Message, type Model, type ToolDefinition } from "../../lib/index";

interface GreedyPrompt {
  kind: string;
  tools: string[];
  messages: Message[];
  prompt_ids: number[];
  output_ids: number[];
  smallest_gap: number;
  /** The largest logits at the first position, [id, value]. */
  first_logits?: [number, number][];
}

interface Conversation {
  kind: string;
  tools: string[];
  /** Index of the last message of the user; the expected run follows it. */
  lastQuestion: number;
  messages: Message[];
}

const golden = (name: string) => JSON.parse(readFileSync(join(__dirname, "..", "golden", name), "utf8"));
const greedy: { toolTable: Record<string, ToolDefinition>; prompts: GreedyPrompt[] } =
  golden("demo-greedy.json");
const heldOut: {
  toolTable: Record<string, ToolDefinition>;
  conversations: Conversation[];
  exactCount: number;
} = golden("demo-conversations.json");

const toolsOf = (names: string[]) => names.map((name) => heldOut.toolTable[name]!);
/** More than a BF16 engine moves the difference of two logits of this model; logits themselves moved by up to 0.28. */
const CLEAR_GAP = 0.6;

async function generate(model: Model, prompt: GreedyPrompt): Promise<number[]> {
  using session = model.createSession();
  await session.prefill(prompt.prompt_ids);
  const ids: number[] = [];
  for await (const { id } of session.decode({ maxTokens: 300, temperature: 0 })) ids.push(id);
  return ids;
}

describe("greedy answers", () => {
  describe.each(["reference", "cpu"] as const)("%s", (device) => {
    let model: Model;
    beforeAll(async () => {
      model = await loadModel(demoModelPath, { device, threads: 2, contextTokens: 4096 });
    });
    afterAll(() => model.dispose());

    it("prompts are laid out token for token", () => {
      for (const { messages, tools, prompt_ids } of greedy.prompts) {
        const options = tools.length > 0 ? { tools: toolsOf(tools) } : {};
        expect(Array.from(model.renderPrompt(messages, options))).toEqual(prompt_ids);
      }
    });

    it("first logits agree", { timeout: 240_000 }, async () => {
      for (const prompt of greedy.prompts.filter(({ first_logits }) => first_logits !== undefined)) {
        using session = model.createSession();
        const logits = await session.evaluate(prompt.prompt_ids);
        const last = logits.subarray(logits.length - model.config.vocab_size);
        for (const [id, value] of prompt.first_logits!) {
          expect(Math.abs(last[id]! - value)).toBeLessThan(device === "reference" ? 1e-3 : CLEAR_GAP);
        }
      }
    });

    it("answers are equal token for token", { timeout: 240_000 }, async () => {
      const clear = greedy.prompts.filter(
        ({ smallest_gap }) => smallest_gap > (device === "reference" ? 1e-3 : CLEAR_GAP),
      );
      expect(clear.length).toBeGreaterThanOrEqual(0.9 * greedy.prompts.length);
      // The reference backend is slow on purpose: it answers every fifth prompt.
      const asked = clear.filter((_, i) => device === "cpu" || i % 5 === 0);
      const answers = await Promise.all(asked.map((prompt) => generate(model, prompt)));
      answers.forEach((ids, i) => {
        expect(ids, asked[i]!.kind).toEqual(asked[i]!.output_ids);
      });
    });
  });
});

describe("held-out conversations", () => {
  it("nine in ten end with exact calls and an exact answer", { timeout: 300_000 }, async () => {
    await using model = await loadModel(demoModelPath, { device: "cpu", threads: 2, contextTokens: 4096 });
    const waiting = heldOut.conversations.slice();
    const wrong: string[] = [];
    let exact = 0;
    const player = async () => {
      for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
        const fault = await play(model, next);
        if (fault === undefined) exact += 1;
        else wrong.push(`${next.kind}: ${fault}`);
      }
    };
    // Several at once: their steps are joined, which must not change any of them.
    await Promise.all([player(), player(), player(), player()]);
    const share = exact / heldOut.conversations.length;
    console.log(`exact: ${exact} of ${heldOut.conversations.length} (${(100 * share).toFixed(1)} %)`);
    expect(share, wrong.join("\n")).toBeGreaterThanOrEqual(0.9);
    // No further from PyTorch's count than near-ties of BF16 can explain.
    expect(Math.abs(exact - heldOut.exactCount)).toBeLessThanOrEqual(4);
  });
});

/** Plays the last question with scripted tool results; what differs from the expected run, or undefined. */
async function play(
  model: Model,
  { tools, lastQuestion, messages }: Conversation,
): Promise<string | undefined> {
  await using chat = model.createChat({
    messages: messages.slice(0, lastQuestion),
    temperature: 0,
    maxTokens: 300,
    ...(tools.length > 0 ? { tools: toolsOf(tools) } : {}),
  });
  let input: Message[] = [messages[lastQuestion]!];
  for (let i = lastQuestion + 1; i < messages.length; ) {
    const expected = messages[i] as Extract<Message, { role: "assistant" }>;
    const { message, finishReason } = await chat.send(input).reply();
    const calls = (list: typeof message.tool_calls) => (list ?? []).map((call) => [call.id, call.function]);
    if (JSON.stringify(calls(message.tool_calls)) !== JSON.stringify(calls(expected.tool_calls))) {
      return `calls ${JSON.stringify(calls(message.tool_calls))}`;
    }
    if (message.content !== (expected.content ?? "")) return `answer ${JSON.stringify(message.content)}`;
    if (finishReason !== (expected.tool_calls === undefined ? "stop" : "tool-calls")) return finishReason;
    const results = messages.slice(i + 1).findIndex((one) => one.role !== "tool");
    const end = results === -1 ? messages.length : i + 1 + results;
    input = messages.slice(i + 1, end);
    i = end;
  }
  return undefined;
}
