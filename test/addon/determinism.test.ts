// The same input gives the same bits: whatever the threads, the cuts of a prefill, the neighbours in a step, a fork or a
// rewind.

import { describe, expect, it } from "vitest";
import { type LoadOptions, loadModel } from "../../lib/index";
import { readGolden, sameBits } from "./support/golden-checkpoints";

const cases: [string, LoadOptions][] = [
  ["bf16-qlora", {}],
  ["int4-group32", {}],
  ["int4-group32", { activations: "int8" }],
  ["fp8-block", {}],
  ["glm-like", {}],
];

describe.each(cases)("%s %j", (name, given) => {
  const { path, ids } = readGolden(name);
  const load = (options: LoadOptions) =>
    loadModel(path, { device: "cpu", threads: 2, contextTokens: 512, ...given, ...options });
  const evaluate = async (options: LoadOptions) => {
    await using model = await load(options);
    return await model.createSession().evaluate(ids);
  };

  it.each(["absorbed", "expanded"] as const)("threads and cuts leave no trace, %s", async (attention) => {
    const whole = await evaluate({ attention, threads: 1 });
    for (const [threads, batchTokens] of [
      [2, 512],
      [3, 1],
      [1, 7],
      [2, 33],
    ] as const) {
      const other = await evaluate({ attention, threads, batchTokens });
      expect(sameBits(whole, other), `threads ${threads}, batchTokens ${batchTokens}`).toBe(true);
    }
  });

  it("a prefill equals token by token when the form is absorbed", async () => {
    await using model = await load({ attention: "absorbed" });
    const whole = await model.createSession().evaluate(ids);
    const session = model.createSession();
    const vocab = model.config.vocab_size;
    for (let t = 0; t < ids.length; t += 1) {
      const logits = await session.evaluate(ids.slice(t, t + 1));
      expect(sameBits(logits, whole.subarray(t * vocab, (t + 1) * vocab)), `position ${t}`).toBe(true);
    }
  });

  it("neighbours leave no trace", async () => {
    await using model = await load({ batchTokens: 16 });
    const alone = await model.createSession().evaluate(ids);
    const neighbour = model.createSession();
    await neighbour.prefill(ids.slice(0, 5));
    const [together, ...others] = await Promise.all([
      model.createSession().evaluate(ids),
      model.createSession().evaluate(ids.slice(3)),
      model.createSession().prefill(ids.slice().reverse()),
      collect(neighbour.decode({ maxTokens: 20, seed: 1, stopTokens: [] })),
    ]);
    expect(sameBits(alone, together)).toBe(true);
    expect(others).toHaveLength(3);
  });

  it("copies of experts leave no trace", async () => {
    const decode = async (expertCopyBytes: "auto" | number) => {
      await using model = await load({ expertCopyBytes });
      const session = model.createSession();
      await session.prefill(ids);
      const tokens = await collect(session.decode({ maxTokens: 30, temperature: 0, stopTokens: [] }));
      return { tokens, logits: await session.evaluate(ids.slice(0, 9)) };
    };
    const plain = await decode(0);
    for (const bytes of [100_000, "auto"] as const) {
      const { tokens, logits } = await decode(bytes);
      expect(tokens).toEqual(plain.tokens);
      expect(sameBits(logits, plain.logits), `${bytes} bytes`).toBe(true);
    }
  });

  it("guessed tokens leave no trace", async () => {
    const decode = async (speculation: "auto" | "off") => {
      await using model = await load({ speculation });
      const session = model.createSession();
      await session.prefill(ids);
      const tokens = await collect(session.decode({ maxTokens: 300, temperature: 0, stopTokens: [] }));
      const logits = await session.evaluate([1, 2, 3]);
      return { tokens, logits, timings: session.timings };
    };
    const off = await decode("off");
    const auto = await decode("auto");
    expect(auto.tokens).toEqual(off.tokens);
    expect(sameBits(auto.logits, off.logits)).toBe(true);
    expect(off.timings).toMatchObject({ draftedTokens: 0, acceptedTokens: 0 });
    expect(auto.timings.acceptedTokens).toBeLessThanOrEqual(auto.timings.draftedTokens);
    expect(auto.timings.decodeTokens).toBe(off.timings.decodeTokens);
  });

  it("forks and rewinds leave no trace", async () => {
    await using model = await load({ attention: "absorbed" });
    const whole = await model.createSession().evaluate(ids);
    const vocab = model.config.vocab_size;
    const cut = Math.floor(ids.length / 2) + 1;
    const session = model.createSession();
    await session.prefill(ids.slice(0, cut));
    const fork = await session.fork();
    // The original goes its own way through the page that both share.
    await session.prefill(ids.slice(0, 9));
    const rest = await fork.evaluate(ids.slice(cut));
    expect(sameBits(rest, whole.subarray(cut * vocab))).toBe(true);
    await session.rewind(cut - 3);
    const again = await session.evaluate(ids.slice(cut - 3));
    expect(sameBits(again, whole.subarray((cut - 3) * vocab))).toBe(true);
  });

  it("sampling is the same alone, beside others, after a fork and after a rewind", async () => {
    await using model = await load({});
    const options = { maxTokens: 24, seed: 7, temperature: 1.3, stopTokens: [] };
    const start = async () => {
      const session = model.createSession();
      await session.prefill(ids.slice(0, 20));
      return session;
    };
    const alone = await collect((await start()).decode(options));
    const sessions = await Promise.all([start(), start(), start()]);
    const fork = await sessions[0].fork();
    const together = await Promise.all(
      [...sessions, fork].map((session) => collect(session.decode(options))),
    );
    for (const ids of together) expect(ids).toEqual(alone);
    const [first] = sessions;
    await first.rewind(30);
    expect(first.tokens.slice(20)).toEqual(alone.slice(0, 10));
    const { maxTokens, ...rest } = options;
    expect(await collect(first.decode({ ...rest, maxTokens: maxTokens - 10 }))).toEqual(alone.slice(10));
  });
});

async function collect(stream: AsyncIterable<{ id: number }>): Promise<number[]> {
  const ids: number[] = [];
  for await (const token of stream) ids.push(token.id);
  return ids;
}
