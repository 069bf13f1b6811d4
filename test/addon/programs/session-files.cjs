// A process of its own for session-files.test.ts and stored-pages.test.ts. Prints one JSON object.

const { statSync } = require("node:fs");
const { Worker, isMainThread, parentPort, threadId, workerData } = require("node:worker_threads");
const [packagePath, scenario, checkpoint, file, mode] = isMainThread ? process.argv.slice(2) : workerData;
const { loadModel } = require(packagePath);

const idsOf = (count, first) => [first, ...Array.from({ length: count - 1 }, (_, i) => 1 + (i % 40))];

async function saveAndRestoreForEver() {
  const model = await loadModel(checkpoint, {
    threads: 1,
    contextTokens: 4096,
    prefixCacheDirectory: `${file}-pages`,
  });
  const session = model.createSession();
  await session.prefill(idsOf(1000, 2 + threadId));
  for (let i = 0; ; i += 1) {
    const saving = session.save(`${file}-${threadId}`);
    if (i === 0) parentPort?.postMessage("at work");
    await saving;
    (await model.restoreSession(`${file}-${threadId}`)).dispose();
  }
}

const scenarios = {
  /** Restores, decodes and evaluates. */
  async goOn() {
    const model = await loadModel(checkpoint, { threads: 2, batchTokens: 33, contextTokens: 512 });
    const session = await model.restoreSession(file);
    const tokens = [...session.tokens];
    const decoded = [];
    for await (const { id } of session.decode({ maxTokens: 80, seed: 11, stopTokens: [] })) decoded.push(id);
    const logits = await session.evaluate([1, 2, 3]);
    await model.dispose();
    return { tokens, decoded, logits: Buffer.from(logits.buffer).toString("base64") };
  },

  /** Two sessions in turn, to one file, until somebody kills the process. */
  async saveForEver() {
    const model = await loadModel(checkpoint, { threads: 1, contextTokens: 4096 });
    const sessions = [model.createSession(), model.createSession()];
    await sessions[0].prefill(idsOf(2000, 2));
    await sessions[1].prefill(idsOf(3000, 3));
    console.log("saving");
    for (;;) for (const session of sessions) await session.save(file);
  },

  /** Worker threads and then the process end while they save and restore. */
  async endAtAnyMoment() {
    for (let i = 0; i < 6; i += 1) {
      const workers = Array.from(
        { length: 2 },
        () => new Worker(__filename, { workerData: [packagePath, "inWorker", checkpoint, file] }),
      );
      await Promise.all(workers.map((worker) => new Promise((resolve) => worker.once("message", resolve))));
      await new Promise((resolve) => setTimeout(resolve, 3 * i));
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
    saveAndRestoreForEver();
    await new Promise((resolve) => setTimeout(resolve, 200));
    console.log("{}");
    process.exit(0);
  },
  inWorker: () => saveAndRestoreForEver(),

  /** Where its user has no right to write. */
  async saveForbidden() {
    const model = await loadModel(checkpoint, { threads: 1 });
    const session = model.createSession();
    const refused = await session.save(file).catch(({ code, message }) => ({ code, message }));
    const unread = await model.restoreSession(`${file}-secret`).catch(({ code }) => ({ code }));
    const pages = await loadModel(checkpoint, { prefixCacheDirectory: `${file}-pages` }).catch(
      ({ code }) => ({
        code,
      }),
    );
    await model.dispose();
    return { refused, unread, pages };
  },

  /** How much the process grows while it saves. */
  async memory() {
    const model = await loadModel(checkpoint, { threads: 2, contextTokens: 4096, attention: "absorbed" });
    const session = model.createSession();
    await session.prefill(idsOf(2000, 1));
    globalThis.gc();
    const before = process.memoryUsage.rss();
    let most = before;
    const timer = setInterval(() => {
      most = Math.max(most, process.memoryUsage.rss());
    }, 1);
    await session.save(file);
    clearInterval(timer);
    most = Math.max(most, process.memoryUsage.rss());
    await model.dispose();
    return { grownBytes: most - before, fileBytes: statSync(file).size };
  },

  /** Prefills 2000 tokens with a directory, and says what it found and what comes out. */
  async prefillWithDirectory() {
    const model = await loadModel(checkpoint, {
      threads: 1,
      contextTokens: 4096,
      attention: "absorbed",
      prefixCacheDirectory: file,
    });
    const session = model.createSession();
    const { cachedTokens } = await session.prefill(idsOf(2000, 7));
    const decoded = [];
    for await (const { id } of session.decode({ maxTokens: 20, seed: 11, stopTokens: [] })) decoded.push(id);
    if (mode === "dispose") await model.dispose();
    return { cachedTokens, decoded };
  },
};

scenarios[scenario]().then((result) => {
  if (isMainThread) console.log(JSON.stringify(result));
});
