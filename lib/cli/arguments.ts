// From the words of a command line to checked values. Anything that no table knows is one clear line and exit code 2.

import { parseArgs } from "node:util";
import { type Flag, type FlagGroup, HELP_FLAG } from "./flags";

export interface Positional {
  readonly name: string;
  readonly help: string;
}

/** What a command takes. */
export interface Grammar {
  readonly name: string;
  readonly positionals: readonly Positional[];
  readonly groups: readonly FlagGroup[];
}

/** A command line that cannot be understood. */
export class UsageError extends Error {
  /** @param topic What `--help` to point at: "k2" or "k2 run". */
  constructor(message: string, topic: string) {
    super(`${message} (see ${topic} --help)`);
  }
}

type Value = string | number | true | string[];

/** The checked values of one command line. */
export class Arguments {
  readonly positionals: readonly string[];
  private readonly values: ReadonlyMap<string, Value>;

  constructor(positionals: readonly string[], values: ReadonlyMap<string, Value>) {
    this.positionals = positionals;
    this.values = values;
  }

  has(name: string): boolean {
    return this.values.has(name);
  }

  text(name: string): string | undefined {
    return this.values.get(name) as string | undefined;
  }

  number(name: string): number | undefined {
    return this.values.get(name) as number | undefined;
  }

  /** The values of the flags of these groups that were given, by the names of the library's options. */
  options(...groups: readonly FlagGroup[]): Record<string, Value> {
    const options: Record<string, Value> = {};
    for (const { name, option } of groups.flatMap((group) => group.flags)) {
      const value = this.values.get(name);
      if (option !== undefined && value !== undefined) options[option] = value;
    }
    return options;
  }
}

/** @throws UsageError; "help" where help was asked for, whatever else is wrong. */
export function parseArguments(grammar: Grammar, words: readonly string[]): Arguments | "help" {
  const topic = `k2 ${grammar.name}`;
  const flags = [...grammar.groups.flatMap((group) => group.flags), HELP_FLAG];
  const { tokens } = parseArgs({
    args: [...words],
    options: Object.fromEntries(
      flags.map((flag) => [
        flag.name,
        {
          type: flag.kind === "switch" ? ("boolean" as const) : ("string" as const),
          ...(flag.short === undefined ? {} : { short: flag.short }),
        },
      ]),
    ),
    allowPositionals: true,
    strict: false,
    tokens: true,
  });
  if (tokens.some((token) => token.kind === "option" && token.name === HELP_FLAG.name)) return "help";

  const positionals: string[] = [];
  const values = new Map<string, Value>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const flag = flags.find((one) => one.name === token.name);
    if (flag === undefined) throw unknownFlag(token.rawName, flags, topic);
    const value = readValue(flag, token.value, token.inlineValue === true, topic);
    const list = (values.get(flag.name) as string[] | undefined) ?? [];
    values.set(flag.name, flag.isList ? [...list, value as string] : value);
  }
  checkPositionals(grammar, positionals, topic);
  return new Arguments(positionals, values);
}

function readValue(flag: Flag, text: string | undefined, isInline: boolean, topic: string): Value {
  const wrong = (expected: string, got = JSON.stringify(text)) =>
    new UsageError(`Expected ${expected} for --${flag.name}, got ${got}`, topic);
  if (flag.kind === "switch") {
    if (text !== undefined) throw wrong("no value");
    return true;
  }
  if (text === undefined) throw wrong(`a value (${flag.value})`, "none");
  // `--system --quiet` is a forgotten value; who means it writes `--system=--quiet`.
  if (!isInline && text.startsWith("--")) throw wrong(`a value (${flag.value})`, `the flag ${text}`);
  if (flag.choices?.includes(text)) return text;
  if (flag.kind !== "text") return readNumber(flag, text, wrong);
  if (flag.choices !== undefined) throw wrong(`one of ${flag.choices.join(", ")}`);
  return text;
}

const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;

function readNumber(flag: Flag, text: string, wrong: (expected: string) => UsageError): number {
  const [least, most] = flag.range!;
  const value = NUMBER.test(text) ? Number(text) : Number.NaN;
  const isWhole = flag.kind === "number" || Number.isSafeInteger(value);
  if (value >= least && value <= most && isWhole) return value;
  const words = flag.choices === undefined ? "" : `${flag.choices.join(", ")} or `;
  const kind = `${words}${flag.kind === "integer" ? "an integer" : "a number"}`;
  if (least === Number.MIN_VALUE) throw wrong(`${kind} above 0, at most ${most}`);
  throw wrong(
    most === Number.MAX_SAFE_INTEGER ? `${kind} of at least ${least}` : `${kind} of ${least}..${most}`,
  );
}

function checkPositionals(grammar: Grammar, given: readonly string[], topic: string): void {
  const { positionals } = grammar;
  const missing = positionals[given.length];
  if (missing !== undefined) throw new UsageError(`Expected ${missing.name} for ${topic}, got none`, topic);
  const extra = given[positionals.length];
  if (extra === undefined) return;
  const hint = positionals.at(-1)?.name === "PROMPT" ? "; put a prompt of several words in quotes" : "";
  throw new UsageError(
    `Expected no further argument for ${topic}, got ${JSON.stringify(extra)}${hint}`,
    topic,
  );
}

function unknownFlag(name: string, flags: readonly Flag[], topic: string): UsageError {
  const near = nearest(
    name,
    flags.map((flag) => `--${flag.name}`),
  );
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  return new UsageError(`Expected a flag of ${topic}, got ${JSON.stringify(name)}${hint}`, topic);
}

/** Two letters in the wrong order are two edits. */
const LIKELY_ERRORS = 2;

/** The candidate that a typing error could have turned into `word`. */
export function nearest(word: string, candidates: readonly string[]): string | undefined {
  const ranked = candidates
    .map((candidate) => ({ candidate, distance: editDistance(word, candidate) }))
    .sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best !== undefined && best.distance <= LIKELY_ERRORS ? best.candidate : undefined;
}

/** Insertions, deletions and replacements between two short words. */
function editDistance(from: string, to: string): number {
  if (Math.abs(from.length - to.length) > to.length) return to.length;
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 1; i <= from.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= to.length; j += 1) {
      const replaced = row[j - 1]! + (from[i - 1] === to[j - 1] ? 0 : 1);
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[to.length]!;
}
