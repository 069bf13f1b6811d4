// Numbers, paragraphs and tables.

import { describe, expect, it } from "vitest";
import { columns, formatBytes, formatCount, formatRate, plural, wrap } from "../../../lib/cli/format";
import { visible } from "../../../lib/cli/style";

describe("numbers", () => {
  it("have a unit and the digits that count", () => {
    expect([0, 999, 1000, 25_115, 999_949, 999_950, 594_203_140_096].map(formatBytes)).toEqual([
      "0 B",
      "999 B",
      "1.00 kB",
      "25.1 kB",
      "999.9 kB",
      "1.00 MB",
      "594.2 GB",
    ]);
    expect([24, 2_853_000, 32_864_000_000, 1.0264e12].map(formatCount)).toEqual([
      "24",
      "2.85 M",
      "32.9 B",
      "1.03 T",
    ]);
    expect(formatBytes(5e18)).toBe("5000.0 PB");
  });

  it("show rates from a token in minutes to thousands in a second", () => {
    expect(formatRate(1, 150_000)).toBe("0.0067 tok/s");
    expect(formatRate(1, 1200)).toBe("0.83 tok/s");
    expect(formatRate(123, 10_000)).toBe("12.3 tok/s");
    expect(formatRate(43_104, 10_000)).toBe("4,310 tok/s");
  });

  it("count nouns", () => {
    expect([plural(1, "file"), plural(0, "file"), plural(208_215, "tensor")]).toEqual([
      "1 file",
      "0 files",
      "208,215 tensors",
    ]);
  });
});

describe("text", () => {
  it("breaks at spaces and keeps a long word whole", () => {
    expect(wrap("aa bb cc", 5)).toEqual(["aa bb", "cc"]);
    expect(wrap("aaaaaaaa bb", 5)).toEqual(["aaaaaaaa", "bb"]);
    expect(wrap("aa bb", Number.POSITIVE_INFINITY)).toEqual(["aa bb"]);
  });

  it("stands in columns", () => {
    expect(
      columns(
        [
          ["a", "1"],
          ["bbb", "22"],
        ],
        [1],
      ),
    ).toEqual(["a     1", "bbb  22"]);
  });

  it("cannot command a terminal", () => {
    expect(visible("a\u001b[31mb\u0007\r\u007f\u009bc\td\n")).toBe("a␛[31mb␇␍␡\ufffdc\td\n");
    expect(visible("héllo 你好 🙂\u202e")).toBe("héllo 你好 🙂\u202e");
  });
});
