// Checks the layout of all C++ sources with clang-format; `--write` sets it right. Other versions than ours lay some
// lines out differently, so there the check is left out and says so.
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const VERSION = 14;
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const isCi = process.env.CI === "true";

function findClangFormat() {
  const found = [];
  for (const name of [`clang-format-${VERSION}`, "clang-format"]) {
    const { stdout, error } = spawnSync(name, ["--version"], { encoding: "utf8" });
    if (error !== undefined) continue;
    const version = Number(/version (\d+)/.exec(stdout)?.[1]);
    if (version === VERSION) return { name };
    found.push(`clang-format ${version}`);
  }
  return { other: found[0] };
}

const { name, other } = findClangFormat();
if (name === undefined) {
  console.log(
    `C++ layout not checked: needs clang-format ${VERSION}, got ${other ?? "none (apt-get install clang-format)"}`,
  );
  process.exit(isCi && other === undefined ? 1 : 0);
}
const files = ["native", join("test", "native")].flatMap((folder) =>
  readdirSync(join(root, folder), { recursive: true })
    .filter((file) => /\.(cc|h)$/.test(file))
    .map((file) => join(folder, file)),
);
const mode = process.argv.includes("--write") ? ["-i"] : ["--dry-run", "--Werror"];
const { status } = spawnSync(name, [...mode, ...files], { cwd: root, stdio: "inherit" });
if (status !== 0) console.log("`npm run format` lays the C++ sources out.");
process.exit(status ?? 1);
