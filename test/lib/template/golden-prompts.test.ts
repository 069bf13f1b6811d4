// Prompts recorded from the published pipeline. The first suite knows the ids of each run of text from the recording, so
// that the layout is checked everywhere; the second encodes with the published tokenizer, where it is at hand.

import { beforeAll, describe, expect, it } from "vitest";
import { chooseTemplate } from "../../../lib/template/choose-template";
import { renderPrompt } from "../../../lib/template/render-prompt";
import type { PromptTokenizer } from "../../../lib/template/segments";
import type { Tokenizer } from "../../../lib/tokenizer/tokenizer";
import { hasKimiTokenizer, loadKimiTokenizer, NO_KIMI_TOKENIZER } from "../support/kimi-tokenizer";

const CONTROL: Record<string, number> = {
  "<|im_end|>": 163586,
  "<|im_user|>": 163587,
  "<|im_assistant|>": 163588,
  "<|im_system|>": 163594,
  "<|tool_calls_section_begin|>": 163595,
  "<|tool_calls_section_end|>": 163596,
  "<|tool_call_begin|>": 163597,
  "<|tool_call_argument_begin|>": 163598,
  "<|tool_call_end|>": 163599,
  "<|im_middle|>": 163601,
  "<think>": 163606,
  "</think>": 163607,
};

const DECLARATION =
  '[{"function":{"description":"Get weather","name":"get_weather","parameters":{"properties":{"city":{"type":"string"}},' +
  '"required":["city"],"type":"object"}},"type":"function"}]';

const RUNS: Record<string, number[]> = {
  system: [14062],
  user: [2482],
  assistant: [69702],
  tool_declare: [20960, 35556, 677],
  get_weather: [618, 21055, 2800],
  "You are Kimi, an AI assistant created by Moonshot AI.": [
    3900, 554, 24980, 72, 11, 519, 22572, 26626, 5232, 673, 30218, 10065, 22572, 13,
  ],
  "You are a helpful assistant": [3900, 554, 261, 13205, 26626],
  "Hello!": [19180, 0],
  Hi: [18699],
  "1+1?": [16, 10, 16, 30],
  "2": [17],
  "2+2?": [17, 10, 17, 30],
  "Need weather.": [20082, 10666, 13],
  "functions.get_weather:0": [41937, 1150, 21055, 2800, 25, 15],
  '{"city":"Beijing"}': [8264, 37666, 7471, 4396, 39556, 16934],
  '## Return of functions.get_weather:0\n{"t":21}': [
    798, 6014, 318, 8271, 1150, 21055, 2800, 25, 15, 198, 8264, 83, 1289, 2714, 92,
  ],
  [DECLARATION]: [
    81103, 3879, 22849, 11031, 7471, 1959, 10666, 3923, 1152, 7471, 618, 21055, 2800, 3923, 24453, 22849,
    27129, 22849, 37666, 22849, 2217, 7471, 2033, 60336, 2020, 20331, 46890, 37666, 131917, 2217, 7471, 3721,
    60336, 2020, 2217, 7471, 3879, 16934, 60,
  ],
};

const recorded: PromptTokenizer = {
  encode(text) {
    const ids = RUNS[text];
    if (ids === undefined) throw new Error(`no recorded ids for ${JSON.stringify(text)}`);
    return Int32Array.from(ids);
  },
  encodeAsync: async (text) => recorded.encode(text),
  controlId: (name) => CONTROL[name],
};

const WEATHER = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Get weather",
    parameters: { type: "object", required: ["city"], properties: { city: { type: "string" } } },
  },
};
const SYSTEM_TURN = [
  163594,
  14062,
  163601,
  ...RUNS["You are Kimi, an AI assistant created by Moonshot AI."]!,
  163586,
];
const GENERATION = [163588, 69702, 163601];
const DECLARATION_TURN = [163594, 20960, 35556, 677, 163601, ...RUNS[DECLARATION]!, 163586];

const HELLO = [{ role: "user", content: "Hello!" }];
const SUMS = [
  { role: "user", content: "1+1?" },
  { role: "assistant", content: "2", reasoning_content: "dropped" },
  { role: "user", content: "2+2?" },
];
const WEATHER_TASK = [
  { role: "user", content: "Weather in Beijing?" },
  {
    role: "assistant",
    content: "",
    reasoning_content: "Need weather.",
    tool_calls: [
      {
        id: "functions.get_weather:0",
        type: "function",
        function: { name: "get_weather", arguments: '{"city":"Beijing"}' },
      },
    ],
  },
  { role: "tool", tool_call_id: "functions.get_weather:0", name: "get_weather", content: '{"t":21}' },
];
const CALL_TURN = [
  ...[163588, 69702, 163601, 163606, 20082, 10666, 13, 163607, 163595, 163597],
  ...[
    41937, 1150, 21055, 2800, 25, 15, 163598, 8264, 37666, 7471, 4396, 39556, 16934, 163599, 163596, 163586,
  ],
];
const RESULT_TURN = [
  ...[163594, 618, 21055, 2800, 163601, 798, 6014, 318, 8271, 1150, 21055, 2800, 25, 15, 198],
  ...[8264, 83, 1289, 2714, 92, 163586],
];

function thinking(tokenizer: PromptTokenizer, messages: unknown, options?: unknown): number[] {
  return [...renderPrompt(chooseTemplate({ tokenizer }), tokenizer, messages, options)];
}

describe("recorded prompts, ids of each run from the recording", () => {
  it("one user message", () => {
    const ids = thinking(recorded, HELLO);
    expect(ids).toEqual([...SYSTEM_TURN, 163587, 2482, 163601, 19180, 0, 163586, ...GENERATION]);
    expect(ids).toHaveLength(27);
  });

  it("a finished turn of K2 Thinking shows an empty thinking block", () => {
    const ids = thinking(recorded, SUMS);
    expect(ids).toHaveLength(44);
    expect(ids.slice(SYSTEM_TURN.length)).toEqual([
      ...[163587, 2482, 163601, 16, 10, 16, 30, 163586, 163588, 69702, 163601, 163606, 163607, 17, 163586],
      ...[163587, 2482, 163601, 17, 10, 17, 30, 163586, 163588, 69702, 163601],
    ]);
  });

  it("a turn of K2 Instruct shows none", () => {
    const tokenizer = {
      ...recorded,
      controlId: (name: string) => (name.includes("think") ? undefined : CONTROL[name]),
    };
    const ids = thinking(tokenizer, SUMS);
    expect(ids.slice(SYSTEM_TURN.length, -10)).toEqual([
      ...[163587, 2482, 163601, 16, 10, 16, 30, 163586, 163588, 69702, 163601, 17, 163586, 163587],
    ]);
  });

  it("tools stand before the default system prompt", () => {
    const ids = thinking(recorded, HELLO, { tools: [WEATHER] });
    expect(ids).toEqual([...DECLARATION_TURN, ...thinking(recorded, HELLO)]);
  });

  it("a call with its reasoning, and its result", () => {
    const ids = thinking(recorded, WEATHER_TASK.slice(1), { tools: [WEATHER] });
    expect(ids).toEqual([...DECLARATION_TURN, ...SYSTEM_TURN, ...CALL_TURN, ...RESULT_TURN, ...GENERATION]);
  });

  it("Moonlight", () => {
    const chatTemplate = `{%- if messages[0]['role'] != 'system' -%}<|im_system|>system<|im_middle|>You are a helpful assistant<|im_end|>{%- endif -%}`;
    const template = chooseTemplate({ tokenizer: recorded, chatTemplate });
    const ids = renderPrompt(template, recorded, [{ role: "user", content: "Hi" }]);
    expect([...ids]).toEqual([
      ...[163594, 14062, 163601, 3900, 554, 261, 13205, 26626, 163586],
      ...[163587, 2482, 163601, 18699, 163586, 163588, 69702, 163601],
    ]);
  });
});

describe.skipIf(!hasKimiTokenizer)(
  `recorded prompts, published tokenizer (needs it: ${NO_KIMI_TOKENIZER})`,
  () => {
    let tokenizer: Tokenizer;
    beforeAll(async () => {
      tokenizer = await loadKimiTokenizer();
    });

    it("encodes the recorded runs to the recorded ids", () => {
      for (const [text, ids] of Object.entries(RUNS)) expect([...tokenizer.encode(text)]).toEqual(ids);
    });

    it("gives the recorded lengths and turns", () => {
      expect(thinking(tokenizer, HELLO)).toHaveLength(27);
      expect(thinking(tokenizer, SUMS)).toHaveLength(44);
      expect(thinking(tokenizer, WEATHER_TASK.slice(0, 1), { tools: [WEATHER] })).toHaveLength(74);
      const ids = thinking(tokenizer, WEATHER_TASK, { tools: [WEATHER] });
      expect(ids).toHaveLength(121);
      expect(ids.slice(0, DECLARATION_TURN.length)).toEqual(DECLARATION_TURN);
      expect(ids.slice(-GENERATION.length - RESULT_TURN.length - CALL_TURN.length)).toEqual([
        ...CALL_TURN,
        ...RESULT_TURN,
        ...GENERATION,
      ]);
    });
  },
);
