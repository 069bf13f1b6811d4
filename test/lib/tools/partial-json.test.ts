import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createPartialJson } from "../../../lib/tools/partial-json";
import { expectLinearTime } from "../../support/linear-time";

function read(...pieces: string[]) {
  const json = createPartialJson();
  for (const piece of pieces) json.push(piece);
  return { value: json.value, state: json.state };
}

describe("createPartialJson", () => {
  it("gives what JSON.parse gives, wherever the text is cut", () => {
    fc.assert(
      fc.property(fc.json(), fc.array(fc.nat(12)), fc.boolean(), (text, lengths, isSpaced) => {
        const whole = isSpaced ? JSON.stringify(JSON.parse(text), null, 2) : text;
        const pieces: string[] = [];
        let at = 0;
        for (const length of lengths) {
          pieces.push(whole.slice(at, at + length));
          at += length;
        }
        pieces.push(whole.slice(at));
        for (const cut of [pieces, [whole], [...whole]]) {
          expect(read(...cut)).toEqual({ value: JSON.parse(whole), state: "complete" });
        }
      }),
    );
  });

  it.each<[string, unknown]>([
    ["", undefined],
    ["{", {}],
    ['{"ci', {}],
    ['{"city"', {}],
    ['{"city":', {}],
    ['{"city":"', { city: "" }],
    ['{"city":"Ro', { city: "Ro" }],
    ['{"city":"a\\', { city: "a" }],
    ['{"city":"a\\u00e', { city: "a" }],
    ['{"a":1', {}],
    ['{"a":1,', { a: 1 }],
    ['{"a":tru', {}],
    ['[1,[2,"x', [1, [2, "x"]]],
    ['{"a":{"b":[{', { a: { b: [{}] } }],
  ])("%j shows %j", (text, value) => {
    expect(read(text)).toEqual({ value, state: "open" });
    expect(read(...text)).toEqual({ value, state: "open" });
  });

  it.each<[string, unknown]>([
    ["{'a'", {}],
    ['{"a":1}}', { a: 1 }],
    ['{"a":01,', {}],
    ['{"a":nul,', {}],
    ["[1,]", [1]],
    ['["\\x"', [""]],
    ['{"a" 1', {}],
    ["[1}", [1]],
    ['"\n"', ""],
  ])("stops at %j and keeps what came before", (text, value) => {
    expect(read(text)).toEqual({ value, state: "broken" });
  });

  it("takes a key for a key, and bounds the depth", () => {
    const { value } = read('{"__proto__":{"x":1}}');
    expect(Object.keys(value as object)).toEqual(["__proto__"]);
    expect(({} as { x?: number }).x).toBeUndefined();
    expect(read("[".repeat(1_000_000)).state).toBe("broken");
  });

  it("costs time that grows linearly, asked after every delta", () => {
    expectLinearTime(8000, (count) => {
      const json = createPartialJson();
      json.push('{"a":"');
      for (let i = 0; i < count; i += 1) {
        json.push("some text");
        if ((json.value as { a: string }).a === "") throw new Error("no value");
      }
    });
  });
});
