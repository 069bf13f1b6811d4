// The package as a user gets it: packed, unpacked into a project, imported both ways, type-checked, and run.

import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import ts from "typescript";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";

const root = join(__dirname, "..");
// npm and compilers start here; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 600_000, hookTimeout: 600_000 });
const addon = join(root, "build", "Release", "k2_native.node");
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));

const isBuilt = existsSync(addon) && existsSync(join(root, "dist", "index.mjs"));
if (!isBuilt) console.log("package tests: not run. They need `npm run build`.");

const LARGEST_MB = 12;
const PREBUILD = `${process.platform}-${process.arch}`;

/** Paths inside the exports map, main, types and bin. */
function entryPoints(value: unknown): string[] {
  if (typeof value === "string") return [value.replace(/^\.\//, "")];
  return Object.values(value as Record<string, unknown>).flatMap(entryPoints);
}

describe.skipIf(!isBuilt && process.env.CI !== "true")("package", () => {
  const project = mkdtempSync(join(tmpdir(), "k2-package-"));
  const installed = join(project, "node_modules", "k2-native");
  let packed: { files: { path: string; mode: number }[]; unpackedSize: number };
  let paths: Set<string>;

  beforeAll(() => {
    const output = execFileSync(
      "npm",
      ["pack", "--json", "--ignore-scripts", "--pack-destination", project],
      {
        cwd: root,
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    packed = JSON.parse(output)[0];
    paths = new Set(packed.files.map(({ path }) => path));
    const tarball = join(project, `k2-native-${manifest.version}.tgz`);
    mkdirSync(installed, { recursive: true });
    execFileSync("tar", ["xzf", tarball, "--strip-components=1", "-C", installed]);
    for (const name of Object.keys(manifest.dependencies)) {
      const link = join(project, "node_modules", name);
      mkdirSync(dirname(link), { recursive: true });
      symlinkSync(join(root, "node_modules", name), link);
    }
    mkdirSync(join(installed, "prebuilds", PREBUILD), { recursive: true });
    copyFileSync(addon, join(installed, "prebuilds", PREBUILD, "k2-native.node"));
  });

  afterAll(() => rmSync(project, { recursive: true, force: true }));

  /** Runs a program inside the project, where only the package's own binary can be found. */
  const run = (name: string, code: string) => {
    writeFileSync(join(project, name), code);
    const env = { ...process.env, PREBUILDS_ONLY: "1" };
    const options = { cwd: project, env, encoding: "utf8" } as const;
    const { status, stdout, stderr } = spawnSync(process.execPath, [name], options);
    return { status, stdout: stdout.trim(), stderr };
  };

  it("holds every file that its manifest names", () => {
    const named = entryPoints([manifest.main, manifest.types, manifest.exports, manifest.bin]);
    expect(named.filter((path) => !paths.has(path))).toEqual([]);
  });

  it("holds what a build from source needs, and its licence", () => {
    const needed = [
      "CMakeLists.txt",
      "LICENSE",
      "README.md",
      "binding.gyp",
      "demo-model/config.json",
      "native/binding/module.cc",
      "native/cpu/linear_body.inl.h",
      "scripts/build-native.mjs",
      "scripts/install.mjs",
      "scripts/native-tools.mjs",
    ];
    expect(needed.filter((path) => !paths.has(path))).toEqual([]);
  });

  it("holds nothing else", () => {
    const shipped =
      /^(LICENSE|README\.md|CMakeLists\.txt|binding\.gyp|package\.json)$|^(demo-model|dist|docs|native|prebuilds|scripts)\//;
    expect([...paths].filter((path) => !shipped.test(path))).toEqual([]);
    expect([...paths].filter((path) => path.startsWith("docs/api/"))).toEqual([]);
    expect(packed.unpackedSize).toBeLessThan(LARGEST_MB * 2 ** 20);
  });

  it("gives modules of both kinds the same objects", () => {
    const code = `
      import { createRequire } from "node:module";
      import * as k2 from "k2-native";
      const required = createRequire(import.meta.url)("k2-native");
      console.log(Object.keys(required).every((name) => required[name] === k2[name]), typeof k2.loadModel);
    `;
    expect(run("both.mjs", code)).toMatchObject({ status: 0, stdout: "true function" });
  });

  it.each(["template.cjs", "template.mjs"])("runs a foreign chat template from %s", (name) => {
    const load = name.endsWith("cjs")
      ? 'const template = require("./node_modules/k2-native/dist/template/jinja-template.js");'
      : 'import template from "./node_modules/k2-native/dist/template/jinja-template.js";';
    const code = `${load}
      const text = "{{ bos_token }}{{ messages[0].content }}";
      const jinja = new template.JinjaTemplate({ text, controlNames: ["<s>"], specialTokens: { bos_token: "<s>" } });
      console.log(JSON.stringify(jinja.render([{ role: "user", content: "<s>" }])));
    `;
    const segments = [
      { kind: "control", name: "<s>" },
      { kind: "content", text: "<s>" },
    ];
    expect(run(name, code)).toMatchObject({ status: 0, stdout: JSON.stringify(segments) });
  });

  it("computes with the prebuilt binary", () => {
    const code = `
      const { demoModelPath, loadModel } = require("k2-native");
      (async () => {
        const model = await loadModel(demoModelPath, { threads: 1, contextTokens: 64 });
        const logits = await model.createSession().evaluate([1, 2, 3]);
        console.log(logits.length === 3 * model.config.vocab_size, logits.every(Number.isFinite));
        await model.dispose();
      })();
    `;
    expect(run("compute.cjs", code)).toMatchObject({ status: 0, stdout: "true true" });
  });

  it("builds nothing on installation where a binary is there", () => {
    const script = join(installed, "scripts", "install.mjs");
    const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: "utf8" });
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(existsSync(join(installed, "build"))).toBe(false);
  });

  it("has a command that runs", () => {
    const command = join(installed, manifest.bin.k2);
    expect(execFileSync(command, ["--version"], { encoding: "utf8" })).toContain(manifest.version);
  });

  it.each([
    ["consumer.mts", ts.ModuleKind.Node16, ts.ModuleResolutionKind.Node16],
    ["consumer.cts", ts.ModuleKind.Node16, ts.ModuleResolutionKind.Node16],
    ["consumer.ts", ts.ModuleKind.Preserve, ts.ModuleResolutionKind.Bundler],
  ])("has types for %s", (name, module, moduleResolution) => {
    const code = `
      import { K2Error, loadModel, type Model, type StreamPart } from "k2-native";
      export async function ask(path: string): Promise<string> {
        const model: Model = await loadModel(path, { threads: 2 });
        const parts: StreamPart[] = [];
        for await (const part of model.createChat().send("x")) parts.push(part);
        return new K2Error("internal", String(parts.length)).code;
      }
      // @ts-expect-error: the path is a string
      loadModel(1);
    `;
    const file = join(project, name);
    writeFileSync(file, code);
    const program = ts.createProgram([file], {
      target: ts.ScriptTarget.ES2022,
      lib: ["lib.es2023.d.ts", "lib.esnext.disposable.d.ts"],
      module,
      moduleResolution,
      types: ["node"],
      typeRoots: [join(root, "node_modules", "@types")],
      strict: true,
      noEmit: true,
    });
    const messages = ts.getPreEmitDiagnostics(program).map(({ file: where, messageText }) => {
      return `${where?.fileName}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
    });
    expect(messages).toEqual([]);
  });
});
