// Runs a program of native tests as several processes at once, each with a share of the tests.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";

/** Tests take from milliseconds to half a minute: small shares keep all processors busy to the end. */
const SHARES_OF_PROCESSOR = 4;

/** The counts of all shares, of which one for each processor runs at a time. The output of a share that failed is printed. */
export async function runShared(name, [program, ...args], { isWhole = false, environment = {} } = {}) {
  const processors = isWhole ? 1 : availableParallelism();
  const shares = isWhole ? 1 : processors * SHARES_OF_PROCESSOR;
  const total = { passed: 0, failed: 0 };
  let next = 0;
  const work = async () => {
    while (next < shares) {
      const env = { ...process.env, ...environment, K2_TEST_SHARD: `${next++}/${shares}` };
      const { passed, failed } = await runShare(name, program, args, env);
      total.passed += passed;
      total.failed += failed;
    }
  };
  await Promise.all(Array.from({ length: processors }, work));
  return total;
}

/** A program that ended by itself without its closing line is one more failure. */
async function runShare(name, program, args, env) {
  const child = spawn(program, args, { env, stdio: ["ignore", "pipe", "pipe"] });
  let output = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8");
    stream.on("data", (text) => {
      output += text;
    });
  }
  const [status, signal] = await once(child, "close");
  const counts = /^(\d+) passed, (\d+) failed$/m.exec(output);
  const result = { passed: Number(counts?.[1] ?? 0), failed: Number(counts?.[2] ?? 0) };
  if (status !== 0) {
    process.stdout.write(output);
    if (signal) console.log(`${name}, tests ${env.K2_TEST_SHARD}: ended by ${signal}`);
    if (result.failed === 0) result.failed = 1;
  }
  return result;
}
