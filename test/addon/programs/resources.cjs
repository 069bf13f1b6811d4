// Measures what the engine takes from its host; resources.test.ts runs it and judges. Prints one JSON object.

const { existsSync, readdirSync, readFileSync } = require("node:fs");
const { monitorEventLoopDelay } = require("node:perf_hooks");

const [packagePath, checkpoint, scenario] = process.argv.slice(2);
const { loadModel } = require(packagePath);

const ids = Array.from({ length: 600 }, (_, i) => 1 + (i % 40));
const slow = { device: "reference", contextTokens: 2048, batchTokens: 64 };
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
const threads = () => (existsSync("/proc/self/task") ? readdirSync("/proc/self/task").length : 0);
const mappedShards = () =>
  existsSync("/proc/self/maps")
    ? readFileSync("/proc/self/maps", "utf8").split(".safetensors").length - 1
    : 0;

async function collect() {
  globalThis.gc();
  await sleep(10); // finalizers run in a later turn
  globalThis.gc();
}

async function cycle() {
  const model = await loadModel(checkpoint, { threads: 3 });
  const session = model.createSession();
  await session.prefill(ids.slice(0, 100));
  for await (const _token of session.decode({ maxTokens: 8, stopTokens: [] }));
  await session.fork();
  const aborted = new AbortController();
  const running = session.prefill(ids.slice(0, 100), { signal: aborted.signal }).catch(() => {});
  aborted.abort();
  await running;
  await model.dispose();
  await loadModel(checkpoint, { signal: AbortSignal.timeout(1) }).then(
    (other) => other.dispose(),
    () => {},
  );
}

const scenarios = {
  async cycles() {
    /** Collects as it goes, so that garbage which V8 has not got round to is not taken for a leak. */
    const run = async (count) => {
      for (let i = 0; i < count; i += 1) {
        await cycle();
        if (i % 10 === 9) await collect();
      }
      return { rss: process.memoryUsage.rss(), threads: threads() };
    };
    const cycles = 200;
    const before = await run(100);
    const after = await run(cycles);
    return {
      cycles,
      grownBytes: after.rss - before.rss,
      threads: after.threads - before.threads,
      files: mappedShards(),
    };
  },

  async eventLoop() {
    const lateness = async (work) => {
      const delay = monitorEventLoopDelay({ resolution: 2 });
      delay.enable();
      const start = performance.now();
      await work();
      delay.disable();
      return { lateMs: delay.percentile(80) / 1e6, elapsedMs: performance.now() - start };
    };
    const model = await loadModel(checkpoint, slow);
    const session = model.createSession();
    const idle = await lateness(() => sleep(500));
    const busy = await lateness(async () => {
      await session.prefill(ids);
      for await (const _token of session.decode({ maxTokens: 30, stopTokens: [] }));
    });
    await model.dispose();
    return { idleMs: idle.lateMs, lateMs: busy.lateMs, busyMs: busy.elapsedMs };
  },

  async synchronousCalls() {
    const model = await loadModel(checkpoint, slow);
    const session = model.createSession();
    const running = session.prefill(ids).catch(() => {});
    const times = [];
    for (let i = 0; i < 300; i += 1) {
      const start = performance.now();
      const other = model.createSession();
      void other.position;
      other.prefill([1]).catch(() => {});
      other.dispose();
      times.push(performance.now() - start);
      if (i % 20 === 0) await sleep(1);
    }
    await model.dispose();
    await running;
    times.sort((a, b) => a - b);
    return { slowestMs: times.at(-1), medianMs: times[times.length >> 1] };
  },
};

scenarios[scenario]().then((result) => console.log(JSON.stringify(result)));
