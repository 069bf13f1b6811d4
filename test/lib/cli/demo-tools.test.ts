// The demo's tools and its calculator: right results, errors that a model can read, and refusals of calls that no
// application should execute.

import { describe, expect, it } from "vitest";
import { executeCall } from "../../../lib/chat/execute-call";
import { parseChatTools } from "../../../lib/chat/tool";
import { evaluateArithmetic } from "../../../lib/cli/arithmetic";
import { allDemoTools, demoTools } from "../../../lib/cli/demo-tools";

/** The result as the model reads it. */
async function call(name: string, values: unknown): Promise<string> {
  const { execute, validate } = parseChatTools(allDemoTools).executors.get(name)!;
  const text = JSON.stringify(values);
  const reported = { id: "0", type: "function", function: { name, arguments: text } } as const;
  const { signal } = new AbortController();
  return (await executeCall(reported, { execute, validate }, { id: "0", signal })).content;
}

async function result(name: string, values: unknown): Promise<unknown> {
  return JSON.parse(await call(name, values));
}

describe("evaluateArithmetic", () => {
  it("computes with precedence, from left to right", () => {
    const cases: [string, number][] = [
      ["340*12/100", 40.8],
      ["2+3*4", 14],
      ["(17+25)*3", 126],
      ["10-4-3", 3],
      ["100/10/2", 5],
      ["-5+2", -3],
      ["2*-3", -6],
      ["--4", 4],
      ["((1.5))*.5", 0.75],
      [" 1 + 1 ", 2],
      ["7.", 7],
    ];
    for (const [text, value] of cases) expect(evaluateArithmetic(text)).toBeCloseTo(value, 12);
  });

  it("refuses everything else", () => {
    const texts = [
      "",
      "1+",
      "(1",
      "1)",
      "2**3",
      "1/0",
      "1/(2-2)",
      "x",
      "1e5",
      "1..2",
      "process.exit()",
      "1;2",
    ];
    for (const text of texts) expect(() => evaluateArithmetic(text), text).toThrow(RangeError);
    expect(() => evaluateArithmetic("(".repeat(100_000))).toThrow("expression too long");
    expect(() => evaluateArithmetic("9".repeat(400))).toThrow("number too large");
  });
});

describe("the demo's tools", async () => {
  it("answer in the shapes that the model was trained with", async () => {
    expect(await result("calculator", { expression: "1/3" })).toEqual({ result: 0.33 });
    expect(await result("get_weather", { city: "Oslo" })).toEqual({ city: "Oslo", temp_c: -3, sky: "snowy" });
    expect(await result("get_time", { city: "Tokyo" })).toEqual({ city: "Tokyo", time: "23:05" });
    expect(await result("get_price", { item: "red lamp" })).toEqual({ item: "red lamp", price: 30 });
    expect(await result("find_contact", { name: "Ana" })).toEqual({
      name: "Ana",
      phone: "555-0123",
      city: "Lisbon",
    });
    expect(await result("convert_units", { value: -3, from: "celsius", to: "fahrenheit" })).toEqual({
      value: 26.6,
      unit: "fahrenheit",
    });
    expect(await result("convert_units", { value: 26.2, from: "miles", to: "km" })).toEqual({
      value: 42.16,
      unit: "km",
    });
    expect(await result("add_days", { date: "2025-03-14", days: 100 })).toEqual({
      date: "2025-06-22",
      weekday: "Sunday",
    });
    expect(await result("add_days", { date: "2024-03-01", days: -1 })).toEqual({
      date: "2024-02-29",
      weekday: "Thursday",
    });
  });

  it("write JSON without spaces, as the model expects it", async () => {
    expect(await call("get_time", { city: "Oslo" })).toBe('{"city":"Oslo","time":"15:05"}');
  });

  it("return errors for what they do not know", async () => {
    expect(await result("get_weather", { city: "Atlantis" })).toEqual({ error: "unknown city" });
    expect(await result("get_weather", { city: "constructor" })).toEqual({ error: "unknown city" });
    expect(await result("find_contact", { name: "__proto__" })).toEqual({ error: "not found" });
    expect(await result("calculator", { expression: "1/0" })).toEqual({ error: "division by zero" });
    expect(await result("convert_units", { value: 1, from: "km", to: "kg" })).toEqual({
      error: "unknown unit",
    });
    for (const date of ["2025-02-31", "2025-2-3", "tomorrow", "9999-12-31"]) {
      expect(await result("add_days", { date, days: 1 })).toEqual({ error: "invalid date" });
    }
    expect(await result("add_days", { date: "2025-01-01", days: 9e15 })).toEqual({ error: "invalid date" });
  });

  it("refuse calls whose arguments do not fit the declaration", async () => {
    expect(await result("get_weather", {})).toEqual({
      error: "Expected a value of type string for city, got undefined",
    });
    const wrong: [string, unknown, string][] = [
      ["add_days", { date: "2025-01-01", days: 1.5 }, "of type integer for days, got 1.5"],
      ["get_weather", { city: "Oslo", unit: "f" }, 'Expected only city, got "unit"'],
      ["get_weather", ["Oslo"], 'an object for the arguments, got ["Oslo"]'],
      ["get_weather", null, "an object for the arguments, got null"],
    ];
    for (const [name, values, message] of wrong) {
      expect(await result(name, values)).toEqual({ error: expect.stringContaining(message) });
    }
  });

  it("are declared in the form of the API, in the order asked for", async () => {
    expect(demoTools("get_time", "convert_units").map((tool) => tool.function.name)).toEqual([
      "get_time",
      "convert_units",
    ]);
    expect(demoTools("add_days")).toEqual([
      {
        type: "function",
        function: {
          name: "add_days",
          description: "Add days to a date",
          parameters: {
            type: "object",
            required: ["date", "days"],
            properties: { date: { type: "string" }, days: { type: "integer" } },
          },
        },
        validate: expect.any(Function),
        execute: expect.any(Function),
      },
    ]);
    expect(allDemoTools).toHaveLength(7);
  });
});
