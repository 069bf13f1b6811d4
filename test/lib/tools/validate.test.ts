import { describe, expect, it } from "vitest";
import { checkCall, parseArguments } from "../../../lib/tools/validate";

describe("parseArguments", () => {
  it.each(['{"a":[1,{"b":"]}"}]}', "[]", '"text"', "null", " 12 "])("accepts %s", (text) => {
    expect(parseArguments(text)).toEqual({ value: JSON.parse(text) });
  });

  it.each(["", "{", "{'a':1}", "undefined", '{"a":1}{', "NaN"])("refuses %j with a reason", (text) => {
    expect(parseArguments(text)).toMatchObject({ invalid: { reason: "invalid-arguments" } });
  });

  it("refuses nesting that later code could not walk, and takes brackets in strings for text", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(parseArguments(nested(256))).toHaveProperty("value");
    expect(parseArguments(nested(257))).toMatchObject({ invalid: { reason: "invalid-arguments" } });
    expect(parseArguments(nested(1_000_000))).toHaveProperty("invalid");
    expect(parseArguments(JSON.stringify("[".repeat(1000)))).toHaveProperty("value");
    expect(parseArguments(`["\\"${"[".repeat(300)}"]`)).toHaveProperty("value");
  });
});

describe("checkCall", () => {
  const tools = [{ type: "function" as const, function: { name: "f" } }];

  it("names the declared tools to the model", () => {
    expect(checkCall("g", "{}", tools)).toEqual({
      reason: "unknown-tool",
      message: 'Expected one of the tools f for a tool call, got "g"',
    });
    expect(checkCall("f", "{}", tools)).toBeUndefined();
    expect(checkCall("F", "{}", tools)?.reason).toBe("unknown-tool");
  });
});
