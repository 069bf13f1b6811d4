// Opening as a whole: what a Checkpoint holds, progress, abort, the event loop, the file layouts that exist in the
// wild, and wrong arguments.

import { mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { expertSizesOf, forecastMemory } from "../../../lib/checkpoint/memory-forecast";
import { type OpenProgress, openCheckpoint } from "../../../lib/checkpoint/open-checkpoint";
import { K2Error } from "../../../lib/errors";
import {
  dealTensors,
  makeTensors,
  temporaryFolder,
  tinyConfig,
  writeCheckpoint,
} from "../../support/write-checkpoint";

const { folder: root, remove } = temporaryFolder();
afterAll(remove);

const config = tinyConfig({ eos_token_id: [302, 7] });
const tensors = makeTensors(config);

function write(name: string, shards: number): string {
  const folder = join(root, name);
  writeCheckpoint(folder, { config, tensors, shards, generationConfig: { eos_token_id: [9, 302, 5000] } });
  return folder;
}

describe("a checkpoint", () => {
  it("holds what is known without reading weights", async () => {
    const folder = write("whole", 2);
    writeFileSync(join(folder, "tiktoken.model"), "");
    writeFileSync(join(folder, "chat_template.jinja"), "");
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.path).toBe(folder);
    expect(checkpoint.config.hidden_size).toBe(64);
    expect(checkpoint.spec.hiddenSize).toBe(64);
    // 5000 lies outside of the vocabulary and can never be sampled.
    expect(checkpoint.eosTokenIds).toEqual([7, 9, 302]);
    expect(checkpoint.generationConfig).toEqual({ eos_token_id: [9, 302, 5000] });
    expect(checkpoint.tensorCount).toBe(tensors.length);
    expect(checkpoint.files.map(({ name }) => name)).toEqual([...dealTensors(tensors, 2).keys()]);
    expect(checkpoint.weightTable.files).toEqual(checkpoint.files.map(({ path }) => path));
    expect(checkpoint.textFiles).toEqual({
      vocabulary: join(folder, "tiktoken.model"),
      tokenizerConfig: null,
      chatTemplate: join(folder, "chat_template.jinja"),
      generationConfig: join(folder, "generation_config.json"),
    });
  });

  it("opens by a relative path", async () => {
    const folder = write("relative", 0);
    const checkpoint = await openCheckpoint(`${folder}/../relative/.`);
    expect(checkpoint.path).toBe(folder);
  });

  it("prefers the index over a single file", async () => {
    const folder = write("both", 2);
    writeFileSync(join(folder, "model.safetensors"), "not a safetensors file");
    expect((await openCheckpoint(folder)).files).toHaveLength(2);
  });

  it("follows links to files elsewhere, as download caches lay them out", async () => {
    const folder = write("cache/snapshot", 2);
    const blobs = join(root, "cache/blobs");
    mkdirSync(blobs);
    const names = ["config.json", "model.safetensors.index.json", ...dealTensors(tensors, 2).keys()];
    names.forEach((name, i) => {
      renameSync(join(folder, name), join(blobs, `${i}`));
      symlinkSync(`../blobs/${i}`, join(folder, name));
    });
    const checkpoint = await openCheckpoint(folder);
    expect(checkpoint.weightTable.files[0]).toBe(join(folder, names[2]!));
  });

  it("reads an index with other keys, any order, and escapes in names", async () => {
    const folder = write("index", 1);
    const [shard] = dealTensors(tensors, 1).keys();
    const map = tensors.map(({ name }) => `"${name.replace("model", "\\u006dodel")}": "${shard}"`).reverse();
    const metadata = '{"total_size": 1.5e+300, "a": [true, null, -0.5, {"b": "\\ud83d\\ude00"}]}';
    const text = `\n{"weight_map": {${map.join(",\t")}}, "metadata": ${metadata}, "x": ""}\r\n`;
    writeFileSync(join(folder, "model.safetensors.index.json"), text);
    expect((await openCheckpoint(folder)).tensorCount).toBe(tensors.length);
  });
});

describe("progress and abort", () => {
  it("reports each phase up to its total", async () => {
    const folder = write("progress", 3);
    const seen: OpenProgress[] = [];
    const { files } = await openCheckpoint(folder, { onProgress: (progress) => seen.push(progress) });
    const total = files.reduce((sum, { bytes }) => sum + bytes, 0);
    for (const phase of ["index", "headers", "check"] as const) {
      const reports = seen.filter((progress) => progress.phase === phase);
      expect(reports.at(-1)!.bytes).toBe(reports.at(-1)!.total);
      const bytes = reports.map((progress) => progress.bytes);
      expect(bytes).toEqual(bytes.toSorted((a, b) => a - b));
    }
    // One at the end of each file; pauses may add some.
    const headers = seen.filter(({ phase }) => phase === "headers").map(({ bytes }) => bytes);
    expect(new Set(headers).size).toBeGreaterThanOrEqual(3);
    expect(seen.at(-1)).toEqual({ phase: "check", bytes: total, total });
  });

  it("rejects with aborted, before and while opening", async () => {
    const folder = write("abort", 3);
    const reason = new Error("changed my mind");
    const before = openCheckpoint(folder, { signal: AbortSignal.abort(reason) });
    await expect(before).rejects.toMatchObject({ code: "aborted", cause: reason });
    for (const phase of ["index", "headers"]) {
      const controller = new AbortController();
      const onProgress = (progress: OpenProgress) => {
        if (progress.phase === phase) controller.abort();
      };
      const opening = openCheckpoint(folder, { signal: controller.signal, onProgress });
      await expect(opening).rejects.toMatchObject({ name: "K2Error", code: "aborted" });
    }
  });

  it("passes on what a progress callback throws", async () => {
    const thrown = new Error("mine");
    const opening = openCheckpoint(write("throw", 1), {
      onProgress: () => {
        throw thrown;
      },
    });
    await expect(opening).rejects.toBe(thrown);
  });
});

describe("arguments", () => {
  it.each([undefined, null, 5, "", {}, "a\0b"])("refuses %j as a folder", async (folder) => {
    const error: unknown = await openCheckpoint(folder as string).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(K2Error);
    expect(error).toMatchObject({ code: "invalid-argument", details: { option: "path" } });
  });
});

describe("forecastMemory", () => {
  const plan = { cacheBytesPerToken: 70_272, pageTokens: 64, scratchBytes: 1000 };

  it("counts whole pages of cache", () => {
    const options = {
      contextTokens: 65,
      prefixCacheBytes: 7000,
      expertMemory: "auto",
      expertCopyBytes: "auto",
    } as const;
    expect(forecastMemory(5000, { bytes: 4000, tokenBytes: 9 }, plan, options, 1e9)).toEqual({
      weightsBytes: 5000,
      expertsBytes: 4000,
      expertMemoryBytes: 0,
      expertCopyBytes: 4000,
      cacheBytes: 128 * 70_272,
      prefixCacheBytes: 7000,
      scratchBytes: 1000,
      totalBytes: 13_000 + 128 * 70_272,
      memoryBytes: 1e9,
      fits: true,
      runs: true,
    });
  });

  it("tells weights that stream from disk from a cache that cannot be", () => {
    const none = { bytes: 0, tokenBytes: 0 };
    const forecast = (weightBytes: number, contextTokens: number, prefixCacheBytes = 0) =>
      forecastMemory(
        weightBytes,
        none,
        plan,
        { contextTokens, prefixCacheBytes, expertMemory: "auto", expertCopyBytes: "auto" },
        24e9,
      );
    expect(forecast(594e9, 1000)).toMatchObject({ fits: false, runs: true });
    expect(forecast(1e9, 1e6)).toMatchObject({ fits: false, runs: false });
    expect(forecast(1e9, 1000, 24e9)).toMatchObject({ fits: false, runs: false });
    const ofMachine = forecastMemory(0, none, plan, {
      contextTokens: 0,
      prefixCacheBytes: 0,
      expertMemory: "auto",
      expertCopyBytes: "auto",
    });
    expect(ofMachine.memoryBytes).toBeGreaterThan(1e8);
  });

  describe("of experts", () => {
    const weightsBytes = 594e9;
    const sizes = { bytes: 571e9, tokenBytes: 0.2e9 };
    const forecast = (
      memoryBytes: number,
      expertMemory: "auto" | "mapped" | number,
      experts = sizes,
      expertCopyBytes: "auto" | number = "auto",
    ) => {
      const options = { contextTokens: 1024, prefixCacheBytes: 1e9, expertMemory, expertCopyBytes };
      return forecastMemory(weightsBytes, experts, plan, options, memoryBytes);
    };
    const working = 1024 * 70_272 + 1e9 + 1000;

    it("takes what a model that does not fit leaves of nine tenths of memory", () => {
      const { expertMemoryBytes, fits, runs } = forecast(128e9, "auto");
      expect(expertMemoryBytes).toBe(0.9 * 128e9 - 23e9 - working);
      expect({ fits, runs }).toEqual({ fits: false, runs: true });
    });

    it("copies into half of what is left of nine tenths of memory, and no more than there is", () => {
      const copied = (
        memoryBytes: number,
        bytes: "auto" | number = "auto",
        where: "auto" | number = "auto",
      ) => forecast(memoryBytes, where, sizes, bytes).expertCopyBytes;
      expect(copied(768e9)).toBe(Math.floor((0.9 * 768e9 - 594e9 - working) / 2));
      expect(copied(4e12)).toBe(571e9);
      expect(copied(620e9)).toBe(0);
      expect(copied(620e9, 5e9)).toBe(5e9);
      expect(copied(4e12, 0)).toBe(0);
      // Experts from disk come and go.
      expect(copied(4e12, 5e9, 20e9)).toBe(0);
    });

    it("leaves a model that fits where it is mapped", () => {
      expect(forecast(594e9 + working, "auto")).toMatchObject({ expertMemoryBytes: 0, fits: true });
      expect(forecast(594e9 + working - 1, "auto").expertMemoryBytes).toBeGreaterThan(500e9);
    });

    it("takes at least the experts of a token, and nothing where even they do not fit", () => {
      expect(forecast(16e9, "auto")).toMatchObject({ expertMemoryBytes: 0.2e9, runs: true });
      expect(forecast(working + 0.1e9, "auto")).toMatchObject({ expertMemoryBytes: 0, runs: true });
      expect(forecast(16e9, "auto", { bytes: 0, tokenBytes: 0 }).expertMemoryBytes).toBe(0);
    });

    it("takes what it is told to, and refuses more than there is", () => {
      expect(forecast(128e9, "mapped")).toMatchObject({ expertMemoryBytes: 0, runs: true });
      expect(forecast(128e9, 40e9)).toMatchObject({ expertMemoryBytes: 40e9, runs: true });
      expect(forecast(128e9, 127e9)).toMatchObject({ expertMemoryBytes: 127e9, runs: false });
      // More than all experts is never taken.
      expect(forecast(800e9, 900e9)).toMatchObject({ runs: true });
    });

    it("counts the experts of a checkpoint", () => {
      const config = { hidden_size: 100, moe_intermediate_size: 50, num_experts_per_tok: 4 };
      const share = (part: string, parameters: number, bytes: number) => ({ part, parameters, bytes });
      const checkpoint = {
        config,
        storageShares: [share("experts", 1000, 600), share("experts", 1000, 2000), share("shared", 10, 90)],
      };
      expect(expertSizesOf(checkpoint as unknown as Parameters<typeof expertSizesOf>[0])).toEqual({
        bytes: 2600,
        tokenBytes: 4 * (2 * 15_000 + 2 ** 19),
      });
    });
  });
});
