// The address spaces of the Metal kernels, as clang checks them: it refuses what Apple's compiler would refuse. What the
// kernels compute is tested in test/native/metal.

import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
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
  return parts
    .join("\n")
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
    expect(complaints(kernelText())).toBe("");
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
    const text = kernelText();
    expect(text).toContain(right);
    expect(complaints(text.replace(right, wrong))).toContain("error:");
  });
});
