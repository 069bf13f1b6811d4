// Wrapping of text in pieces: the same lines wherever it is cut, and nothing lost.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { WordWrap } from "../../../lib/cli/word-wrap";

function wrapped(pieces: readonly string[], columns: number, indent = 0): string {
  const wrap = new WordWrap(indent, () => columns);
  return pieces.map((piece) => wrap.push(piece)).join("") + wrap.flush();
}

describe("WordWrap", () => {
  it("breaks between words and indents", () => {
    expect(wrapped(["one two three four"], 12, 2)).toBe("one two\n  three four");
    expect(wrapped(["a\n\n b"], 20, 3)).toBe("a\n   \n    b");
    expect(wrapped(["averylongword and x"], 8)).toBe("averylongword\nand x");
    expect(wrapped(["你好世界你好"], 8)).toBe("你好世界\n你好");
  });

  it("shows a word that no line can hold before it ends", () => {
    const wrap = new WordWrap(0, () => 10);
    expect(wrap.push("x".repeat(8))).toBe("");
    expect(wrap.push("x".repeat(8))).toBe("x".repeat(16));
  });

  it("does not depend on the cuts, fits, and keeps every word", () => {
    const word = fc.stringMatching(/^[a-z]{1,9}$/);
    fc.assert(
      fc.property(
        fc.array(word, { minLength: 1 }),
        fc.infiniteStream(fc.integer({ min: 1, max: 7 })),
        (words, cuts) => {
          const text = words.join(" ");
          const pieces: string[] = [];
          for (let at = 0; at < text.length; ) {
            const size = cuts.next().value as number;
            pieces.push(text.slice(at, at + size));
            at += size;
          }
          const out = wrapped(pieces, 20, 4);
          expect(out).toBe(wrapped([text], 20, 4));
          expect(out.split(/\s+/)).toEqual(words);
          for (const [index, line] of out.split("\n").entries()) {
            expect(line.length + (index === 0 ? 4 : 0)).toBeLessThanOrEqual(20);
          }
        },
      ),
    );
  });
});
