// cacheType "int8": near the reference that rounds latents alike, smaller, and with the same bits whatever the threads, the
// cuts of a prefill, a hit of the prefix cache or a restore.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { forecastModel, type LoadOptions, loadModel, type Model } from "../../lib/index";
import { distance, readGolden, sameBits } from "./support/golden-checkpoints";

const golden = readGolden("int4-group32");
const ids = Array.from({ length: 600 }, (_, i) => 1 + ((i * 5 + Math.floor(i / 7) * 3) % 40));
const int8: LoadOptions = { threads: 1, contextTokens: 1024, attention: "absorbed", cacheType: "int8" };

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "k2-cache-type-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

async function withModel<T>(options: LoadOptions, use: (model: Model) => Promise<T>): Promise<T> {
  await using model = await loadModel(golden.path, { ...int8, ...options });
  return await use(model);
}

/** The logits of three tokens behind `ids`. */
async function behindPrefill(model: Model): Promise<Float32Array> {
  using session = model.createSession();
  await session.prefill(ids);
  return await session.evaluate([1, 2, 3]);
}

describe.each(["absorbed", "expanded"] as const)("%s attention", (attention) => {
  it("is as near to the reference with such a cache as 16 bits are to exact arithmetic", async () => {
    const evaluate = (device: "cpu" | "reference", cacheType: "bf16" | "int8") =>
      withModel({ device, cacheType, attention }, (model) => model.createSession().evaluate(golden.ids));
    const exact = await evaluate("reference", "int8");
    const { rms } = distance({ ...golden, logits: exact }, await evaluate("cpu", "int8"));
    expect(rms).toBeLessThan(2 * golden.bfloat16Rms);
    expect(sameBits(exact, await evaluate("reference", "bf16"))).toBe(false);
    expect(sameBits(await evaluate("cpu", "int8"), await evaluate("cpu", "bf16"))).toBe(false);
  });

  it("threads and cuts leave no trace", async () => {
    const expected = await withModel({ attention }, behindPrefill);
    for (const [threads, batchTokens] of [
      [2, 512],
      [3, 33],
      [5, 7],
    ] as const) {
      const other = await withModel({ attention, threads, batchTokens }, behindPrefill);
      expect(sameBits(other, expected), `threads ${threads}, batchTokens ${batchTokens}`).toBe(true);
    }
  });

  it("a hit of either prefix cache leaves no trace", async () => {
    const expected = await withModel({ attention }, behindPrefill);
    const caches = { attention, prefixCacheBytes: 1 << 24, prefixCacheDirectory: join(folder, "pages") };
    for (const known of [0, 576]) {
      await withModel(caches, async (model) => {
        using session = model.createSession();
        expect((await session.prefill(ids)).cachedTokens).toBe(known);
        expect(sameBits(await session.evaluate([1, 2, 3]), expected)).toBe(true);
        expect(sameBits(await behindPrefill(model), expected)).toBe(true);
      });
    }
  });
});

it("a prefill equals token by token", async () => {
  await withModel({}, async (model) => {
    const expected = await behindPrefill(model);
    using session = model.createSession();
    for (const id of ids.slice(0, -1)) await session.prefill([id]);
    await session.prefill(ids.slice(-1));
    expect(sameBits(await session.evaluate([1, 2, 3]), expected)).toBe(true);
  });
});

it("a restored session goes on with the same bits, and another type refuses the file", async () => {
  const file = join(folder, "session");
  const expected = await withModel({}, async (model) => {
    using session = model.createSession();
    await session.prefill(ids);
    await session.save(file);
    return await session.evaluate([1, 2, 3]);
  });
  await withModel({ threads: 2 }, async (model) => {
    using session = await model.restoreSession(file);
    expect(sameBits(await session.evaluate([1, 2, 3]), expected)).toBe(true);
  });
  await withModel({ cacheType: "bf16" }, async (model) => {
    await expect(model.restoreSession(file)).rejects.toMatchObject({
      code: "incompatible-file",
      message: `Expected a cache of cacheType "bf16" for ${file}, got one of cacheType "int8"`,
      details: { file },
    });
  });
});

it("the forecast counts it", async () => {
  const forecast = (cacheType: "bf16" | "int8") =>
    forecastModel(golden.path, { device: "cpu", contextTokens: 64, cacheType });
  const config = await withModel({}, async (model) => model.config);
  const { kv_lora_rank: rank, qk_rope_head_dim: rope, num_hidden_layers: layers } = config;
  const row = Math.ceil((4 * Math.ceil(rank / 128) + 2 * rope + rank) / 16) * 16;
  expect((await forecast("int8")).cacheBytes).toBe(64 * layers * row);
  expect((await forecast("int8")).cacheBytes).toBeLessThan((await forecast("bf16")).cacheBytes);
});
