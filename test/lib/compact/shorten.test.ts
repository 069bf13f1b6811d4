import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isLonger, shorten } from "../../../lib/compact/shorten";

/** What the line in the middle says; 0 where there is none. */
const leftOut = (text: string) =>
  Number(/\n\[\.\.\. (\d+) characters left out \.\.\.\]\n/.exec(text)?.[1] ?? 0);
const withoutLine = (text: string) => text.replace(/\n\[\.\.\. \d+ characters left out \.\.\.\]\n/, "");

describe("shorten", () => {
  it("keeps beginning and end, and counts what is missing", () => {
    const text = Array.from({ length: 100 }, (_, index) => `line ${index}`).join("\n");
    const short = shorten(text, 90);
    expect(short.startsWith(text.slice(0, 60))).toBe(true);
    expect(short.endsWith(text.slice(-30))).toBe(true);
    expect(leftOut(short)).toBe(text.length - 90);
  });

  it("leaves a text that would not become shorter", () => {
    expect(shorten("x".repeat(150), 100)).toBe("x".repeat(150));
    expect(shorten("x".repeat(151), 100)).not.toBe("x".repeat(151));
  });

  it("counts the original's characters however often it was shortened, and cuts none in two", () => {
    const text = fc.string({ unit: "binary", minLength: 200, maxLength: 2000 });
    const limits = fc.array(fc.integer({ min: 1, max: 1500 }), { minLength: 1, maxLength: 4 });
    fc.assert(
      fc.property(text, limits, (original, each) => {
        let short = original;
        for (const limit of each) {
          const shorter = shorten(short, limit);
          expect(shorter.length).toBeLessThanOrEqual(short.length);
          if (isLonger(short, limit)) expect(withoutLine(shorter).length).toBeLessThanOrEqual(limit);
          short = shorter;
        }
        expect(leftOut(short) + withoutLine(short).length).toBe(original.length);
        expect(/\p{Surrogate}/u.test(short)).toBe(/\p{Surrogate}/u.test(original));
      }),
    );
  });
});
