// One way for a process or a worker thread to end while the engine is at work; process.test.ts runs each in a child.
// Arguments: the package, a checkpoint, the name of the scenario. Every scenario ends with exit code 0 unless it says so.

const { Worker, isMainThread, workerData } = require("node:worker_threads");

const [packagePath, checkpoint, scenario] = isMainThread ? process.argv.slice(2) : workerData;
const { loadModel } = require(packagePath);

const ids = Array.from({ length: 600 }, (_, i) => 1 + (i % 40));
/** Slow on purpose: the engine is in the middle of a step for a second or more. */
const slow = { device: "reference", contextTokens: 2048, batchTokens: 64 };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function prefilling() {
  const model = await loadModel(checkpoint, slow);
  const session = model.createSession();
  session.prefill(ids).catch(() => {});
  await sleep(30);
  return { model, session };
}

async function decoding(options = { contextTokens: 100_000 }, sampling = {}) {
  const model = await loadModel(checkpoint, options);
  const session = model.createSession();
  await session.prefill([1, 2, 3]);
  const stream = session.decode({ stopTokens: [], ...sampling });
  await stream.next();
  return { model, session, stream };
}

/** Runs `part` of this file in a worker thread; resolves with the worker once it has said that it is at work. */
function startWorker(part) {
  const worker = new Worker(__filename, { workerData: [packagePath, checkpoint, part] });
  return new Promise((resolve, reject) => {
    worker.once("message", () => resolve(worker));
    worker.once("error", reject);
  });
}

const atWork = () => require("node:worker_threads").parentPort?.postMessage("at work");

const scenarios = {
  async disposed() {
    const model = await loadModel(checkpoint);
    await model.createSession().prefill(ids.slice(0, 50));
    await model.dispose();
  },
  /** An idle model does not keep the process alive. */
  async idle() {
    const model = await loadModel(checkpoint);
    await model.createSession().prefill(ids.slice(0, 50));
  },
  /** A call under way does, until it has ended. */
  async unawaited() {
    const model = await loadModel(checkpoint, slow);
    model
      .createSession()
      .prefill(ids.slice(0, 100))
      .then(() => console.log("prefilled"));
  },
  async exitWhileLoading() {
    loadModel(checkpoint).catch(() => {});
    await sleep(5);
    process.exit(0);
  },
  async exitWhilePrefilling() {
    await prefilling();
    process.exit(0);
  },
  async exitWhileDecoding() {
    await decoding();
    process.exit(0);
  },
  async exitWhileDisposing() {
    const { model } = await prefilling();
    model.dispose();
    process.exit(0);
  },
  /** Ends with exit code 1. */
  async throwWhileDecoding() {
    const { stream } = await decoding();
    for await (const _token of stream) throw new Error("the host's own fault");
  },
  async decodeUnread() {
    // The engine runs ahead a little and waits; nobody ever reads on.
    await decoding();
  },
  async dropEverything() {
    let held = await decoding();
    held = undefined;
    for (let i = 0; i < 20; i += 1) {
      globalThis.gc();
      await sleep(5);
    }
    return held;
  },
  async dropWhilePrefilling() {
    let held = await prefilling();
    held = undefined;
    for (let i = 0; i < 20; i += 1) {
      globalThis.gc();
      await sleep(5);
    }
    return held;
  },
  async workerEnds() {
    const worker = await startWorker("inWorkerIdle");
    await new Promise((resolve) => worker.once("exit", resolve));
    globalThis.gc();
  },
  async workerTerminatedWhilePrefilling() {
    await (await startWorker("inWorkerPrefill")).terminate();
  },
  async workerTerminatedWhileDecoding() {
    await (await startWorker("inWorkerDecode")).terminate();
  },
  /** Some of them in the middle of the delivery of a token. */
  async workersTerminatedAtAnyMoment() {
    for (let i = 0; i < 8; i += 1) {
      const workers = await Promise.all(Array.from({ length: 3 }, () => startWorker("inWorkerDecode")));
      await sleep(i);
      await Promise.all(workers.map((worker) => worker.terminate()));
    }
  },
  async exitWhileWorkersWork() {
    await Promise.all([startWorker("inWorkerPrefill"), startWorker("inWorkerDecode"), prefilling()]);
    process.exit(0);
  },
  async twoWorkersAndMain() {
    const workers = await Promise.all([startWorker("inWorkerDecode"), startWorker("inWorkerDecode")]);
    const { stream } = await decoding();
    let read = 0;
    for await (const _token of stream) if (++read === 50) break;
    await Promise.all(workers.map((worker) => worker.terminate()));
    const again = await decoding();
    await again.stream.return();
    await again.model.dispose();
  },
  async inWorkerIdle() {
    const model = await loadModel(checkpoint);
    await model.createSession().prefill(ids.slice(0, 50));
    atWork();
  },
  async inWorkerPrefill() {
    await prefilling();
    atWork();
  },
  async inWorkerDecode() {
    const { stream } = await decoding(undefined, { topLogprobs: 90 });
    atWork();
    for await (const _token of stream);
  },
};

scenarios[scenario]();
