// Documentation that can fail: code in fences compiles, commands exist, links and named places lead somewhere, and every
// public name has a doc comment.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, posix } from "node:path";
import ts from "typescript";
import { describe, expect, it, vi } from "vitest";

const root = join(__dirname, "..");
// Compilers start here; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 600_000 });
const read = (path: string) => readFileSync(join(root, path), "utf8");

/** Paths of all pages, from the root. */
const PAGES: readonly string[] = [
  "README.md",
  "CONTRIBUTING.md",
  "CHANGELOG.md",
  ...readdirSync(join(root, "docs"), { recursive: true, encoding: "utf8" })
    .map((path) => posix.join("docs", path.replaceAll("\\", "/")))
    .filter((path) => path.endsWith(".md") && !path.startsWith("docs/api/")),
];

interface Fence {
  page: string;
  /** Of its first line of code, from 1. */
  line: number;
  language: string;
  code: string;
}

function fencesOf(page: string, text: string): Fence[] {
  const fences: Fence[] = [];
  let open: { language: string; line: number; lines: string[] } | undefined;
  for (const [index, line] of text.split("\n").entries()) {
    const [, language] = /^\s*```(\S*)/.exec(line) ?? [];
    if (language === undefined) open?.lines.push(line);
    else if (open === undefined) open = { language, line: index + 2, lines: [] };
    else {
      fences.push({ page, line: open.line, language: open.language, code: open.lines.join("\n") });
      open = undefined;
    }
  }
  if (open !== undefined) throw new Error(`${page}:${open.line}: a fence is never closed`);
  return fences;
}

const COMPILER_OPTIONS: ts.CompilerOptions = {
  target: ts.ScriptTarget.ES2022,
  lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
  module: ts.ModuleKind.Preserve,
  moduleResolution: ts.ModuleResolutionKind.Bundler,
  types: ["node"],
  typeRoots: [join(root, "node_modules", "@types")],
  paths: { "k2-native": [join(root, "lib", "index.ts")] },
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  skipLibCheck: true,
  allowJs: true,
  checkJs: true,
  noEmit: true,
};

const IS_CODE = /^(ts|typescript|js|javascript|mjs)$/;

/** What the compiler says about the fences, each a module of its own, with page and line. */
function compileFences(fences: readonly Fence[]): string[] {
  const sources = new Map<string, Fence>();
  for (const [index, fence] of fences.entries()) {
    if (!IS_CODE.test(fence.language)) continue;
    const extension = fence.language.startsWith("t") ? "ts" : "js";
    sources.set(join(root, `fence-${index}.${extension}`), fence);
  }
  const host = ts.createCompilerHost(COMPILER_OPTIONS);
  const { fileExists, readFile, getSourceFile } = host;
  const codeOf = (path: string) => {
    const fence = sources.get(path);
    return fence && `${fence.code}\nexport {};\n`;
  };
  host.fileExists = (path) => sources.has(path) || fileExists(path);
  host.readFile = (path) => codeOf(path) ?? readFile(path);
  host.getSourceFile = (path, version, ...rest) => {
    const code = codeOf(path);
    return code === undefined
      ? getSourceFile(path, version, ...rest)
      : ts.createSourceFile(path, code, version, true);
  };
  const program = ts.createProgram([...sources.keys()], COMPILER_OPTIONS, host);
  return [...sources].flatMap(([path, { page, line }]) => {
    const source = program.getSourceFile(path)!;
    const found = [...program.getSyntacticDiagnostics(source), ...program.getSemanticDiagnostics(source)];
    return found.map(({ start = 0, messageText }) => {
      const place = line + source.getLineAndCharacterOfPosition(start).line;
      return `${page}:${place}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
    });
  });
}

const scripts = new Set(Object.keys(JSON.parse(read("package.json")).scripts as object));

/** npm commands of a shell fence that package.json does not know, and files that it runs and that do not exist. */
function brokenCommands({ page, line, code }: Fence): string[] {
  return code.split("\n").flatMap((text, index) => {
    const command = text.replace(/#.*$/, "");
    const broken: string[] = [];
    for (const [, run, name] of command.matchAll(/\bnpm (?:(run) )?([\w:-]+)/g)) {
      const isScript = run !== undefined || name === "test" || name === "start";
      if (isScript && !scripts.has(name!)) broken.push(`npm ${name}`);
    }
    for (const [, path] of command.matchAll(/\bnode ([\w./-]+\.m?js)\b/g)) {
      if (!path!.startsWith("dist/") && !existsSync(join(root, path!))) broken.push(`node ${path}`);
    }
    return broken.map((what) => `${page}:${line + index}: there is no ${what}`);
  });
}

/** The page without its fences, line by line as before. */
const proseOf = (text: string) =>
  text.replace(/^\s*```[\s\S]*?^\s*```/gm, (fence) => fence.replace(/[^\n]/g, ""));

/** The anchors that GitHub makes of headings. */
function anchorsOf(text: string): Set<string> {
  const headings = [...proseOf(text).matchAll(/^#+ (.*)$/gm)].map(([, title]) => title!.toLowerCase());
  return new Set(headings.map((title) => title.replace(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-")));
}

function brokenLinks(page: string, text: string): string[] {
  return proseOf(text)
    .split("\n")
    .flatMap((line, index) =>
      [...line.matchAll(/\[[^\]]*\]\(([^)\s]+)\)/g)].flatMap(([, target]) => {
        if (/^[a-z]+:/.test(target!)) return [];
        const [path = "", anchor] = target!.split("#");
        const file = path === "" ? page : posix.join(posix.dirname(page), path);
        if (!existsSync(join(root, file))) return [`${page}:${index + 1}: ${target} does not exist`];
        if (anchor !== undefined && !anchorsOf(path === "" ? text : read(file)).has(anchor)) {
          return [`${page}:${index + 1}: ${file} has no heading for #${anchor}`];
        }
        return [];
      }),
    );
}

/** Code spans that name a place: a path, or `path: name` for something that the file defines or uses. */
function brokenPlaces(page: string, text: string): string[] {
  return proseOf(text)
    .split("\n")
    .flatMap((line, index) =>
      [
        ...line.matchAll(
          /`((?:\.ci|bench|demo-model|docs|lib|native|scripts|test|tools)\/[^`\s]*?)(?:: (\w+))?`/g,
        ),
      ]
        // Placeholders of the guides.
        .filter(([, path]) => !/[*<{]|NAME|docs\/api/.test(path!))
        .flatMap(([, path, name]) => {
          if (!existsSync(join(root, path!))) return [`${page}:${index + 1}: ${path} does not exist`];
          if (name === undefined || new RegExp(`\\b${name}\\b`).test(read(path!))) return [];
          return [`${page}:${index + 1}: ${path} has no ${name}`];
        }),
    );
}

describe("documentation", () => {
  const fences = PAGES.flatMap((page) => fencesOf(page, read(page)));

  it("has code that compiles against the package", () => {
    expect(fences.filter(({ language }) => IS_CODE.test(language)).length).toBeGreaterThan(0);
    expect(compileFences(fences)).toEqual([]);
  });

  it("names commands that exist", () => {
    const shells = fences.filter(({ language }) => /^(sh|bash|shell|console)$/.test(language));
    expect(shells.length).toBeGreaterThan(0);
    expect(shells.flatMap(brokenCommands)).toEqual([]);
  });

  it.each(PAGES)("%s leads nowhere that does not exist", (page) => {
    expect([...brokenLinks(page, read(page)), ...brokenPlaces(page, read(page))]).toEqual([]);
  });

  it("covers the public names without a warning of typedoc", () => {
    const require = createRequire(import.meta.url);
    const typedoc = join(dirname(require.resolve("typedoc/package.json")), "bin", "typedoc");
    const { stdout, stderr, status } = spawnSync(process.execPath, [typedoc, "--emit", "none"], {
      cwd: root,
      encoding: "utf8",
    });
    expect(`${stdout}${stderr}`.replace(/^\[info\].*$/gm, "").trim()).toBe("");
    expect(status).toBe(0);
  });
});

describe("a planted mistake is found", () => {
  const fence = (language: string, code: string): Fence => ({ page: "x.md", line: 7, language, code });

  it("in code", () => {
    const wrong = 'import { loadModel } from "k2-native";\nawait loadModel("x", { treads: 2 });';
    expect(compileFences([fence("ts", wrong)])).toEqual([expect.stringMatching(/^x\.md:8: .*treads/)]);
    expect(compileFences([fence("ts", wrong.replace("treads", "threads"))])).toEqual([]);
  });

  it("in a command", () => {
    expect(brokenCommands(fence("sh", "npm ci && npm start\nnpm run nothing # here"))).toEqual([
      "x.md:8: there is no npm nothing",
    ]);
    expect(brokenCommands(fence("sh", "node scripts/nothing.mjs"))).toEqual([
      "x.md:7: there is no node scripts/nothing.mjs",
    ]);
  });

  it("in a link", () => {
    const text =
      "[a](CONTRIBUTING.md) [b](docs/nothing.md)\n[c](#here) [d](#gone) [e](https://x.org)\n# Here";
    expect(brokenLinks("README.md", text)).toEqual([
      "README.md:1: docs/nothing.md does not exist",
      "README.md:2: README.md has no heading for #gone",
    ]);
  });

  it("in the name of a place", () => {
    const text =
      "`lib/errors.ts: K2Error` `lib/errors.ts: K3Error` `lib/none.ts`\n`lib/NAME.ts` `native/*.cc`";
    expect(brokenPlaces("README.md", text)).toEqual([
      "README.md:1: lib/errors.ts has no K3Error",
      "README.md:1: lib/none.ts does not exist",
    ]);
  });
});
