import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { LiteralMatcher } from "../../../lib/tools/literal-matcher";

// Two letters make self-overlapping literals and near misses frequent.
const letters = (minLength: number, maxLength: number) =>
  fc.string({ unit: fc.constantFrom("a", "b"), minLength, maxLength });

describe("LiteralMatcher", () => {
  it("knows the longest end of the text that begins the literal", () => {
    fc.assert(
      fc.property(letters(1, 6), letters(0, 30), (literal, text) => {
        const matcher = new LiteralMatcher(literal);
        // After a match the search starts afresh.
        let seen = "";
        for (const character of text) {
          if (seen.endsWith(literal)) seen = "";
          seen += character;
          const isMatch = matcher.push(character.charCodeAt(0));
          let longest = 0;
          for (let length = 1; length <= literal.length; length += 1) {
            if (seen.endsWith(literal.slice(0, length))) longest = length;
          }
          expect(matcher.pending).toBe(longest);
          expect(isMatch).toBe(longest === literal.length);
        }
      }),
    );
  });
});
