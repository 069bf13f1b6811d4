// Routed experts read from disk into a memory that holds few of them: the same bits, what is counted, and errors.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { forecastModel, K2Error, type LoadOptions, loadModel } from "../../lib/index";
import { int4Quantization, makeTensors, tinyConfig, writeCheckpoint } from "../support/write-checkpoint";
import { readGolden, sameBits } from "./support/golden-checkpoints";

const scratch = mkdtempSync(join(tmpdir(), "k2-expert-memory-"));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

async function failure(run: () => Promise<unknown>): Promise<K2Error> {
  try {
    await run();
  } catch (error) {
    if (error instanceof K2Error) return error;
    throw error;
  }
  throw new Error("Expected a K2Error, got success");
}

/** The least that the error for too little names. */
async function leastMemory(path: string): Promise<number> {
  const { code, message } = await failure(() => loadModel(path, { expertMemory: 1 }));
  expect(code).toBe("invalid-argument");
  return Number(/^Expected at least (\d+) bytes, .* for expertMemory, got 1$/.exec(message)![1]);
}

async function answers(path: string, ids: readonly number[], options: LoadOptions) {
  await using model = await loadModel(path, { device: "cpu", contextTokens: 512, ...options });
  const session = model.createSession();
  const logits = await session.evaluate(ids);
  const tokens: number[] = [];
  for await (const { id } of session.decode({ maxTokens: 40, seed: 3, stopTokens: [] })) tokens.push(id);
  const { expertReads, memory } = model;
  return { logits, tokens, expertReads, memory };
}

describe.each(["bf16-qlora", "int4-group32", "fp8-block", "glm-like"])("%s", (name) => {
  const { path, ids } = readGolden(name);

  it("gives the bits of mapped experts, whatever memory there is", async () => {
    const mapped = await answers(path, ids, { expertMemory: "mapped" });
    expect(mapped.expertReads).toBeUndefined();
    const least = await leastMemory(path);
    for (const expertMemory of [least, 3 * least, 2 ** 26]) {
      const streamed = await answers(path, ids, { expertMemory, batchTokens: 16 });
      expect(sameBits(streamed.logits, mapped.logits), `${expertMemory} bytes`).toBe(true);
      expect(streamed.tokens).toEqual(mapped.tokens);
      const { hits, misses, guesses, usedGuesses, wastedGuesses, readBytes, memoryBytes } =
        streamed.expertReads!;
      expect(hits + misses).toBeGreaterThan(40);
      expect(misses).toBeGreaterThan(0);
      expect(readBytes).toBeGreaterThan(0);
      expect(usedGuesses + wastedGuesses).toBeLessThanOrEqual(guesses);
      expect(memoryBytes).toBeLessThanOrEqual(expertMemory);
      expect(streamed.memory.expertMemoryBytes).toBe(expertMemory);
    }
  });

  it("is no part of what a saved session belongs to", async () => {
    const file = join(scratch, `${name}.k2s`);
    const expertMemory = await leastMemory(path);
    await using streamed = await loadModel(path, { contextTokens: 512, expertMemory });
    const session = streamed.createSession();
    await session.prefill(ids);
    await session.save(file);
    await using mapped = await loadModel(path, { contextTokens: 512, expertMemory: "mapped" });
    const restored = await mapped.restoreSession(file);
    const [there, here] = [await session.evaluate([1, 2, 3]), await restored.evaluate([1, 2, 3])];
    expect(sameBits(there, here)).toBe(true);
  });
});

describe("expertMemory", () => {
  const { path } = readGolden("int4-group32");

  it.each([0, -1, 1.5, Number.NaN, 2 ** 60, "disk", "40", null, true, {}])("cannot be %j", async (value) => {
    const error = await failure(() => loadModel(path, { expertMemory: value } as LoadOptions));
    expect(error.code).toBe("invalid-argument");
    expect(error.message).toContain("auto, mapped or an integer of at least 1 for expertMemory");
  });

  it("leaves a model that fits where it is mapped", async () => {
    const { fits, expertMemoryBytes, expertsBytes } = await forecastModel(path);
    expect({ fits, expertMemoryBytes }).toEqual({ fits: true, expertMemoryBytes: 0 });
    expect(expertsBytes).toBeGreaterThan(0);
  });

  it("needs a model with experts", async () => {
    const folder = join(scratch, "dense");
    const config = tinyConfig({ first_k_dense_replace: 3 });
    writeCheckpoint(folder, { config, tensors: makeTensors(config) });
    const error = await failure(() => loadModel(folder, { expertMemory: 1e6 }));
    expect(error).toMatchObject({ code: "invalid-argument" });
    expect(error.message).toContain("routed experts for expertMemory");
  });

  it("finds the matrices of an expert in several files", async () => {
    const folder = join(scratch, "scattered");
    const config = tinyConfig({ quantization_config: int4Quantization() });
    writeCheckpoint(folder, { config, tensors: makeTensors(config, { experts: "INT4" }), shards: 5 });
    const ids = Array.from({ length: 60 }, (_, i) => (i * 37) % 320);
    const options = { contextTokens: 256 };
    const mapped = await answers(folder, ids, { ...options, expertMemory: "mapped" });
    const streamed = await answers(folder, ids, { ...options, expertMemory: await leastMemory(folder) });
    expect(sameBits(streamed.logits, mapped.logits)).toBe(true);
    expect(streamed.tokens).toEqual(mapped.tokens);
  });

  it("ends a call at its signal", async () => {
    await using model = await loadModel(path, { contextTokens: 4096, expertMemory: await leastMemory(path) });
    const session = model.createSession();
    const abort = new AbortController();
    const call = failure(() => session.prefill(new Int32Array(4000).fill(1), { signal: abort.signal }));
    setTimeout(() => abort.abort(), 20);
    expect((await call).code).toBe("aborted");
    expect(session.position).toBe(0);
    await session.prefill([1, 2, 3]);
  });
});
