// `k2 demo`, which is what `npm start` shows first: it has to end well on every machine.

import { describe, expect, it } from "vitest";
import { k2, noTerminal, startInTerminal } from "./command-line";

const ANSWERS = [
  "Ana lives in Lisbon. It is 75.2 degrees fahrenheit there.",
  "It is -3 degrees and snowy in Oslo. It is 27 degrees and clear in Rome.",
  "The total is 213.5 dollars.",
  "I am sorry, I cannot help with that.",
];

describe("k2 demo", () => {
  it("thinks, calls, reads results and answers, also without a terminal", async () => {
    const { code, stdout, stderr } = await k2(["demo"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const lines = stdout.split("\n");
    const starting = (label: string) =>
      lines.filter((line) => line.startsWith(label)).map((line) => line.slice(label.length).trim());
    expect(starting("answers")).toEqual(ANSWERS);
    expect(starting("you ask")).toHaveLength(ANSWERS.length);
    expect(starting("calls")).toEqual([
      'find_contact {"name":"Ana"}',
      'get_weather {"city":"Lisbon"}',
      'convert_units {"value":24,"from":"celsius","to":"fahrenheit"}',
      'get_weather {"city":"Oslo"}',
      'get_weather {"city":"Rome"}',
      'get_price {"item":"lamp"}',
      'get_price {"item":"desk"}',
      'calculator {"expression":"24.5+189"}',
    ]);
    expect(starting("returns")).toHaveLength(8);
    expect(stdout.match(/^ {9}prefill .* decode /gm)).toHaveLength(ANSWERS.length);
    expect(stdout).toMatch(/demonstration of the engine/);
    expect(stdout).not.toContain("␛");
  });

  it.skipIf(noTerminal !== undefined).each([80, 60])("fits terminals of %i columns", async (columns) => {
    const options = { env: { NO_COLOR: "1" }, columns };
    const { code, stdout } = await startInTerminal(["demo", "--fast"], options).ended;
    expect(code).toBe(0);
    expect(Math.max(...stdout.split(/[\r\n]+/).map((line) => line.length))).toBeLessThanOrEqual(columns);
  });
});
