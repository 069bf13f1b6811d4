// Executes the layer table: who may include or import whom. The same table stands in docs/architecture.md. Beside it:
// what no file of a room may contain. Every rule is also shown a planted violation, so that it cannot fall asleep.

import { readdirSync, readFileSync } from "node:fs";
import { join, posix } from "node:path";
import ts from "typescript";
import { describe, expect, it } from "vitest";

const root = join(__dirname, "..");

interface Room {
  name: string;
  /** Folders, which end in a slash, and files. */
  holds: readonly string[];
  uses: readonly string[];
  /** Rooms of which it may know the types only. */
  typesOf?: readonly string[];
}

const ROOMS: readonly Room[] = [
  { name: "base", holds: ["native/base/"], uses: [] },
  { name: "measure", holds: ["native/measure/"], uses: ["base"] },
  { name: "ops", holds: ["native/ops/"], uses: ["base"] },
  { name: "grammar (native)", holds: ["native/grammar/"], uses: ["base"] },
  { name: "reference", holds: ["native/reference/"], uses: ["base", "ops"] },
  { name: "cpu", holds: ["native/cpu/"], uses: ["base", "ops"] },
  { name: "cuda", holds: ["native/cuda/"], uses: ["base", "ops"] },
  { name: "metal", holds: ["native/metal/"], uses: ["base", "ops"] },
  { name: "model (native)", holds: ["native/model/"], uses: ["base", "ops"] },
  { name: "engine", holds: ["native/engine/"], uses: ["base", "ops", "model (native)", "grammar (native)"] },
  { name: "binding", holds: ["native/binding/"], uses: ["base", "measure", "ops", "engine"] },
  {
    name: "bench",
    holds: ["native/bench/"],
    uses: ["base", "measure", "ops", "reference", "model (native)", "engine"],
  },

  { name: "errors", holds: ["lib/errors.ts", "lib/check.ts"], uses: [] },
  { name: "time slice", holds: ["lib/time-slice.ts"], uses: ["errors"] },
  { name: "contract", holds: ["lib/addon/contract.ts"], uses: [] },
  { name: "addon", holds: ["lib/addon/"], uses: ["errors", "contract"] },
  { name: "sampling", holds: ["lib/sampling.ts"], uses: ["errors"], typesOf: ["contract"] },
  {
    name: "tokenizer",
    holds: ["lib/tokenizer/"],
    uses: ["errors", "time slice"],
    typesOf: ["checkpoint", "tools", "template"],
  },
  {
    name: "checkpoint",
    holds: ["lib/checkpoint/"],
    uses: ["errors", "time slice", "contract"],
    typesOf: ["tokenizer", "tools", "template"],
  },
  {
    name: "tools",
    holds: ["lib/tools/"],
    uses: ["errors", "grammar (lib)"],
    typesOf: ["tokenizer", "checkpoint", "template"],
  },
  {
    name: "template",
    holds: ["lib/template/"],
    uses: ["errors", "time slice"],
    typesOf: ["tokenizer", "checkpoint", "tools"],
  },
  {
    name: "generate",
    holds: ["lib/generate/"],
    uses: ["errors", "tools"],
    typesOf: ["tokenizer", "sampling"],
  },
  { name: "grammar (lib)", holds: ["lib/grammar/"], uses: ["errors", "time slice"] },
  { name: "compile", holds: ["lib/compile/"], uses: ["errors", "time slice", "grammar (lib)"] },
  { name: "compact", holds: ["lib/compact/"], uses: ["errors", "template"] },
  {
    name: "chat",
    holds: ["lib/chat/"],
    uses: [
      "errors",
      "time slice",
      "sampling",
      "grammar (lib)",
      "compile",
      "tools",
      "template",
      "generate",
      "compact",
    ],
    typesOf: ["session"],
  },
  {
    name: "session",
    holds: ["lib/session/"],
    uses: ["errors", "time slice", "contract", "addon", "sampling"],
    typesOf: ["grammar (lib)"],
  },
  {
    name: "model (lib)",
    holds: ["lib/model/"],
    uses: [
      "errors",
      "contract",
      "addon",
      "sampling",
      "checkpoint",
      "tokenizer",
      "template",
      "session",
      "chat",
    ],
  },
  { name: "machine", holds: ["lib/machine.ts"], uses: ["errors", "contract", "addon"] },
  {
    name: "index",
    holds: ["lib/index.ts", "lib/index.mts"],
    uses: [
      "errors",
      "sampling",
      "tokenizer",
      "checkpoint",
      "grammar (lib)",
      "tools",
      "template",
      "generate",
      "compact",
      "chat",
      "session",
      "model (lib)",
      "machine",
    ],
  },
  { name: "cli", holds: ["lib/cli/"], uses: ["index"] },
];

/** Files by their path from the root, with forward slashes. */
type Tree = ReadonlyMap<string, string>;

interface Violation {
  file: string;
  line: number;
  reason: string;
}

interface Reference {
  line: number;
  /** Path from the root; a package's or system header's name where `isOutside`. */
  target: string;
  isOutside: boolean;
  isTypeOnly: boolean;
}

function readTree(...folders: string[]): Tree {
  const tree = new Map<string, string>();
  for (const folder of folders) {
    for (const entry of readdirSync(join(root, folder), { recursive: true, withFileTypes: true })) {
      const path = posix.join(entry.parentPath.slice(root.length + 1).replaceAll("\\", "/"), entry.name);
      if (entry.isFile() && /\.(cc|h|m?ts)$/.test(path)) {
        tree.set(path, readFileSync(join(root, path), "utf8"));
      }
    }
  }
  return tree;
}

function roomOf(path: string): Room | undefined {
  const holds = (room: Room) =>
    room.holds.some((place) => path === place || (place.endsWith("/") && path.startsWith(place)));
  return ROOMS.find((room) => room.holds.includes(path)) ?? ROOMS.find(holds);
}

/** The text with comments and string literals blanked out, line by line as before. */
function codeOnly(cpp: string): string {
  const literal = /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'/g;
  return cpp.replace(literal, (text) => text.replace(/[^\n]/g, " "));
}

function includesOf(path: string, text: string): Reference[] {
  return text.split("\n").flatMap((line, index) => {
    const [, quote, name] = /^\s*#\s*include\s*([<"])([^>"]+)[>"]/.exec(line) ?? [];
    if (name === undefined) return [];
    const isOutside = quote === "<";
    const beside = posix.join(posix.dirname(path), name);
    const target = isOutside ? name : name.includes("/") ? `native/${name}` : beside;
    return [{ line: index + 1, target, isOutside, isTypeOnly: false }];
  });
}

function isTypeOnlyImport(node: ts.ImportDeclaration): boolean {
  const clause = node.importClause;
  if (clause === undefined) return false;
  if (clause.phaseModifier === ts.SyntaxKind.TypeKeyword) return true;
  const bindings = clause.namedBindings;
  if (clause.name !== undefined || bindings === undefined || !ts.isNamedImports(bindings)) return false;
  return bindings.elements.length > 0 && bindings.elements.every((element) => element.isTypeOnly);
}

function isTypeOnlyExport({ isTypeOnly, exportClause }: ts.ExportDeclaration): boolean {
  if (isTypeOnly) return true;
  if (exportClause === undefined || !ts.isNamedExports(exportClause)) return false;
  return exportClause.elements.length > 0 && exportClause.elements.every((element) => element.isTypeOnly);
}

function importsOf(path: string, text: string): Reference[] {
  const source = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true);
  const references: Reference[] = [];
  const add = (node: ts.Node, specifier: ts.Node | undefined, isTypeOnly: boolean) => {
    if (specifier === undefined || !ts.isStringLiteralLike(specifier)) return;
    const line = source.getLineAndCharacterOfPosition(node.getStart()).line + 1;
    const isOutside = !specifier.text.startsWith(".");
    const target = isOutside ? specifier.text : posix.join(posix.dirname(path), specifier.text);
    references.push({ line, target, isOutside, isTypeOnly });
  };
  const visit = (node: ts.Node): void => {
    if (ts.isImportDeclaration(node)) add(node, node.moduleSpecifier, isTypeOnlyImport(node));
    else if (ts.isExportDeclaration(node)) add(node, node.moduleSpecifier, isTypeOnlyExport(node));
    else if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument))
      add(node, node.argument.literal, true);
    else if (ts.isExternalModuleReference(node)) add(node, node.expression, false);
    else if (ts.isCallExpression(node)) {
      const isRequire = ts.isIdentifier(node.expression) && node.expression.text === "require";
      if (isRequire || node.expression.kind === ts.SyntaxKind.ImportKeyword)
        add(node, node.arguments[0], false);
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return references;
}

/** The file that an import without extension means. */
function resolve(tree: Tree, target: string): string {
  const stem = target.replace(/\.m?js$/, "");
  return [target, `${stem}.ts`, `${stem}/index.ts`].find((path) => tree.has(path)) ?? target;
}

function layerViolations(tree: Tree): Violation[] {
  const violations: Violation[] = [];
  for (const [file, text] of tree) {
    const room = roomOf(file);
    if (room === undefined) {
      violations.push({ file, line: 1, reason: "belongs to no room of the table" });
      continue;
    }
    const references = file.startsWith("native/") ? includesOf(file, text) : importsOf(file, text);
    for (const { line, target, isOutside, isTypeOnly } of references) {
      if (isOutside) continue;
      const used = roomOf(resolve(tree, target));
      const isAllowed =
        used !== undefined &&
        (used === room ||
          room.uses.includes(used.name) ||
          (isTypeOnly && room.typesOf?.includes(used.name) === true));
      if (isAllowed) continue;
      violations.push({ file, line, reason: `${room.name} may not use ${used?.name ?? target} (${target})` });
    }
  }
  return violations;
}

/** What may not be taken from outside the project, and where. */
const OUTSIDE: readonly { name: RegExp; files: RegExp; reason: string }[] = [
  {
    name: /^(immintrin|x86intrin|[a-z]mmintrin|arm_\w+|cpuid)\.h$/,
    files: /^native\/(?!cpu\/|measure\/loops\.|base\/(thread_pool|cpu_features)\.)/,
    reason:
      "instruction sets belong to native/cpu, to the loops that it is measured against, and to what tells which there are",
  },
  {
    name: /^(napi|node_api|js_native_api|node|v8|uv)\.h$/,
    files: /^native\/(?!binding\/)/,
    reason: "Node belongs to native/binding",
  },
  {
    name: /^(?!node:|@huggingface\/jinja$)/,
    files: /^lib\/(?!addon\/load\.ts)/,
    reason: "the packages at run time are node-gyp-build, in lib/addon/load.ts, and @huggingface/jinja",
  },
  {
    name: /^@huggingface\/jinja$/,
    files: /^lib\/(?!template\/jinja-runtime\.ts)/,
    reason: "foreign templates run in lib/template/jinja-runtime.ts, which keeps them within limits",
  },
  {
    name: /^node:(?!timers\/promises$)/,
    files: /^lib\/((template|tools|generate|grammar|compact|chat)\/|(sampling|errors|check)\.ts)/,
    reason: "this room computes with texts and ids alone, wherever JavaScript runs",
  },
];

function outsideViolations(tree: Tree): Violation[] {
  const violations: Violation[] = [];
  for (const [file, text] of tree) {
    const references = file.startsWith("native/") ? includesOf(file, text) : importsOf(file, text);
    for (const { line, target, isOutside } of references) {
      if (!isOutside) continue;
      for (const rule of OUTSIDE) {
        if (!rule.files.test(file) || !rule.name.test(target)) continue;
        violations.push({ file, line, reason: `${target}: ${rule.reason}` });
      }
    }
  }
  return violations;
}

/** What may not stand in a file, where, and why. */
const FORBIDDEN: readonly { pattern: RegExp; files: RegExp; reason: string }[] = [
  {
    pattern: /\b(abort|_?exit|quick_exit|terminate|assert)\s*\(/,
    files: /^native\//,
    reason: "the host is somebody's program: report a Status",
  },
  {
    pattern: /\b(f|v|vf)?printf\s*\(|\bputs\s*\(|\bstd::(cout|cerr|clog)\b/,
    files: /^native\/(?!bench\/)/,
    reason: "a library does not print",
  },
  { pattern: /\bthrow\b/, files: /^native\//, reason: "no exceptions: report a Status" },
  {
    pattern: /^\s*#\s*(if|ifdef|ifndef|elif)\b/,
    files: /^native\/(?!base\/|measure\/|cpu\/)/,
    reason: "an absent backend is a stub at link time, not a condition in its callers",
  },
  { pattern: /\bconsole\./, files: /^lib\/(?!cli\/)/, reason: "a library does not print" },
  {
    pattern: /\bprocess\.(exit|abort|kill)\b/,
    files: /^lib\/(?!cli\/)/,
    reason: "the host is somebody's program: throw a K2Error",
  },
];

function forbiddenText(tree: Tree): Violation[] {
  const violations: Violation[] = [];
  for (const [file, text] of tree) {
    const rules = FORBIDDEN.filter((rule) => rule.files.test(file));
    for (const [index, line] of codeOnly(text).split("\n").entries()) {
      for (const { pattern, reason } of rules) {
        if (pattern.test(line)) violations.push({ file, line: index + 1, reason });
      }
    }
  }
  return violations;
}

const LONGEST_FILE = 800;

function longFiles(tree: Tree): Violation[] {
  return [...tree].flatMap(([file, text]) => {
    const lines = text.split("\n").length - 1;
    const reason = `Expected at most ${LONGEST_FILE} lines, got ${lines}`;
    return lines > LONGEST_FILE ? [{ file, line: LONGEST_FILE + 1, reason }] : [];
  });
}

const show = ({ file, line, reason }: Violation) => `${file}:${line}: ${reason}`;

/** The table as docs/architecture.md has it. */
function markdownTable(): string {
  const list = (names: readonly string[]) => names.join(", ") || "-";
  const code = (paths: readonly string[]) => paths.map((path) => `\`${path}\``).join(" ");
  const rows = ROOMS.map(
    (room) => `| ${room.name} | ${code(room.holds)} | ${list(room.uses)} | ${list(room.typesOf ?? [])} |`,
  );
  return ["| room | holds | may use | types only of |", "|---|---|---|---|", ...rows].join("\n");
}

describe("layers", () => {
  const code = readTree("native", "lib");

  it("include and import only what the table allows", () => {
    expect(layerViolations(code).map(show)).toEqual([]);
  });

  it("take only what they may from outside the project", () => {
    expect(outsideViolations(code).map(show)).toEqual([]);
  });

  it("contain nothing that could end, block or clutter the host program", () => {
    expect(forbiddenText(code).map(show)).toEqual([]);
  });

  it("have no file that is too long to read", () => {
    expect(longFiles(readTree("native", "lib", "test")).map(show)).toEqual([]);
  });

  it("stand in docs/architecture.md as they are executed here", () => {
    expect(readFileSync(join(root, "docs", "architecture.md"), "utf8")).toContain(markdownTable());
  });

  it("have a room for every name in the table, and files in every room", () => {
    const names = new Set(ROOMS.map((room) => room.name));
    const known = ROOMS.flatMap((room) => [...room.uses, ...(room.typesOf ?? [])]);
    expect(known.filter((name) => !names.has(name))).toEqual([]);
    const inhabited = new Set([...code.keys()].map((path) => roomOf(path)?.name));
    expect(ROOMS.filter((room) => !inhabited.has(room.name)).map((room) => room.name)).toEqual([]);
  });
});

describe("a planted violation is found", () => {
  /** The tree with nothing in its files but the planted text. */
  const plant = (file: string, text: string): Tree => {
    const empty = [...readTree("native", "lib").keys()].map((path) => [path, ""] as const);
    return new Map([...empty, [file, text]]);
  };

  it.each([
    [
      "native/model/spec.cc",
      '#include "model/spec.h"\n#include "cpu/linear.h"',
      "model (native) may not use cpu",
    ],
    ["native/cpu/isa.cc", '// "engine/engine.h"\n#include "engine/engine.h"', "cpu may not use engine"],
    ["native/base/rng.h", '\n#include "nowhere/x.h"', "base may not use native/nowhere/x.h"],
    ["lib/chat/chat.ts", '\nimport { Session } from "../session/session";', "chat may not use session"],
    ["lib/chat/chat.ts", '\nconst load = () => import("../addon/load");', "chat may not use addon"],
    ["lib/tools/validate.ts", '\nexport { parse } from "../template/message";', "tools may not use template"],
    ["lib/tools/validate.ts", '\nimport type { A } from "../addon/load";', "tools may not use addon"],
    ["lib/cli/main.ts", '\nimport type { Model } from "../model/model";', "cli may not use model (lib)"],
    ["lib/errors.ts", '\nlet x: import("./sampling").TokenMask;', "errors may not use sampling"],
  ])("%s: %s", (file, text, reason) => {
    const found = layerViolations(plant(file, text)).map(show);
    expect(found).toEqual([expect.stringContaining(`${file}:2: ${reason}`)]);
  });

  it("of a file without a room", () => {
    expect(layerViolations(plant("lib/new.ts", "")).map(show)).toEqual([
      "lib/new.ts:1: belongs to no room of the table",
    ]);
  });

  it.each([
    ["native/engine/engine.cc", "\n#include <immintrin.h>"],
    ["native/model/spec.cc", "\n#include <napi.h>"],
    ["lib/model/model.ts", '\nimport yargs from "yargs";'],
    ["lib/session/session.ts", '\nconst load = require("node-gyp-build");'],
    ["lib/template/kimi-k2.ts", '\nconst jinja = require("@huggingface/jinja");'],
    ["lib/chat/chat.ts", '\nimport { readFileSync } from "node:fs";'],
  ])("%s: %s", (file, text) => {
    expect(outsideViolations(plant(file, text)).map(show)).toEqual([expect.stringContaining(`${file}:2:`)]);
  });

  it.each([
    ["native/engine/engine.cc", '// abort()\nif (bad) std::abort(); // "x"'],
    ["native/engine/engine.cc", "\nassert(rows > 0);"],
    ["native/cpu/isa.cc", '\nstd::fprintf(stderr, "x");'],
    ["native/ops/registry.cc", "\n#ifdef K2_CUDA"],
    ["native/ops/registry.cc", "/* throw\n */ throw 1;"],
    ["lib/session/session.ts", '\nconsole.log("x");'],
    ["lib/session/session.ts", "\nprocess.exit(1);"],
  ])("%s: %s", (file, text) => {
    expect(forbiddenText(plant(file, text)).map(show)).toEqual([expect.stringContaining(`${file}:2:`)]);
  });

  it("of the longest file", () => {
    expect(longFiles(plant("lib/long.ts", "\n".repeat(801))).map(show)).toEqual([
      expect.stringContaining("lib/long.ts:801"),
    ]);
  });
});
