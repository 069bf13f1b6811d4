// Damage in one safetensors file: its length prefix, the text of its header, one entry, its data, its size.

import { appendFileSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { it } from "vitest";
import { encodeFile, headerOf } from "../../support/safetensors-writer";
import {
  addFirst,
  type Damage,
  dataOf,
  editEntry,
  editText,
  expectRefusal,
  first,
  inShard,
  invalid,
  offsetsOf,
  path,
  SHARD_1,
  second,
  testDamages,
} from "./damage";

const headerDamages: Damage[] = [
  ["empty file", invalid, [SHARD_1, "0 bytes"], () => truncateSync(path(SHARD_1), 0)],
  ["seven bytes", invalid, [SHARD_1, "7 bytes"], () => truncateSync(path(SHARD_1), 7)],
  ["length only", invalid, [SHARD_1], () => truncateSync(path(SHARD_1), 8)],
  ["header cut", invalid, [SHARD_1, "header"], () => truncateSync(path(SHARD_1), 200)],
  ...[0n, 1n, 100_000_001n, 2n ** 32n, 2n ** 53n, 2n ** 63n, 2n ** 64n - 1n].map(
    (length): Damage => [
      `header length ${length}`,
      invalid,
      [SHARD_1, String(length)],
      () => {
        const file = readFileSync(path(SHARD_1));
        file.writeBigUInt64LE(length);
        writeFileSync(path(SHARD_1), file);
      },
    ],
  ),
  ["header length one short", invalid, [SHARD_1], () => editLength(-1)],
  ["header length one long", invalid, [SHARD_1], () => editLength(1)],
  ["header length past the file", invalid, [SHARD_1, "within its"], () => editLength(1e6)],
  [
    "header length of the whole file",
    invalid,
    [SHARD_1, "within its"],
    () => {
      const file = readFileSync(path(SHARD_1));
      editLength(file.length - 7 - Number(file.readBigUInt64LE()));
    },
  ],
  ["white space first", invalid, [SHARD_1, "begins with '{'"], () => editText((text) => ` ${text}`)],
  ["not JSON", invalid, [SHARD_1], () => editText(() => "hello, this is no header")],
  ["an array", invalid, [SHARD_1], () => editText((text) => `[${text}]`)],
  ["text behind", invalid, [SHARD_1], () => editText((text) => `${text}x`)],
  ["a second object", invalid, [SHARD_1], () => editText((text) => `${text}{}`)],
  ["zero bytes behind", invalid, [SHARD_1], () => editText((text) => `${text}\0\0`)],
  ["trailing comma", invalid, [SHARD_1], () => editText((text) => `${text.slice(0, -1)},}`)],
  ["missing comma", invalid, [SHARD_1], () => editText((text) => text.replace('},"', '} "'))],
  ["missing colon", invalid, [SHARD_1, first], () => editText((text) => text.replace('":{', '" {'))],
  ["single quotes", invalid, [SHARD_1], () => editText((text) => text.replace('"dtype"', "'dtype'"))],
  ["unterminated", invalid, [SHARD_1], () => editText((text) => text.slice(0, -1))],
  ["NaN", invalid, [SHARD_1, first], () => editText((text) => text.replace("[0,", "[NaN,"))],
  [
    "a number as entry",
    invalid,
    [SHARD_1, first],
    () => editText((text) => text.replace(/:\{[^}]*\}/, ":5")),
  ],
  ["null as entry", invalid, [SHARD_1, first], () => editText((text) => text.replace(/:\{[^}]*\}/, ":null"))],
  ["empty entry", invalid, [SHARD_1, first], () => editText((text) => text.replace(/:\{[^}]*\}/, ":{}"))],
  ["nested entry", invalid, [SHARD_1, first], () => editText((text) => text.replace('"BF16"', '{"a":[]}'))],
  [
    "deep nesting",
    invalid,
    [SHARD_1, first],
    () => editText((text) => text.replace('"BF16"', "[".repeat(100_000))),
  ],
  [
    "deep nesting in __metadata__",
    invalid,
    [SHARD_1],
    () => editText((text) => `{"__metadata__":{"a":${"[".repeat(100_000)}},${text.slice(1)}`),
  ],
  ["__metadata__ of numbers", invalid, [SHARD_1, "__metadata__"], () => addFirst('"__metadata__":{"a":1}')],
  ["__metadata__ as a list", invalid, [SHARD_1, "__metadata__"], () => addFirst('"__metadata__":[]')],
  [
    "two __metadata__",
    invalid,
    [SHARD_1, "__metadata__"],
    () => addFirst('"__metadata__":{},"__metadata__":{}'),
  ],
  ["lone surrogate in a name", invalid, [SHARD_1, "surrogate"], () => addFirst(String.raw`"\ud800":{}`)],
  ["reversed surrogates", invalid, [SHARD_1, "surrogate"], () => addFirst(String.raw`"\udc00\ud800":{}`)],
  ["unknown escape", invalid, [SHARD_1, "escape"], () => addFirst(String.raw`"\x41":{}`)],
  ["short escape", invalid, [SHARD_1, "escape"], () => addFirst(String.raw`"\u12":{}`)],
  ["control character in a name", invalid, [SHARD_1, "control character"], () => addFirst('"a\nb":{}')],
  [
    "invalid UTF-8 in a name",
    invalid,
    [SHARD_1, "UTF-8"],
    () => {
      const text = Buffer.from(JSON.stringify(headerOf(inShard(SHARD_1))));
      text[2] = 0xff;
      writeFileSync(path(SHARD_1), encodeFile(text, dataOf(inShard(SHARD_1))));
    },
  ],
  [
    "invalid UTF-8 beside an escape",
    invalid,
    [SHARD_1, "UTF-8"],
    () => {
      const text = Buffer.from(JSON.stringify(headerOf(inShard(SHARD_1))).replace("{", '{"x\\n":{},'));
      text[2] = 0xff;
      writeFileSync(path(SHARD_1), encodeFile(text, dataOf(inShard(SHARD_1))));
    },
  ],
  [
    "the same name twice",
    invalid,
    [SHARD_1, first, "once"],
    () => editText((text) => text.replace(`"${second}"`, `"${first}"`)),
  ],
  [
    "the same name twice, once escaped",
    invalid,
    [SHARD_1, first, "once"],
    () => editText((text) => text.replace(`"${second}"`, `"\\u006d${first.slice(1)}"`)),
  ],
];

function editLength(by: number): void {
  const file = readFileSync(path(SHARD_1));
  file.writeBigUInt64LE(file.readBigUInt64LE() + BigInt(by));
  writeFileSync(path(SHARD_1), file);
}

const entryDamages: Damage[] = [
  ["unknown dtype", invalid, [first, SHARD_1, "Q4_K"], () => editEntry(first, { dtype: "Q4_K" })],
  ["lower case dtype", invalid, [first, "bf16"], () => editEntry(first, { dtype: "bf16" })],
  ["dtype as a number", invalid, [first], () => editEntry(first, { dtype: 3 })],
  ["wider dtype", invalid, [first, "bytes"], () => editEntry(first, { dtype: "F32" })],
  ["no dtype", invalid, [first, "no dtype"], () => editEntry(first, { dtype: undefined })],
  ["no shape", invalid, [first, "no shape"], () => editEntry(first, { shape: undefined })],
  [
    "no data_offsets",
    invalid,
    [first, "no data_offsets"],
    () => editEntry(first, { data_offsets: undefined }),
  ],
  ["another key", invalid, [first, "another key"], () => editEntry(first, { strides: [1] })],
  [
    "a repeated key",
    invalid,
    [first, "repeated key"],
    () => editText((text) => text.replace('"dtype":"BF16"', '"dtype":"BF16","dtype":"BF16"')),
  ],
  ...(
    [
      ["[-1,64]", "-1"],
      ["[320.0,64]", "320.0"],
      ["[3.2e2,64]", "3.2e2"],
      ["[0320,64]", "0320"],
      ["[+320,64]", "+320"],
      ['["320",64]', "320"],
      ["[null,64]", "null"],
      ["[[320],64]", "[320]"],
      ["[320,64", "data_offsets"],
      ["320", "320"],
      ["[320,64,]", "]"],
      ["[1,1,1,1,1,1,1,320,64]", "dimensions"],
      ["[9007199254740992,64]", "2^53"],
      ["[9223372036854775808,64]", "2^53"],
      ["[18446744073709551616,1]", "2^53"],
      ["[4294967296,4294967296]", "2^53"],
      ["[9007199254740991,9007199254740991]", "2^53"],
      [`[1${"0".repeat(400)},64]`, "2^53"],
      ["[320,65]", "bytes"],
      ["[0,64]", "bytes"],
      ["[]", "bytes"],
    ] as const
  ).map(
    ([shape, says]): Damage => [
      `shape ${shape.slice(0, 40)}`,
      invalid,
      [SHARD_1, first, says],
      () => editText((text) => text.replace("[320,64]", shape)),
    ],
  ),
  ...(
    [
      ["[40960,0]", "ascending"],
      ["[0,40961]", "bytes"],
      ["[1,40961]", "hole"],
      ["[-1,40959]", "-1"],
      ["[0]", "]"],
      ["[0,40960,1]", ","],
      ["[0,1e30]", "1e30"],
      ["[0,99999999]", "within"],
      ["[0,9007199254740993]", "2^53"],
      ["[9007199254740000,9007199254740960]", "within"],
      ["[0,18446744073709551615]", "2^53"],
      ["{}", "{"],
    ] as const
  ).map(
    ([offsets, says]): Damage => [
      `data_offsets ${offsets}`,
      invalid,
      [SHARD_1, first, says],
      () => editText((text) => text.replace("[0,40960]", offsets)),
    ],
  ),
  [
    "overlap",
    invalid,
    [SHARD_1, second, "overlap"],
    () => editEntry(second, { data_offsets: offsetsOf(second).map((offset) => offset - 2) }),
  ],
  [
    "hole",
    invalid,
    [SHARD_1, second, "hole"],
    () => {
      const list = inShard(SHARD_1);
      const entries = headerOf(list);
      for (const { name } of list.slice(1)) {
        entries[name]!.data_offsets = entries[name]!.data_offsets.map((offset) => offset + 16);
      }
      const data = Buffer.concat([dataOf(list), Buffer.alloc(16)]);
      writeFileSync(path(SHARD_1), encodeFile(JSON.stringify(entries), data));
    },
  ],
  [
    "two tensors in the same bytes",
    invalid,
    [SHARD_1, "overlap"],
    () => {
      const list = inShard(SHARD_1).filter(({ data }) => data.length === 128);
      editEntry(list[1]!.name, { data_offsets: offsetsOf(list[0]!.name) });
    },
  ],
  ["a byte too many", invalid, [SHARD_1, "bytes"], () => appendFileSync(path(SHARD_1), "x")],
  [
    "a byte too few",
    invalid,
    [SHARD_1, inShard(SHARD_1).at(-1)!.name, "within"],
    () => truncateSync(path(SHARD_1), readFileSync(path(SHARD_1)).length - 1),
  ],
  [
    "half of the data",
    invalid,
    [SHARD_1, "within"],
    () => truncateSync(path(SHARD_1), Math.floor(readFileSync(path(SHARD_1)).length / 2)),
  ],
];

testDamages({ header: headerDamages, entry: entryDamages });

it("is cut at every byte of the header, and at steps through the data", async () => {
  const whole = readFileSync(path(SHARD_1));
  const dataStart = 8 + Number(whole.readBigUInt64LE());
  const cuts = [...Array(dataStart).keys()].filter((at) => at < 600 || at % 37 === 0 || at > dataStart - 40);
  for (let at = dataStart; at < whole.length; at += 4096) cuts.push(at);
  for (const at of cuts) {
    writeFileSync(path(SHARD_1), whole.subarray(0, at));
    await expectRefusal("invalid-checkpoint", [SHARD_1]);
  }
});
