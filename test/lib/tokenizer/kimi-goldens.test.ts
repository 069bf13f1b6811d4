// The golden encodings of the published tokenizer, which lies beside the project or not at all.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";

import { Tokenizer } from "../../../lib/tokenizer/tokenizer";

const FOLDER = join(__dirname, "../../../../shared/kimi-tokenizer");
const isHere = existsSync(join(FOLDER, "tiktoken.model"));
if (!isHere) console.log("skipped: the published tokenizer is not in ../shared/kimi-tokenizer");

const ENCODINGS: [string, string][] = [
  ["Hello, world!", "19180 11 2695 0"],
  ["helloWorld XMLHttpRequest", "22931 14350 160457 3188"],
  ["don't I'LL we've", "88709 4154 5847 22205"],
  ["你好，世界！今天天气怎么样？", "33845 378 2243 856 3108 8597 13171 864"],
  ["Kimi是Moonshot AI的模型v2", "42 30223 330 99846 10065 22572 269 15662 85 17"],
  ["1234567 3.14159", "6694 12972 22 220 18 13 18702 6276"],
  ["a  b   c\n\n\n  d\t e", "64 220 291 256 275 3898 220 304 197 350"],
  ["e\u0301cole café", "68 37484 142577 70591"],
  ["👩\u200d👩\u200d👧\u200d👦🎉", "64390 102 67963 64390 102 67963 64390 100 67963 64390 99 5885 236 231"],
  ["日本語のテキストとカタカナ", "4546 63011 4663 25875 32045 33360 9219 26121 21449 26121 42125"],
  ["def f(x):\r\n    return x**2 # sq", "1166 285 3940 20095 274 745 1288 381 17 1214 27207"],
  ["Привет мир", "159025 63694 5993 17898"],
  ["functions.get_weather:0", "41937 1150 21055 2800 25 15"],
  ["x\0y", "87 188 88"],
  ["٣٤٥٦ ½ Ⅷ", "149 96 149 97 149 98 149 99 220 45953 220 28819 100"],
  ["\u3000全角 空格", "14224 775 2539 220 103839"],
  ["a\u0085 b", "64 126 227 291"],
  ["a\ufeffb", "64 31384 65"],
  ["<|im_end|>", "27 91 348 11129 91 29"],
  [
    "The sky appears blue due to a phenomenon called Rayleigh scattering. When sunlight enters Earth's atmosphere, it " +
      "interacts with gas molecules",
    "1008 18985 13994 9447 5667 308 261 44291 4387 21837 77870 124994 13 4386 46591 49329 145427 19397 11 483 121389 " +
      "472 9939 50710",
  ],
  ["user", "2482"],
  ["assistant", "69702"],
  ["system", "14062"],
  ["tool", "20960"],
  ["tool_declare", "20960 35556 677"],
  ["\n", "198"],
  // The text between the control tokens of the golden prompts.
  [
    "You are Kimi, an AI assistant created by Moonshot AI.",
    "3900 554 24980 72 11 519 22572 26626 5232 673 30218 10065 22572 13",
  ],
  ["You are a helpful assistant", "3900 554 261 13205 26626"],
  ["Hello!", "19180 0"],
  ["Hi", "18699"],
  ["1+1?", "16 10 16 30"],
  [
    '[{"function":{"description":"Get weather","name":"get_weather","parameters":{"properties":{"city":{"type":"string"}},' +
      '"required":["city"],"type":"object"}},"type":"function"}]',
    "81103 3879 22849 11031 7471 1959 10666 3923 1152 7471 618 21055 2800 3923 24453 22849 27129 22849 37666 22849 2217 " +
      "7471 2033 60336 2020 20331 46890 37666 131917 2217 7471 3721 60336 2020 2217 7471 3879 16934 60",
  ],
  ["Need weather.", "20082 10666 13"],
  ['{"city":"Beijing"}', "8264 37666 7471 4396 39556 16934"],
  ["get_weather", "618 21055 2800"],
  [
    '## Return of functions.get_weather:0\n{"t":21}',
    "798 6014 318 8271 1150 21055 2800 25 15 198 8264 83 1289 2714 92",
  ],
];

const MARKERS: [string, number][] = [
  ["[BOS]", 163584],
  ["[EOS]", 163585],
  ["<|im_end|>", 163586],
  ["<|reserved_token_163589|>", 163589],
  ["[EOT]", 163593],
  ["<|im_system|>", 163594],
  ["<|tool_calls_section_begin|>", 163595],
  ["<|tool_call_end|>", 163599],
  ["<|im_middle|>", 163601],
  ["<think>", 163606],
  ["</think>", 163607],
  ["<|reserved_token_163608|>", 163608],
  ["[UNK]", 163838],
  ["[PAD]", 163839],
];

describe.skipIf(!isHere)("the published tokenizer", () => {
  let tokenizer: Tokenizer;
  beforeAll(async () => {
    tokenizer = await Tokenizer.load(FOLDER, { vocabSize: 163_840 });
  });

  it.each(ENCODINGS)("encodes %j", async (text, ids) => {
    expect([...tokenizer.encode(text)].join(" ")).toBe(ids);
    expect([...(await tokenizer.encodeAsync(text))].join(" ")).toBe(ids);
    expect(tokenizer.decode(tokenizer.encode(text))).toBe(text);
  });

  it.each(MARKERS)("has %s as %i", (name, id) => {
    expect(tokenizer.controlId(name)).toBe(id);
    expect(tokenizer.decode([id])).toBe(name);
  });

  it("counts ordinary and control tokens, and stops at three", () => {
    expect(tokenizer.baseCount).toBe(163_584);
    expect(tokenizer.vocabSize).toBe(163_840);
    expect(tokenizer.special.stopIds).toEqual([163_585, 163_586, 163_593]);
    expect(tokenizer.controlId("<|reserved_token_163840|>")).toBeUndefined();
  });

  it("never encodes the name of a control token as one", () => {
    for (let id = tokenizer.baseCount; id < tokenizer.vocabSize; id++) {
      const name = tokenizer.special.name(id);
      for (const text of [name, ` ${name}\n`, `${name}${name}`, `a${name}b`]) {
        const ids = tokenizer.encode(text);
        expect(Math.max(...ids), text).toBeLessThan(tokenizer.baseCount);
        expect(tokenizer.decode(ids)).toBe(text);
      }
    }
  });
});
