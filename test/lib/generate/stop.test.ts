import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { StopStrings } from "../../../lib/generate/stop";

/** Feeds pieces; the text shown, and whether a stop string came. */
function run(strings: readonly string[], pieces: readonly string[]): [string, boolean] {
  const stop = new StopStrings(strings);
  let shown = "";
  for (const piece of pieces) {
    const { text, isStop } = stop.push(piece);
    shown += text;
    if (isStop) return [shown, true];
  }
  return [shown + stop.take(), false];
}

/** The same, character by character on the whole text: the first end of a stop string counts, the longest there. */
function expected(strings: readonly string[], text: string): [string, boolean] {
  for (let end = 1; end <= text.length; end += 1) {
    const found = strings.filter((each) => text.slice(0, end).endsWith(each)).map((each) => each.length);
    if (found.length > 0) return [text.slice(0, end - Math.max(...found)), true];
  }
  return [text, false];
}

describe("StopStrings", () => {
  const letters = (minLength: number, maxLength: number) =>
    fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength, maxLength });

  it("finds the first stop string however the text is cut", () => {
    const given = [
      fc.array(letters(1, 4), { maxLength: 3 }),
      fc.array(letters(0, 4), { maxLength: 12 }),
    ] as const;
    fc.assert(
      fc.property(...given, (strings, pieces) => {
        expect(run(strings, pieces)).toEqual(expected(strings, pieces.join("")));
      }),
      { numRuns: 3000 },
    );
  });

  it("shows text at once that cannot be part of a stop string", () => {
    const stop = new StopStrings(["END", "ENOUGH"]);
    expect(stop.push("one E").text).toBe("one ");
    expect(stop.push("N").text).toBe("");
    expect(stop.push("Dless")).toEqual({ text: "", isStop: true });
  });

  it("starts afresh after take", () => {
    const stop = new StopStrings(["ab"]);
    expect(stop.push("a").text).toBe("");
    expect(stop.take()).toBe("a");
    expect(stop.push("b")).toEqual({ text: "b", isStop: false });
  });
});
