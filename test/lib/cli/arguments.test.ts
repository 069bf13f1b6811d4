// Words of a command line to values.

import { describe, expect, it } from "vitest";
import { type Arguments, nearest, parseArguments, UsageError } from "../../../lib/cli/arguments";
import { ANSWER_FLAGS, MODEL_FLAGS, QUIET_FLAG, SAMPLING_FLAGS } from "../../../lib/cli/flags";

const GRAMMAR = {
  name: "run",
  positionals: [
    { name: "MODEL", help: "" },
    { name: "PROMPT", help: "" },
  ],
  groups: [ANSWER_FLAGS, SAMPLING_FLAGS, MODEL_FLAGS, { title: "Output", flags: [QUIET_FLAG] }],
};

function parse(...words: string[]): Arguments {
  const given = parseArguments(GRAMMAR, words);
  if (given === "help") throw new Error("Expected arguments, got a call for help");
  return given;
}

describe("parseArguments", () => {
  it("takes values after a space or an equals sign, between and after positionals", () => {
    const given = parse("--seed", "5", "model", "--top-p=0.5", "prompt", "-q");
    expect(given.positionals).toEqual(["model", "prompt"]);
    expect(given.options(SAMPLING_FLAGS)).toEqual({ seed: 5, topP: 0.5 });
    expect(given.has("quiet")).toBe(true);
    expect(given.has("json")).toBe(false);
  });

  it("reads every numeric flag into the option of its name", () => {
    const groups = [ANSWER_FLAGS, SAMPLING_FLAGS, MODEL_FLAGS];
    const numeric = groups.flatMap((group) => group.flags).filter((flag) => flag.range !== undefined);
    expect(numeric.length).toBeGreaterThan(10);
    const words = numeric.flatMap((flag) => [`--${flag.name}`, "1"]);
    const options = parse("model", "prompt", ...words).options(...groups);
    expect(options).toEqual(Object.fromEntries(numeric.map((flag) => [flag.option, 1])));
  });

  it("knows negative numbers, fractions and exponents, and refuses what JavaScript would also read", () => {
    expect(parse("m", "p", "--presence-penalty", "-1.5").number("presence-penalty")).toBe(-1.5);
    expect(parse("m", "p", "--temperature", ".5").number("temperature")).toBe(0.5);
    expect(parse("m", "p", "--temperature", "1e-2").number("temperature")).toBe(0.01);
    for (const text of ["", " ", "1 ", "0x1", "1_0", "Infinity", "NaN", "1,5", "٣"]) {
      expect(() => parse("m", "p", `--temperature=${text}`)).toThrow(UsageError);
    }
    for (const text of ["1.5", "9007199254740993", "-1"]) {
      expect(() => parse("m", "p", `--seed=${text}`)).toThrow("an integer of at least 0");
    }
  });

  it("takes a word in the place of a number where a flag has such words", () => {
    const expertMemory = (text: string) => parse("m", "p", "--expert-memory", text).options(MODEL_FLAGS);
    expect(expertMemory("40000000000")).toEqual({ expertMemory: 40e9 });
    expect(expertMemory("mapped")).toEqual({ expertMemory: "mapped" });
    for (const text of ["0", "disk", "1.5"]) {
      expect(() => expertMemory(text)).toThrow("Expected auto, mapped or an integer of at least 1");
    }
  });

  it("lets the last value of a flag win, but collects those of a list", () => {
    const given = parse("m", "p", "--seed", "1", "--seed", "2", "--stop", "a", "--stop", "b");
    expect(given.number("seed")).toBe(2);
    expect(given.options(ANSWER_FLAGS)).toEqual({ stop: ["a", "b"] });
  });

  it("reads everything after -- as positionals, and - as one", () => {
    expect(parse("m", "--", "--seed").positionals).toEqual(["m", "--seed"]);
    expect(parse("m", "-").positionals).toEqual(["m", "-"]);
  });

  it("takes a text that begins with a dash where it is attached", () => {
    expect(parse("m", "p", "--system=--quiet").text("system")).toBe("--quiet");
    expect(() => parse("m", "p", "--system", "--quiet")).toThrow("got the flag --quiet");
    expect(parse("m", "p", "--stop", "-x").options(ANSWER_FLAGS)).toEqual({ stop: ["-x"] });
  });
});

describe("nearest", () => {
  it("finds the candidate of a typing error and nothing far away", () => {
    const words = ["--temperature", "--top-k", "--top-p", "--seed"];
    expect(nearest("--temprature", words)).toBe("--temperature");
    expect(nearest("--topk", words)).toBe("--top-k");
    expect(nearest("--sede", words)).toBe("--seed");
    expect(nearest("--frobnicate", words)).toBeUndefined();
    expect(nearest("x".repeat(100_000), words)).toBeUndefined();
  });
});
