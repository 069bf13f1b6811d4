// A grammar as native code walks it: nodes over bytes, and rules that name nodes. The builder makes every node once
// (equal nodes have one id), so that equal parts of a schema are one state for the matcher.

import { K2Error } from "../errors";

/** What native code gets. The operands of every opcode stand beside it in `Opcode`. */
export interface GrammarProgram {
  /** Nodes one after the other: opcode, then operands. */
  readonly code: Float64Array;
  /** Where each node starts in `code`. Operands name nodes by index here; children come before their parents. */
  readonly nodes: Uint32Array;
  /** Node of each rule; rule 0 is the start. */
  readonly rules: Uint32Array;
  /** Per rule the least number of nested objects and arrays in any text of it. */
  readonly heights: Uint32Array;
  /** Bytes of literals and keys. */
  readonly pool: Uint8Array;
  /** Programs that `External` names by index. */
  readonly imports: readonly GrammarProgram[];
}

export const Opcode = {
  /** () no text */
  Fail: 0,
  /** () the empty text */
  Empty: 1,
  /** (8 words) one byte of a set: bit b & 31 of word b >> 5 */
  Bytes: 2,
  /** (offset, length) bytes of the pool */
  Literal: 3,
  /** (n, node...) one after the other */
  Seq: 4,
  /** (n, node...) one of them */
  Alt: 5,
  /** (node, lo, hi) lo to hi times; hi -1 is no limit */
  Repeat: 6,
  /** (rule) expanded when it is reached: the only way to recurse */
  Rule: 7,
  /** (node) one container level */
  Deeper: 8,
  /** (ws, key, additional, minProperties, maxProperties, n, n times keyOffset, keyLength, rule, required) */
  Object: 9,
  /** (id) one control token */
  Token: 10,
  /** () one ordinary token */
  AnyToken: 11,
  /** (i) rule 0 of imported program i */
  External: 12,
  /** () the decimal digits of the running index, which the caller starts */
  Index: 13,
  /** (node) the node with the next index */
  Next: 14,
} as const;

/** A declared member of an object. */
export interface GrammarMember {
  /** JSON text of the key with its quotes, as `JSON.stringify` writes it, one character per byte. */
  readonly key: string;
  readonly rule: number;
  readonly isRequired: boolean;
}

export interface GrammarObject {
  /** Node of optional white space. */
  readonly ws: number;
  /** Node of an undeclared key, quotes included. */
  readonly key: number;
  /** Rule of undeclared members' values, or -1. */
  readonly additional: number;
  readonly minProperties: number;
  /** -1: no limit. */
  readonly maxProperties: number;
  readonly members: readonly GrammarMember[];
}

/** A node inside the builder. Which fields carry something follows from the opcode. */
export interface GrammarNode {
  readonly opcode: number;
  readonly children: readonly number[];
  readonly numbers: readonly number[];
  /** Bytes of a literal, one character per byte. */
  readonly text: string;
  readonly object?: GrammarObject;
}

/** Repeat without an upper limit. */
export const NO_LIMIT = -1;

/** A program beyond this is refused: native code keeps it whole, and a schema of this size is an attack or a mistake. */
const MOST_NODES = 200_000;

export class GrammarBuilder {
  readonly nodes: GrammarNode[] = [];
  /** Node of each rule, -1 until it is defined. */
  readonly rules: number[] = [];
  private readonly ids = new Map<string, number>();
  /** Whether a node has the empty text. Rules count as having none: what this room repeats is no rule with an empty text. */
  private readonly nullable: boolean[] = [];
  readonly fail: number;
  readonly empty: number;

  constructor() {
    this.fail = this.add(Opcode.Fail, { isNullable: false });
    this.empty = this.add(Opcode.Empty, { isNullable: true });
  }

  /** One byte of the given inclusive ranges: `bytes(0x30, 0x39, 0x2d, 0x2d)`. */
  bytes(...ranges: readonly number[]): number {
    const words = [0, 0, 0, 0, 0, 0, 0, 0];
    for (let i = 0; i < ranges.length; i += 2) {
      for (let b = ranges[i]!; b <= ranges[i + 1]!; b++) words[b >> 5]! |= 1 << (b & 31);
    }
    return this.byteSet(words);
  }

  /** The bytes of a text in UTF-8. */
  literal(text: string): number {
    return this.byteLiteral(utf8(text));
  }

  /** A literal of bytes, one character per byte. */
  byteLiteral(bytes: string): number {
    if (bytes === "") return this.empty;
    return this.add(Opcode.Literal, { text: bytes, isNullable: false });
  }

  seq(...parts: readonly number[]): number {
    const flat: number[] = [];
    for (const part of parts) {
      const { opcode, children } = this.nodes[part]!;
      for (const child of opcode === Opcode.Seq ? children : [part]) this.append(flat, child);
    }
    if (flat.includes(this.fail)) return this.fail;
    if (flat.length < 2) return flat[0] ?? this.empty;
    const isNullable = flat.every((part) => this.nullable[part]);
    return this.add(Opcode.Seq, { children: flat, isNullable });
  }

  /** Neighbouring literals become one. */
  private append(flat: number[], part: number): void {
    if (part === this.empty) return;
    const last = flat.at(-1);
    const node = this.nodes[part]!;
    if (node.opcode === Opcode.Literal && last !== undefined && this.nodes[last]!.opcode === Opcode.Literal) {
      flat[flat.length - 1] = this.byteLiteral(this.nodes[last]!.text + node.text);
    } else flat.push(part);
  }

  alt(...parts: readonly number[]): number {
    const flat = new Set<number>();
    const words = [0, 0, 0, 0, 0, 0, 0, 0];
    for (const part of parts) {
      const { opcode, children } = this.nodes[part]!;
      for (const child of opcode === Opcode.Alt ? children : [part]) {
        const { opcode: kind, numbers, text } = this.nodes[child]!;
        if (kind === Opcode.Bytes) for (let w = 0; w < 8; w++) words[w]! |= numbers[w]!;
        else if (kind === Opcode.Literal && text.length === 1) setBit(words, text.charCodeAt(0));
        else if (kind !== Opcode.Fail) flat.add(child);
      }
    }
    if (words.some((word) => word !== 0)) flat.add(this.byteSet(words));
    const isOtherwiseNullable = [...flat].some((part) => part !== this.empty && this.nullable[part]);
    if (isOtherwiseNullable) flat.delete(this.empty);
    const children = [...flat].sort((a, b) => a - b);
    if (children.length < 2) return children[0] ?? this.fail;
    return this.add(Opcode.Alt, { children, isNullable: children.some((part) => this.nullable[part]) });
  }

  optional(part: number): number {
    return this.alt(this.empty, part);
  }

  /** `part` from `lo` to `hi` times. A part that may be empty is repeated without its empty text, as native code wants. */
  repeat(part: number, lo: number, hi: number): number {
    if (hi !== NO_LIMIT && hi < lo) return this.fail;
    if (hi === 0 || part === this.empty) return this.empty;
    if (part === this.fail) return lo === 0 ? this.empty : this.fail;
    if (lo === 1 && hi === 1) return part;
    if (this.nullable[part]) return this.repeat(this.nonEmpty(part), 0, hi);
    const { opcode, children, numbers } = this.nodes[part]!;
    const isLoop = opcode === Opcode.Repeat && numbers[0] === 1 && numbers[1] === NO_LIMIT;
    if (isLoop && hi === NO_LIMIT && lo <= 1) return this.repeat(children[0]!, lo, NO_LIMIT);
    return this.add(Opcode.Repeat, { children: [part], numbers: [lo, hi], isNullable: lo === 0 });
  }

  /** The texts of a node but the empty one. */
  private nonEmpty(id: number): number {
    if (!this.nullable[id]) return id;
    const { opcode, children, numbers } = this.nodes[id]!;
    switch (opcode) {
      case Opcode.Alt:
        return this.alt(...children.map((child) => this.nonEmpty(child)));
      case Opcode.Repeat:
        return this.repeat(children[0]!, 1, numbers[1]!);
      case Opcode.Seq: {
        // From the end: either this part has text and anything follows, or it is empty and a later part has text.
        let following = this.empty;
        let result = this.fail;
        for (const child of [...children].reverse()) {
          result = this.alt(this.seq(this.nonEmpty(child), following), result);
          following = this.seq(child, following);
        }
        return result;
      }
      default:
        return this.fail;
    }
  }

  /** A rule to be defined later. */
  declareRule(): number {
    this.rules.push(-1);
    return this.rules.length - 1;
  }

  defineRule(rule: number, node: number): void {
    this.rules[rule] = node;
  }

  addRule(node: number): number {
    return this.rules.push(node) - 1;
  }

  rule(rule: number): number {
    return this.add(Opcode.Rule, { numbers: [rule], isNullable: false });
  }

  /** The node as one container level. */
  deeper(node: number): number {
    if (node === this.fail) return this.fail;
    return this.add(Opcode.Deeper, { children: [node], isNullable: false });
  }

  object(object: GrammarObject): number {
    const { ws, key, additional, minProperties, maxProperties, members } = object;
    const children = [ws, key];
    const numbers = [additional, minProperties, maxProperties];
    const text = JSON.stringify(members.map((member) => [member.key, member.rule, member.isRequired]));
    return this.add(Opcode.Object, { children, numbers, text, object, isNullable: false });
  }

  token(id: number): number {
    return this.add(Opcode.Token, { numbers: [id], isNullable: false });
  }

  anyToken(): number {
    return this.add(Opcode.AnyToken, { isNullable: false });
  }

  external(program: number): number {
    return this.add(Opcode.External, { numbers: [program], isNullable: false });
  }

  /** The running index in decimal digits. */
  index(): number {
    return this.add(Opcode.Index, { isNullable: false });
  }

  /** The node with the next index. */
  next(node: number): number {
    return this.add(Opcode.Next, { children: [node], isNullable: this.nullable[node]! });
  }

  private byteSet(words: readonly number[]): number {
    const bits = words.reduce((sum, word) => sum + bitCount(word), 0);
    if (bits === 0) return this.fail;
    if (bits === 1) {
      const word = words.findIndex((value) => value !== 0);
      return this.byteLiteral(String.fromCharCode(word * 32 + 31 - Math.clz32(words[word]!)));
    }
    return this.add(Opcode.Bytes, { numbers: words.map((word) => word >>> 0), isNullable: false });
  }

  private add(opcode: number, parts: NodeParts): number {
    const { children = [], numbers = [], text = "", object, isNullable } = parts;
    const key = `${opcode};${children.join()};${numbers.join()};${text}`;
    const known = this.ids.get(key);
    if (known !== undefined) return known;
    if (this.nodes.length === MOST_NODES) {
      const expected = `at most ${MOST_NODES} nodes`;
      throw new K2Error("invalid-argument", `Expected ${expected} for a grammar, got more`, { expected });
    }
    const id = this.nodes.push({ opcode, children, numbers, text, ...(object && { object }) }) - 1;
    this.nullable.push(isNullable);
    this.ids.set(key, id);
    return id;
  }
}

interface NodeParts {
  children?: readonly number[];
  numbers?: readonly number[];
  text?: string;
  object?: GrammarObject;
  isNullable: boolean;
}

/** A text's UTF-8 bytes, one character per byte. */
export function utf8(text: string): string {
  // Most texts of a schema are ASCII, and then they are their own bytes.
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the range of ASCII
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  let bytes = "";
  for (const byte of new TextEncoder().encode(text)) bytes += String.fromCharCode(byte);
  return bytes;
}

function setBit(words: number[], byte: number): void {
  words[byte >> 5]! |= 1 << (byte & 31);
}

function bitCount(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count += 1;
  return count;
}
