// The prefix cache of a model: the same bits with and without it, no session's tokens in another's answer, and no page
// without an owner.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { demoModelPath, loadModel, type Model } from "../../lib/index";
import { readGolden, sameBits } from "./support/golden-checkpoints";

const { path, ids: goldenIds } = readGolden("int4-group32");
const vocab = 40;
/** Repeatable numbers below `below`. */
function randomNumbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}
const idsOf = (count: number, seed: number) => {
  const random = randomNumbers(seed);
  return Array.from({ length: count }, () => 1 + random(vocab));
};
const load = (options: Parameters<typeof loadModel>[1] = {}) =>
  loadModel(path, { device: "cpu", threads: 1, contextTokens: 1024, prefixCacheBytes: 1 << 24, ...options });

/** The logits behind `ids`, which were prefilled by one call, and what the cache gave to it. */
async function prefilled(model: Model, ids: number[], before: number[] = []) {
  using session = model.createSession();
  if (before.length > 0) await session.prefill(before);
  const { cachedTokens } = await session.prefill(ids);
  return { cachedTokens, logits: await session.evaluate([1, 2, 3]), tokens: [...session.tokens] };
}

describe.each(["auto", "absorbed", "expanded"] as const)("attention %s", (attention) => {
  let off: Model;
  beforeAll(async () => {
    off = await load({ attention, prefixCacheBytes: 0, batchTokens: 50 });
  });
  afterAll(() => off.dispose());

  it.each([1, 2])("a hit has the bits of a miss, %i threads", async (threads) => {
    await using on = await load({ attention, threads });
    const prompt = idsOf(500, 1);
    for (const [length, known] of [
      [500, 0],
      [500, 448],
      [449, 448],
      [448, 384],
      [300, 256],
    ] as const) {
      const ids = prompt.slice(0, length);
      const hit = await prefilled(on, ids);
      const miss = await prefilled(off, ids);
      // A short call may have another form than the long one that filled the cache.
      expect([known, 0]).toContain(hit.cachedTokens);
      if (length === 500) expect(hit.cachedTokens).toBe(known);
      expect(miss.cachedTokens).toBe(0);
      expect(sameBits(hit.logits, miss.logits), `${length} tokens`).toBe(true);
      expect(hit.tokens).toEqual([...ids, 1, 2, 3]);
    }
    // From the middle of a page on.
    const hit = await prefilled(on, prompt.slice(70), prompt.slice(0, 70));
    const miss = await prefilled(off, prompt.slice(70), prompt.slice(0, 70));
    expect(sameBits(hit.logits, miss.logits)).toBe(true);
  });

  it("what was decoded is found where the form is the same", async () => {
    await using on = await load({ attention });
    const decode = async (model: Model) => {
      const session = model.createSession();
      await session.prefill(goldenIds.slice(0, 20));
      for await (const _ of session.decode({ maxTokens: 120, seed: 3, stopTokens: [] }));
      const all = [...session.tokens];
      session.dispose();
      return prefilled(model, [...all, 5, 6]);
    };
    const [hit, miss] = [await decode(on), await decode(off)];
    expect(hit.tokens).toEqual(miss.tokens);
    expect(sameBits(hit.logits, miss.logits)).toBe(true);
    // 142 tokens are a short call.
    expect(hit.cachedTokens).toBe(attention === "expanded" ? 0 : 128);
  });

  it("canaries under eviction, forks, rewinds, aborts and neighbours", { timeout: 120_000 }, async () => {
    // Room for some six pages: nearly everything is evicted all the time.
    const { cacheBytes } = off.memory;
    await using on = await load({
      attention,
      threads: 2,
      batchTokens: 64,
      prefixCacheBytes: (6 * cacheBytes) / 16,
    });
    const random = randomNumbers(9);
    const roots = [idsOf(130, 50), idsOf(200, 51), idsOf(70, 52)];
    const expected = new Map<string, Float32Array>();
    const turn = async (number: number) => {
      const root = roots[random(roots.length)]!;
      const split = random(root.length);
      const canary = 1 + (number % vocab);
      const tail = [...idsOf(random(80), 60 + random(2)), canary];
      using session = on.createSession();
      if (split > 0) await session.prefill(root.slice(0, split));
      if (random(3) === 0) {
        const controller = new AbortController();
        const running = session.prefill(idsOf(100, number), { signal: controller.signal }).catch(() => {});
        controller.abort();
        await running;
        if (session.position > split) await session.rewind(split);
      }
      using fork = await session.fork();
      await Promise.all([session.prefill([canary, ...root]), fork.prefill([...root.slice(split), ...tail])]);
      const calls = [root.slice(0, split), [...root.slice(split), ...tail]];
      expect([...fork.tokens]).toEqual(calls.flat());
      const key = JSON.stringify(calls);
      if (!expected.has(key)) {
        using alone = off.createSession();
        for (const call of calls) if (call.length > 0) await alone.prefill(call);
        expected.set(key, await alone.evaluate([7]));
      }
      expect(sameBits(await fork.evaluate([7]), expected.get(key)!), key).toBe(true);
    };
    for (let round = 0; round < 8; round += 1) {
      await Promise.all(Array.from({ length: 6 }, (_, i) => turn(round * 6 + i)));
    }
  });
});

describe("a model", () => {
  it("evaluates every token itself", async () => {
    await using on = await load();
    const ids = idsOf(150, 4);
    const first = await on.createSession().evaluate(ids);
    expect(sameBits(first, await on.createSession().evaluate(ids))).toBe(true);
    // Its pages are there for others.
    expect((await on.createSession().prefill(ids)).cachedTokens).toBe(128);
  });

  it("has no cache unless it is asked for", async () => {
    await using off = await loadModel(path, { threads: 1, contextTokens: 1024 });
    expect(off.memory.prefixCacheBytes).toBe(0);
    const ids = idsOf(150, 4);
    await off.createSession().prefill(ids);
    expect((await off.createSession().prefill(ids)).cachedTokens).toBe(0);
  });

  it("warms what chats begin with, and usage counts it", async () => {
    await using model = await loadModel(demoModelPath, {
      threads: 1,
      attention: "absorbed",
      prefixCacheBytes: 1 << 24,
    });
    const system = "You answer in one word. ".repeat(20);
    await model.warm([{ role: "system", content: system }]);
    const ask = async () => {
      await using chat = model.createChat({ system, temperature: 0, maxTokens: 4 });
      return await chat.send("Hello").reply();
    };
    const warmed = await ask();
    expect(warmed.usage.cachedTokens).toBeGreaterThanOrEqual(64);
    expect(warmed.usage.cachedTokens % 64).toBe(0);
    await using cold = await loadModel(demoModelPath, {
      threads: 1,
      attention: "absorbed",
      prefixCacheBytes: 0,
    });
    await using chat = cold.createChat({ system, temperature: 0, maxTokens: 4 });
    const reply = await chat.send("Hello").reply();
    expect(reply.usage.cachedTokens).toBe(0);
    await expect(cold.warm([])).rejects.toMatchObject({ code: "invalid-state" });
    expect(reply.text).toBe(warmed.text);
    const aborted = AbortSignal.abort();
    await expect(model.warm([], { signal: aborted })).rejects.toMatchObject({ code: expect.any(String) });
    await expect(model.warm([{ role: "user", content: "x" }], { top: 1 } as never)).rejects.toMatchObject({
      code: "invalid-argument",
    });
  });
});
