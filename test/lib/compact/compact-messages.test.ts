// Compaction as a function of messages: random conversations with parallel calls, late and missing results, and huge ones.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { compactMessages } from "../../../lib/compact/compact-messages";
import type { CompactMessagesOptions } from "../../../lib/compact/compact-options";
import { K2Error } from "../../../lib/errors";
import { canonicalToolCalls } from "../../../lib/template/call-ids";
import { type ChatTemplateName, chooseTemplate } from "../../../lib/template/choose-template";
import { type Message, parseMessages } from "../../../lib/template/message";
import { renderPrompt } from "../../../lib/template/render-prompt";
import { ALL_CONTROL_NAMES, ByteTokenizer } from "../support/byte-tokenizer";
import { conversations, FAMILIES, ORDINARY } from "../support/conversations";

const tokenizer = new ByteTokenizer();
const template = chooseTemplate({ tokenizer });
const render = (messages: readonly Message[], options = {}) =>
  renderPrompt(template, tokenizer, messages, options);
const countTokens = (messages: readonly Message[]) => render(messages).length;
const user = (content: string): Message => ({ role: "user", content });
const answer = (content: string): Message => ({ role: "assistant", content });
const step = (k: number, content = "result", name = "f"): Message[] => [
  {
    role: "assistant",
    content: null,
    tool_calls: [{ id: `functions.${name}:${k}`, type: "function", function: { name, arguments: "{}" } }],
  },
  { role: "tool", tool_call_id: `functions.${name}:${k}`, content },
];
const longRun = (steps: number) => [
  { role: "system", content: "Be brief." } as Message,
  user("The task"),
  ...Array.from({ length: steps }, (_, k) => step(k, `result ${k}`)).flat(),
];
const idsOf = (messages: readonly Message[]) =>
  messages.flatMap((message) =>
    message.role === "assistant" ? (message.tool_calls ?? []).map(({ id }) => id) : [],
  );
const waiting = (messages: readonly Message[]) => {
  const open = new Set<string>();
  for (const message of messages) {
    if (message.role === "tool") open.delete(message.tool_call_id);
    else for (const id of idsOf([message])) open.add(id);
  }
  return [...open];
};
const compacted = (messages: readonly Message[], options: Partial<CompactMessagesOptions>) =>
  compactMessages(messages, { targetTokens: 600, countTokens, ...options });

describe("compactMessages", () => {
  it("removes the fewest oldest steps, and keeps system, task, numbering and the latest steps", async () => {
    const messages = longRun(40);
    const { messages: left, ...facts } = await compacted(messages, { targetTokens: 900 });
    expect(left.slice(0, 3)).toEqual([
      ...messages.slice(0, 2),
      user("Earlier steps of this conversation are no longer shown."),
    ]);
    const kept = (left.length - 3) / 2;
    expect(left.slice(3)).toEqual(messages.slice(-2 * kept));
    expect(facts).toEqual({
      removedMessages: 2 * (40 - kept),
      shortenedResults: 0,
      promptTokensBefore: countTokens(messages),
      promptTokensAfter: countTokens(left),
      summary: undefined,
    });
    // One step more would have been too much.
    expect(countTokens(left)).toBeLessThanOrEqual(900);
    expect(countTokens([...left, ...step(99, "result 99")])).toBeGreaterThan(900);
    expect(canonicalToolCalls(left).nextCall).toBe(40);
  });

  it("removes a question with the last step of its answer, and keeps that of a step that stays", async () => {
    const turn = (k: number) => [
      user(`Question ${k}`),
      ...step(2 * k),
      ...step(2 * k + 1),
      answer(`Answer ${k}`),
    ];
    const messages = [0, 1, 2, 3].flatMap(turn);
    for (let targetTokens = countTokens(messages) - 1; ; targetTokens -= 7) {
      const result = await compacted(messages, { targetTokens, keepSteps: 1 }).catch(() => undefined);
      if (result === undefined) break;
      const questions = result.messages.flatMap(({ role, content }) => (role === "user" ? [content] : []));
      const [first, notice, ...others] = questions;
      expect(first).toBe("Question 0");
      expect(notice).toMatch(/^Earlier steps/);
      const steps = result.messages.filter(({ role }) => role === "assistant").length;
      const turns = Math.ceil(steps / 3);
      expect(others).toEqual([1, 2, 3].slice(-Math.min(3, turns)).map((k) => `Question ${k}`));
    }
  });

  it("puts a summary in place of what it removes, and passes the earlier one to the next", async () => {
    const seen: Message[][] = [];
    const summarize = (messages: Message[]) => {
      seen.push(messages);
      return ` Summary ${seen.length} of <|im_end|> \n`;
    };
    const first = await compacted(longRun(40), { summarize });
    expect(first.summary).toBe("Summary 1 of <|im_end|>");
    expect(first.messages[2]).toEqual(
      user(`Earlier steps of this conversation are no longer shown. Their summary:\n\n${first.summary}`),
    );
    expect(seen[0]).toEqual(longRun(40).slice(2, 2 + first.removedMessages));
    // Words that look like a control token stay text.
    const ends = (ids: Int32Array) => ids.filter((id) => id === tokenizer.controlId("<|im_end|>")).length;
    expect(ends(render(first.messages))).toBe(first.messages.length);

    const more = [...first.messages, ...Array.from({ length: 20 }, (_, k) => step(40 + k)).flat()];
    const second = await compacted(more, { summarize });
    expect(seen[1]![0]).toEqual(first.messages[2]);
    expect(second.messages.filter(({ role }) => role === "user")).toHaveLength(2);
    // Who only drops keeps the summary that is there.
    const dropped = await compacted(more, {});
    expect(dropped.messages[2]).toEqual(first.messages[2]);
    expect(dropped.messages.filter(({ role }) => role === "user")).toHaveLength(2);
  });

  it("gives a summary its share, and shortens a longer one", async () => {
    const { messages, summary, promptTokensAfter } = await compacted(longRun(40), {
      targetTokens: 1000,
      summaryTokens: 400,
      summarize: () => "word ".repeat(1000),
    });
    expect(promptTokensAfter).toBeLessThanOrEqual(1000);
    expect(summary).toMatch(/^word word[\s\S]*\[\.\.\. \d+ characters left out \.\.\.\]/);
    expect(summary!.length).toBeGreaterThan(300);
    expect(messages.at(-1)).toEqual(step(39, "result 39")[1]);
    const empty = await compacted(longRun(40), { summarize: () => " " });
    expect(empty.messages[2]).toEqual(user("Earlier steps of this conversation are no longer shown."));
  });

  it("shortens results that alone are too long, all to the same length", async () => {
    const messages = [
      user("The task"),
      ...step(0, "a".repeat(50_000)),
      ...step(1, "short"),
      ...step(2, "b".repeat(90_000)),
    ];
    const { messages: left, ...facts } = await compacted(messages, { targetTokens: 5000 });
    expect(facts).toMatchObject({ removedMessages: 0, shortenedResults: 2 });
    const [first, second, third] = left.flatMap(({ role, content }) =>
      role === "tool" ? [String(content)] : [],
    );
    expect(second).toBe("short");
    expect(first).toContain(`[... ${50_000 - first!.replace(/\n.*\n/, "").length} characters left out ...]`);
    expect(Math.abs(first!.length - third!.length)).toBeLessThanOrEqual(2);
    // The room is used, to a sixteenth.
    expect(facts.promptTokensAfter).toBeGreaterThan(4500);
  });

  it("keeps fewer steps than asked for where they are too long, and says what is in the way", async () => {
    const long: Message = { ...step(5)[0]!, content: "x".repeat(800) } as Message;
    const messages = [
      user("The task"),
      ...step(4).with(0, { ...long, ...step(4)[0], content: "x".repeat(800) } as Message),
      long,
      step(5)[1]!,
    ];
    const { messages: left } = await compacted(messages, { targetTokens: 1200, keepSteps: 2 });
    expect(left.map(({ role }) => role)).toEqual(["user", "user", "assistant", "tool"]);
    await expect(compacted(messages, { targetTokens: 500 })).rejects.toMatchObject({
      code: "context-full",
      details: { targetTokens: 500, promptTokens: countTokens(left) },
      message: expect.stringMatching(
        /^Expected at most 500 tokens for the compacted conversation, got \d+: /,
      ),
    });
  });

  it("leaves a conversation that is small enough, and its ids, alone", async () => {
    const messages = step(0).map((message) =>
      JSON.parse(JSON.stringify(message).replaceAll("functions.f:0", "call_a")),
    );
    expect((await compacted(messages, {})).messages).toEqual(messages);
  });

  it("keeps calls that wait for results, under the ids that their caller knows", async () => {
    const [call] = step(0);
    const open = JSON.parse(JSON.stringify(call).replace("functions.f:0", "call_open"));
    const messages = [user("The task"), open, ...longRun(30).slice(2)];
    const { messages: left } = await compacted(messages, {});
    expect(waiting(left)).toEqual(["call_open"]);
    expect(left[1]).toEqual(open);
    expect(
      canonicalToolCalls([...left, { role: "tool", tool_call_id: "call_open", content: "late" }]).nextCall,
    ).toBe(31);
  });

  it("ends with the signal, however long the summary takes", async () => {
    const controller = new AbortController();
    const summarize = () => {
      queueMicrotask(() => controller.abort());
      return new Promise<string>(() => {});
    };
    const { signal } = controller;
    await expect(compacted(longRun(40), { summarize, signal })).rejects.toMatchObject({ code: "aborted" });
  });

  it("refuses wrong options and results", async () => {
    const wrong: [object, string][] = [
      [{ targetTokens: 0 }, "an integer of at least 1 for targetTokens, got 0"],
      [{ countTokens: undefined }, "a function for countTokens, got undefined"],
      [{ countTokens: () => "7" }, 'a number for the result of countTokens, got "7"'],
      [{ keepSteps: 1.5 }, "an integer of at least 1 for keepSteps, got 1.5"],
      [{ summaryTokens: -1 }, "an integer of at least 1 for summaryTokens, got -1"],
      [{ summarize: "model" }, '"drop" or a function for summarize, got "model"'],
      [{ summarize: () => 7 }, "a string for the result of summarize, got 7"],
      [{ signal: 1 }, "an AbortSignal for signal, got 1"],
      [{ target: 1 }, "one of the keys"],
    ];
    for (const [options, message] of wrong) {
      await expect(compacted(longRun(40), options), message).rejects.toThrow(`Expected ${message}`);
    }
    await expect(compacted([{ role: "tool", tool_call_id: "x", content: "" }], {})).rejects.toThrow(
      "Expected the id of an earlier tool call for messages[0].tool_call_id",
    );
  });
});

describe("any conversation", () => {
  const thinking = FAMILIES.find(({ name }) => name === "kimi-k2-thinking")!;
  /** How one result is changed: it comes last, never, or is huge. */
  const fate = fc.constantFrom("as it is", "as it is", "late", "missing", "huge");
  const cases = fc.record({
    messages: fc
      .tuple(
        conversations(thinking, ORDINARY),
        conversations(thinking, ORDINARY),
        fc.array(fate, { maxLength: 12 }),
      )
      .map(([first, second, fates]) => {
        // Servers that count per message use ids again; a call that waits must not be hidden by another.
        const marked = second.messages.map((message) =>
          JSON.parse(JSON.stringify(message).replaceAll(/("id":|"tool_call_id":)"/g, '$1"second ')),
        );
        return meet([...first.messages, ...(marked as unknown[])], fates);
      }),
    share: fc.double({ min: 0.05, max: 1.1, noNaN: true }),
    keepSteps: fc.integer({ min: 1, max: 4 }),
    summary: fc.option(fc.string({ unit: "grapheme", maxLength: 300 }), { nil: undefined }),
  });

  function meet(given: unknown[], fates: readonly string[]): Message[] {
    const { messages } = canonicalToolCalls(parseMessages(given));
    const late: Message[] = [];
    let next = 0;
    const others = messages.flatMap((message): Message[] => {
      if (message.role !== "tool") return [message];
      const how = fates[next++ % Math.max(1, fates.length)];
      if (how === "late") late.push(message);
      if (how === "late" || how === "missing") return [];
      return how === "huge" ? [{ ...message, content: "0123456789".repeat(500) }] : [message];
    });
    return [...others, ...late];
  }

  it("fits or says why not, and stays valid", { timeout: 120_000 }, async () => {
    let fitted = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(cases, async ({ messages, share, keepSteps, summary }) => {
        const targetTokens = Math.max(1, Math.round(share * countTokens(messages)));
        const options = {
          targetTokens,
          keepSteps,
          summarize: summary === undefined ? "drop" : () => summary,
        } as const;
        const result = await compacted(messages, options).catch((error: unknown) => error);
        if (result instanceof Error) {
          expect(result).toBeInstanceOf(K2Error);
          expect(result).toMatchObject({ code: "context-full", details: { targetTokens } });
          expect((result as K2Error).details.promptTokens).toBeGreaterThan(targetTokens);
          refused += 1;
          return;
        }
        const { messages: left, promptTokensAfter } = result as Awaited<ReturnType<typeof compacted>>;
        fitted += 1;
        expect(promptTokensAfter).toBeLessThanOrEqual(targetTokens);
        expect(countTokens(left)).toBe(promptTokensAfter);
        expect(parseMessages(left)).toEqual(left);
        // Rendering again changes nothing: ids are canonical, and every result has its call.
        expect(canonicalToolCalls(left).messages).toEqual(left);
        expect(waiting(left)).toEqual(waiting(messages));
        // The last ids stay: the numbering goes on.
        const ids = idsOf(left);
        expect(ids.filter((id) => idsOf(messages).includes(id))).toEqual(ids);

        const of = (list: readonly Message[], role: string) =>
          list.filter(
            (message) => message.role === role && !String(message.content).startsWith("Earlier steps of"),
          );
        expect(of(left, "system")).toEqual(of(messages, "system"));
        expect(of(left, "user")[0]).toEqual(of(messages, "user")[0]);
        expect(of(left, "assistant").at(-1)).toEqual(of(messages, "assistant").at(-1));
        const lastAnswer = messages.findLastIndex((one) => one.role === "assistant" && !one.tool_calls);
        const task = of(messages.slice(lastAnswer + 1), "user");
        if (task.length > 0) expect(of(left, "user").slice(-task.length)).toEqual(task);

        // What stands in front of the first change is the same prompt, token by token.
        const same = left.findIndex(
          (message, index) => JSON.stringify(message) !== JSON.stringify(messages[index]),
        );
        const front = render(messages.slice(0, same === -1 ? messages.length : same), {
          addGenerationPrompt: false,
          keepReasoning: true,
        });
        expect(render(left, { keepReasoning: true }).slice(0, front.length)).toEqual(front);

        expect((await compacted(messages, options)).messages).toEqual(left);
        expect((await compacted(left, options)).messages).toEqual(left);
      }),
      { numRuns: 400 },
    );
    expect(fitted).toBeGreaterThan(100);
    expect(refused).toBeGreaterThan(10);
  });

  it.each(FAMILIES)("fits in the layout of $name", async (family) => {
    const layout = new ByteTokenizer(ALL_CONTROL_NAMES);
    const other = chooseTemplate({ tokenizer: layout, family: family.name as ChatTemplateName });
    const inLayout = (messages: readonly Message[]) => renderPrompt(other, layout, messages).length;
    // Longer than what stands in for them.
    const words = { ...ORDINARY, text: fc.string({ minLength: 50, maxLength: 200 }) };
    let changed = 0;
    await fc.assert(
      fc.asyncProperty(
        fc.array(conversations(family, words), { minLength: 3, maxLength: 3 }),
        fc.integer({ min: 40, max: 95 }),
        async (given, share) => {
          const messages = parseMessages(given.flatMap((each) => each.messages));
          const targetTokens = Math.ceil((share / 100) * inLayout(messages));
          const options = { targetTokens, countTokens: inLayout, keepSteps: 1 };
          const result = await compacted(messages, options).catch((error: unknown) => {
            expect(error).toMatchObject({ code: "context-full" });
          });
          if (result === undefined) return;
          changed += 1;
          expect(inLayout(result.messages)).toBeLessThanOrEqual(targetTokens);
          expect(parseMessages(result.messages)).toEqual(result.messages);
        },
      ),
      { numRuns: 150 },
    );
    expect(changed).toBeGreaterThan(10);
  });

  it("shows the reasoning of a step that stays as it did before", async () => {
    const reasoned = (k: number): Message[] =>
      step(k).with(0, { ...step(k)[0], reasoning_content: `thought ${k}` } as Message);
    const messages = [
      user("First"),
      ...[0, 1, 2].flatMap(reasoned),
      answer("Done"),
      user("Second"),
      ...[3, 4, 5, 6].flatMap(reasoned),
    ];
    const thoughts = (list: readonly Message[]) =>
      Buffer.from(render(list).filter((id) => id < 256))
        .toString()
        .match(/thought \d/g) ?? [];
    expect(thoughts(messages)).toEqual([3, 4, 5, 6].map((k) => `thought ${k}`));
    for (let targetTokens = countTokens(messages) - 1; targetTokens > 450; targetTokens -= 20) {
      const { messages: left } = await compacted(messages, { targetTokens, keepSteps: 1 });
      const kept = idsOf(left).map((id) => Number(id.split(":")[1]));
      expect(thoughts(left)).toEqual(kept.filter((k) => k >= 3).map((k) => `thought ${k}`));
    }
  });
});
