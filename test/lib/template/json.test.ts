import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { copyJson, type JsonValue, pythonJson, SPACED } from "../../../lib/template/json";

const COMPACT_SORTED = { itemSeparator: ",", keySeparator: ":", sortKeys: true };

describe("pythonJson", () => {
  it("sorts keys by code point at every depth, and leaves arrays alone", () => {
    // U+1F600 is a surrogate pair: behind U+FF5E by code point, before it by UTF-16 unit.
    const value = { "\u{1f600}": 1, "\uff5e": 2, b: [{ z: 1, a: 2 }], a: null, "10": 1, "9": 2, B: 3, "": 0 };
    expect(pythonJson(value, COMPACT_SORTED)).toBe(
      '{"":0,"10":1,"9":2,"B":3,"a":null,"b":[{"a":2,"z":1}],"\uff5e":2,"\u{1f600}":1}',
    );
  });

  it("writes Python's default separators, keys in given order", () => {
    expect(pythonJson({ b: [1, "x"], a: {} }, SPACED)).toBe('{"b": [1, "x"], "a": {}}');
    expect(pythonJson([], SPACED)).toBe("[]");
  });

  it("escapes what Python escapes and nothing else", () => {
    expect(pythonJson('ü\u2028\u007f"\\/\n\u0001', SPACED)).toBe('"ü\u2028\u007f\\"\\\\/\\n\\u0001"');
  });

  // The right column is Python's repr of the same double.
  it.each<[number, string]>([
    [1, "1"],
    [-0.5, "-0.5"],
    [0.0001, "0.0001"],
    [0.00001, "1e-05"],
    [0.00001234, "1.234e-05"],
    [1e-7, "1e-07"],
    [-1.5e-10, "-1.5e-10"],
    [5e-324, "5e-324"],
    [123456789.125, "123456789.125"],
    [9007199254740991, "9007199254740991"],
    [1e20, "100000000000000000000"],
    [1e22, "1e+22"],
  ])("writes the number %d as Python does", (value, text) => {
    expect(pythonJson(value, SPACED)).toBe(text);
  });

  it("reads back as what it was, in both styles", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const copy = copyJson(value, "value") as JsonValue;
        for (const style of [SPACED, COMPACT_SORTED]) {
          // JSON has one zero.
          expect(JSON.parse(pythonJson(copy, style))).toEqual(JSON.parse(JSON.stringify(value)));
        }
      }),
    );
  });
});
