// Conformance of the public parsers: every fixture whole, token by token and cut at every place gives the same events. The
// fixtures are the variants and failures of other engines that were collected for K2 (truncated calls, spellings, places).

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createCallParser, createTextCallParser } from "../../../lib/index";
import type { CallParserEvent } from "../../../lib/tools/call-parser";
import { expectLinearTime } from "../../support/linear-time";
import { ByteTokenizer, M } from "../support/byte-tokenizer";

type Piece = string | { control: string };
interface Push<T> {
  push(input: T): readonly CallParserEvent[];
  finish(): readonly CallParserEvent[];
}

const tokenizer = new ByteTokenizer();
const TOOLS = ["search", "my-tool", "ns.tool"].map((name) => ({
  type: "function" as const,
  function: { name, parameters: { type: "object", properties: { q: { type: "string" } } } },
}));
const call = (id: string, values: string): Piece[] => [M.call, id, M.args, values, M.endCall];
const X = '{"q":"x"}';
const Y = '{"q":"<ü🎉>"}';

/** Name, transcript, and what comes out: [thinking, text, ...calls as "id arguments reason"]. */
const FIXTURES: readonly [string, Piece[], string[]][] = [
  [
    "thinking, text and calls",
    [M.think, "hm", M.endThink, "ok", M.section, ...call("functions.search:0", X), M.endSection, M.end],
    ["hm", "ok", `functions.search:0 ${X}`],
  ],
  [
    "text between section and first call",
    [M.section, "noise\n", ...call("functions.search:0", X), M.endSection, M.end],
    ["", "", `functions.search:0 ${X}`],
  ],
  [
    "content before the section",
    ["before", M.section, ...call("functions.search:0", X), M.endSection, M.end],
    ["", "before", `functions.search:0 ${X}`],
  ],
  [
    "several calls, not merged",
    [M.section, ...call("functions.search:0", X), ...call("functions.search:1", Y), M.endSection, M.end],
    ["", "", `functions.search:0 ${X}`, `functions.search:1 ${Y}`],
  ],
  [
    "newlines and spaces around the id",
    [M.section, M.call, " \nfunctions.search:0\n ", M.args, `\n${X} `, M.endCall, M.endSection, M.end],
    ["", "", `functions.search:0 ${X}`],
  ],
  [
    "a call inside unfinished thinking",
    [M.think, "I search", M.section, ...call("functions.search:0", X), M.endSection, M.end],
    ["I search", "", `functions.search:0 ${X}`],
  ],
  [
    "text between calls and behind the section",
    [
      M.section,
      ...call("functions.search:0", X),
      "and",
      ...call("search:1", X),
      M.endSection,
      "after",
      M.end,
    ],
    ["", "after", `functions.search:0 ${X}`, `functions.search:1 ${X}`],
  ],
  [
    "no section markers, no end of the call",
    [M.call, "functions.search:0", M.args, X, M.end],
    ["", "", `functions.search:0 ${X}`],
  ],
  [
    "the singular spelling",
    ["<|tool_call_section_begin|>", ...call("functions.search:0", X), "<|tool_call_section_end|>", M.end],
    ["", "", `functions.search:0 ${X}`],
  ],
  [
    "hyphens and dots in names",
    [M.section, ...call("functions.my-tool:0", X), ...call("functions.ns.tool:1", X), M.endSection, M.end],
    ["", "", `functions.my-tool:0 ${X}`, `functions.ns.tool:1 ${X}`],
  ],
  [
    "an id without prefix and a foreign index",
    [M.section, ...call("search:2", X), M.endSection, M.end],
    ["", "", `functions.search:0 ${X}`],
  ],
  [
    "arguments that are no object",
    [...call("functions.search:0", "[1]"), M.end],
    ["", "", "functions.search:0 [1]"],
  ],
  ["empty arguments", [...call("functions.search:0", ""), M.end], ["", "", "functions.search:0 {}"]],
  [
    "cut by length inside the arguments",
    [M.section, M.call, "functions.search:0", M.args, '{"q":'],
    ["", "", 'functions.search:0 {"q": incomplete'],
  ],
  ["cut inside a marker that is text", ["a <|tool_call_"], ["", "a <|tool_call_"]],
  ["a stray end of thinking", ["a", M.endThink, "b", M.end], ["", "ab"]],
];

/** Events with adjacent deltas joined: what does not depend on how the input was handed over. */
function joined(events: readonly CallParserEvent[]): CallParserEvent[] {
  const result: CallParserEvent[] = [];
  for (const event of events) {
    const last = result.at(-1);
    if (last !== undefined && "text" in last && "text" in event && last.type === event.type) {
      result[result.length - 1] = { ...last, text: last.text + event.text } as CallParserEvent;
    } else result.push(event);
  }
  return result;
}

function feed<T>(parser: Push<T>, ...inputs: T[]): CallParserEvent[] {
  return joined([...inputs.flatMap((input) => [...parser.push(input)]), ...parser.finish()]);
}

function brief(events: readonly CallParserEvent[]): string[] {
  const joinedText = (type: string) =>
    events.map((event) => (event.type === type && "text" in event ? event.text : "")).join("");
  const calls = events.filter((event) => event.type === "tool-call-end");
  return [
    joinedText("reasoning-delta"),
    joinedText("text-delta"),
    ...calls.map(({ toolCall: { id, function: target, invalid } }) =>
      [id, target.arguments, ...(invalid === undefined ? [] : [invalid.reason])].join(" "),
    ),
  ];
}

const byId = () => createCallParser({ tokenizer, tools: TOOLS });
const byText = () => createTextCallParser({ tools: TOOLS });
const textOf = (pieces: readonly Piece[]) =>
  pieces.map((piece) => (typeof piece === "string" ? piece : piece.control)).join("");
const slices = <T extends number[] | string>(input: T, cuts: readonly number[]): T[] =>
  [0, ...cuts].map((cut, i) => input.slice(cut, cuts[i] ?? input.length) as T);

describe.each(FIXTURES)("%s", (_, pieces, expected) => {
  const ids = tokenizer.ids(...pieces);
  const text = textOf(pieces);

  it("means the same whole, by token and cut at every place", () => {
    const whole = feed(byId(), ids);
    expect(brief(whole)).toEqual(expected);
    expect(feed(byId(), ...ids)).toEqual(whole);
    for (let cut = 0; cut <= ids.length; cut += 1) {
      expect(feed(byId(), ...slices(ids, [cut]))).toEqual(whole);
    }
  });

  it("means the same as text, cut at every place", () => {
    const whole = feed(byText(), text);
    expect(brief(whole)).toEqual(expected);
    expect(feed(byText(), ...text.split(""))).toEqual(whole);
    for (let cut = 0; cut <= text.length; cut += 1) {
      expect(feed(byText(), ...slices(text, [cut]))).toEqual(whole);
    }
  });
});

describe("cuts at random", () => {
  it("change nothing", () => {
    const marker = fc.constantFrom<Piece>(...Object.values(M));
    const words = fc.constantFrom<Piece>("<", "<|", "<|tool_call_", "search:1", X, " \n", "x", "|>");
    const transcript = fc.array(fc.oneof(marker, words, fc.string({ maxLength: 5 })), { maxLength: 20 });
    fc.assert(
      fc.property(transcript, fc.array(fc.nat(400), { maxLength: 6 }), (pieces, places) => {
        const ids = tokenizer.ids(...pieces);
        const text = textOf(pieces);
        const cuts = (length: number) => places.map((place) => place % (length + 1)).sort((a, b) => a - b);
        expect(feed(byId(), ...slices(ids, cuts(ids.length)))).toEqual(feed(byId(), ids));
        expect(feed(byText(), ...slices(text, cuts(text.length)))).toEqual(feed(byText(), text));
      }),
      { numRuns: 1000 },
    );
  });
});

describe("quoted markers", () => {
  it("are text over ids, whatever they would mean", () => {
    const quoted = textOf([M.section, ...call("functions.search:0", X), M.endSection, M.end]);
    expect(brief(feed(byId(), tokenizer.ids(quoted, M.end)))).toEqual(["", quoted]);
  });

  it("count in text, where nothing tells them apart", () => {
    const quoted = `The marker ${M.call.control} begins a call`;
    expect(brief(feed(byText(), quoted))[1]).toBe("The marker ");
  });
});

describe("size", () => {
  it("a megabyte of arguments arrives whole, in text and in steps of many tokens", () => {
    const values = JSON.stringify({ q: "<|x\\".repeat(180_000) });
    const pieces = [M.section, ...call("functions.search:0", values), M.endSection, M.end];
    const text = textOf(pieces);
    const expected = ["", "", `functions.search:0 ${values}`];
    const chunks = text.match(/.{1,1000}/gsu)!;
    expect(brief(feed(byText(), ...chunks)).join() === expected.join()).toBe(true);
    expect(brief(feed(byId(), tokenizer.ids(...pieces))).join() === expected.join()).toBe(true);
  });

  it("text costs time that grows linearly", () => {
    for (const unit of ["<", "<|tool_call_begin|", "<|tool_call_section_begin|> ", "x<|im_end|"]) {
      expectLinearTime(2000, (count) => {
        const parser = byText();
        for (let i = 0; i < count; i += 1) parser.push(unit);
        parser.push(unit.repeat(count));
        parser.finish();
      });
    }
  });
});

describe("misuse", () => {
  it.each<[unknown, string]>([
    [{}, "Expected an object for tokenizer, got undefined"],
    [{ tokenizer: {} }, "Expected an integer for tokenizer.baseCount, got undefined"],
    [{ tokenizer: { baseCount: 1 } }, "Expected a function for tokenizer.controlId, got undefined"],
    [{ tokenizer, tools: [{}] }, "Expected an object for tools[0].function, got undefined"],
    [{ tokenizer, endTokens: 1 }, "Expected a list of token ids for endTokens, got 1"],
    [{ tokenizer, firstCallIndex: -1 }, "Expected an integer of at least 0 for firstCallIndex, got -1"],
  ])("%j", (options, message) => {
    expect(() => createCallParser(options as never)).toThrow(message);
  });

  it("of the text parser", () => {
    expect(() => createTextCallParser({ tokenizer } as never)).toThrow("for options, got");
    expect(() => byText().push(1 as never)).toThrow("Expected a string for text, got 1");
  });
});
