// The checks of options: what passes for an object, a list and a signal, and what a refusal says.

import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { checkSignal, describeValue, requireArray, requireObject } from "../../lib/check";
import { K2Error } from "../../lib/errors";

const revoked = () => {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
};
const refusal = (check: () => unknown): string => {
  try {
    check();
  } catch (error) {
    expect(error).toBeInstanceOf(K2Error);
    expect((error as K2Error).code).toBe("invalid-argument");
    return (error as K2Error).message;
  }
  throw new Error("expected a refusal");
};

describe("requireObject", () => {
  it.each([
    ["a literal", { a: 1 }],
    ["without prototype", Object.create(null)],
    ["of a class", new (class Options {})()],
    ["of another realm", runInNewContext("({ a: 1 })")],
    ["behind a proxy", new Proxy({}, {})],
  ])("takes one %s", (_, value) => {
    expect(requireObject(value, "options")).toBe(value);
  });

  it.each([
    ["an object of type Promise", Promise.resolve({})],
    ["an object of type AbortSignal", new AbortController().signal],
    ["an object of type Map", new Map()],
    ["an object of type Proxy", revoked()],
    ["an array of 1", [1]],
    ["null", null],
  ])("refuses %s", (got, value) => {
    expect(refusal(() => requireObject(value, "options"))).toBe(`Expected an object for options, got ${got}`);
  });
});

describe("requireArray", () => {
  it("makes holes visible", () => {
    // biome-ignore lint/suspicious/noSparseArray: it is about them
    expect(requireArray([, 1], "list").map((item) => item ?? "hole")).toEqual(["hole", 1]);
  });

  it("refuses everything else", () => {
    for (const value of [{ length: 0 }, "ab", new Int32Array(1), revoked(), undefined])
      expect(refusal(() => requireArray(value, "list"))).toContain("an array for list");
  });
});

describe("checkSignal", () => {
  it("takes signals by their shape", () => {
    const polyfill = { aborted: false, addEventListener() {}, removeEventListener() {} };
    for (const signal of [undefined, new AbortController().signal, polyfill])
      expect(checkSignal(signal)).toBe(signal);
  });

  it.each([
    ["no function", { aborted: false, addEventListener: 1, removeEventListener: 1 }],
    ["one half", { aborted: false, addEventListener() {} }],
    ["a revoked proxy", revoked()],
    ["null", null],
  ])("refuses %s", (_, signal) => {
    expect(refusal(() => checkSignal(signal))).toContain("an AbortSignal for signal");
  });
});

it("a value that cannot be looked at is described all the same", () => {
  expect(describeValue(revoked())).toBe("an object of type Proxy");
  expect(describeValue(Symbol("s"))).toBe("Symbol(s)");
});
