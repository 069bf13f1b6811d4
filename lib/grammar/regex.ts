// The part of ECMAScript's regular expressions that describes a regular language, read into a tree over code points with
// the meaning of the flag `u`. What it refuses by name: look-around, back-references, \b, \p and anchors inside.

import { invalidArgument } from "../check";
import { ANY_CODE_POINT, type CodePointSet, codePointSet, complement } from "./code-points";
import { NO_LIMIT } from "./program";

export type Regex =
  | { readonly kind: "set"; readonly set: CodePointSet }
  | { readonly kind: "seq" | "alt"; readonly parts: readonly Regex[] }
  | { readonly kind: "repeat"; readonly part: Regex; readonly lo: number; readonly hi: number }
  | { readonly kind: "start" | "end" };

const DIGITS: CodePointSet = [0x30, 0x39];
const WORD: CodePointSet = [0x30, 0x39, 0x41, 0x5a, 0x5f, 0x5f, 0x61, 0x7a];
const SPACE: CodePointSet = codePointSet([
  0x09, 0x0d, 0x20, 0x20, 0xa0, 0xa0, 0x1680, 0x1680, 0x2000, 0x200a, 0x2028, 0x2029, 0x202f, 0x202f, 0x205f,
  0x205f, 0x3000, 0x3000, 0xfeff, 0xfeff,
]);
const LINE_ENDS: CodePointSet = [0x0a, 0x0a, 0x0d, 0x0d, 0x2028, 0x2029];
const CLASSES: Readonly<Record<string, CodePointSet>> = {
  d: DIGITS,
  D: complement(DIGITS),
  w: WORD,
  W: complement(WORD),
  s: SPACE,
  S: complement(SPACE),
};
const CONTROLS: Readonly<Record<string, number>> = { t: 9, n: 10, v: 11, f: 12, r: 13, "0": 0 };
const DEEPEST_GROUP = 64;
const LONGEST_PATTERN = 4096;

/** @throws K2Error `invalid-argument` that names what is not supported. */
export function parseRegex(pattern: string, name: string): Regex {
  return new RegexParser(pattern, name).parse();
}

class RegexParser {
  private readonly points: readonly string[];
  private at = 0;

  constructor(
    private readonly pattern: string,
    private readonly name: string,
  ) {
    if (pattern.length > LONGEST_PATTERN)
      throw invalidArgument(`at most ${LONGEST_PATTERN} characters`, name, pattern);
    this.points = [...pattern];
  }

  parse(): Regex {
    const regex = this.alternatives(0);
    if (this.at < this.points.length) this.refuse("balanced parentheses");
    return regex;
  }

  private refuse(expected: string): never {
    throw invalidArgument(`a pattern with ${expected}`, this.name, this.pattern);
  }

  private eat(text: string): boolean {
    const isHere = [...text].every((character, i) => this.points[this.at + i] === character);
    if (isHere) this.at += text.length;
    return isHere;
  }

  private alternatives(depth: number): Regex {
    if (depth > DEEPEST_GROUP) this.refuse(`at most ${DEEPEST_GROUP} nested groups`);
    const parts = [this.sequence(depth)];
    while (this.eat("|")) parts.push(this.sequence(depth));
    return parts.length === 1 ? parts[0]! : { kind: "alt", parts };
  }

  private sequence(depth: number): Regex {
    const parts: Regex[] = [];
    while (this.at < this.points.length && this.points[this.at] !== "|" && this.points[this.at] !== ")") {
      parts.push(this.quantified(this.atom(depth)));
    }
    return parts.length === 1 ? parts[0]! : { kind: "seq", parts };
  }

  private quantified(part: Regex): Regex {
    const bounds = this.quantifier();
    if (bounds === undefined) return part;
    if (part.kind === "start" || part.kind === "end") this.refuse("no repeated anchor");
    // A lazy quantifier chooses another match of the same text.
    this.eat("?");
    return { kind: "repeat", part, lo: bounds[0], hi: bounds[1] };
  }

  private quantifier(): [number, number] | undefined {
    if (this.eat("*")) return [0, NO_LIMIT];
    if (this.eat("+")) return [1, NO_LIMIT];
    if (this.eat("?")) return [0, 1];
    if (!this.eat("{")) return undefined;
    const lo = this.number() ?? this.refuse("no bare {");
    let hi: number = lo;
    if (this.eat(",")) hi = this.number() ?? NO_LIMIT;
    if (!this.eat("}") || (hi !== NO_LIMIT && hi < lo)) this.refuse("well-formed quantifiers");
    return [lo, hi];
  }

  private number(): number | undefined {
    let digits = "";
    while (/^[0-9]$/.test(this.points[this.at] ?? "")) digits += this.points[this.at++];
    if (digits === "") return undefined;
    return digits.length > 9 ? this.refuse("smaller numbers in quantifiers") : Number(digits);
  }

  private atom(depth: number): Regex {
    const character = this.points[this.at++]!;
    switch (character) {
      case "^":
        return { kind: "start" };
      case "$":
        return { kind: "end" };
      case ".":
        return { kind: "set", set: complement(LINE_ENDS) };
      case "[":
        return { kind: "set", set: this.characterClass() };
      case "(":
        return this.group(depth);
      case "\\":
        return { kind: "set", set: this.escape(false) };
      default:
        if ("*+?{}]".includes(character)) this.refuse(`an escaped ${character}`);
        return { kind: "set", set: this.single(character.codePointAt(0)!) };
    }
  }

  private group(depth: number): Regex {
    if (this.eat("?") && !this.eat(":")) {
      if (!this.eat("<") || "=!".includes(this.points[this.at] ?? "="))
        this.refuse("no look-around or flags");
      while (this.at < this.points.length && this.points[this.at] !== ">") this.at += 1;
      this.at += 1;
    }
    const inner = this.alternatives(depth + 1);
    if (!this.eat(")")) this.refuse("balanced parentheses");
    return inner;
  }

  private single(codePoint: number): CodePointSet {
    if (codePoint >= 0xd800 && codePoint <= 0xdfff) this.refuse("no lone surrogate");
    return [codePoint, codePoint];
  }

  private escape(isInClass: boolean): CodePointSet {
    const letter = this.points[this.at++] ?? this.refuse("something after a backslash");
    const known = CLASSES[letter];
    if (known !== undefined) return known;
    if (letter === "0" && /^[0-9]$/.test(this.points[this.at] ?? "")) this.refuse("no octal escape");
    const control = CONTROLS[letter];
    if (control !== undefined) return this.single(control);
    if (letter === "b" && isInClass) return this.single(8);
    if (letter === "c" && /^[a-z]$/i.test(this.points[this.at] ?? "")) {
      return this.single(this.points[this.at++]!.charCodeAt(0) % 32);
    }
    if (letter === "x") return this.single(this.hex(2));
    if (letter === "u") return this.single(this.unicodeEscape());
    if (/^[A-Za-z0-9]$/.test(letter)) this.refuse(`a supported escape instead of \\${letter}`);
    return this.single(letter.codePointAt(0)!);
  }

  private hex(length: number): number {
    const digits = this.points.slice(this.at, this.at + length).join("");
    if (digits.length !== length || !/^[0-9a-f]+$/i.test(digits))
      this.refuse("hexadecimal digits in escapes");
    this.at += length;
    return Number.parseInt(digits, 16);
  }

  private unicodeEscape(): number {
    if (this.eat("{")) {
      let length = 0;
      while (this.points[this.at + length] !== "}" && length < 7) length += 1;
      const value = this.hex(length);
      if (!this.eat("}") || value > 0x10ffff) this.refuse("code points up to 10FFFF");
      return value;
    }
    const unit = this.hex(4);
    if (unit < 0xd800 || unit > 0xdbff || !this.eat("\\u")) return unit;
    const low = this.hex(4);
    if (low < 0xdc00 || low > 0xdfff) this.refuse("no lone surrogate");
    return 0x10000 + (unit - 0xd800) * 0x400 + (low - 0xdc00);
  }

  private characterClass(): CodePointSet {
    const isNegated = this.eat("^");
    const ranges: number[] = [];
    const item = (): CodePointSet => {
      const character = this.points[this.at++] ?? this.refuse("closed character classes");
      return character === "\\" ? this.escape(true) : this.single(character.codePointAt(0)!);
    };
    while (!this.eat("]")) {
      const lo = item();
      if (
        this.points[this.at] === "-" &&
        this.points[this.at + 1] !== "]" &&
        this.at + 1 < this.points.length
      ) {
        this.at += 1;
        const hi = item();
        const isRange = lo.length === 2 && lo[0] === lo[1] && hi.length === 2 && hi[0] === hi[1];
        if (!isRange || hi[0]! < lo[0]!) this.refuse("well-formed ranges in classes");
        ranges.push(lo[0]!, hi[0]!);
      } else ranges.push(...lo);
    }
    const set = codePointSet(ranges);
    return isNegated ? complement(set) : set;
  }
}

/**
 * The tree without anchors: it matches the whole text. A search matches anywhere, so what is not anchored may have any text
 * beside it.
 * @throws K2Error `invalid-argument` for an anchor that is not at the beginning or end of an alternative.
 */
export function wholeMatch(regex: Regex, isSearch: boolean, name: string): Regex {
  const anything: Regex = { kind: "repeat", part: { kind: "set", set: ANY_CODE_POINT }, lo: 0, hi: NO_LIMIT };
  if (regex.kind === "alt") {
    return { kind: "alt", parts: regex.parts.map((part) => wholeMatch(part, isSearch, name)) };
  }
  const parts = regex.kind === "seq" ? [...regex.parts] : [regex];
  let isAnchored = false;
  let isEnded = false;
  for (; parts[0]?.kind === "start"; isAnchored = true) parts.shift();
  for (; parts.at(-1)?.kind === "end"; isEnded = true) parts.pop();
  // `^(a|b)$` and `(^a|b)`: anchors inside the only group count, anchors inside one of several parts do not.
  const only = parts.length === 1 && parts[0]!.kind !== "set" ? parts[0]! : undefined;
  if (only !== undefined && only !== regex && hasAnchor(only)) {
    if (isAnchored || isEnded) throw anchorInside(name);
    return wholeMatch(only, isSearch, name);
  }
  if (parts.some(hasAnchor)) throw anchorInside(name);
  if (!isSearch) return { kind: "seq", parts };
  return {
    kind: "seq",
    parts: [...(isAnchored ? [] : [anything]), ...parts, ...(isEnded ? [] : [anything])],
  };
}

function anchorInside(name: string) {
  return invalidArgument("anchors only at the ends of alternatives", name, "^ or $ inside");
}

function hasAnchor(regex: Regex): boolean {
  if (regex.kind === "start" || regex.kind === "end") return true;
  if (regex.kind === "repeat") return hasAnchor(regex.part);
  return (regex.kind === "seq" || regex.kind === "alt") && regex.parts.some(hasAnchor);
}
