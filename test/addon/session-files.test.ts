// Sessions in files: the same bits as without an interruption, in another process too; the old file or the new one
// whatever happens; and no file that crashes or changes anything by being wrong.

import { execFile, spawn } from "node:child_process";
import {
  chmodSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { demoModelPath, K2Error, loadModel, type Model, type Session, type Tool } from "../../lib/index";
import { makeTensors, tinyConfig, writeCheckpoint } from "../support/write-checkpoint";
import { readGolden, sameBits } from "./support/golden-checkpoints";

const { path: checkpoint, ids: goldenIds } = readGolden("int4-group32");
const program = join(__dirname, "programs", "session-files.cjs");
const packagePath = join(__dirname, "..", "..");
const idsOf = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => 1 + ((i * (seed + 3) + Math.floor(i / 7) * seed) % 40));

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "k2-session-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

/** What the program of the child process prints. */
function run(
  scenario: string,
  checkpoint: string,
  file: string,
  user: { uid?: number; gid?: number } = {},
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    execFile(
      process.execPath,
      ["--expose-gc", program, packagePath, scenario, checkpoint, file],
      { timeout: 110_000, ...user },
      (error, stdout) => (error === null ? resolve(JSON.parse(stdout)) : reject(error)),
    );
  });
}

async function decode(session: Session, maxTokens: number, seed = 5): Promise<number[]> {
  const ids: number[] = [];
  for await (const { id } of session.decode({ maxTokens, seed, stopTokens: [] })) ids.push(id);
  return ids;
}

/** The error that a promise rejects with. */
async function failure(promise: Promise<unknown>): Promise<K2Error> {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(K2Error);
  return error as K2Error;
}

describe("a session", () => {
  let model: Model;
  beforeAll(async () => {
    model = await loadModel(checkpoint, { threads: 1, contextTokens: 1024 });
  });
  afterAll(() => model.dispose());

  it.each([
    ["behind a prefill", async (session: Session) => void (await session.prefill(idsOf(100, 1)))],
    [
      "behind a decode",
      async (session: Session) => {
        await session.prefill(goldenIds);
        await decode(session, 70);
      },
    ],
    [
      "behind a rewind",
      async (session: Session) => {
        await session.prefill(idsOf(200, 2));
        await session.rewind(130);
      },
    ],
  ])("goes on in another process with the same bits: %s", async (_, history) => {
    using session = model.createSession();
    await history(session);
    const file = join(folder, "session");
    await session.save(file);
    const there = await run("goOn", checkpoint, file);
    expect(there.tokens).toEqual([...session.tokens]);
    expect(there.decoded).toEqual(await decode(session, 80, 11));
    const logits = await session.evaluate([1, 2, 3]);
    expect(there.logits).toBe(Buffer.from(logits.buffer).toString("base64"));
  });

  it("is saved over and over, and names what is wrong", async () => {
    using session = model.createSession();
    await session.prefill(idsOf(90, 1));
    const file = join(folder, "session");
    for (let i = 0; i < 5; i += 1) await session.save(file);
    expect(readdirSync(folder)).toEqual(["session"]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    mkdirSync(join(folder, "folder"));
    for (const [path, got] of [
      [join(folder, "folder"), "a directory"],
      [join(folder, "absent", "session"), "No such file or directory"],
      [join(file, "session"), "Not a directory"],
      ["/dev/full", "something else"],
    ] as const) {
      const error = await failure(session.save(path));
      expect(error).toMatchObject({ code: "io", details: { file: path } });
      expect(error.message).toContain(path);
      expect(error.message).toContain(got);
      expect((await failure(model.restoreSession(path))).code).toBe("io");
    }
    for (const path of ["", "a\0b", 7, undefined]) {
      expect((await failure(session.save(path as string))).code).toBe("invalid-argument");
      expect((await failure(model.restoreSession(path as string))).code).toBe("invalid-argument");
    }
    expect((await failure(session.save(file, { note: "x" } as never))).code).toBe("invalid-argument");
    expect(readdirSync(folder).sort()).toEqual(["folder", "session"]);
    // The session is as it was.
    using restored = await model.restoreSession(file);
    expect(sameBits(await restored.evaluate([4]), await session.evaluate([4]))).toBe(true);
  });

  it("needs the right to write and to read", async () => {
    const isRoot = process.getuid?.() === 0;
    // For root everything is allowed, so another user tries.
    const user = isRoot ? { uid: 65534, gid: 65534 } : {};
    const copy = join(folder, "checkpoint");
    cpSync(checkpoint, copy, { recursive: true });
    const forbidden = join(folder, "forbidden");
    mkdirSync(forbidden);
    writeFileSync(join(forbidden, "session-secret"), "", { mode: 0o000 });
    for (const path of [folder, copy, forbidden]) chmodSync(path, 0o555);
    const told = await run("saveForbidden", copy, join(forbidden, "session"), user);
    for (const path of [folder, copy, forbidden]) chmodSync(path, 0o755);
    expect(told).toEqual({
      refused: { code: "io", message: expect.stringContaining("Permission denied") },
      unread: { code: "io" },
      pages: { code: "io" },
    });
    expect(readdirSync(forbidden)).toEqual(["session-secret"]);
  });

  it("is busy while it is saved, and can be given up", async () => {
    using session = model.createSession();
    await session.prefill(idsOf(1000, 1));
    const file = join(folder, "session");
    const saving = session.save(file);
    expect((await failure(session.save(join(folder, "other")))).code).toBe("invalid-state");
    expect((await failure(session.prefill([1]))).code).toBe("invalid-state");
    await saving;
    const signal = AbortSignal.abort();
    expect((await failure(session.save(join(folder, "other"), { signal }))).code).toBe("aborted");
    expect((await failure(model.restoreSession(file, { signal }))).code).toBe("aborted");
    for (let i = 0; i < 20; i += 1) {
      const controller = new AbortController();
      const other = join(folder, "other");
      const calls = [session.save(other, { signal: controller.signal })];
      calls.push(
        model.restoreSession(file, { signal: controller.signal }).then((restored) => {
          expect(restored.position).toBe(1000);
          restored.dispose();
        }),
      );
      setTimeout(() => controller.abort(), i / 4);
      for (const result of await Promise.allSettled(calls)) {
        if (result.status === "rejected") expect(result.reason).toMatchObject({ code: "aborted" });
      }
      expect(readdirSync(folder).filter((name) => name !== "other")).toEqual(["session"]);
    }
    const disposed = model.createSession();
    await disposed.prefill(idsOf(1000, 1));
    const lost = disposed.save(file);
    disposed.dispose();
    await lost.catch((error) => expect(error).toMatchObject({ code: "invalid-state" }));
    (await model.restoreSession(file)).dispose();
  });

  it("is refused by another checkpoint, another device and a small context", async () => {
    using session = model.createSession();
    await session.prefill(idsOf(100, 1));
    const file = join(folder, "session");
    await session.save(file);
    for (const [path, options, code] of [
      [readGolden("int4-group64").path, {}, "incompatible-file"],
      [checkpoint, { device: "reference" }, "incompatible-file"],
      [checkpoint, { cacheType: "int8" }, "incompatible-file"],
      [checkpoint, { contextTokens: 99 }, "context-full"],
    ] as const) {
      await using other = await loadModel(path, { threads: 1, contextTokens: 256, ...options });
      const error = await failure(other.restoreSession(file));
      expect(error).toMatchObject({ code, details: { file } });
      expect(error.message).toContain(file);
    }
    // Kernels may change: what is in the file stays, and what follows is theirs.
    await using scalar = await loadModel(checkpoint, { isa: "scalar" });
    using there = await scalar.restoreSession(file);
    expect((await there.evaluate([1])).every(Number.isFinite)).toBe(true);
    // The same checkpoint at another path is the same checkpoint.
    symlinkSync(checkpoint, join(folder, "moved"));
    await using moved = await loadModel(join(folder, "moved"), { threads: 2, batchTokens: 7 });
    (await moved.restoreSession(file)).dispose();
  });

  it("is refused when anything in its file is wrong", { timeout: 120_000 }, async () => {
    using session = model.createSession();
    await session.prefill(idsOf(70, 1));
    const file = join(folder, "session");
    await session.save(file);
    const sound = readFileSync(file);
    using witness = model.createSession();
    await witness.prefill([1, 2, 3]);
    const before = await witness.evaluate([4]);
    const refused = async (bytes: Uint8Array) => {
      writeFileSync(file, bytes);
      const { code } = await failure(model.restoreSession(file));
      expect(["damaged-file", "incompatible-file"]).toContain(code);
    };
    for (let i = 0; i < 2000; i += 1) {
      const bytes = Buffer.from(sound);
      const at = i < 120 ? i : Math.floor(((i * 0.6180339887) % 1) * bytes.length);
      bytes[at]! ^= 1 << (i % 8);
      await refused(bytes);
    }
    for (let size = 0; size < sound.length; size += 1 + Math.floor(size / 20)) {
      await refused(sound.subarray(0, size));
    }
    await refused(Buffer.concat([sound, sound]));
    writeFileSync(file, sound);
    using restored = await model.restoreSession(file);
    expect(sameBits(await restored.evaluate([4]), await session.evaluate([4]))).toBe(true);
    await witness.rewind(3);
    expect(sameBits(await witness.evaluate([4]), before)).toBe(true);
  });

  it("traces what follows where that is asked for", async () => {
    const file = join(folder, "session");
    const traced = model.createSession({ trace: true });
    await traced.prefill(idsOf(100, 1));
    await traced.save(file);
    using restored = await model.restoreSession(file, { trace: true });
    await restored.prefill([1, 2, 3]);
    await traced.prefill([1, 2, 3]);
    const [there, here] = [await restored.routing(), await traced.routing()];
    expect([...there.isKnown]).toEqual([...Array(100).fill(0), 1, 1, 1]);
    const rows = here.layers.length * here.expertsPerToken * 100;
    expect(there.experts.subarray(rows)).toEqual(here.experts.subarray(rows));
    expect(sameBits(there.weights.subarray(rows), here.weights.subarray(rows))).toBe(true);
    traced.dispose();
    using plain = await model.restoreSession(file);
    expect((await failure(plain.routing())).code).toBe("invalid-state");
    expect((await failure(model.restoreSession(file, { trace: 1 } as never))).code).toBe("invalid-argument");
  });

  it("gives what came from a file to nobody else", async () => {
    await using sharing = await loadModel(checkpoint, {
      threads: 1,
      contextTokens: 1024,
      prefixCacheBytes: 1 << 24,
      prefixCacheDirectory: join(folder, "pages"),
    });
    const ids = idsOf(300, 6);
    const file = join(folder, "session");
    const other = model.createSession();
    await other.prefill(ids);
    await other.save(file);
    other.dispose();
    const restored = await sharing.restoreSession(file);
    await restored.prefill(idsOf(100, 2));
    const fork = await restored.fork();
    await fork.prefill(idsOf(100, 3));
    for (const session of [restored, fork]) session.dispose();
    using session = sharing.createSession();
    expect(await session.prefill(ids)).toEqual({ cachedTokens: 0 });
  });
});

describe("saving", () => {
  it("loses nothing to kill -9", { timeout: 240_000 }, async () => {
    const file = join(folder, "session");
    await using model = await loadModel(checkpoint, { threads: 1, contextTokens: 4096 });
    const rounds = Number(process.env.K2_KILLS ?? 25);
    const seen = new Set<number>();
    for (let round = 0; round < rounds; round += 1) {
      const child = spawn(process.execPath, [program, packagePath, "saveForEver", checkpoint, file], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      // It says when the first save of this round begins.
      await new Promise<void>((resolve) => child.stdout.once("data", () => resolve()));
      await new Promise((resolve) => setTimeout(resolve, (round * 7) % 60));
      const ended = new Promise((resolve) => child.once("exit", resolve));
      child.kill("SIGKILL");
      await ended;
      const names = readdirSync(folder);
      expect(names.filter((name) => name !== "session" && name !== "session.partial")).toEqual([]);
      if (!names.includes("session")) continue;
      using session = await model.restoreSession(file);
      // One of the two sessions that the child saves in turn, whole.
      expect([2000, 3000]).toContain(session.position);
      expect(session.tokens[0]).toBe(session.position === 2000 ? 2 : 3);
      seen.add(session.position);
    }
    expect(seen.size).toBeGreaterThan(0);
    using session = model.createSession();
    await session.save(file);
    expect(readdirSync(folder)).toEqual(["session"]);
  });

  it("and restoring let workers and the process end at any moment", { timeout: 120_000 }, async () => {
    await run("endAtAnyMoment", checkpoint, join(folder, "session"));
    await using model = await loadModel(checkpoint, { threads: 1, contextTokens: 4096 });
    const saved = readdirSync(folder).filter((name) => /^session-\d+$/.test(name));
    expect(saved.length).toBeGreaterThan(2);
    for (const name of saved) {
      using session = await model.restoreSession(join(folder, name));
      expect(session.position).toBe(1000);
    }
  });

  it("takes no memory for the cache that it writes", { timeout: 120_000 }, async () => {
    // 9 KB of cache a token.
    const config = tinyConfig({ kv_lora_rank: 512, num_hidden_layers: 8, max_position_embeddings: 4096 });
    const wide = join(folder, "wide");
    writeCheckpoint(wide, { config, tensors: makeTensors(config) });
    const { grownBytes, fileBytes } = await run("memory", wide, join(folder, "session"));
    expect(fileBytes).toBeGreaterThan(16 << 20);
    expect(grownBytes).toBeLessThan(6 << 20);
  });

  it.skipIf(process.platform !== "linux" || process.getuid?.() !== 0)(
    "says that the disk is full",
    async () => {
      const mount = join(folder, "small");
      mkdirSync(mount);
      await new Promise<void>((resolve) =>
        execFile("mount", ["-t", "tmpfs", "-o", "size=64k", "none", mount], () => resolve()),
      );
      try {
        if (statSync(mount).dev === statSync(folder).dev) return; // no right to mount here
        await using model = await loadModel(checkpoint, { threads: 1, contextTokens: 2048 });
        using session = model.createSession();
        const file = join(mount, "session");
        await session.prefill([1, 2, 3]);
        await session.save(file);
        await session.prefill(idsOf(1500, 1));
        const error = await failure(session.save(file));
        expect(error).toMatchObject({ code: "io", details: { file } });
        expect(error.message).toContain("No space left on device");
        expect(readdirSync(mount)).toEqual(["session"]);
        using restored = await model.restoreSession(file);
        expect(restored.position).toBe(3);
      } finally {
        await new Promise<void>((resolve) => execFile("umount", [mount], () => resolve()));
      }
    },
  );
});

const CITY = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

describe("a chat", () => {
  it("is saved in the middle of a run, and the run goes on from there", { timeout: 120_000 }, async () => {
    await using model = await loadModel(demoModelPath, { threads: 1 });
    const tools: Tool[] = [
      {
        type: "function",
        function: { name: "get_weather", description: "Get the current weather in a city", parameters: CITY },
        execute: ({ city }) => ({ city, temp_c: city.length, sky: "clear" }),
      },
    ];
    const options = { temperature: 0, maxTokens: 200 } as const;
    const files: string[] = [];
    await using chat = model.createChat({ tools, ...options });
    const { finishReason } = await chat
      .run("Compare the weather in Oslo and Rome.", {
        toolChoice: "required",
        onStep: async ({ index, results }) => {
          if (results.length === 0) return undefined;
          files.push(join(folder, `step-${index}`));
          await chat.save(files.at(-1)!);
          return undefined;
        },
      })
      .result();
    expect([finishReason, files.length > 0]).toEqual(["stop", true]);
    for (const file of files) {
      await using restored = await model.restoreChat(file, { tools, ...options });
      const rest = await restored.run([]).result();
      expect(rest.finishReason).toBe("stop");
      expect(restored.messages).toEqual(chat.messages);
      // Nothing is computed again but what is new.
      expect(rest.steps[0]!.reply.usage.cachedTokens).toBeGreaterThan(100);
      expect((await failure(restored.send([]).reply())).code).toBe("invalid-argument");
    }
  });

  const weather: Tool = {
    type: "function",
    function: {
      name: "get_weather",
      description: "Get the current weather in a city",
      parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    },
    execute: ({ city }) => ({ city, temperature: 21 }),
  };
  const { execute: _, ...definition } = weather;

  it("goes on with its messages, tools and tokens", { timeout: 120_000 }, async () => {
    await using model = await loadModel(demoModelPath, { threads: 1 });
    const file = join(folder, "chat");
    const options = { temperature: 0.7, seed: 3, maxTokens: 60 } as const;
    await using chat = model.createChat({ system: "You are brief.", tools: [weather], ...options });
    await chat.run("What is the weather in Rome?", { maxSteps: 3 }).result();
    await chat.save(file);
    await using restored = await model.restoreChat(file, { tools: [weather], ...options });
    expect(restored.messages).toEqual(chat.messages);
    expect(restored.tools).toEqual(chat.tools);
    const [there, here] = [
      await restored.run("And in Oslo?", { maxSteps: 3 }).result(),
      await chat.run("And in Oslo?", { maxSteps: 3 }).result(),
    ];
    expect(there.steps.map((step) => step.reply.text)).toEqual(here.steps.map((step) => step.reply.text));
    expect(there.usage).toEqual(here.usage);
    expect(restored.messages).toEqual(chat.messages);

    await using plain = await model.restoreChat(file);
    expect(plain.tools).toEqual(chat.tools);
    expect(await failure(model.restoreChat(file, { tools: [] }))).toMatchObject({ code: "invalid-argument" });
    expect(await failure(model.restoreChat(file, { tools: null } as never))).toMatchObject({
      code: "invalid-argument",
    });
    const changed = { ...definition, function: { ...definition.function, description: "Other" } };
    expect((await failure(model.restoreChat(file, { tools: [changed] }))).message).toContain("tools[0]");
    expect((await failure(model.restoreChat(file, { system: "x" } as never))).message).toContain("system");
    expect((await failure(model.restoreChat(file, { temperature: -1 }))).code).toBe("invalid-argument");
    await using traced = await model.restoreChat(file, { ...options, trace: true });
    const { usage } = await traced.send("And in Oslo?").reply();
    const { isKnown } = await traced.routing();
    expect(isKnown.length).toBeGreaterThanOrEqual(usage.totalTokens);
    expect([...isKnown.subarray(usage.cachedTokens, usage.totalTokens - 1)]).not.toContain(0);
    // A chat is a session too.
    using session = await model.restoreSession(file);
    expect(session.position).toBeGreaterThan(20);
    await session.save(file);
    expect(await failure(model.restoreChat(file))).toMatchObject({
      code: "incompatible-file",
      details: { file },
    });
  });

  it("is saved before its first answer, and not during one", { timeout: 120_000 }, async () => {
    await using model = await loadModel(demoModelPath, { threads: 1 });
    const file = join(folder, "chat");
    await using chat = model.createChat({ system: "You are brief.", temperature: 0, maxTokens: 20 });
    await chat.save(file);
    await using restored = await model.restoreChat(file, { temperature: 0, maxTokens: 20 });
    expect(restored.messages).toEqual([{ role: "system", content: "You are brief." }]);
    const stream = chat.send("Hello");
    const parts = stream[Symbol.asyncIterator]();
    await parts.next();
    expect((await failure(chat.save(file))).code).toBe("invalid-state");
    while (!(await parts.next()).done);
    const saving = chat.save(file);
    expect((await failure(chat.send("Again").reply())).code).toBe("invalid-state");
    await saving;
    const [one, other] = [await chat.send("Again").reply(), await restored.send("Hello").reply()];
    expect(other.text).toBe((chat.messages[2] as { content: string }).content);
    await using again = await model.restoreChat(file, { temperature: 0, maxTokens: 20 });
    const reply = await again.send("Again").reply();
    expect(reply.text).toBe(one.text);
    expect(reply.usage).toEqual(one.usage);
    expect((await failure(chat.save(file, { signal: AbortSignal.abort() }))).code).toBe("aborted");
    await chat.dispose();
    expect((await failure(chat.save(file))).code).toBe("invalid-state");
  });
});
