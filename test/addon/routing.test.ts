// The routing trace through the public API: the same for every way of computing a timeline, following the timeline, and
// silent about what the session has not computed.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  demoModelPath,
  type LoadOptions,
  loadModel,
  type Model,
  type Routing,
  type Session,
} from "../../lib/index";
import { readGolden, sameBits } from "./support/golden-checkpoints";

const names = ["int4-group32", "fp8-block", "moe-layer-freq", "v2-group-limited"];

const load = (path: string, options: LoadOptions = {}) =>
  loadModel(path, { device: "cpu", threads: 2, contextTokens: 512, attention: "absorbed", ...options });

/** The routing of `ids` on a session of its own, computed by one call. */
async function routingOf(model: Model, ids: readonly number[]): Promise<Routing> {
  using session = model.createSession({ trace: true });
  await session.prefill(ids);
  return session.routing();
}

/** Compares everything, weights to the bit. */
function expectSame(actual: Routing, expected: Routing): void {
  const { weights, ...rest } = actual;
  const { weights: expectedWeights, ...expectedRest } = expected;
  expect(rest).toEqual(expectedRest);
  expect(sameBits(weights, expectedWeights)).toBe(true);
}

async function read(session: Session, maxTokens: number, leaveAfter = maxTokens): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of session.decode({ maxTokens, temperature: 1.3, seed: 5, stopTokens: [] })) {
    ids.push(id);
    if (ids.length === leaveAfter) break;
  }
  return ids;
}

const failure = (action: Promise<unknown>) =>
  action.then(
    () => expect.fail("expected a failure"),
    (error: unknown) => error,
  );

describe.each(names)("%s", (name) => {
  const { path, ids } = readGolden(name);
  let model: Model;
  let whole: Routing;
  beforeAll(async () => {
    model = await load(path);
    whole = await routingOf(model, ids);
  });
  afterAll(() => model.dispose());

  it("names every layer with experts, ascending distinct ids, and weights of a sound size", () => {
    const { config } = model;
    const isRouted = (layer: number) =>
      layer >= config.first_k_dense_replace && layer % config.moe_layer_freq === 0;
    const layers = Array.from({ length: config.num_hidden_layers }, (_, layer) => layer).filter(isRouted);
    const K = config.num_experts_per_tok;
    expect(whole).toMatchObject({
      firstPosition: 0,
      layers,
      expertsPerToken: K,
      expertCount: config.n_routed_experts,
      tokens: Int32Array.from(ids),
      isKnown: new Uint8Array(ids.length).fill(1),
    });
    expect(whole.experts).toHaveLength(ids.length * layers.length * K);
    expect(whole.weights).toHaveLength(whole.experts.length);
    expect(new Set(whole.experts).size).toBeGreaterThan(2);
    for (let i = 0; i < whole.experts.length; i += K) {
      const chosen = [...whole.experts.subarray(i, i + K)];
      expect(chosen).toEqual([...new Set(chosen)].sort((a, b) => a - b));
      expect(chosen.at(-1)).toBeLessThan(config.n_routed_experts);
      const sum = whole.weights.subarray(i, i + K).reduce((left, right) => left + right, 0);
      expect(sum).toBeGreaterThan(0);
      if (config.norm_topk_prob && config.topk_method === "noaux_tc")
        expect(sum).toBeCloseTo(config.routed_scaling_factor, 5);
    }
  });

  it.each([
    { threads: 1, batchTokens: 512 },
    { threads: 2, batchTokens: 1 },
    { threads: 3, batchTokens: 7 },
  ])("threads and cuts change nothing: %j", async (options) => {
    await using other = await load(path, options);
    expectSame(await routingOf(other, ids), whole);
  });

  it("token by token, beside neighbours with and without a trace", async () => {
    await using other = await load(path, { batchTokens: 16 });
    const session = other.createSession({ trace: true });
    const neighbours = [other.createSession(), other.createSession({ trace: true })];
    const slowly = async () => {
      for (const id of ids) await session.prefill([id]);
    };
    const [, , , quick] = await Promise.all([
      slowly(),
      neighbours[0]!.prefill(ids.slice().reverse()),
      neighbours[1]!.prefill(ids.slice(3)),
      routingOf(other, ids),
    ]);
    expectSame(await session.routing(), whole);
    expectSame(quick, whole);
    expectSame(await neighbours[1]!.routing(), await routingOf(other, ids.slice(3)));
  });

  it("decoded tokens are those that a prefill of them gives, and the pending one is absent", async () => {
    const session = model.createSession({ trace: true });
    await session.prefill(ids.slice(0, 20));
    const written = await read(session, 70);
    const routing = await session.routing();
    expect(routing.tokens).toEqual(Int32Array.from([...ids.slice(0, 20), ...written]));
    expect([...routing.isKnown]).toEqual([...Array(89).fill(1), 0]);
    const width = routing.layers.length * routing.expertsPerToken;
    expect(new Set(routing.experts.subarray(89 * width))).toEqual(new Set([65535]));
    expect(new Set(routing.weights.subarray(89 * width))).toEqual(new Set([0]));
    await session.prefill([1, 2]);
    expectSame(await session.routing(), await routingOf(model, [...session.tokens]));
  });

  it("forks share the past and go their own ways", async () => {
    const session = model.createSession({ trace: true });
    await session.prefill(ids.slice(0, 30));
    const fork = await session.fork();
    await session.prefill(ids.slice(0, 9));
    expectSame(await fork.routing(), await routingOf(model, ids.slice(0, 30)));
    await fork.prefill(ids.slice(30));
    expectSame(await fork.routing(), whole);
    expectSame(await session.routing(), await routingOf(model, [...ids.slice(0, 30), ...ids.slice(0, 9)]));
  });

  it("rewinding forgets, and so does leaving a decode early", async () => {
    const session = model.createSession({ trace: true });
    await session.prefill(ids);
    await session.rewind(11);
    expectSame(await session.routing(), await routingOf(model, ids.slice(0, 11)));
    await session.prefill(ids.slice(0, 5));
    const other = [...ids.slice(0, 11), ...ids.slice(0, 5)];
    expectSame(await session.routing(), await routingOf(model, other));
    const kept = await read(session, 60, 3);
    expect(kept).toHaveLength(3);
    expect([...(await session.routing()).isKnown]).toEqual([...Array(18).fill(1), 0]);
    await session.prefill([7]);
    expectSame(await session.routing(), await routingOf(model, [...other, ...kept, 7]));
  });

  it("a prefill that was aborted in the middle leaves nothing", async () => {
    await using other = await load(path, { batchTokens: 2, threads: 1, contextTokens: 4096 });
    const session = other.createSession({ trace: true });
    await session.prefill(ids.slice(0, 10));
    const neighbour = other.createSession();
    const controller = new AbortController();
    const prefill = session.prefill(
      Array.from({ length: 4000 }, () => 3),
      { signal: controller.signal },
    );
    // Steps of two tokens take one of each, so the long call is under way when the short one is done.
    await neighbour.prefill([1, 2, 3]);
    controller.abort();
    expect(await failure(prefill)).toMatchObject({ code: "aborted" });
    expectSame(await session.routing(), await routingOf(model, ids.slice(0, 10)));
    await session.prefill(ids.slice(10));
    expectSame(await session.routing(), whole);
  });

  it("from and to give a part", async () => {
    const session = model.createSession({ trace: true });
    await session.prefill(ids);
    const part = await session.routing({ from: 5, to: 9 });
    const width = whole.layers.length * whole.expertsPerToken;
    expect(part.firstPosition).toBe(5);
    expect(part.tokens).toEqual(Int32Array.from(ids.slice(5, 9)));
    expect(part.experts).toEqual(whole.experts.slice(5 * width, 9 * width));
    expect(sameBits(part.weights, whole.weights.slice(5 * width, 9 * width))).toBe(true);
    expect((await session.routing({ from: ids.length })).experts).toHaveLength(0);
    expect((await model.createSession({ trace: true }).routing()).isKnown).toHaveLength(0);
  });
});

it("a timeline that is read in slices is whole", async () => {
  const { path } = readGolden("int4-group32");
  const ids = Array.from({ length: 5000 }, (_, i) => 1 + ((i * i + 3 * i) % 39));
  await using model = await load(path, { contextTokens: 8192 });
  using session = model.createSession({ trace: true });
  await session.prefill(ids);
  const all = await session.routing();
  const width = all.layers.length * all.expertsPerToken;
  expect(all.isKnown.every((known) => known === 1)).toBe(true);
  for (const [from, to] of [
    [0, 10],
    [2040, 2060],
    [4090, 5000],
  ] as const) {
    const part = await session.routing({ from, to });
    expect(part.experts).toEqual(all.experts.slice(from * width, to * width));
    expect(sameBits(part.weights, all.weights.slice(from * width, to * width))).toBe(true);
  }
});

it("tracing changes no result", async () => {
  const { path, ids } = readGolden("int4-group32");
  await using model = await load(path);
  const plain = await model.createSession().evaluate(ids);
  expect(sameBits(await model.createSession({ trace: true }).evaluate(ids), plain)).toBe(true);
});

it("both devices choose the same where no choice is close", async () => {
  const { path, ids } = readGolden("f32");
  await using cpu = await load(path);
  await using reference = await load(path, { device: "reference" });
  const [one, two] = [await routingOf(cpu, ids), await routingOf(reference, ids)];
  expect(one.experts).toEqual(two.experts);
  for (const [i, weight] of one.weights.entries()) expect(weight).toBeCloseTo(two.weights[i]!, 2);
});

it("what the prefix cache gave is absent, the rest is as ever", async () => {
  const { path } = readGolden("int4-group32");
  const ids = Array.from({ length: 200 }, (_, i) => 1 + ((i * 7) % 39));
  await using model = await load(path, { prefixCacheBytes: 1 << 24 });
  const first = await routingOf(model, ids);
  expect(new Set(first.isKnown)).toEqual(new Set([1]));

  using session = model.createSession({ trace: true });
  await session.prefill(ids.slice(0, 70));
  const { cachedTokens } = await session.prefill(ids.slice(70));
  // The first call got page 0 from the cache and computed 6 positions; the second got what it could of the rest.
  expect(cachedTokens).toBe(122);
  const routing = await session.routing();
  expect([...routing.isKnown]).toEqual(ids.map((_, i) => (i < 64 || (i >= 70 && i < 192) ? 0 : 1)));
  const width = routing.layers.length * routing.expertsPerToken;
  for (let i = 0; i < ids.length; i += 1) {
    const row = (array: Uint16Array | Float32Array) => [...array.subarray(i * width, (i + 1) * width)];
    expect(row(routing.experts)).toEqual(routing.isKnown[i] ? row(first.experts) : Array(width).fill(65535));
    expect(row(routing.weights)).toEqual(routing.isKnown[i] ? row(first.weights) : Array(width).fill(0));
  }
});

it("what was computed for other tokens never stands in for what the prefix cache gave", async () => {
  const { path } = readGolden("int4-group32");
  const ids = Array.from({ length: 200 }, (_, i) => 1 + ((i * 7) % 39));
  await using model = await load(path, { prefixCacheBytes: 1 << 24 });
  await routingOf(model, ids);
  using session = model.createSession({ trace: true });
  await session.prefill(ids.map((id) => 40 - id));
  await session.rewind(0);
  expect((await session.prefill(ids)).cachedTokens).toBe(192);
  expect([...(await session.routing()).isKnown]).toEqual(ids.map((_, i) => (i < 192 ? 0 : 1)));
});

describe("wrong calls", () => {
  const { path, ids } = readGolden("int4-group32");
  let model: Model;
  beforeAll(async () => {
    model = await load(path);
  });
  afterAll(() => model.dispose());

  it("options are checked", async () => {
    expect(() => model.createSession({ trace: 1 as never })).toThrow(
      "Expected a boolean or undefined for trace, got 1",
    );
    expect(() => model.createSession({ tracing: true } as never)).toThrow(
      "Expected one of the keys trace for options",
    );
    const session = model.createSession({ trace: true });
    await session.prefill(ids.slice(0, 8));
    for (const [options, message] of [
      [{ from: -1 }, "Expected an integer of 0..8 for from, got -1"],
      [{ from: 9 }, "Expected an integer of 0..8 for from, got 9"],
      [{ from: 5, to: 4 }, "Expected an integer of 5..8 for to, got 4"],
      [{ to: 8.5 }, "Expected an integer of 0..8 for to, got 8.5"],
      [{ till: 3 }, "Expected one of the keys from, to for options"],
    ] as const) {
      const error = await failure(session.routing(options as never));
      expect(error).toMatchObject({ code: "invalid-argument", message: expect.stringContaining(message) });
    }
  });

  it("without a trace, during another call, after dispose", async () => {
    const plain = model.createSession();
    await plain.prefill(ids);
    const message = "Expected a session with the option trace for routing, got one without";
    expect(await failure(plain.routing())).toMatchObject({ code: "invalid-state", message });
    expect(await failure((await plain.fork()).routing())).toMatchObject({ code: "invalid-state", message });

    const session = model.createSession({ trace: true });
    const prefill = session.prefill(ids);
    expect(await failure(session.routing())).toMatchObject({ code: "invalid-state" });
    await prefill;
    for await (const _ of session.decode({ maxTokens: 3, stopTokens: [] })) {
      expect(await failure(session.routing())).toMatchObject({ code: "invalid-state" });
    }
    session.dispose();
    expect(await failure(session.routing())).toMatchObject({ code: "invalid-state" });
  });

  it("reading while the model is disposed settles", async () => {
    const other = await load(path);
    const session = other.createSession({ trace: true });
    await session.prefill(ids);
    const [routing] = await Promise.allSettled([session.routing(), other.dispose()]);
    if (routing.status === "rejected") expect(routing.reason).toMatchObject({ code: "invalid-state" });
    else expect(routing.value.isKnown).toHaveLength(ids.length);
  });
});

describe("chat", () => {
  const question = "What is the time in Tokyo?";
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(demoModelPath, { device: "cpu", threads: 2 });
  });
  afterAll(() => model.dispose());

  it("gives the routing of prompt and answer", async () => {
    const chat = model.createChat({ trace: true, temperature: 0 });
    expect((await chat.routing()).tokens).toHaveLength(0);
    const { usage } = await chat.send(question).reply();
    const routing = await chat.routing();
    expect(routing.tokens).toHaveLength(usage.totalTokens);
    const prompt = model.renderPrompt([{ role: "user", content: question }]);
    expect(routing.tokens.subarray(0, usage.promptTokens)).toEqual(prompt);
    const known = [...routing.isKnown].slice(0, -1);
    expect(new Set(known)).toEqual(new Set([1]));
    const last = routing.tokens.length - 1;
    const session = model.createSession({ trace: true });
    await session.prefill(routing.tokens);
    const again = await session.routing({ to: last });
    expect(again.experts).toEqual((await chat.routing({ to: last })).experts);
  });

  it("reads wait for each other and answers for them; reads during an answer are refused", async () => {
    const chat = model.createChat({ trace: true, temperature: 0, maxTokens: 8 });
    await chat.send(question).reply();
    const reads = [chat.routing(), chat.routing({ from: 3, to: 5 })];
    const reply = chat.send("And in Rome?").reply();
    expect((await Promise.all(reads)).map(({ tokens }) => tokens.length)).toEqual([expect.any(Number), 2]);
    expect((await reply).finishReason).toBe("length");
    for await (const part of chat.send("And in Oslo?")) {
      if (part.type === "finish") continue;
      expect(await failure(chat.routing())).toMatchObject({ code: "invalid-state" });
    }
    await chat.dispose();
    expect(await failure(chat.routing())).toMatchObject({ code: "invalid-state" });
  });

  it("is an error without the option", async () => {
    const chat = model.createChat();
    expect(await failure(chat.routing())).toMatchObject({
      code: "invalid-state",
      message: "Expected a chat with the option trace for routing, got one without",
    });
    expect(() => model.createChat({ trace: "yes" as never })).toThrow(
      'Expected a boolean or undefined for trace, got "yes"',
    );
  });
});
