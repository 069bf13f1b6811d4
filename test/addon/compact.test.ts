// Compaction on a real engine: a summary is written on the timeline that the chat has, and can be ended.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demoModelPath, loadModel, type Message, type Model, type Tool } from "../../lib/index";

const lookUp: Tool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Weather in a city",
    parameters: { type: "object", required: ["city"], properties: { city: { type: "string" } } },
  },
  execute: ({ city }) => ({ city, temp_c: 7, sky: "clear" }),
};
const cities = ["Oslo", "Rome", "Paris", "Tokyo", "Lisbon", "Oslo", "Rome", "Paris"];
const task: Message[] = [
  { role: "user", content: "What is the weather in each of them?" },
  ...cities.flatMap((city, k): Message[] => [
    {
      role: "assistant",
      content: "",
      reasoning_content: `Now ${city}.`,
      tool_calls: [
        {
          id: `functions.get_weather:${k}`,
          type: "function",
          function: { name: "get_weather", arguments: `{"city":"${city}"}` },
        },
      ],
    },
    { role: "tool", tool_call_id: `functions.get_weather:${k}`, content: `{"city":"${city}"}` },
  ]),
];

function abortable() {
  const controller = new AbortController();
  return { signal: controller.signal, abort: () => controller.abort() };
}

describe("compaction with a loaded model", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(demoModelPath, { device: "cpu", threads: 2, contextTokens: 2048 });
  });
  afterAll(() => model.dispose());

  it("is free as soon as a summary has ended", async () => {
    for (let round = 0; round < 3; round += 1) {
      await using chat = model.createChat({ tools: [lookUp], messages: task, temperature: 0 });
      const { signal, abort } = abortable();
      const options = { targetTokens: 450, summarize: "model", summaryTokens: 400, signal } as const;
      const compacting = chat.compact(options);
      while (chat.timings.decodeTokens === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      abort();
      await expect(compacting).rejects.toMatchObject({ code: "aborted" });
      expect((await chat.send("And in Rome?", { maxTokens: 2 }).reply()).usage.completionTokens).toBe(2);
    }
  });

  it("ends a summary, and has the model write another on the timeline that is there", async () => {
    await using chat = model.createChat({ tools: [lookUp], messages: task, temperature: 0 });
    const { promptTokens } = await chat.contextUse();
    const options = {
      targetTokens: Math.floor(0.7 * promptTokens),
      summarize: "model",
      summaryTokens: 60,
    } as const;
    const { signal, abort } = abortable();
    const compacting = chat.compact({ ...options, signal });
    while (chat.timings.decodeTokens === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    abort();
    await expect(compacting).rejects.toMatchObject({ code: "aborted" });
    expect(chat.messages).toEqual(task);

    const before = chat.timings;
    expect(before.prefillTokens).toBeGreaterThan(promptTokens);
    const compaction = await chat.compact(options);
    // The conversation and the question were on the timeline.
    expect(chat.timings.prefillTokens - before.prefillTokens).toBe(1);
    expect(chat.timings.decodeTokens).toBeGreaterThan(before.decodeTokens);
    expect(compaction.promptTokensAfter).toBeLessThanOrEqual(options.targetTokens);
    expect(compaction.removedMessages).toBeGreaterThan(4);

    const use = await chat.contextUse("And in Rome?");
    const { usage } = await chat.send("And in Rome?").reply();
    expect(usage.promptTokens).toBe(use.promptTokens);
    const front = model.renderPrompt(task.slice(0, 1), { tools: chat.tools, addGenerationPrompt: false });
    expect(usage.cachedTokens).toBeGreaterThanOrEqual(front.length);
  });
});
