// The reading twin of the grammar matcher: decides from the contract of the opcodes, byte by byte, whether a text is one of
// a program's. A state is a set of stacks of what is still to come; nothing of native code's derivatives, tables or
// clipping is in it.

import { type GrammarProgram, Opcode } from "../../lib/grammar/program";

/** Nested containers that native code allows (native/grammar/expressions.h: kMostDepth). */
const MOST_DEPTH = 128;

interface ObjectShape {
  ws: number;
  key: number;
  additional: number;
  least: number;
  most: number;
  members: { key: string; rule: number; isRequired: boolean }[];
}

type Frame =
  | { kind: "node"; node: number; depth: number }
  | { kind: "literal"; text: string; at: number }
  | { kind: "repeat"; node: number; lo: number; hi: number; depth: number }
  | { kind: "members"; node: number; depth: number; keys: string; stage: "first" | "comma" | "after" }
  /** Checks the undeclared key that began at `start`, and goes on behind it. */
  | { kind: "key"; node: number; depth: number; keys: string; start: number };

interface Stack {
  frame: Frame;
  rest: Stack | undefined;
  id: number;
}

export class GrammarMatcher {
  private readonly stacks = new Map<string, Stack>();
  private readonly shapes = new Map<number, ObjectShape>();
  private states: (Stack | undefined)[] = [];
  private text = "";

  constructor(private readonly program: GrammarProgram) {
    this.states = this.closure([
      this.push({ kind: "node", node: program.rules[0]!, depth: MOST_DEPTH }, undefined),
    ]);
  }

  /** Whether the bytes so far are a whole text. */
  get isComplete(): boolean {
    return this.states.includes(undefined);
  }

  /** Whether any text begins with the bytes so far and this one, which is then taken. */
  take(byte: number): boolean {
    this.text += String.fromCharCode(byte);
    const next: (Stack | undefined)[] = [];
    for (const state of this.states) {
      if (state === undefined) continue;
      const { frame, rest } = state;
      if (frame.kind === "literal") {
        if (frame.text.charCodeAt(frame.at) !== byte) continue;
        next.push(this.literal(frame.text, frame.at + 1, rest));
      } else if (frame.kind === "node") {
        const at = this.program.nodes[frame.node]!;
        if ((this.program.code[at + 1 + (byte >> 5)]! >>> (byte & 31)) & 1) next.push(rest);
      }
    }
    this.states = this.closure(next);
    return this.states.length > 0;
  }

  private push(frame: Frame, rest: Stack | undefined): Stack {
    const key = `${rest?.id ?? -1};${Object.values(frame).join(";")}`;
    const known = this.stacks.get(key);
    if (known !== undefined) return known;
    const stack = { frame, rest, id: this.stacks.size };
    this.stacks.set(key, stack);
    return stack;
  }

  private literal(text: string, at: number, rest: Stack | undefined): Stack | undefined {
    return at === text.length ? rest : this.push({ kind: "literal", text, at }, rest);
  }

  /** Opens frames until each stack begins with bytes, or is at its end. */
  private closure(stacks: readonly (Stack | undefined)[]): (Stack | undefined)[] {
    const done = new Set<Stack | undefined>();
    const seen = new Set<Stack | undefined>();
    const pending = [...stacks];
    while (pending.length > 0) {
      const stack = pending.pop();
      if (seen.has(stack)) continue;
      seen.add(stack);
      if (stack === undefined || stack.frame.kind === "literal") done.add(stack);
      else if (stack.frame.kind === "node") {
        const opened = this.openNode(stack.frame.node, stack.frame.depth, stack.rest);
        if (opened === "bytes") done.add(stack);
        else pending.push(...opened);
      } else pending.push(...this.open(stack.frame, stack.rest));
    }
    return [...done];
  }

  private openNode(node: number, depth: number, rest: Stack | undefined): (Stack | undefined)[] | "bytes" {
    const { code, nodes } = this.program;
    const at = nodes[node]!;
    const operand = (i: number) => code[at + 1 + i]!;
    const enter = (child: number, below = depth) =>
      this.push({ kind: "node", node: child, depth: below }, rest);
    switch (code[at]) {
      case Opcode.Fail:
        return [];
      case Opcode.Empty:
        return [rest];
      case Opcode.Bytes:
        return "bytes";
      case Opcode.Literal:
        return [this.literal(this.words(operand(0), operand(1)), 0, rest)];
      case Opcode.Seq: {
        let stack = rest;
        for (let i = operand(0); i > 0; i--)
          stack = this.push({ kind: "node", node: operand(i), depth }, stack);
        return [stack];
      }
      case Opcode.Alt:
        return Array.from({ length: operand(0) }, (_, i) => enter(operand(1 + i)));
      case Opcode.Repeat: {
        const hi = operand(2) === -1 ? Infinity : operand(2);
        return [this.push({ kind: "repeat", node: operand(0), lo: operand(1), hi, depth }, rest)];
      }
      case Opcode.Rule:
        return this.rule(operand(0), depth, rest);
      case Opcode.Deeper:
        return depth === 0 ? [] : [enter(operand(0), depth - 1)];
      case Opcode.Object: {
        if (depth === 0) return [];
        const below = depth - 1;
        const members = this.push({ kind: "members", node, depth: below, keys: "[]", stage: "first" }, rest);
        return [
          this.literal("{", 0, this.push({ kind: "node", node: this.shape(node).ws, depth: below }, members)),
        ];
      }
      default:
        throw new Error(`no bytes for opcode ${code[at]}`);
    }
  }

  private rule(rule: number, depth: number, rest: Stack | undefined): Stack[] {
    const { rules, heights } = this.program;
    if (heights[rule]! > depth) return [];
    return [this.push({ kind: "node", node: rules[rule]!, depth }, rest)];
  }

  private open(
    frame: Exclude<Frame, { kind: "node" | "literal" }>,
    rest: Stack | undefined,
  ): (Stack | undefined)[] {
    if (frame.kind === "repeat") {
      const { node, lo, hi, depth } = frame;
      const stacks = lo === 0 ? [rest] : [];
      if (hi === 0) return stacks;
      const again = this.push({ ...frame, lo: Math.max(0, lo - 1), hi: hi - 1 }, rest);
      return [...stacks, this.push({ kind: "node", node, depth }, again)];
    }
    const shape = this.shape(frame.node);
    const keys = JSON.parse(frame.keys) as string[];
    if (frame.kind === "key") {
      const key = this.text.slice(frame.start);
      const isDeclared = shape.members.some((member) => member.key === key);
      const isRepeated = keys.includes(key);
      if (isDeclared || (isRepeated && shape.most !== -1)) return [];
      return this.value(frame, isRepeated ? keys : [...keys, key], shape.additional, rest);
    }
    return this.openMembers(frame, shape, keys, rest);
  }

  private openMembers(
    frame: Frame & { kind: "members" },
    shape: ObjectShape,
    keys: string[],
    rest: Stack | undefined,
  ): (Stack | undefined)[] {
    const { node, depth, stage } = frame;
    const missing = shape.members.filter(({ key, isRequired }) => isRequired && !keys.includes(key));
    const stacks: (Stack | undefined)[] = [];
    if (stage !== "comma" && missing.length === 0 && keys.length >= shape.least)
      stacks.push(this.literal("}", 0, rest));
    const room = shape.most === -1 ? Infinity : shape.most - keys.length;
    const members: (Stack | undefined)[] = [];
    for (const { key, rule, isRequired } of shape.members) {
      if (keys.includes(key) || (!isRequired && room <= missing.length)) continue;
      for (const value of this.value(frame, [...keys, key], rule, rest))
        members.push(this.literal(key, 0, value));
    }
    if (
      shape.additional !== -1 &&
      room > missing.length &&
      this.program.heights[shape.additional]! <= depth
    ) {
      const check = this.push({ kind: "key", node, depth, keys: frame.keys, start: this.text.length }, rest);
      members.push(this.push({ kind: "node", node: shape.key, depth }, check));
    }
    if (stage !== "after") return [...stacks, ...members];
    if (members.length === 0) return stacks;
    const next = this.push({ ...frame, stage: "comma" }, rest);
    return [...stacks, this.literal(",", 0, this.push({ kind: "node", node: shape.ws, depth }, next))];
  }

  /** `ws : ws value ws` and the members behind it. */
  private value(
    { node, depth }: { node: number; depth: number },
    keys: string[],
    rule: number,
    rest: Stack | undefined,
  ): Stack[] {
    const { ws } = this.shape(node);
    const space = (stack: Stack) => this.push({ kind: "node", node: ws, depth }, stack);
    const after = this.push(
      { kind: "members", node, depth, keys: JSON.stringify(keys.sort()), stage: "after" },
      rest,
    );
    return this.rule(rule, depth, space(after)).map((value) => space(this.literal(":", 0, space(value))!));
  }

  private shape(node: number): ObjectShape {
    const known = this.shapes.get(node);
    if (known !== undefined) return known;
    const { code, nodes } = this.program;
    const at = nodes[node]! + 1;
    const [ws, key, additional, least, most, count] = Array.from(code.subarray(at, at + 6)) as [
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    const members = Array.from({ length: count }, (_, i) => {
      const [offset, length, rule, required] = Array.from(code.subarray(at + 6 + 4 * i, at + 10 + 4 * i));
      return { key: this.words(offset!, length!), rule: rule!, isRequired: required === 1 };
    });
    const shape = { ws, key, additional, least, most, members };
    this.shapes.set(node, shape);
    return shape;
  }

  private words(offset: number, length: number): string {
    return String.fromCharCode(...this.program.pool.subarray(offset, offset + length));
  }
}

/** Whether the text is one of the program's. */
export function accepts(program: GrammarProgram, text: string): boolean {
  const matcher = new GrammarMatcher(program);
  for (const byte of new TextEncoder().encode(text)) if (!matcher.take(byte)) return false;
  return matcher.isComplete;
}

/** Whether a text of the program begins with these bytes. */
export function isPrefix(program: GrammarProgram, bytes: Uint8Array): boolean {
  const matcher = new GrammarMatcher(program);
  return bytes.every((byte) => matcher.take(byte));
}
