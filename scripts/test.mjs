// `npm test`: builds, checks and runs every suite, and closes with one line "N passed, N failed" over all of them.
// A step ends by itself with such a line, or counts only when it fails.
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const require = createRequire(import.meta.url);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const results = join(root, "build", "test-results");
const vitestReport = join(results, "vitest.json");
const total = { passed: 0, failed: 0 };

const script = (name) => join(root, "scripts", name);
const tool = (name, file) => join(dirname(require.resolve(`${name}/package.json`)), file);

/** Runs a Node program; resolves with its exit status and the last line of counts that it printed. */
function run(args) {
  const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "inherit"] });
  let tail = "";
  child.stdout.on("data", (data) => {
    process.stdout.write(data);
    tail = (tail + data).slice(-10_000);
  });
  return new Promise((resolve) => {
    child.on("close", (status) => {
      const lines = [...tail.matchAll(/^(\d+) passed, (\d+) failed$/gm)];
      const [, passed = 0, failed = 0] = lines.at(-1)?.map(Number) ?? [];
      resolve({ status, passed, failed });
    });
  });
}

function count({ status, passed, failed }) {
  total.passed += passed;
  total.failed += status !== 0 && failed === 0 ? 1 : failed;
  return status === 0;
}

async function step(title, ...args) {
  console.log(`\n> ${title}`);
  return count(await run(args));
}

/** Vitest's own report: a file that could not even be loaded is a failure too. */
async function vitest() {
  console.log("\n> TypeScript tests");
  rmSync(vitestReport, { force: true });
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${vitestReport}`];
  const { status } = await run([tool("vitest", "vitest.mjs"), "run", ...reporters]);
  if (!existsSync(vitestReport)) return count({ status: 1, passed: 0, failed: 1 });
  const report = JSON.parse(readFileSync(vitestReport, "utf8"));
  const unloaded = report.testResults.filter(
    (file) => file.status === "failed" && file.assertionResults.length === 0,
  );
  return count({ status, passed: report.numPassedTests, failed: report.numFailedTests + unloaded.length });
}

async function testAll() {
  if (!(await step("addon", script("build-native.mjs")))) return;
  if (!(await step("dist", script("build-ts.mjs")))) return;
  await step("types", tool("typescript", "bin/tsc"), "-p", "tsconfig.check.json");
  await step(
    "layout and lint of TypeScript",
    tool("@biomejs/biome", "bin/biome"),
    "check",
    "--error-on-warnings",
  );
  await step("layout of C++", script("check-format.mjs"));
  await step("native tests", script("test-native.mjs"));
  await step("native tests on ARM", script("test-neon.mjs"));
  await vitest();
}

mkdirSync(results, { recursive: true });
await testAll();
const summary = `${total.passed} passed, ${total.failed} failed`;
writeFileSync(join(results, "summary.txt"), `${summary}\n`);
console.log(`\n${summary}`);
process.exit(total.failed === 0 && total.passed > 0 ? 0 : 1);
