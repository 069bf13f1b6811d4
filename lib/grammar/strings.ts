// JSON strings: a length in code points, a pattern or a format. Formats are patterns that hold no more than every validator
// accepts: an e-mail address without quotes, a date whose day exists.

import { invalidArgument } from "../check";
import { Automaton, lengthsOf, regexNode } from "./automaton";
import { ANY_CODE_POINT, jsonText } from "./code-points";
import { type GrammarBuilder, NO_LIMIT } from "./program";
import { parseRegex, type Regex, wholeMatch } from "./regex";
import type { Work } from "./work";

export interface StringLimits {
  readonly minLength: number;
  /** Infinity: no limit. */
  readonly maxLength: number;
  /** The whole string, without anchors. */
  readonly regex?: Regex | undefined;
}

const DAY = "(?:0[1-9]|1[0-9]|2[0-8])";
const COMMON_DATE = `[1-9][0-9]{3}-(?:(?:0[1-9]|1[0-2])-${DAY}|(?:0[13-9]|1[0-2])-(?:29|30)|(?:0[13578]|1[02])-31)`;
const LEAP_DAY = "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29";
const DATE = `(?:${COMMON_DATE}|${LEAP_DAY})`;
const HOUR = "(?:[01][0-9]|2[0-3]):[0-5][0-9]";
const TIME = `${HOUR}:[0-5][0-9](?:\\.[0-9]{1,9})?(?:Z|[+-]${HOUR})`;
const HEX = "[0-9a-fA-F]";
const LABEL = "[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20}){0,2}";
const ATOM = "[A-Za-z0-9_+-]{1,20}";
const OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])";
const GROUP = `${HEX}{1,4}`;
const PATH = `(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%${HEX}{2})`;
const SUFFIX = `(?:\\?(?:${PATH}|[/?])*)?(?:#(?:${PATH}|[/?])*)?`;
const COMPRESSED = [1, 2, 3, 4, 5, 6].map((n) => `(?:${GROUP}:){${n}}(?::${GROUP}){1,${7 - n}}`);

const FORMATS: Readonly<Record<string, string>> = {
  date: DATE,
  time: TIME,
  "date-time": `${DATE}T${TIME}`,
  uuid: `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`,
  email: `${ATOM}(?:\\.${ATOM}){0,2}@(?:${LABEL}\\.){1,3}[A-Za-z]{2,20}`,
  hostname: `${LABEL}(?:\\.${LABEL}){0,3}`,
  ipv4: `${OCTET}(?:\\.${OCTET}){3}`,
  ipv6: `(?:(?:${GROUP}:){7}${GROUP}|${COMPRESSED.join("|")}|:(?::${GROUP}){1,7}|(?:${GROUP}:){1,7}:|::)`,
  duration:
    "P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|[0-9]{1,4}D)(?:T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S))?|T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|[0-9]{1,4}S))",
  "json-pointer": "(?:/(?:[^~/]|~[01])*)*",
  uri: `[A-Za-z][A-Za-z0-9+.-]{0,20}://[A-Za-z0-9._~-]+(?::[0-9]{1,5})?(?:/${PATH}*)*${SUFFIX}`,
};

/** Formats that hold all texts of another, and for which that one's are enough. */
const WIDER_FORMATS: Readonly<Record<string, string>> = {
  "idn-email": "email",
  "idn-hostname": "hostname",
  iri: "uri",
  "uri-reference": "uri",
  "iri-reference": "uri",
};

export const FORMAT_NAMES: readonly string[] = [...Object.keys(FORMATS), ...Object.keys(WIDER_FORMATS)];

export function formatRegex(format: string, name: string): Regex {
  return wholeMatch(parseRegex(FORMATS[WIDER_FORMATS[format] ?? format]!, name), false, name);
}

export function patternRegex(pattern: string, name: string): Regex {
  return wholeMatch(parseRegex(pattern, name), true, name);
}

export function* stringNode(builder: GrammarBuilder, limits: StringLimits, name: string): Work<number> {
  const { minLength, maxLength, regex } = limits;
  const quote = builder.literal('"');
  const most = maxLength === Infinity ? NO_LIMIT : maxLength;
  if (minLength > maxLength) return builder.fail;
  const content =
    regex === undefined
      ? builder.repeat(jsonText(builder, ANY_CODE_POINT), minLength, most)
      : yield* boundedRegex(builder, regex, limits, name);
  return builder.seq(quote, content, quote);
}

function* boundedRegex(
  builder: GrammarBuilder,
  regex: Regex,
  limits: StringLimits,
  name: string,
): Work<number> {
  const { minLength, maxLength } = limits;
  const lengths = lengthsOf(regex);
  if (lengths.lo >= minLength && lengths.hi <= maxLength) return regexNode(builder, regex, jsonText);
  if (lengths.hi < minLength || lengths.lo > maxLength) return builder.fail;
  const counted = countedRegex(regex, minLength, maxLength);
  if (counted !== undefined) return regexNode(builder, counted, jsonText);
  const short = lengths.lo >= minLength ? shortened(regex, maxLength) : undefined;
  try {
    const automaton = new Automaton(regex, name);
    if (automaton.canCount(minLength, maxLength))
      return yield* automaton.bounded(builder, jsonText, minLength, maxLength);
  } catch (error) {
    // Too many positions to count with.
    if (short === undefined) throw error;
  }
  if (short !== undefined) return regexNode(builder, short, jsonText);
  throw invalidArgument("a pattern and a length whose product is small", name, `minLength ${minLength}`);
}

/** The texts whose parts are repeated so seldom that none is too long: not all that are allowed, but only such. */
function shortened(regex: Regex, maxLength: number): Regex | undefined {
  const capped = (part: Regex, most: number): Regex => {
    switch (part.kind) {
      case "seq":
      case "alt":
        return { ...part, parts: part.parts.map((inner) => capped(inner, most)) };
      case "repeat": {
        const limit = Math.max(part.lo, part.hi === NO_LIMIT ? most : Math.min(part.hi, most));
        return { ...part, part: capped(part.part, most), hi: limit };
      }
      default:
        return part;
    }
  };
  // The largest cap that keeps every text short enough.
  let [fits, tooMany] = [-1, maxLength + 1];
  while (tooMany - fits > 1) {
    const cap = Math.floor((fits + tooMany) / 2);
    if (lengthsOf(capped(regex, cap)).hi <= maxLength) fits = cap;
    else tooMany = cap;
  }
  return fits < 0 ? undefined : capped(regex, fits);
}

/** A sequence with one repeated part of fixed length takes the bound into its quantifier, however large it is. */
function countedRegex(regex: Regex, minLength: number, maxLength: number): Regex | undefined {
  const parts = regex.kind === "seq" ? regex.parts : [regex];
  const variable = parts.filter((part) => lengthsOf(part).lo !== lengthsOf(part).hi);
  const [loop] = variable;
  if (variable.length !== 1 || loop === undefined) return undefined;
  // What wholeMatch makes of a group is a sequence in a sequence.
  if (loop.kind === "seq") {
    const fixed = fixedLength(parts, loop);
    const inner = countedRegex(loop, minLength - fixed, maxLength - fixed);
    return inner && { kind: "seq", parts: parts.map((part) => (part === loop ? inner : part)) };
  }
  if (loop.kind !== "repeat") return undefined;
  const each = lengthsOf(loop.part);
  if (each.lo !== each.hi || each.lo === 0) return undefined;
  const fixed = fixedLength(parts, loop);
  const lo = Math.max(loop.lo, Math.ceil((minLength - fixed) / each.lo));
  const most = Math.min(loop.hi === NO_LIMIT ? Infinity : loop.hi, Math.floor((maxLength - fixed) / each.lo));
  if (most < lo) return { kind: "set", set: [] };
  const counted: Regex = { ...loop, lo, hi: most === Infinity ? NO_LIMIT : most };
  return { kind: "seq", parts: parts.map((part) => (part === loop ? counted : part)) };
}

function fixedLength(parts: readonly Regex[], loop: Regex): number {
  return parts.reduce((sum, part) => (part === loop ? sum : sum + lengthsOf(part).lo), 0);
}
