// The Metal kernels as other compilers read them: clang checks their address spaces, and refuses what Apple's compiler
// would refuse; nvcc, where it is found, makes code of them. What the kernels compute is tested in test/native/metal.

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(__dirname, "..");
const clang = ["clang++", "clang++-19", "clang++-18", "clang++-17", "clang++-16", "clang++-15"].find(
  (name) => spawnSync(name, ["--version"]).status === 0,
);

/** The kernels in the order of CMakeLists.txt. */
function kernelFiles(): string[] {
  const list = /set\(K2_METAL_KERNELS ([^)]+)\)/.exec(
    readFileSync(join(root, "CMakeLists.txt"), "utf8"),
  )![1]!;
  return ["arguments.inl.h", ...list.split(" ")];
}

function kernelText(): string {
  const parts = kernelFiles().map((name) => {
    const text = readFileSync(join(root, "native", "metal", "kernels", name), "utf8");
    return `#line 1 "${name}"\n${text}`;
  });
  return parts.join("\n");
}

/** The kernels with a name for each copy of a struct from one address space to another. */
function textOfSpaces(): string {
  return kernelText()
    .replace(/\b(const (?:WeightArguments|AttentionSlot) \w+ = )([^;]+);/g, "$1Copied($2);")
    .replace("return a.tiles[index];", "return Copied(a.tiles[index]);");
}

/** What clang says of a text; empty when it accepts it. */
function complaints(kernels: string): string {
  const shim = readFileSync(join(root, "test", "native", "metal", "address_spaces.h"), "utf8");
  const flags = ["-x", "c++", "-std=c++14", "-fsyntax-only", "-Wno-unknown-attributes", "-"];
  const { status, stderr } = spawnSync(clang!, flags, { input: shim + kernels, encoding: "utf8" });
  return status === 0 ? "" : stderr;
}

describe.skipIf(clang === undefined)("the address spaces of the Metal kernels", () => {
  it("are right", () => {
    expect(complaints(textOfSpaces())).toBe("");
  });

  it.each([
    ["TakeLargest(group_keys, a.groups, lane)", "TakeLargest((device uint*)a.ids, a.groups, lane)"],
    ["threadgroup const ushort* row = tile", "device const ushort* row = tile"],
    ["device const float* x = a.x + ulong(group.x)", "thread const float* x = a.x + ulong(group.x)"],
    [
      "float sums[kTokens][kChunk], values[kChunk];",
      "float sums[kTokens][kChunk]; K2_THREADGROUP(float, values, kChunk);",
    ],
    ["device float* y = a.y + ulong(group.x)", "constant float* y = a.y + ulong(group.x)"],
  ])("%s may not become %s", (right, wrong) => {
    const text = textOfSpaces();
    expect(text).toContain(right);
    expect(complaints(text.replace(right, wrong))).toContain("error:");
  });
});

const nvccMissing = spawnSync("nvcc", ["--version"]).status === 0 ? "" : " (skipped: no nvcc)";

/** What nvcc says of the kernels, and the code it makes of them. Its kernels take arguments by value. */
function compiledByNvcc(kernels: string): { complaints: string; code: string } {
  const words = readFileSync(join(root, "test", "native", "metal", "cuda_words.h"), "utf8");
  const text = kernels
    .replaceAll("[[kernel]]", "__global__")
    .replace(/constant (\w+)& a \[\[buffer\(0\)\]\]/g, "$1 a")
    .replace(/\b(device|constant|threadgroup|thread) /g, "") // as macros they would spoil __device__
    .replace(/\bstatic (?!const)/g, "static __device__ ");
  const folder = mkdtempSync(join(tmpdir(), "k2-metal-"));
  try {
    const [source, output] = [join(folder, "kernels.cu"), join(folder, "kernels.ptx")];
    writeFileSync(source, words + text);
    const flags = ["-std=c++17", "-arch=sm_80", "-ptx", "-o", output, source];
    const { status, stdout, stderr } = spawnSync("nvcc", flags, { encoding: "utf8" });
    return status === 0
      ? { complaints: "", code: readFileSync(output, "utf8") }
      : { complaints: stdout + stderr, code: "" };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

describe.skipIf(nvccMissing !== "")(`the Metal kernels under nvcc${nvccMissing}`, () => {
  it("become code, each of them", { timeout: 60_000 }, () => {
    const text = kernelText();
    const { complaints, code } = compiledByNvcc(text);
    expect(complaints).toBe("");
    const names = [...text.matchAll(/\[\[kernel\]\] void (\w+)\(/g)].map((match) => match[1]!);
    expect(names.length).toBeGreaterThan(5);
    for (const name of names) expect(code).toMatch(new RegExp(`\\.entry[^\\n]*\\d${name}`));
  });

  it("are refused with a mistake", { timeout: 60_000 }, () => {
    const text = kernelText().replace("simd_sum(", "simd_sums(");
    expect(compiledByNvcc(text).complaints).toContain("simd_sums");
  });
});
