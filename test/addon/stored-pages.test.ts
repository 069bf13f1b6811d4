// prefixCacheDirectory: a started-again model reads what it had computed, with the bits of computing it, and whatever is
// wrong in the directory costs time alone.

import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { demoModelPath, type LoadOptions, loadModel, type Message } from "../../lib/index";
import { readGolden, sameBits } from "./support/golden-checkpoints";

const { path } = readGolden("int4-group32");
const program = join(__dirname, "programs", "session-files.cjs");
const packagePath = join(__dirname, "..", "..");
const idsOf = (count: number, seed: number) =>
  Array.from({ length: count }, (_, i) => 1 + ((i * (seed + 3) + Math.floor(i / 7) * seed) % 40));

let folder: string;
let directory: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "k2-pages-"));
  directory = join(folder, "a", "pages");
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const load = (options: LoadOptions = {}) =>
  loadModel(path, { threads: 1, contextTokens: 2048, prefixCacheDirectory: directory, ...options });

/** Prefills `ids` in a model of its own and gives what was found and what comes out. */
async function prefilled(ids: number[], options: LoadOptions = {}) {
  await using model = await load(options);
  using session = model.createSession();
  const { cachedTokens } = await session.prefill(ids);
  return { cachedTokens, logits: await session.evaluate([1, 2, 3]) };
}

it.each([
  ["auto", 0],
  ["absorbed", 1 << 24],
  ["expanded", 0],
] as const)(
  "attention %s, prefixCacheBytes %i: found after a restart, same bits",
  async (attention, bytes) => {
    const ids = idsOf(1000, 1);
    await using plain = await loadModel(path, { threads: 1, contextTokens: 2048, attention });
    using session = plain.createSession();
    await session.prefill(ids);
    const expected = await session.evaluate([1, 2, 3]);
    for (const known of [0, 960, 960]) {
      const { cachedTokens, logits } = await prefilled(ids, { attention, prefixCacheBytes: bytes });
      expect(cachedTokens).toBe(known);
      expect(sameBits(logits, expected)).toBe(true);
    }
    expect(readdirSync(directory)).toHaveLength(15);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    // Another form, another kernel set, other activations, another type of cache or another checkpoint find nothing.
    expect((await prefilled(ids, { attention, cacheType: "int8" })).cachedTokens).toBe(0);
    const other = attention === "absorbed" ? "expanded" : "absorbed";
    expect((await prefilled(ids, { attention, isa: "scalar" })).cachedTokens).toBe(0);
    expect((await prefilled(ids, { attention, activations: "int8" })).cachedTokens).toBe(0);
    if (attention !== "auto") expect((await prefilled(ids, { attention: other })).cachedTokens).toBe(0);
  },
);

it("a server that is started again goes on with its conversations", { timeout: 120_000 }, async () => {
  const options: LoadOptions = { threads: 1, attention: "absorbed", prefixCacheDirectory: directory };
  const ask = async (messages: Message[]) => {
    await using model = await loadModel(demoModelPath, options);
    await using chat = model.createChat({ messages, temperature: 0, keepReasoning: true });
    const { usage, text } = await chat.send("What is the weather in Rome?").reply();
    return { usage, text, messages: chat.messages };
  };
  const system = "You answer in one word. ".repeat(20);
  const first = await ask([{ role: "system", content: system }]);
  expect(first.usage.cachedTokens).toBe(0);
  const again = await ask([{ role: "system", content: system }]);
  expect(again.text).toBe(first.text);
  expect(again.usage.promptTokens - again.usage.cachedTokens).toBeLessThanOrEqual(64);
  // What was decoded is there too, but for the last token, which never went through the model.
  let { messages, usage } = again;
  for (let turn = 0; turn < 3; turn += 1) {
    const computed = usage.promptTokens + usage.completionTokens - 1;
    ({ messages, usage } = await ask(messages));
    expect(usage.cachedTokens).toBe(Math.floor(computed / 64) * 64);
  }
  expect(usage.cachedTokens).toBeGreaterThan(again.usage.cachedTokens);
});

it("warms for the next start", async () => {
  const options: LoadOptions = { threads: 1, attention: "absorbed", prefixCacheDirectory: directory };
  const system: Message = { role: "system", content: "You answer in one word. ".repeat(20) };
  {
    await using model = await loadModel(demoModelPath, options);
    await model.warm([system]);
  }
  await using model = await loadModel(demoModelPath, options);
  await using chat = model.createChat({ messages: [system], temperature: 0, maxTokens: 4 });
  expect((await chat.send("Hello").reply()).usage.cachedTokens).toBeGreaterThanOrEqual(64);
});

it("computes anew what is damaged, and repairs it", { timeout: 120_000 }, async () => {
  const ids = idsOf(1000, 2);
  const { logits } = await prefilled(ids);
  const names = readdirSync(directory);
  for (let round = 0; round < 12; round += 1) {
    const file = join(directory, names[(round * 5) % names.length]!);
    const bytes = readFileSync(file);
    if (round % 3 === 0) bytes[Math.floor(((round * 0.618) % 1) * bytes.length)]! ^= 1;
    const damaged = [bytes, bytes.subarray(0, bytes.length / 2), Buffer.from("not a page")][round % 3]!;
    writeFileSync(file, damaged);
    const { cachedTokens, logits: again } = await prefilled(ids);
    expect(cachedTokens).toBeLessThan(960);
    expect(sameBits(again, logits)).toBe(true);
    expect((await prefilled(ids)).cachedTokens).toBe(960);
  }
  expect(readdirSync(directory).sort()).toEqual(names.sort());
});

it("stays below its cap", async () => {
  await prefilled(idsOf(300, 1));
  const fileBytes = statSync(join(directory, readdirSync(directory)[0]!)).size;
  const prefixCacheDirectoryBytes = 20 * fileBytes;
  for (let seed = 2; seed < 12; seed += 1) {
    await prefilled(idsOf(500, seed), { prefixCacheDirectoryBytes });
    expect(readdirSync(directory).length).toBeLessThanOrEqual(20);
    // The latest is there as a whole.
    expect((await prefilled(idsOf(500, seed), { prefixCacheDirectoryBytes })).cachedTokens).toBe(448);
  }
});

it("serves others while a prefill waits, and many at once", { timeout: 120_000 }, async () => {
  const conversations = Array.from({ length: 6 }, (_, i) => idsOf(700 + 40 * i, i));
  const answers = async (options: LoadOptions) => {
    await using model = await load(options);
    return await Promise.all(
      conversations.map(async (ids) => {
        using session = model.createSession();
        const { cachedTokens } = await session.prefill(ids);
        const decoded: number[] = [];
        for await (const { id } of session.decode({ maxTokens: 30, seed: 4, stopTokens: [] }))
          decoded.push(id);
        return { cachedTokens, decoded };
      }),
    );
  };
  const before = await answers({ threads: 2 });
  const after = await answers({ threads: 1, batchTokens: 64 });
  expect(after.map(({ decoded }) => decoded)).toEqual(before.map(({ decoded }) => decoded));
  expect(after.map(({ cachedTokens }) => cachedTokens)).toEqual(
    conversations.map(({ length }) => Math.floor((length - 1) / 64) * 64),
  );
});

it("processes share a directory and may be killed", { timeout: 120_000 }, async () => {
  const start = (mode: string) =>
    new Promise<{ cachedTokens: number; decoded: number[] }>((resolve, reject) => {
      const args = [program, packagePath, "prefillWithDirectory", path, directory, mode];
      execFile(process.execPath, args, { timeout: 60_000 }, (error, stdout) =>
        error === null ? resolve(JSON.parse(stdout)) : reject(error),
      );
    });
  const results = await Promise.all([start("dispose"), start("exit"), start("dispose")]);
  const killed = execFile(process.execPath, [program, packagePath, "prefillWithDirectory", path, directory]);
  setTimeout(() => killed.kill("SIGKILL"), 300);
  await new Promise((resolve) => killed.once("exit", resolve));
  results.push(await start("dispose"));
  for (const { decoded } of results) expect(decoded).toEqual(results[0]!.decoded);
  expect(results.at(-1)!.cachedTokens).toBe(1984);
});

it("refuses wrong options and places", async () => {
  const options: [LoadOptions, string][] = [
    [{ prefixCacheDirectory: "" }, "invalid-argument"],
    [{ prefixCacheDirectory: 7 as never }, "invalid-argument"],
    [{ prefixCacheDirectory: "a\0b" }, "invalid-argument"],
    [{ prefixCacheDirectoryBytes: 0 }, "invalid-argument"],
    [{ prefixCacheDirectory: undefined as never, prefixCacheDirectoryBytes: 5 }, "invalid-argument"],
    [{ prefixCacheDirectory: "/dev/null" }, "io"],
    [{ prefixCacheDirectory: "/dev/null/pages" }, "io"],
  ];
  for (const [wrong, code] of options) {
    await expect(load(wrong), JSON.stringify(wrong)).rejects.toMatchObject({ code });
  }
});
