// Calls in every order, aborts at every moment, faults of files and numbers: a typed error each, nothing hangs, and the
// model stays usable where it can.

import {
  copyFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, describe, expect, it } from "vitest";
import {
  forecastModel,
  type K2Error,
  type LoadOptions,
  listDevices,
  loadModel,
  openCheckpoint,
} from "../../lib/index";
import { readGolden, sameBits } from "./support/golden-checkpoints";

const golden = readGolden("int4-group32");
const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

const failure = async (action: () => unknown): Promise<K2Error> => {
  try {
    await action();
  } catch (error) {
    return error as K2Error;
  }
  throw new Error("expected a failure");
};

/** The reference backend takes a good part of a second for these: time to interfere. */
const manyIds = Array.from({ length: 400 }, (_, i) => golden.ids[i % golden.ids.length]!);
const loadSlow = (options: LoadOptions = {}) =>
  loadModel(golden.path, {
    device: "reference",
    contextTokens: 1024,
    batchTokens: 64,
    ...options,
  });

function copyOfCheckpoint(): string {
  const folder = mkdtempSync(join(tmpdir(), "k2-lifecycle-"));
  folders.push(folder);
  for (const file of readdirSync(golden.path)) copyFileSync(join(golden.path, file), join(folder, file));
  return folder;
}

const weightFiles = (folder: string) => readdirSync(folder).filter((name) => name.endsWith(".safetensors"));

describe("options of loadModel", () => {
  const wrong: [string, Record<string, unknown>][] = [
    ["device", { device: "gpu" }],
    ["device", { device: 1 }],
    ["threads", { threads: 0 }],
    ["threads", { threads: 1.5 }],
    ["threads", { threads: 100_000 }],
    ["contextTokens", { contextTokens: 0 }],
    ["contextTokens", { contextTokens: Number.NaN }],
    ["contextTokens", { contextTokens: 2 ** 40 }],
    ["attention", { attention: "flash" }],
    ["attention", { attention: "toString" }],
    ["cacheType", { cacheType: "int4" }],
    ["cacheType", { cacheType: "toString" }],
    ["cacheType", { cacheType: null }],
    ["speculation", { speculation: "on" }],
    ["speculation", { speculation: "valueOf" }],
    ["speculation", { speculation: null }],
    ["isa", { isa: "sse" }],
    ["activations", { activations: "int4" }],
    ["activations", { activations: "constructor" }],
    ["activations", { activations: 8 }],
    ["activations", { activations: null }],
    ["activations", { activations: "int8", device: "reference" }],
    ["batchTokens", { batchTokens: -1 }],
    ["prefixCacheBytes", { prefixCacheBytes: -1 }],
    ["onProgress", { onProgress: 3 }],
    ["signal", { signal: {} }],
    ["thread", { thread: 2 }],
    ["device", { device: null }],
    ["attention", { attention: null }],
    ["isa", { isa: null }],
  ];
  it.each(wrong)("%s %j", async (name, options) => {
    const error = await failure(() => loadModel(golden.path, options as LoadOptions));
    expect(error.code).toBe("invalid-argument");
    expect(error.message).toContain(name);
  });

  it("a context that cannot fit in memory is refused with the numbers", async () => {
    // 15 times 16 million tokens of even this small cache are more than any machine has.
    const forecast = await forecastModel(golden.path, { contextTokens: 1 << 24 });
    expect(forecast.totalBytes).toBe(
      forecast.weightsBytes + forecast.cacheBytes + forecast.prefixCacheBytes + forecast.scratchBytes,
    );
    if (forecast.runs) return;
    const error = await failure(() => loadModel(golden.path, { contextTokens: 1 << 24 }));
    expect(error.code).toBe("out-of-memory");
    expect(error.message).toContain(String(forecast.memoryBytes));
  });

  it("forecastModel and openCheckpoint check what they are given", async () => {
    for (const model of [{}, [], new Map(), null, 3] as unknown as string[]) {
      expect((await failure(() => forecastModel(model))).message).toContain("path");
      expect((await failure(() => openCheckpoint(model))).message).toContain("path");
    }
    const options: [string, unknown][] = [
      ["options", null],
      ["options", "x"],
      ["onProgress", { onProgress: 1 }],
      ["signal", { signal: {} }],
      ["progress", { progress: 1 }],
    ];
    for (const [name, value] of options) {
      const error = await failure(() => openCheckpoint(golden.path, value as object));
      expect(error.code).toBe("invalid-argument");
      expect(error.message).toContain(name);
    }
  });

  it("devices are listed with what they can do", () => {
    const devices = listDevices();
    expect(devices.map((device) => device.name)).toEqual(["cpu", "cuda", "metal", "reference"]);
    expect(devices[0]!.isas).toContain("scalar");
  });

  it("cuda is refused with its reason where there is none", async () => {
    if (listDevices().find((device) => device.name === "cuda")!.isAvailable) return;
    const error = await failure(() => loadModel(golden.path, { device: "cuda" }));
    expect(error.code).toBe("unavailable");
    expect(error.message).toMatch(/driver|GPU|nvcc/);
  });

  it.skipIf(process.platform === "darwin")(
    "metal is refused with its reason where there is none",
    async () => {
      const error = await failure(() => loadModel(golden.path, { device: "metal" }));
      expect(error.code).toBe("unavailable");
      expect(error.message).toContain("Metal is part of macOS");
    },
  );
});

describe("loading", () => {
  it("reports progress to its end", async () => {
    const seen: { phase: string; bytes: number; total: number }[] = [];
    await using _model = await loadModel(golden.path, { onProgress: (progress) => seen.push(progress) });
    await sleep(20);
    expect([...new Set(seen.map(({ phase }) => phase))]).toEqual(
      expect.arrayContaining(["headers", "check", "map"]),
    );
    for (const { bytes, total } of seen) expect(bytes).toBeLessThanOrEqual(total);
    expect(seen.at(-1)!.bytes).toBe(seen.at(-1)!.total);
  });

  it("passes on what the callback throws, in every phase", async () => {
    for (const phase of ["headers", "check", "tokenizer", "map"]) {
      const mine = new Error(phase);
      const load = loadModel(golden.path, {
        onProgress: (progress) => {
          if (progress.phase === phase) throw mine;
        },
      });
      await expect(load).rejects.toBe(mine);
    }
  });

  it("aborts before and during", async () => {
    expect((await failure(() => loadModel(golden.path, { signal: AbortSignal.abort() }))).code).toBe(
      "aborted",
    );
    for (const phase of ["headers", "check", "tokenizer", "map"]) {
      const controller = new AbortController();
      const onProgress = (progress: { phase: string }) => {
        if (progress.phase === phase) controller.abort();
      };
      const error = await failure(() => loadModel(golden.path, { signal: controller.signal, onProgress }));
      expect(error.code, phase).toBe("aborted");
    }
  });

  it("a checkpoint without tokenizer loads; text features name the missing file", async () => {
    await using model = await loadModel(golden.path);
    for (const use of [() => model.tokenizer, () => model.renderPrompt([]), () => model.createChat()]) {
      const error = await failure(use);
      expect(error.code).toBe("missing-tokenizer");
      expect(error.message).toContain("tiktoken.model");
    }
  });
});

describe("dispose", () => {
  it("settles what runs, refuses what comes, and may be repeated", async () => {
    const model = await loadSlow();
    const sessions = [model.createSession(), model.createSession()];
    const running = [
      failure(() => sessions[0]!.evaluate(manyIds)),
      failure(() => sessions[1]!.prefill(manyIds)),
    ];
    await sleep(30);
    await Promise.all([model.dispose(), model.dispose()]);
    for (const error of await Promise.all(running)) expect(error.code).toBe("invalid-state");
    await model.dispose();
    expect((await failure(() => model.createSession())).code).toBe("invalid-state");
    expect((await failure(() => sessions[0]!.prefill([1]))).code).toBe("invalid-state");
    expect((await failure(() => sessions[0]!.fork())).code).toBe("invalid-state");
    expect((await failure(() => sessions[0]!.decode().next())).code).toBe("invalid-state");
    sessions[0]!.dispose();
  });

  it("ends a decode that is being read", async () => {
    const model = await loadSlow();
    const session = model.createSession();
    await session.prefill([1, 2, 3]);
    const error = await failure(async () => {
      for await (const _token of session.decode({ stopTokens: [] })) await model.dispose();
    });
    expect(error.code).toBe("invalid-state");
  });

  it("ends a decode that waits for its first token", async () => {
    const model = await loadSlow();
    const session = model.createSession();
    await session.prefill([1, 2, 3]);
    const stream = session.decode({ stopTokens: [] });
    const first = stream.next().then(
      () => "token",
      (error: K2Error) => error.code,
    );
    await model.dispose();
    expect(["token", "invalid-state"]).toContain(await first);
    expect(
      (await failure(() => stream.next().then(({ done }) => Promise.reject(done ? { code: "done" } : {}))))
        .code,
    ).toBe((await first) === "token" ? "invalid-state" : "done");
  });
});

describe("abort", () => {
  it("of a prefill settles soon, and the timeline is as before", async () => {
    await using model = await loadSlow();
    const session = model.createSession();
    await session.prefill(golden.ids.slice(0, 10));
    const full = performance.now();
    await (await session.fork()).prefill(manyIds);
    const fullMs = performance.now() - full;
    const controller = new AbortController();
    const running = failure(() => session.prefill(manyIds, { signal: controller.signal }));
    await sleep(fullMs / 10);
    const start = performance.now();
    controller.abort(new Error("enough"));
    const error = await running;
    expect(error.code).toBe("aborted");
    expect((error.cause as Error).message).toBe("enough");
    // One layer of one step of 64 tokens, out of seven steps of three layers, with room for a busy machine.
    expect(performance.now() - start).toBeLessThan(fullMs / 2);
    expect(session.position).toBe(10);
    const rest = await session.evaluate(golden.ids.slice(10));
    const vocab = model.config.vocab_size;
    const whole = await model.createSession().evaluate(golden.ids);
    expect(sameBits(rest, whole.subarray(10 * vocab))).toBe(true);
  });

  it("of one session does not disturb the others of its step", async () => {
    await using model = await loadSlow();
    const alone = await model.createSession().evaluate(golden.ids);
    const controller = new AbortController();
    const aborted = failure(() => model.createSession().prefill(manyIds, { signal: controller.signal }));
    const other = model.createSession().evaluate(golden.ids);
    await sleep(5);
    controller.abort();
    expect((await aborted).code).toBe("aborted");
    expect(sameBits(await other, alone)).toBe(true);
  });

  it("of a decode ends the loop without an error", async () => {
    await using model = await loadModel(golden.path, { contextTokens: 4096 });
    const session = model.createSession();
    await session.prefill(golden.ids.slice(0, 10));
    const controller = new AbortController();
    const stream = session.decode({ stopTokens: [], signal: controller.signal });
    let read = 0;
    for await (const _token of stream) {
      read += 1;
      if (read === 5) controller.abort();
    }
    expect(read).toBe(5);
    expect(stream.end).toBe("aborted");
    expect(session.position).toBe(15);
    await session.prefill([1]);
  });

  it("before the start does nothing", async () => {
    await using model = await loadModel(golden.path);
    const session = model.createSession();
    const signal = AbortSignal.abort();
    expect((await failure(() => session.prefill([1], { signal }))).code).toBe("aborted");
    await session.prefill([1]);
    const stream = session.decode({ signal });
    expect((await stream.next()).done).toBe(true);
    expect(stream.end).toBe("aborted");
    expect(session.position).toBe(1);
  });
});

describe("faults", () => {
  it("NaN in a weight ends the session with a numerical fault and no other", async () => {
    const folder = copyOfCheckpoint();
    // Poisons one row of the embedding: only timelines with token 7 meet it.
    const index = JSON.parse(readFileSync(join(folder, "model.safetensors.index.json"), "utf8"));
    const file = join(folder, index.weight_map["model.embed_tokens.weight"]);
    const bytes = readFileSync(file);
    const headerLength = Number(bytes.readBigUInt64LE(0));
    const header = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength));
    const { dtype, shape, data_offsets } = header["model.embed_tokens.weight"];
    expect(dtype).toBe("BF16");
    bytes.fill(
      0xff,
      8 + headerLength + data_offsets[0] + 7 * 2 * shape[1],
      8 + headerLength + data_offsets[0] + 8 * 2 * shape[1],
    );
    writeFileSync(file, bytes);

    await using model = await loadModel(folder);
    const sound = golden.ids.filter((id) => id !== 7);
    const before = await model.createSession().evaluate(sound);
    const poisoned = model.createSession();
    const [error, beside] = await Promise.all([
      failure(() => poisoned.evaluate([...sound.slice(0, 4), 7])),
      model.createSession().evaluate(sound),
    ]);
    expect(error.code).toBe("numerical-fault");
    expect(error.message).toContain("position 4");
    expect(sameBits(before, beside)).toBe(true);
    expect((await failure(() => poisoned.prefill([1]))).code).toBe("numerical-fault");
    const prefilled = model.createSession();
    expect((await failure(() => prefilled.prefill([7]))).code).toBe("numerical-fault");
  });

  it("NaN in the router's bias of one expert is a fault, not an expert that is never chosen", async () => {
    const folder = copyOfCheckpoint();
    const index = JSON.parse(readFileSync(join(folder, "model.safetensors.index.json"), "utf8"));
    const tensors = Object.keys(index.weight_map);
    const name = tensors.find((tensor) => tensor.endsWith("e_score_correction_bias"))!;
    const file = join(folder, index.weight_map[name]);
    const bytes = readFileSync(file);
    const headerLength = Number(bytes.readBigUInt64LE(0));
    const { shape, data_offsets } = JSON.parse(bytes.toString("utf8", 8, 8 + headerLength))[name];
    const start = 8 + headerLength + data_offsets[0];
    bytes.fill(0xff, start, start + (data_offsets[1] - data_offsets[0]) / shape[0]);
    writeFileSync(file, bytes);
    for (const device of ["cpu", "reference"] as const) {
      await using model = await loadModel(folder, { device });
      const error = await failure(() => model.createSession().evaluate([1, 2]));
      expect(error.code).toBe("numerical-fault");
    }
  });

  it("a weight file that shrinks under us is an error that names it", async () => {
    const folder = copyOfCheckpoint();
    await using model = await loadModel(folder, { threads: 2 });
    const session = model.createSession();
    const [file] = weightFiles(folder);
    truncateSync(join(folder, file!), 4096);
    const error = await failure(() => session.evaluate(golden.ids));
    expect(error.code).toBe("io");
    expect(error.message).toContain(file);
    // Another model in the same process is untouched.
    await using other = await loadModel(golden.path);
    await other.createSession().evaluate(golden.ids);
  });
});
