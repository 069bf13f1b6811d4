// Sessions and sampling through the public API: what a timeline holds, what options do, what wrong calls say.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  createTokenMask,
  type DecodeOptions,
  type K2Error,
  loadModel,
  type Model,
  type SampledToken,
} from "../../lib/index";
import { readGolden } from "./support/golden-checkpoints";

const golden = readGolden("bf16-qlora");
const prompt = golden.ids.slice(0, 20);
let model: Model;

beforeAll(async () => {
  model = await loadModel(golden.path, { device: "cpu", threads: 2, contextTokens: 96 });
});
afterAll(() => model.dispose());

async function started() {
  const session = model.createSession();
  await session.prefill(prompt);
  return session;
}

async function collect(stream: AsyncIterable<SampledToken>): Promise<SampledToken[]> {
  const tokens: SampledToken[] = [];
  for await (const token of stream) tokens.push(token);
  return tokens;
}

const sample = async (options: DecodeOptions) =>
  (await collect((await started()).decode({ maxTokens: 12, seed: 3, stopTokens: [], ...options }))).map(
    ({ id }) => id,
  );

const failure = async (action: () => unknown): Promise<K2Error> => {
  try {
    await action();
  } catch (error) {
    return error as K2Error;
  }
  throw new Error("expected a failure");
};

describe("timeline", () => {
  it("grows by what was given and what was read", async () => {
    const session = await started();
    expect(session.position).toBe(20);
    const stream = session.decode({ maxTokens: 5, temperature: 0, stopTokens: [] });
    expect(session.position).toBe(20);
    const ids = (await collect(stream)).map((token) => token.id);
    expect(stream.end).toBe("max-tokens");
    expect(session.tokens).toEqual([...prompt, ...ids]);
    await session.prefill([1, 2, 3]);
    expect(session.position).toBe(28);
  });

  it("greedy tokens are the most likely ones of evaluate", async () => {
    const ids = (
      await collect((await started()).decode({ maxTokens: 6, temperature: 0, stopTokens: [] }))
    ).map((t) => t.id);
    const session = model.createSession();
    const vocab = model.config.vocab_size;
    const logits = await session.evaluate([...prompt, ...ids]);
    ids.forEach((id, i) => {
      const row = logits.subarray((prompt.length - 1 + i) * vocab, (prompt.length + i) * vocab);
      expect(row.indexOf(Math.max(...row))).toBe(id);
    });
  });

  it("takes back what was sampled ahead when the loop is left", async () => {
    const greedy = await sample({ temperature: 0, maxTokens: 30 });
    for (const kept of [1, 2, 7]) {
      const session = await started();
      let read = 0;
      for await (const token of session.decode({ temperature: 0, stopTokens: [] })) {
        expect(token.id).toBe(greedy[read]);
        read += 1;
        if (read === kept) break;
      }
      expect(session.position).toBe(20 + kept);
      const rest = await collect(session.decode({ maxTokens: 8, temperature: 0, stopTokens: [] }));
      expect(rest.map((t) => t.id)).toEqual(greedy.slice(kept, kept + 8));
    }
  });

  it("ends when it is full, and refuses what does not fit", async () => {
    const session = await started();
    const stream = session.decode({ temperature: 0, stopTokens: [] });
    expect(await collect(stream)).toHaveLength(76);
    expect(stream.end).toBe("context-full");
    expect(session.position).toBe(96);
    const error = await failure(() => session.prefill([1]));
    expect(error).toMatchObject({ code: "context-full", details: { position: 96, contextTokens: 96 } });
    expect(await collect(session.decode({ stopTokens: [] }))).toEqual([]);
    await session.rewind(95);
    await session.prefill([1]);
    expect((await failure(() => session.evaluate([1]))).code).toBe("context-full");
  });

  it("nothing changes when nothing is given", async () => {
    const session = await started();
    await session.prefill([]);
    expect(await session.evaluate([])).toHaveLength(0);
    const empty = session.decode({ maxTokens: 0 });
    expect(await collect(empty)).toEqual([]);
    expect(empty.end).toBe("max-tokens");
    await session.rewind(20);
    expect(session.position).toBe(20);
    expect(
      (await collect(session.decode({ maxTokens: 12, temperature: 0, stopTokens: [] }))).map((t) => t.id),
    ).toEqual(await sample({ temperature: 0 }));
  });

  it("rewinds to the beginning", async () => {
    const session = await started();
    await session.rewind(0);
    expect((await failure(() => collect(session.decode()))).code).toBe("invalid-state");
    await session.prefill(prompt);
    expect(
      (await collect(session.decode({ maxTokens: 12, temperature: 0, stopTokens: [] }))).map((t) => t.id),
    ).toEqual(await sample({ temperature: 0 }));
  });
});

describe("sampling", () => {
  it("the stop token comes last", async () => {
    const greedy = await sample({ temperature: 0 });
    const stop = greedy[4]!;
    const session = await started();
    const stream = session.decode({ temperature: 0, stopTokens: [stop] });
    const ids = (await collect(stream)).map((token) => token.id);
    expect(ids).toEqual(greedy.slice(0, greedy.indexOf(stop) + 1));
    expect(stream.end).toBe("stop");
  });

  it("a seed repeats, another one differs", async () => {
    expect(await sample({ seed: 1 })).toEqual(await sample({ seed: 1 }));
    expect(await sample({ seed: 1 })).not.toEqual(await sample({ seed: 2 }));
    expect(await sample({ seed: 2 ** 40 + 1 })).not.toEqual(await sample({ seed: 1 }));
  });

  it("topK 1, a tiny topP and minP 1 are greedy", async () => {
    const greedy = await sample({ temperature: 0 });
    expect(await sample({ topK: 1 })).toEqual(greedy);
    expect(await sample({ topP: 1e-9 })).toEqual(greedy);
    expect(await sample({ minP: 1 })).toEqual(greedy);
  });

  it("follows the distribution", async () => {
    // 400 draws of the first token against the model's own probabilities.
    const session = await started();
    const [first] = await collect(session.decode({ maxTokens: 1, topLogprobs: 3, seed: 0 }));
    const counts = new Map<number, number>();
    for (let seed = 0; seed < 400; seed += 1) {
      await session.rewind(20);
      const [token] = await collect(session.decode({ maxTokens: 1, seed, stopTokens: [] }));
      counts.set(token!.id, (counts.get(token!.id) ?? 0) + 1);
    }
    for (const { id, logprob } of first!.topLogprobs!) {
      const p = Math.exp(logprob);
      // Five standard deviations of a binomial draw.
      expect(Math.abs((counts.get(id) ?? 0) / 400 - p)).toBeLessThan(
        5 * Math.sqrt((p * (1 - p)) / 400) + 1e-9,
      );
    }
  });

  it("bias, mask and penalties change what comes", async () => {
    expect(await sample({ temperature: 0, logitBias: { 5: 1000 } })).toEqual(Array(12).fill(5));
    const mask = createTokenMask(model.config.vocab_size, [3, 8, 64]);
    const masked = await sample({ mask, temperature: 2 });
    expect(masked.every((id) => [3, 8, 64].includes(id))).toBe(true);
    const apart = await sample({ mask, temperature: 0, frequencyPenalty: 100 });
    expect(new Set(apart.slice(0, 3)).size).toBe(3);
    const once = await sample({ mask, temperature: 0, presencePenalty: 100, penaltyTokens: 1 });
    once.slice(1).forEach((id, i) => {
      expect(id).not.toBe(once[i]);
    });
    expect(await sample({ temperature: 0, repetitionPenalty: 50 })).not.toEqual(
      await sample({ temperature: 0 }),
    );
  });

  it("reports the model's own log-probabilities", async () => {
    const session = await started();
    const vocab = model.config.vocab_size;
    const logits = await model.createSession().evaluate(prompt);
    const row = Array.from(logits.subarray(19 * vocab, 20 * vocab));
    const largest = Math.max(...row);
    const logSum = largest + Math.log(row.reduce((sum, z) => sum + Math.exp(z - largest), 0));
    const order = row.map((z, id) => ({ id, z })).sort((a, b) => b.z - a.z || a.id - b.id);
    const [token] = await collect(
      session.decode({ maxTokens: 1, topLogprobs: 5, logprobs: true, logitBias: { 9: 50 } }),
    );
    expect(token!.id).toBe(9);
    expect(token!.logprob).toBeCloseTo(row[9]! - logSum, 4);
    token!.topLogprobs!.forEach(({ id, logprob }, i) => {
      expect(id).toBe(order[i]!.id);
      expect(logprob).toBeCloseTo(order[i]!.z - logSum, 4);
    });
  });
});

describe("wrong calls", () => {
  const wrong: [string, DecodeOptions | Record<string, unknown>][] = [
    ["temperature", { temperature: -1 }],
    ["temperature", { temperature: Number.NaN }],
    ["topK", { topK: 1.5 }],
    ["topP", { topP: 0 }],
    ["topP", { topP: 1.01 }],
    ["minP", { minP: -0.1 }],
    ["seed", { seed: -1 }],
    ["seed", { seed: 2 ** 53 }],
    ["repetitionPenalty", { repetitionPenalty: 0 }],
    ["maxTokens", { maxTokens: -1 }],
    ["maxTokens", { maxTokens: Number.NaN }],
    ["stopTokens", { stopTokens: [100_000] }],
    ["stopTokens", { stopTokens: "x" }],
    ["logitBias", { logitBias: { 100000: 1 } }],
    ["logitBias", { logitBias: { 1: Number.POSITIVE_INFINITY } }],
    ["mask", { mask: new Uint32Array(1) }],
    ["topLogprobs", { topLogprobs: 10_000 }],
    ["signal", { signal: 1 }],
    ["temprature", { temprature: 1 }],
  ];
  it.each(wrong)("decode names %s", async (name, options) => {
    const session = await started();
    const error = await failure(() => collect(session.decode(options as DecodeOptions)));
    expect(error.code).toBe("invalid-argument");
    expect(error.message).toContain(name);
    // The session is as before.
    await session.prefill([1]);
  });

  it.each([[[-1]], [[1.5]], [[1e9]], ["abc"], [null], [[Number.NaN]], [[["1"]]]])("ids %j", async (ids) => {
    const session = model.createSession();
    expect((await failure(() => session.prefill(ids as number[]))).code).toBe("invalid-argument");
    expect((await failure(() => session.evaluate(ids as number[]))).code).toBe("invalid-argument");
    expect(session.position).toBe(0);
  });

  it("one call at a time", async () => {
    const session = await started();
    const running = session.evaluate(prompt);
    for (const call of [
      () => session.prefill([1]),
      () => session.fork(),
      () => session.rewind(1),
      () => collect(session.decode()),
    ]) {
      expect((await failure(call)).code).toBe("invalid-state");
    }
    await running;
    const stream = session.decode({ maxTokens: 4, stopTokens: [] });
    await stream.next();
    expect((await failure(() => session.prefill([1]))).code).toBe("invalid-state");
    expect((await failure(() => session.decode().next())).code).toBe("invalid-state");
    await stream.return();
    await session.prefill([1]);
  });

  it("one call at a time, also when the engine is done and its answer is on the way", async () => {
    const held = () => {
      const start = performance.now();
      while (performance.now() - start < 50);
    };
    for (const call of ["fork", "rewind", "prefill", "decode"] as const) {
      const session = model.createSession();
      const running = session.prefill([1, 2, 3]);
      held();
      const second = {
        fork: () => session.fork(),
        rewind: () => session.rewind(0),
        prefill: () => session.prefill([1]),
        decode: () => session.decode({ stopTokens: [] }).next(),
      }[call];
      expect((await failure(second)).code, call).toBe("invalid-state");
      await running;
      expect(session.tokens, call).toEqual([1, 2, 3]);
      expect((await session.fork()).tokens).toEqual([1, 2, 3]);
    }
  });

  it("half a signal is refused and nothing has begun", async () => {
    const signal = { aborted: false, addEventListener() {} } as unknown as AbortSignal;
    const session = await started();
    expect((await failure(() => session.prefill([1], { signal }))).code).toBe("invalid-argument");
    expect((await failure(() => session.decode({ signal }))).code).toBe("invalid-argument");
    await session.prefill([1]);
    expect(session.position).toBe(21);
  });

  it("options must be options", async () => {
    const session = await started();
    const { signal } = new AbortController();
    for (const options of [signal, Promise.resolve({}), new Map(), null])
      expect((await failure(() => session.prefill([1], options as object))).message).toContain("options");
    expect(
      (await failure(() => session.decode({ stopTokens: null as unknown as number[] }))).message,
    ).toContain("stopTokens");
  });

  it("a token mask is taken as it was when decode was called", async () => {
    for (const spoil of [
      (mask: Uint32Array) => structuredClone(mask.buffer, { transfer: [mask.buffer as ArrayBuffer] }),
      (mask: Uint32Array) => mask.fill(0),
    ]) {
      const mask = createTokenMask(model.config.vocab_size, [7]);
      const stream = (await started()).decode({ maxTokens: 4, stopTokens: [], mask });
      spoil(mask);
      expect((await collect(stream)).map(({ id }) => id)).toEqual([7, 7, 7, 7]);
    }
  });

  it("wrong arguments of createTokenMask", async () => {
    for (const size of [Number.POSITIVE_INFINITY, Number.NaN, -1, 0, 2 ** 53, "8"])
      expect((await failure(() => createTokenMask(size as number, [0]))).message).toContain("vocabSize");
    for (const ids of [undefined, null, 3, {}, [64], [0.5]])
      expect((await failure(() => createTokenMask(64, ids as number[]))).message).toContain("ids");
  });

  it("after dispose", async () => {
    const session = await started();
    const stream = session.decode({ stopTokens: [] });
    await stream.next();
    session.dispose();
    session.dispose();
    expect((await failure(() => collect(stream))).code).toBe("invalid-state");
    for (const call of [
      () => session.prefill([1]),
      () => session.evaluate([1]),
      () => session.fork(),
      () => session.rewind(0),
      () => collect(session.decode()),
    ]) {
      expect((await failure(call)).code).toBe("invalid-state");
    }
  });

  it("rewind only goes back", async () => {
    const session = await started();
    for (const position of [21, -1, 0.5, Number.NaN]) {
      const error = await failure(() => session.rewind(position));
      expect(error.code).toBe("invalid-argument");
      expect(error.message).toContain("position");
    }
  });
});
