import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { ToolDefinition } from "../../../lib/template/tool-definition";
import type { CallParserEvent, CallParserOptions, ReportedToolCall } from "../../../lib/tools/call-parser";
import { createKimiK2CallParser } from "../../../lib/tools/kimi-k2-call-parser";
import { expectLinearTime } from "../../support/linear-time";
import { ByteTokenizer, M, PieceTokenizer } from "../support/byte-tokenizer";

type Piece = string | { control: string };

const tokenizer = new ByteTokenizer();

function tool(name: string, keys: string[] = [], required: string[] = []): ToolDefinition {
  const properties = Object.fromEntries(keys.map((key) => [key, { type: "string" }]));
  return { type: "function", function: { name, parameters: { type: "object", properties, required } } };
}

const TOOLS = [
  tool("search", ["query"], ["query"]),
  tool("get_weather", ["city"], ["city"]),
  tool("get_time", ["city"], ["city"]),
  tool("ns.my-tool"),
];

interface Parsed {
  reasoning: string;
  text: string;
  calls: ReportedToolCall[];
  events: CallParserEvent[];
}

/** Feeds tokens one by one and checks what holds for every stream of events. */
function parseIds(ids: readonly number[], options: Partial<CallParserOptions> = {}): Parsed {
  const parser = createKimiK2CallParser({ tokenizer, tools: TOOLS, ...options });
  const events = ids.flatMap((id) => [...parser.push(id)]);
  events.push(...parser.finish());
  expect(parser.state).toBe("ended");
  expect(parser.finish()).toEqual([]);

  const result: Parsed = { reasoning: "", text: "", calls: [], events };
  let open: { id: string; name: string; text: string } | undefined;
  for (const event of events) {
    if ("text" in event) expect(event.text).not.toBe("");
    if (event.type === "reasoning-delta") result.reasoning += event.text;
    else if (event.type === "text-delta") result.text += event.text;
    else if (event.type === "tool-call-start") {
      expect(open).toBeUndefined();
      open = { id: event.id, name: event.name, text: "" };
    } else if (event.type === "tool-call-delta") {
      expect(event.id).toBe(open!.id);
      open!.text += event.text;
    } else {
      const { id, toolCall } = event;
      expect({ id, name: toolCall.function.name, text: toolCall.function.arguments }).toEqual(open);
      expect(toolCall.id).toBe(id);
      result.calls.push(toolCall);
      open = undefined;
    }
  }
  expect(open).toBeUndefined();
  return result;
}

/** Parses a transcript byte by byte; the same in whole pieces must come to the same. */
function parse(pieces: readonly Piece[], options: Partial<CallParserOptions> = {}): Parsed {
  const byBytes = parseIds(tokenizer.ids(...pieces), options);
  const large = new PieceTokenizer();
  const byPieces = parseIds(large.ids(...pieces), { ...options, tokenizer: large });
  expect({ ...byPieces, events: [] }).toEqual({ ...byBytes, events: [] });
  return byBytes;
}

/** A call as [id, arguments], with the reason behind it where it is invalid. */
function brief(calls: readonly ReportedToolCall[]): string[][] {
  return calls.map((call) => [
    call.id,
    call.function.arguments,
    ...(call.invalid === undefined ? [] : [call.invalid.reason]),
  ]);
}

const call = (id: string, args: string): Piece[] => [M.call, id, M.args, args, M.endCall];
const CALL_0 = ["functions.search:0", '{"query":"x"}'];

describe("a turn as the model writes it", () => {
  it("thinking, text, and two calls", () => {
    const { reasoning, text, calls } = parse([
      ...[M.think, "Let me söök 🎉.", M.endThink, "I will look.", M.section],
      ...call("functions.search:0", '{"query":"日本"}'),
      ...call("functions.ns.my-tool:1", '{"a":{"b":[1,"}"]}}'),
      ...[M.endSection, M.end],
    ]);
    expect(reasoning).toBe("Let me söök 🎉.");
    expect(text).toBe("I will look.");
    expect(calls).toEqual([
      {
        id: "functions.search:0",
        type: "function",
        function: { name: "search", arguments: '{"query":"日本"}' },
      },
      {
        id: "functions.ns.my-tool:1",
        type: "function",
        function: { name: "ns.my-tool", arguments: '{"a":{"b":[1,"}"]}}' },
      },
    ]);
  });

  it("streams arguments token by token", () => {
    const { events } = parse([M.section, ...call("functions.search:0", '{"query":"x"}'), M.end]);
    const deltas = events.filter((event) => event.type === "tool-call-delta");
    expect(deltas.map((event) => event.text)).toEqual([...'{"query":"x"}']);
    expect(events[0]).toEqual({ type: "tool-call-start", id: "functions.search:0", name: "search" });
  });

  it("numbers calls on from those of the conversation, whatever the model counts", () => {
    const { calls } = parse([M.section, ...call("functions.search:0", CALL_0[1]!), M.end], {
      firstCallIndex: 7,
    });
    expect(calls[0]!.id).toBe("functions.search:7");
  });

  it("a prompt that has opened the block", () => {
    const { reasoning, text } = parse(["thought", M.endThink, "answer", M.end], { startsThinking: true });
    expect([reasoning, text]).toEqual(["thought", "answer"]);
  });

  it("an empty block and an empty turn", () => {
    expect(parse([M.think, M.endThink, M.end]).events).toEqual([]);
    expect(parse([M.end]).events).toEqual([]);
    expect(parse([]).events).toEqual([]);
  });

  it("ends at <|im_end|> and at the end tokens that were given, and ignores what follows", () => {
    expect(parse(["a", M.end, "b", M.section]).text).toBe("a");
    const eos = tokenizer.controlId("[EOS]")!;
    expect(parseIds([97, eos, 98], { endTokens: [eos] }).text).toBe("a");
    expect(parseIds([97, 10, 98], { endTokens: [10] }).text).toBe("a");
  });

  it("shows its state", () => {
    const parser = createKimiK2CallParser({ tokenizer });
    const states = [
      M.think,
      "a",
      M.endThink,
      "b",
      M.section,
      M.call,
      "x",
      M.args,
      "{",
      M.endCall,
      M.endSection,
      M.end,
    ].map((piece) => {
      for (const id of tokenizer.ids(piece)) parser.push(id);
      return parser.state;
    });
    expect(states.join(" ")).toBe("reasoning reasoning text text text call call call call text text ended");
  });
});

describe("text that is no marker", () => {
  const QUOTED =
    "<think></think><|tool_calls_section_begin|><|tool_call_begin|>functions.search:0<|tool_call_argument_begin|>{}" +
    "<|tool_call_end|><|tool_calls_section_end|><|im_end|> <|tool_call_section_begin|> <|tool_call_section_end|>";

  it("quoted markers stay text in every place", () => {
    const argumentsText = JSON.stringify({ query: QUOTED });
    const { reasoning, text, calls } = parse([
      ...[M.think, QUOTED, " .", M.endThink, QUOTED, " .", M.section],
      ...call("functions.search:0", argumentsText),
      ...[M.endSection, M.end],
    ]);
    expect(reasoning).toBe(`${QUOTED} .`);
    expect(text).toBe(`${QUOTED} .`);
    expect(brief(calls)).toEqual([["functions.search:0", argumentsText]]);
  });

  it("a think tag inside arguments is part of the string, by text or by token", () => {
    const { calls } = parse([
      ...[
        M.section,
        M.call,
        "functions.search:0",
        M.args,
        '{"query":"',
        M.think,
        "a",
        M.endThink,
        '"}',
        M.endCall,
      ],
      ...[M.endSection, M.end],
    ]);
    expect(brief(calls)).toEqual([["functions.search:0", '{"query":"<think>a</think>"}']]);
  });

  it("other control tokens are never shown", () => {
    const strange = [{ control: "<|im_user|>" }, { control: "[BOS]" }];
    const { reasoning, text } = parse([
      M.think,
      "a",
      ...strange,
      "b",
      M.endThink,
      "c",
      ...strange,
      "d",
      M.endThink,
      M.end,
    ]);
    expect([reasoning, text]).toEqual(["ab", "cd"]);
  });

  it("broken characters become U+FFFD in the channel where they began", () => {
    const half = [...Buffer.from("🎉")].slice(0, 2);
    const ids = [...tokenizer.ids(M.think, "a"), ...half, ...tokenizer.ids(M.endThink, "b"), ...half];
    const { reasoning, text } = parseIds(ids);
    expect(reasoning).toBe("a\ufffd");
    expect(text).toBe("b\ufffd");
  });

  it("without declared think and tool tokens everything is text", () => {
    const plain = new ByteTokenizer(["<|im_end|>"]);
    expect(parseIds(plain.ids("<think>a"), { tokenizer: plain }).text).toBe("<think>a");
  });
});

describe("variants", () => {
  const one = (...middle: Piece[]) => [M.think, "r", M.endThink, "text", ...middle];
  const variants: [string, Piece[]][] = [
    [
      "no closing of the thinking block",
      [M.think, "r", M.section, ...call(CALL_0[0]!, CALL_0[1]!), M.endSection, M.end],
    ],
    ["a call inside thinking, without section", [M.think, "r", ...call(CALL_0[0]!, CALL_0[1]!), M.end]],
    ["no section markers", one(...call(CALL_0[0]!, CALL_0[1]!), M.end)],
    ["no section end", one(M.section, ...call(CALL_0[0]!, CALL_0[1]!), M.end)],
    ["no section begin", one(...call(CALL_0[0]!, CALL_0[1]!), M.endSection, M.end)],
    [
      "no call end, section end instead",
      one(M.section, M.call, CALL_0[0]!, M.args, CALL_0[1]!, M.endSection, M.end),
    ],
    ["no call end, end of turn instead", one(M.section, M.call, CALL_0[0]!, M.args, CALL_0[1]!, M.end)],
    [
      "no call begin inside a section",
      one(M.section, CALL_0[0]!, M.args, CALL_0[1]!, M.endCall, M.endSection, M.end),
    ],
    [
      "a doubled section begin",
      one(M.section, M.section, ...call(CALL_0[0]!, CALL_0[1]!), M.endSection, M.endSection, M.end),
    ],
    ["a doubled call begin", one(M.section, M.call, ...call(CALL_0[0]!, CALL_0[1]!), M.endSection, M.end)],
    [
      "a doubled argument begin",
      one(M.section, M.call, CALL_0[0]!, M.args, M.args, CALL_0[1]!, M.endCall, M.end),
    ],
    [
      "the singular spelling",
      one("<|tool_call_section_begin|>", ...call(CALL_0[0]!, CALL_0[1]!), "<|tool_call_section_end|>", M.end),
    ],
    [
      "the singular spelling with line breaks",
      one(
        "<|tool_call_section_begin|>\n",
        ...call(CALL_0[0]!, CALL_0[1]!),
        "\n<|tool_call_section_end|>\n",
        M.end,
      ),
    ],
    [
      "a singular end in a proper section",
      one(M.section, ...call(CALL_0[0]!, CALL_0[1]!), "<|tool_call_section_end|>", M.end),
    ],
    [
      "a singular end without any begin",
      one(...call(CALL_0[0]!, CALL_0[1]!), " <|tool_call_section_end|>", M.end),
    ],
    [
      "line breaks around the id",
      one(M.section, ...call("\n functions.search:0 \n", CALL_0[1]!), M.endSection, M.end),
    ],
    [
      "spaces inside the id",
      one(M.section, ...call("functions. search : 0", CALL_0[1]!), M.endSection, M.end),
    ],
    [
      "white space around the arguments",
      one(M.section, ...call(CALL_0[0]!, `\n ${CALL_0[1]} \n\n`), M.endSection, M.end),
    ],
    ["an id without prefix", one(M.section, ...call("search:0", CALL_0[1]!), M.endSection, M.end)],
    ["an id without index", one(M.section, ...call("functions.search", CALL_0[1]!), M.endSection, M.end)],
    [
      "an id with an empty index",
      one(M.section, ...call("functions.search:", CALL_0[1]!), M.endSection, M.end),
    ],
    ["a mere name", one(M.section, ...call("search", CALL_0[1]!), M.endSection, M.end)],
    [
      "a foreign id, found by its arguments",
      one(M.section, ...call("call_59ad00", CALL_0[1]!), M.endSection, M.end),
    ],
    [
      "text between the section and the call",
      one(M.section, "\nnoise\n", ...call(CALL_0[0]!, CALL_0[1]!), M.endSection, M.end),
    ],
    ["text behind the call", one(M.section, ...call(CALL_0[0]!, CALL_0[1]!), "noise", M.endSection, M.end)],
    [
      "white space behind the section",
      one(M.section, ...call(CALL_0[0]!, CALL_0[1]!), M.endSection, "\n \n", M.end),
    ],
  ];

  it.each(variants)("%s", (_, pieces) => {
    const { reasoning, text, calls } = parse(pieces);
    expect(reasoning).toBe("r");
    expect(text).toBe(pieces.includes(M.endThink) ? "text" : "");
    expect(brief(calls)).toEqual([CALL_0]);
  });

  it("text behind the section is text", () => {
    const { text, calls } = parse([
      "a",
      M.section,
      ...call(CALL_0[0]!, CALL_0[1]!),
      M.endSection,
      "\n b <",
      M.end,
    ]);
    expect(text).toBe("a\n b <");
    expect(brief(calls)).toEqual([CALL_0]);
  });

  it("text behind a call without section is text, also the beginning of a spelled marker", () => {
    expect(parse([...call(CALL_0[0]!, CALL_0[1]!), " <|tool_call_", M.end]).text).toBe(" <|tool_call_");
    expect(parse([...call(CALL_0[0]!, CALL_0[1]!), " <|tool_call_x", M.end]).text).toBe(" <|tool_call_x");
    const both = "<|tool_call_section_end|><|tool_call_section_end|> done";
    expect(parse([...call(CALL_0[0]!, CALL_0[1]!), both, M.end]).text).toBe(" done");
  });

  it("text between the calls of a spelled section is no text, behind any section it is", () => {
    const spelled = parse([
      ...["<|tool_call_section_begin|>", ...call(CALL_0[0]!, CALL_0[1]!), "noise", ...call("search:1", "{}")],
      ...["<|tool_call_section_end|>", "after", M.end],
    ]);
    expect([spelled.text, spelled.calls.length]).toEqual(["after", 2]);
    const second = parse([
      ...[
        M.section,
        ...call(CALL_0[0]!, CALL_0[1]!),
        M.endSection,
        "between",
        ...call("search:1", "{}"),
        "after",
        M.end,
      ],
    ]);
    expect([second.text, second.calls.length]).toEqual(["betweenafter", 2]);
  });

  it("a section without any call gives its text back", () => {
    expect(parse([M.section, "never mind", M.endSection, M.end]).text).toBe("never mind");
    expect(parse([M.section, "never mind"]).text).toBe("never mind");
    expect(parse([M.section, "\n", M.endSection, M.end]).text).toBe("");
    expect(parse([M.section, "a<|tool_call_section_end|>b", M.end]).text).toBe("ab");
  });

  it("a spelled section begin before other text or at the end is text", () => {
    const spelled = "<|tool_call_section_begin|>";
    expect(parse([`${spelled} x`, M.end]).text).toBe(`${spelled} x`);
    expect(parse([spelled, M.end]).text).toBe(spelled);
    expect(parse([`${spelled}\n`]).text).toBe(`${spelled}\n`);
    expect(parse([`<${spelled}<`, ...call(CALL_0[0]!, CALL_0[1]!)]).text).toBe(`<${spelled}<`);
    expect(parse([`${spelled}${spelled}\n`, ...call(CALL_0[0]!, CALL_0[1]!)]).text).toBe(spelled);
  });

  it("thinking again between text and calls", () => {
    const { reasoning, text, calls } = parse([
      ...[
        M.think,
        "a",
        M.endThink,
        "b",
        M.think,
        "c",
        M.section,
        ...call(CALL_0[0]!, CALL_0[1]!),
        M.endSection,
      ],
      ...[M.think, "d", M.endThink, "e", M.end],
    ]);
    expect([reasoning, text]).toEqual(["acd", "be"]);
    expect(brief(calls)).toEqual([CALL_0]);
  });

  it("missing and empty arguments are reported as {}", () => {
    const { calls, events } = parse([
      ...[
        M.section,
        M.call,
        "functions.ns.my-tool:0",
        M.args,
        M.endCall,
        M.call,
        "functions.ns.my-tool:1",
        M.endCall,
      ],
      ...[M.call, "functions.ns.my-tool:2", M.args, " \n ", M.endSection, M.end],
    ]);
    expect(brief(calls)).toEqual([0, 1, 2].map((k) => [`functions.ns.my-tool:${k}`, "{}"]));
    expect(events.filter((event) => event.type === "tool-call-delta")).toHaveLength(3);
  });

  it("white space inside the arguments stays, wherever tokens end", () => {
    const pieces = [
      M.section,
      M.call,
      "functions.search:0",
      M.args,
      ' {"query": ',
      "\n",
      ' "x" ',
      "} \n",
      M.endCall,
      M.end,
    ];
    expect(brief(parse(pieces).calls)).toEqual([["functions.search:0", '{"query": \n "x" }']]);
  });

  it("several calls without their end markers do not flow together", () => {
    const { calls } = parse([
      ...[
        M.section,
        M.call,
        "functions.search:0",
        M.args,
        '{"query":"a"}',
        M.call,
        "functions.search:1",
        M.args,
      ],
      ...['{"query":"b"}', M.endSection, M.end],
    ]);
    expect(brief(calls)).toEqual([
      ["functions.search:0", '{"query":"a"}'],
      ["functions.search:1", '{"query":"b"}'],
    ]);
  });

  it("names with colons, dots and hyphens", () => {
    const tools = ["a:b", "a:1", "x.y-z", "functions.odd"].map((name) => tool(name));
    const ids = [
      "functions.a:b:0",
      "functions.a:1:1",
      "x.y-z:2",
      "functions.functions.odd:3",
      "functions.a:1",
    ];
    const { calls } = parse(
      ids.flatMap((id) => call(id, "{}")),
      { tools },
    );
    expect(calls.map((each) => [each.function.name, each.invalid])).toEqual(
      ["a:b", "a:1", "x.y-z", "functions.odd", "a:1"].map((name) => [name, undefined]),
    );
  });

  it("a foreign id with a single tool belongs to that tool, and streams", () => {
    const { calls, events } = parse(call("call_00003", '{"query":"x"}'), { tools: [TOOLS[0]!] });
    expect(brief(calls)).toEqual([CALL_0]);
    expect(events).toHaveLength(2 + '{"query":"x"}'.length);
  });

  it("arguments of a megabyte arrive whole", () => {
    const args = JSON.stringify({ query: "x".repeat(1 << 20) });
    const parser = createKimiK2CallParser({ tokenizer, tools: TOOLS });
    let streamed = "";
    for (const id of tokenizer.ids(M.section, ...call("functions.search:0", args), M.endSection, M.end)) {
      for (const event of parser.push(id)) {
        if (event.type === "tool-call-delta") streamed += event.text;
        if (event.type === "tool-call-end") expect(event.toolCall.function.arguments === args).toBe(true);
      }
    }
    expect(streamed === args).toBe(true);
  });
});

describe("calls that must not be executed", () => {
  it.each<[string, Piece[], string[]]>([
    [
      "cut in the arguments",
      call(CALL_0[0]!, '{"query":').slice(0, -1),
      ["functions.search:0", '{"query":', "incomplete"],
    ],
    // Complete JSON does not help: a number or a bare word could have gone on, and the model had not ended the call.
    ["cut behind complete arguments", call(CALL_0[0]!, CALL_0[1]!).slice(0, -1), [...CALL_0, "incomplete"]],
    [
      "cut before the arguments",
      [M.call, "functions.search:0", M.args],
      ["functions.search:0", "", "incomplete"],
    ],
    ["cut in the id", [M.call, "functions.get_wea"], ["functions.get_wea:0", "", "incomplete"]],
    [
      "a turn that ends in the id",
      [M.call, "functions.search:0", M.end],
      ["functions.search:0", "", "incomplete"],
    ],
    [
      "a turn that ends in the arguments",
      [...call(CALL_0[0]!, '{"query":').slice(0, -1), M.end],
      ["functions.search:0", '{"query":', "invalid-arguments"],
    ],
    ["an undeclared tool", call("functions.delete:0", "{}"), ["functions.delete:0", "{}", "unknown-tool"]],
    [
      "arguments that are no JSON",
      call(CALL_0[0]!, "query=x"),
      ["functions.search:0", "query=x", "invalid-arguments"],
    ],
    ["a foreign id that no arguments explain", call("call_00003", "{}"), ["functions.ns.my-tool:0", "{}"]],
    [
      "a foreign id with unknown keys",
      call("call_00003", '{"a":1}'),
      ["functions.call_00003:0", '{"a":1}', "malformed-id"],
    ],
    [
      "a foreign id that fits two tools",
      call("call_1", '{"city":"x"}'),
      ["functions.call_1:0", '{"city":"x"}', "malformed-id"],
    ],
    ["an empty id", call(" ", "{}"), ["functions.unknown:0", "{}", "malformed-id"]],
    [
      "an id of prefix and index only",
      call("functions.:0", "{}"),
      ["functions.unknown:0", "{}", "malformed-id"],
    ],
    [
      "an argument marker out of nowhere",
      ["text", M.args, "{}", M.endCall],
      ["functions.unknown:0", "{}", "malformed-id"],
    ],
  ])("%s", (_, pieces, expected) => {
    const { calls } = parse(pieces);
    expect(brief(calls)).toEqual([expected]);
  });

  it("an id that another marker interrupts", () => {
    const { calls } = parse([
      M.section,
      M.call,
      "functions.search:0",
      ...call("functions.search:1", CALL_0[1]!),
      M.end,
    ]);
    expect(brief(calls)).toEqual([
      ["functions.search:0", "", "malformed-id"],
      ["functions.search:1", CALL_0[1]!],
    ]);
  });

  it("without a list of tools every name is accepted, but no foreign id", () => {
    const ids = tokenizer.ids(...call("functions.any:0", "[1]"), ...call("call_1", "{}"));
    const parser = createKimiK2CallParser({ tokenizer });
    const ends = ids.flatMap((id) => [...parser.push(id)]).filter((event) => event.type === "tool-call-end");
    expect(brief(ends.map((event) => event.toolCall))).toEqual([
      ["functions.any:0", "[1]"],
      ["functions.call_1:1", "{}", "malformed-id"],
    ]);
  });

  it("with an empty list every call is unknown", () => {
    expect(brief(parse(call("functions.f:0", "{}"), { tools: [] }).calls)).toEqual([
      ["functions.f:0", "{}", "unknown-tool"],
    ]);
  });
});

describe("any tokens at all", () => {
  const marker = fc.constantFrom<Piece>(...Object.values(M).filter((piece) => piece !== M.end));
  const words = fc.constantFrom<Piece>(
    ...["functions.search:0", "search", "call_1", '{"query":"x"}', "{", "🎉", " \n", "<", "text"],
    ...["<|tool_call_section_begin|>", "<|tool_call_section_end|>", "<|tool_call_sec"],
  );
  const transcript = fc.array(fc.oneof(marker, words, fc.string({ unit: "grapheme", maxLength: 6 })), {
    maxLength: 24,
  });

  it("keep the rules of events, and lose no text outside of sections and calls", () => {
    fc.assert(
      fc.property(transcript, (pieces) => {
        parse(pieces);
        const free = pieces.filter((piece) => typeof piece === "string");
        const { text, reasoning } = parse(free);
        expect(text + reasoning).toBe(free.join(""));
      }),
      { numRuns: 2000 },
    );
  });

  it("cut anywhere: everything before the cut is a prefix of the whole, and no cut call is valid", () => {
    fc.assert(
      fc.property(transcript, (pieces) => {
        const ids = tokenizer.ids(...pieces, M.end);
        const whole = parseIds(ids);
        for (let cut = 0; cut < ids.length; cut += 1) {
          const parser = createKimiK2CallParser({ tokenizer, tools: TOOLS });
          const before = ids.slice(0, cut).flatMap((id) => [...parser.push(id)]);
          expect(whole.events.slice(0, before.length)).toEqual(before);
          const isInCall = parser.state === "call";
          const ends = parser.finish().filter((event) => event.type === "tool-call-end");
          expect(ends.length).toBeLessThanOrEqual(isInCall ? 1 : 0);
          for (const end of ends) expect(end.toolCall.invalid?.reason).toBe("incomplete");
        }
      }),
      { numRuns: 150 },
    );
  });

  it("take time that grows linearly", () => {
    const hostile: [string, Piece[]][] = [
      ["spelled markers", ["<|tool_call_section_begin|>", " "]],
      ["beginnings of spelled markers", ["<|tool_call_section_begi", "<"]],
      ["sections", [M.section, "x"]],
      ["calls", [M.call, "x", M.args, "{", M.endCall]],
      ["white space in arguments", ["\n"]],
      ["think tags", [M.think, "x", M.endThink, "y"]],
    ];
    for (const [, unit] of hostile) {
      const ids = tokenizer.ids(...unit);
      expectLinearTime(Math.ceil(6000 / ids.length), (repeats) => {
        const parser = createKimiK2CallParser({ tokenizer, tools: TOOLS });
        for (const id of tokenizer.ids(M.call, "functions.search:0", M.args)) parser.push(id);
        if (unit.length > 1) for (const id of tokenizer.ids(M.endCall)) parser.push(id);
        for (let i = 0; i < repeats; i += 1) for (const id of ids) parser.push(id);
        parser.finish();
      });
    }
  });
});
