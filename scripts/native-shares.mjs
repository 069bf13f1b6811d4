// Runs a program of native tests as several processes at once, each with a share of the tests.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";

/** The counts of all shares: by default one for each processor. The output of a share that failed is printed. */
export async function runShared(name, [program, ...args], shares = availableParallelism(), environment = {}) {
  const results = await Promise.all(
    Array.from({ length: shares }, (_, share) =>
      runShare(name, program, args, { ...process.env, ...environment, K2_TEST_SHARD: `${share}/${shares}` }),
    ),
  );
  const sum = (key) => results.reduce((total, result) => total + result[key], 0);
  return { passed: sum("passed"), failed: sum("failed") };
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
