// Calls and response formats that are constrained while they are sampled, on the demo model at temperatures where its
// logits are little more than noise: what comes out valid here is valid by the grammar alone.

import Ajv from "ajv";
import { afterAll, beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import {
  type ChatOptions,
  createGrammar,
  demoModelPath,
  type K2Error,
  loadModel,
  type Message,
  type Model,
  type Reply,
  type ResponseFormat,
  type SendOptions,
  type ToolDefinition,
  type TypedSchema,
} from "../../lib/index";

const NOISE = 20;
const SEEDS = [1, 2, 3, 4, 5, 6];

const weather: ToolDefinition = {
  type: "function",
  function: {
    name: "get-weather.v2",
    parameters: {
      type: "object",
      properties: {
        city: { type: "string", maxLength: 8 },
        days: { type: "integer", minimum: 1, maximum: 16 },
        units: { enum: ["metric", "imperial"] },
      },
      required: ["city", "units"],
    },
  },
};
const points: ToolDefinition = {
  type: "function",
  function: {
    name: "draw",
    parameters: {
      properties: {
        points: {
          type: "array",
          items: { type: "array", items: { type: "number" }, maxItems: 2 },
          maxItems: 3,
        },
        label: { type: ["string", "null"], pattern: "^[a-z]{0,6}$" },
      },
      required: ["points", "label"],
      additionalProperties: false,
    },
  },
};
const time: ToolDefinition = { type: "function", function: { name: "time" } };
const TOOLS = [weather, points, time];

const MARKERS = ["<|tool_calls_section_begin|>", "<|tool_call_begin|>", "<|tool_call_argument_begin|>"];

const ajv = new Ajv({ strict: false });
const isValid = Object.fromEntries(
  TOOLS.map(({ function: { name, parameters } }) => [
    name,
    ajv.compile(parameters ?? { type: "object", maxProperties: 0 }),
  ]),
);

let model: Model;
beforeAll(async () => {
  model = await loadModel(demoModelPath, { threads: 2, contextTokens: 4096 });
});
afterAll(() => model.dispose());

async function ask(options: SendOptions, chat: ChatOptions = { tools: TOOLS }): Promise<Reply> {
  await using open = model.createChat(chat);
  return await open
    .send("Tell me about Paris.", { temperature: NOISE, thinking: false, maxTokens: 900, ...options })
    .reply();
}

function expectGoodCalls(reply: Reply, firstIndex = 0): void {
  for (const [i, { id, function: target, invalid }] of reply.toolCalls.entries()) {
    if (invalid?.reason === "incomplete") continue;
    expect(invalid).toBeUndefined();
    expect(id).toBe(`functions.${target.name}:${firstIndex + i}`);
    expect(TOOLS.map((tool) => tool.function.name)).toContain(target.name);
    expect(isValid[target.name]!(JSON.parse(target.arguments)), target.arguments).toBe(true);
  }
}

const failure = async (promise: Promise<unknown>): Promise<K2Error> =>
  promise.then(
    () => expect.unreachable("Expected a failure, got none"),
    (error) => error,
  );

describe("calls", () => {
  it.each(SEEDS)("that are required are valid and counted on, seed %i", async (seed) => {
    const reply = await ask({ toolChoice: "required", seed });
    expect(reply.toolCalls.length).toBeGreaterThan(0);
    expect(reply.text).toBe("");
    expectGoodCalls(reply);
    if (reply.finishReason !== "length") expect(reply.finishReason).toBe("tool-calls");
  });

  it("of one name are of that tool", async () => {
    for (const { function: tool } of TOOLS) {
      for (const seed of SEEDS.slice(0, 3)) {
        const toolChoice = { type: "function", function: { name: tool.name } } as const;
        const reply = await ask({ toolChoice, seed });
        expectGoodCalls(reply);
        expect(new Set(reply.toolCalls.map((call) => call.function.name))).toEqual(new Set([tool.name]));
      }
    }
  });

  it("come alone where they may not be parallel", async () => {
    const counts = async (parallelToolCalls: boolean) =>
      Promise.all(
        SEEDS.map(async (seed) => {
          const toolChoice = { type: "function", function: { name: "time" } } as const;
          return (await ask({ toolChoice, parallelToolCalls, seed })).toolCalls.length;
        }),
      );
    expect(new Set(await counts(false))).toEqual(new Set([1]));
    expect(Math.max(...(await counts(true)))).toBeGreaterThan(1);
  });

  it("count on from turn to turn, and none is repeated", async () => {
    await using chat = model.createChat({ tools: TOOLS, thinking: false, temperature: NOISE });
    let input: string | Message[] = "Go.";
    let index = 0;
    for (const seed of SEEDS) {
      const reply: Reply = await chat.send(input, { toolChoice: "required", seed, maxTokens: 400 }).reply();
      expectGoodCalls(reply, index);
      const calls = reply.message.tool_calls ?? [];
      index += calls.length;
      input = calls.map(({ id }) => ({ role: "tool", tool_call_id: id, content: "ok" }));
      if (input.length === 0) input = "Again.";
    }
    expect(index).toBeGreaterThan(SEEDS.length);
  });

  it("come behind thinking, and the budget closes it", async () => {
    const thinking: ChatOptions = { tools: TOOLS };
    const options = {
      toolChoice: "required",
      thinking: true,
      maxThinkingTokens: 5,
      maxTokens: 1200,
    } as const;
    for (const seed of SEEDS) {
      const reply = await ask({ ...options, seed }, thinking);
      expectGoodCalls(reply);
      expect(reply.text).toBe("");
      expect(reply.toolCalls.length).toBeGreaterThan(0);
      expect(reply.usage.reasoningTokens).toBeLessThanOrEqual(5);
    }
  });

  it("cannot come where they are chosen away", async () => {
    const callMarker = model.tokenizer.controlId("<|tool_calls_section_begin|>")!;
    for (const seed of SEEDS) {
      // The marker is by far the likeliest token, and is never sampled.
      const options: SendOptions = { toolChoice: "none", seed, maxTokens: 40, logprobs: true };
      const reply = await ask({ ...options, logitBias: { [callMarker]: 1000 } });
      expect(reply.tokens!.length).toBeGreaterThan(0);
      expect(reply.tokens!.map(({ id }) => id)).not.toContain(callMarker);
      expect(reply.toolCalls).toEqual([]);
    }
  });

  it("of nobody cannot come where nothing is declared", async () => {
    const ids = MARKERS.map((name) => model.tokenizer.controlId(name)!);
    const logitBias = Object.fromEntries(ids.map((id) => [id, 1000]));
    for (const seed of SEEDS) {
      const reply = await ask({ seed, maxTokens: 30, logprobs: true, logitBias }, {});
      expect(reply.toolCalls).toEqual([]);
      for (const { id } of reply.tokens!) expect(ids).not.toContain(id);
    }
    const free = await ask({ seed: 1, maxTokens: 3, logprobs: true, logitBias, strict: false }, {});
    expect(ids).toContain(free.tokens![0]!.id);
  });

  it("that begin by themselves are constrained too, and only in order", async () => {
    const logitBias = Object.fromEntries(MARKERS.map((name) => [model.tokenizer.controlId(name)!, 1000]));
    for (const seed of SEEDS) {
      const reply = await ask({ seed, logitBias });
      expect(reply.toolCalls.length).toBeGreaterThan(0);
      expectGoodCalls(reply);
    }
  });

  it("of a tool that is not strict hold any object", async () => {
    const loose = { type: "function", function: { ...weather.function, strict: false } } as const;
    const keys = new Set<string>();
    for (const seed of SEEDS) {
      const reply = await ask({ toolChoice: "required", seed, parallelToolCalls: false }, { tools: [loose] });
      if (reply.finishReason === "length") continue;
      const values = JSON.parse(reply.toolCalls[0]!.function.arguments);
      expect(values).toBeTypeOf("object");
      for (const key of Object.keys(values)) keys.add(key);
    }
    expect(
      [...keys].some((key) => !Object.hasOwn(weather.function.parameters!.properties as object, key)),
    ).toBe(true);
  });

  it("leave plain answers as they are", async () => {
    const answer = async (strict: boolean, input: string) => {
      await using chat = model.createChat({ tools: TOOLS, temperature: 0, logprobs: true });
      return await chat.send(input, { strict }).reply();
    };
    for (const input of ["Hello", "Write a poem about rain.", "Thank you"]) {
      const free = await answer(false, input);
      expect(free.toolCalls).toEqual([]);
      expect(free.text).not.toBe("");
      expect(await answer(true, input)).toEqual(free);
    }
  });

  it("are required of the first answer of a run alone", async () => {
    const tools = [{ ...time, execute: () => "12:00" }];
    await using chat = model.createChat({ tools, thinking: false });
    const run = chat.run("Hello", { toolChoice: "required", temperature: 0, maxSteps: 5, maxTokens: 100 });
    const { steps, finishReason } = await run.result();
    expect(steps[0]!.reply.toolCalls.length).toBeGreaterThan(0);
    expect(finishReason).toBe("stop");
  });
});

describe("response formats", () => {
  const person = {
    type: "object",
    properties: {
      name: { type: "string", pattern: "^[A-Z][a-z]{1,5}$" },
      age: { type: "integer", minimum: 0, maximum: 120 },
    },
    required: ["name", "age"],
  };
  const isPerson = ajv.compile({ ...person, additionalProperties: false });

  it("of a schema give valid values, in our shape and in OpenAI's", async () => {
    for (const seed of SEEDS) {
      for (const responseFormat of [
        { type: "json_schema", schema: person },
        { type: "json_schema", json_schema: { name: "person", strict: true, schema: person } },
      ] as const) {
        const reply = await ask({ responseFormat, seed }, {});
        expect(reply.finishReason).toBe("stop");
        expect(isPerson(reply.value), reply.text).toBe(true);
        expect(reply.value).toEqual(JSON.parse(reply.text));
        expect(reply.message).toEqual({ role: "assistant", content: reply.text });
      }
    }
  });

  it("of a pattern, of choices and of any object", async () => {
    for (const seed of SEEDS) {
      const regex = await ask({ responseFormat: { type: "regex", pattern: "(yes|no)[.!]{1,3}" }, seed }, {});
      expect(regex.value).toMatch(/^(yes|no)[.!]{1,3}$/);
      const choice = await ask(
        { responseFormat: { type: "choice", choices: ["red", "reddish", "é"] }, seed },
        {},
      );
      expect(["red", "reddish", "é"]).toContain(choice.value);
      const object = await ask({ responseFormat: { type: "json_object" }, seed }, {});
      if (object.finishReason === "length")
        expect(object.invalid).toBe("Expected a whole answer, got one that ended with length");
      else expect(object.value).toBeTypeOf("object");
    }
  });

  it("stand beside calls: an answer is one or the other", async () => {
    const responseFormat: ResponseFormat = { type: "choice", choices: ["done"] };
    const kinds = new Set<string>();
    for (let seed = 1; seed <= 20; seed++) {
      const reply = await ask({ responseFormat, seed, maxTokens: 500 });
      expectGoodCalls(reply);
      kinds.add(reply.finishReason);
      if (reply.finishReason === "stop")
        expect(reply).toMatchObject({ text: "done", value: "done", toolCalls: [] });
      else expect(reply.toolCalls.length).toBeGreaterThan(0);
    }
    expect([...kinds]).toEqual(expect.arrayContaining(["stop", "tool-calls"]));
  });

  it("have no value where the caller's stop cuts the text off", async () => {
    const responseFormat: ResponseFormat = { type: "choice", choices: ["alpha", "alpine"] };
    const invalid = "Expected a whole answer, got one that ended with stop or stopTokens";
    const stopped = await ask({ responseFormat, stop: "p" }, {});
    expect(stopped).toMatchObject({ text: "al", finishReason: "stop", invalid });
    expect("value" in stopped).toBe(false);
    const stopTokens = [...model.tokenizer.encode("abcdefghijklmnopqrstuvwxyz")].concat(
      ["a", "e", "h", "i", "l", "n", "p"].flatMap((letter) => [...model.tokenizer.encode(letter)]),
    );
    const cut = await ask({ responseFormat, stopTokens }, {});
    expect(cut).toMatchObject({ finishReason: "stop", invalid });
    expect("value" in cut).toBe(false);
    const whole = await ask(
      { responseFormat, stop: "q", stopTokens: [model.config.eos_token_id].flat() },
      {},
    );
    expect(whole.value).toBe(whole.text);
  });

  it("hold behind thinking", async () => {
    const responseFormat: ResponseFormat = { type: "choice", choices: ["done"] };
    const reply = await ask({ responseFormat, thinking: true, maxThinkingTokens: 4, seed: 3 }, {});
    expect(reply).toMatchObject({ text: "done", value: "done", finishReason: "stop" });
  });

  it("of a library's schema give its output and its type", async () => {
    const schema: TypedSchema<{ at: Date }> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value) => {
          const { at } = value as { at: number };
          return at > 5 ? { issues: [{ message: "too late" }] } : { value: { at: new Date(at) } };
        },
        jsonSchema: {
          input: () => ({
            type: "object",
            properties: { at: { type: "integer", minimum: 0, maximum: 9 } },
            required: ["at"],
          }),
        },
      },
    };
    await using chat = model.createChat({ thinking: false, temperature: NOISE });
    const seen = new Set<string>();
    for (let seed = 1; seed <= 20; seed++) {
      const reply = await chat
        .send("When?", { responseFormat: { type: "json_schema", schema }, seed })
        .reply();
      expectTypeOf(reply.value).toEqualTypeOf<{ at: Date } | undefined>();
      seen.add(reply.value === undefined ? reply.invalid! : typeof reply.value.at.getTime());
    }
    expect([...seen].sort()).toEqual(["Expected a value that fits the schema, got too late", "number"]);
    const choice = await chat
      .send("Which?", { responseFormat: { type: "choice", choices: ["a", "b"] } })
      .reply();
    expectTypeOf(choice.value).toEqualTypeOf<"a" | "b" | undefined>();
  });
});

describe("what cannot be enforced", () => {
  it.each([" f", "f ", "a\ud800"])("the name %j, which no call can carry", (name) => {
    expect(() => model.createChat({ tools: [{ type: "function", function: { name } }] })).toThrow(
      "tools[0].function.name",
    );
  });

  it.each<[string, ChatOptions, SendOptions, string]>([
    [
      "a keyword in a tool",
      {
        tools: [
          { type: "function", function: { name: "f", parameters: { properties: { a: { contains: {} } } } } },
        ],
      },
      {},
      "tools[0].function.parameters.properties.a.contains",
    ],
    [
      "a keyword in a format",
      {},
      { responseFormat: { type: "json_schema", schema: { type: "array", unevaluatedItems: false } } },
      "responseFormat.schema.unevaluatedItems",
    ],
    ["a pattern", {}, { responseFormat: { type: "regex", pattern: "(?=a)b" } }, "responseFormat.pattern"],
    ["no choice", {}, { responseFormat: { type: "choice", choices: [] } }, "responseFormat.choices"],
  ])(
    "%s rejects before anything is computed, and leaves the history as it was",
    async (_, options, send, place) => {
      await using chat = model.createChat(options);
      const error = await failure(chat.send("Hello", send).reply());
      expect(error).toMatchObject({ code: "invalid-argument" });
      expect(error.message).toContain(place);
      expect(chat.messages).toEqual([]);
      expect(chat.timings.prefillTokens).toBe(0);
    },
  );

  it("is let through where it is not strict", async () => {
    const tool = {
      type: "function",
      function: { name: "f", parameters: { properties: { a: { contains: {} } } } },
    } as const;
    const reply = await ask({ strict: false, temperature: 0, maxTokens: 4 }, { tools: [tool] });
    expect(reply.usage.completionTokens).toBeGreaterThan(0);
  });

  it.each<[SendOptions, string]>([
    [{ toolChoice: "any" as "auto" }, "toolChoice"],
    [{ toolChoice: { type: "function", function: { name: "nobody" } } }, "toolChoice.function.name"],
    [{ parallelToolCalls: 1 as never }, "parallelToolCalls"],
    [{ strict: "yes" as never }, "strict"],
    [{ responseFormat: { type: "xml" } as never }, "responseFormat.type"],
    [{ responseFormat: { type: "json_schema" } as never }, "responseFormat.schema"],
    [{ responseFormat: { type: "regex", pattern: "a", flags: "i" } as never }, "responseFormat"],
  ])("%j is a wrong argument", async (options, place) => {
    const error = await failure(ask(options));
    expect(error).toMatchObject({ code: "invalid-argument" });
    expect(error.message).toContain(place);
  });

  it("required calls without tools", async () => {
    expect((await failure(ask({ toolChoice: "required" }, {}))).message).toContain("toolChoice");
  });
});

describe("a session", () => {
  const prompt = () => model.renderPrompt([{ role: "user", content: "Say it." }]);

  it("decodes texts of a grammar, ends with them, and goes on after an early end", async () => {
    const grammar = await createGrammar({ type: "regex", pattern: "[ab]{40}" });
    using session = model.createSession();
    await session.prefill(prompt());
    const start = session.position;
    const options = { grammar, temperature: NOISE, seed: 5 };
    const text = async () => {
      const stream = session.decode(options);
      const ids: number[] = [];
      for await (const { id } of stream) ids.push(id);
      return { text: model.tokenizer.decode(ids), end: stream.end };
    };
    const whole = await text();
    expect(whole.text).toMatch(/^[ab]{40}$/);
    expect(whole.end).toBe("stop");
    await session.rewind(start);
    let count = 0;
    for await (const _ of session.decode(options)) if (++count === 3) break;
    expect(session.position).toBe(start + 3);
    await session.rewind(start);
    expect(await text()).toEqual(whole);
    using fork = await session.fork();
    expect(fork.position).toBe(session.position);
  });

  it("ends with a stop token where a text may end or go on", async () => {
    const grammar = await createGrammar({ type: "regex", pattern: "(ab)+" });
    using session = model.createSession();
    await session.prefill(prompt());
    const start = session.position;
    const logitBias = Object.fromEntries(model.stopTokens.map((id) => [id, -20]));
    const lengths = new Set<number>();
    for (let seed = 1; seed <= 12; seed++) {
      await session.rewind(start);
      const stream = session.decode({
        grammar,
        seed,
        temperature: 100,
        maxTokens: 100,
        logitBias,
      });
      const ids: number[] = [];
      for await (const { id } of stream) ids.push(id);
      expect(model.tokenizer.decode(ids, { controlTokens: "skip" })).toMatch(/^(ab)+$/);
      expect(stream.end).toBe("stop");
      expect(model.stopTokens).toContain(ids.at(-1));
      lengths.add(ids.length);
    }
    expect(lengths.size).toBeGreaterThan(1);
  });

  it("takes no foreign object for a grammar", async () => {
    using session = model.createSession();
    await session.prefill(prompt());
    for (const grammar of [{}, null, "a", { code: new Float64Array(1), imports: [] }]) {
      const decode = async () => {
        for await (const _ of session.decode({ grammar: grammar as never }));
      };
      expect(await failure(decode())).toMatchObject({ code: "invalid-argument" });
    }
    for await (const _ of session.decode({ maxTokens: 1 }));
  });

  it("samples the same bits with a grammar whatever else runs", async () => {
    const grammar = await createGrammar({ type: "json_object" });
    const decode = async (seed: number) => {
      using session = model.createSession();
      await session.prefill(prompt());
      const ids: number[] = [];
      for await (const { id } of session.decode({ grammar, temperature: NOISE, seed, maxTokens: 120 }))
        ids.push(id);
      return ids;
    };
    const alone: number[][] = [];
    for (const seed of SEEDS) alone.push(await decode(seed));
    expect(await Promise.all(SEEDS.map(decode))).toEqual(alone);
  });
});
