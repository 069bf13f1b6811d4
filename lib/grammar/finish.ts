// From a builder's nodes to the program: finds what no text can come from and removes it, so that a model is never led
// into a dead end, measures how deep the shallowest text of every rule is, and writes the tables.

import { K2Error } from "../errors";
import { GrammarBuilder, type GrammarNode, type GrammarObject, type GrammarProgram, Opcode } from "./program";
import type { Work } from "./work";

/** Native code refuses deeper nesting. What needs more can never be written, which is the same as having no text. */
export const DEEPEST_NESTING = 128;

export interface FinishOptions {
  /** The rule to start with. */
  start: number;
  /** What the error names when there is no text at all. */
  name: string;
  /** Programs that the grammar's `external` nodes name by index. */
  imports?: readonly GrammarProgram[];
  /** The node of an undeclared key that is none of `keys` (JSON texts, one character per byte). */
  keyExcept?: (builder: GrammarBuilder, keys: readonly string[]) => number;
}

/** @throws K2Error `invalid-argument` if the grammar has no text. */
export function* finishWork(builder: GrammarBuilder, options: FinishOptions): Work<GrammarProgram> {
  const heights = new Heights(builder);
  yield* heights.settle();
  if (heights.ofRule(options.start) === Infinity) {
    const expected = `a grammar with at least one text of at most ${DEEPEST_NESTING} nested levels`;
    const got = "one that nothing can satisfy";
    throw new K2Error("invalid-argument", `Expected ${expected} for ${options.name}, got ${got}`, {
      option: options.name,
      expected,
      got,
    });
  }
  const pruned = yield* prune(builder, heights, options);
  return { ...(yield* write(pruned.builder, pruned.start, pruned.heights)), imports: options.imports ?? [] };
}

/** Least number of nested containers of every node; Infinity where there is no text. */
class Heights {
  private readonly nodes: number[];
  private readonly rules: number[];

  constructor(private readonly builder: GrammarBuilder) {
    this.nodes = builder.nodes.map(() => Infinity);
    this.rules = builder.rules.map(() => Infinity);
  }

  ofRule(rule: number): number {
    return this.rules[rule]!;
  }

  ofNode(node: number): number {
    return this.nodes[node]!;
  }

  /** Heights only fall, from Infinity, and a node is looked at again only when something that it uses fell. */
  *settle(): Work<void> {
    const { nodes, rules } = this.builder;
    const usersOfNode: number[][] = nodes.map(() => []);
    const usersOfRule: number[][] = rules.map(() => []);
    const rulesOfNode: number[][] = nodes.map(() => []);
    for (const [rule, node] of rules.entries()) rulesOfNode[node]?.push(rule);
    for (const [id, node] of nodes.entries()) {
      yield;
      for (const child of node.children) usersOfNode[child]!.push(id);
      for (const rule of rulesUsed(node)) usersOfRule[rule]!.push(id);
    }
    // Children have smaller ids, so the first round goes upwards and settles almost everything.
    let pending: number[] = nodes.map((_, id) => id);
    while (pending.length > 0) {
      const next: number[] = [];
      for (const id of pending) {
        yield;
        const height = this.heightOf(nodes[id]!);
        if (height >= this.nodes[id]!) continue;
        this.nodes[id] = height;
        next.push(...usersOfNode[id]!);
        for (const rule of rulesOfNode[id]!) {
          this.rules[rule] = height;
          next.push(...usersOfRule[rule]!);
        }
      }
      pending = [...new Set(next)];
    }
  }

  private heightOf({ opcode, children, numbers, object }: GrammarNode): number {
    switch (opcode) {
      case Opcode.Fail:
        return Infinity;
      case Opcode.Seq:
        return children.reduce((most, child) => Math.max(most, this.nodes[child]!), 0);
      case Opcode.Alt:
        return children.reduce((least, child) => Math.min(least, this.nodes[child]!), Infinity);
      case Opcode.Repeat:
        return numbers[0] === 0 ? 0 : this.nodes[children[0]!]!;
      case Opcode.Rule:
        return this.rules[numbers[0]!]!;
      case Opcode.Next:
        return this.nodes[children[0]!]!;
      case Opcode.Deeper:
        return oneDeeper(this.nodes[children[0]!]!);
      case Opcode.Object:
        return oneDeeper(this.contentHeight(object!));
      default:
        return 0;
    }
  }

  /** The required members, and of the others the shallowest that `minProperties` still asks for. */
  private contentHeight({ members, additional, minProperties, maxProperties }: GrammarObject): number {
    const required = members.filter((member) => member.isRequired);
    const missing = minProperties - required.length;
    if (maxProperties !== -1 && Math.max(minProperties, required.length) > maxProperties) return Infinity;
    const others = members.filter((member) => !member.isRequired).map((member) => this.rules[member.rule]!);
    const height = required.reduce((most, member) => Math.max(most, this.rules[member.rule]!), 0);
    if (missing <= 0) return height;
    const declared = others.sort((a, b) => a - b)[missing - 1] ?? Infinity;
    // There are as many undeclared members as one likes.
    const undeclared = additional === -1 ? Infinity : this.rules[additional]!;
    return Math.max(height, Math.min(declared, undeclared));
  }
}

function oneDeeper(height: number): number {
  return height + 1 > DEEPEST_NESTING ? Infinity : height + 1;
}

function rulesUsed({ opcode, numbers, object }: GrammarNode): number[] {
  if (opcode === Opcode.Rule) return [numbers[0]!];
  if (object === undefined) return [];
  const rules = object.members.map((member) => member.rule);
  return object.additional === -1 ? rules : [...rules, object.additional];
}

/** Native code refuses nodes that nest deeper than 500: what is deeper than this becomes a rule. */
const DEEPEST_NODE = 100;

/** The same grammar without the parts that have no text, with equal rules made one, and with rules where nodes nest deeply. */
function* prune(from: GrammarBuilder, heights: Heights, { start, keyExcept }: FinishOptions) {
  const to = new GrammarBuilder();
  const ruleOf = new Map<number, number>();
  const firstRuleOfNode = new Map<number, number>();
  const kept: { from: number; to: number }[] = [];
  for (const [rule, node] of from.rules.entries()) {
    if (heights.ofRule(rule) === Infinity) continue;
    const same = firstRuleOfNode.get(node);
    const target = same ?? to.declareRule();
    ruleOf.set(rule, target);
    if (same !== undefined) continue;
    firstRuleOfNode.set(node, target);
    kept.push({ from: rule, to: target });
  }

  const nodeOf: number[] = [];
  const ruleHeights: number[] = [];
  const pruneObject = (object: GrammarObject): GrammarObject => {
    const members = object.members
      .filter((member) => ruleOf.has(member.rule))
      .map((member) => ({ ...member, rule: ruleOf.get(member.rule)! }));
    const additional = ruleOf.get(object.additional) ?? -1;
    const removed = object.members.filter((member) => !ruleOf.has(member.rule));
    let key = nodeOf[object.key]!;
    // A member that can never be written is still declared: it may not come back as an undeclared one.
    if (removed.length > 0 && additional !== -1 && keyExcept !== undefined) {
      const names = removed.map((member) => member.key);
      key = keyExcept(to, names);
    }
    return { ...object, ws: nodeOf[object.ws]!, key, additional, members };
  };
  const added = new Map<number, number>();
  const shallow = (child: number): number => {
    const node = nodeOf[child]!;
    if (to.nestingOf(node) < DEEPEST_NODE) return node;
    let rule = added.get(node);
    if (rule === undefined) {
      rule = to.addRule(node);
      added.set(node, rule);
      ruleHeights[rule] = heights.ofNode(child);
    }
    return to.rule(rule);
  };
  const copy = (node: GrammarNode): number => {
    const { opcode, numbers, text, object } = node;
    const children = node.children.map(shallow);
    switch (opcode) {
      case Opcode.Empty:
        return to.empty;
      case Opcode.Bytes:
        return to.bytes(...byteRanges(numbers));
      case Opcode.Literal:
        return to.byteLiteral(text);
      case Opcode.Seq:
        return to.seq(...children);
      case Opcode.Alt:
        return to.alt(...children);
      case Opcode.Repeat:
        return to.repeat(children[0]!, numbers[0]!, numbers[1]!);
      case Opcode.Rule:
        return to.rule(ruleOf.get(numbers[0]!)!);
      case Opcode.Deeper:
        return to.deeper(children[0]!);
      case Opcode.Object:
        return to.object(pruneObject(object!));
      case Opcode.Token:
        return to.token(numbers[0]!);
      case Opcode.AnyToken:
        return to.anyToken();
      case Opcode.External:
        return to.external(numbers[0]!);
      case Opcode.Index:
        return to.index();
      case Opcode.Next:
        return to.next(children[0]!);
      default:
        return to.fail;
    }
  };
  for (const [id, node] of from.nodes.entries()) {
    yield;
    nodeOf.push(heights.ofNode(id) === Infinity ? to.fail : copy(node));
  }
  for (const rule of kept) {
    to.defineRule(rule.to, nodeOf[from.rules[rule.from]!]!);
    ruleHeights[rule.to] = heights.ofRule(rule.from);
  }
  return { builder: to, start: ruleOf.get(start)!, heights: ruleHeights };
}

function byteRanges(words: readonly number[]): number[] {
  const ranges: number[] = [];
  for (let b = 0; b < 256; b++) if ((words[b >> 5]! >>> (b & 31)) & 1) ranges.push(b, b);
  return ranges;
}

/** Writes what the start reaches. */
function* write(
  builder: GrammarBuilder,
  start: number,
  heights: readonly number[],
): Work<Omit<GrammarProgram, "imports">> {
  const ruleIds = new Map<number, number>([[start, 0]]);
  const order = [start];
  const isUsed: boolean[] = builder.nodes.map(() => false);
  for (const rule of order) {
    const pending = [builder.rules[rule]!];
    for (let id = pending.pop(); id !== undefined; id = pending.pop()) {
      if (isUsed[id]) continue;
      yield;
      isUsed[id] = true;
      const node = builder.nodes[id]!;
      pending.push(...node.children);
      for (const used of rulesUsed(node)) {
        if (ruleIds.has(used)) continue;
        ruleIds.set(used, order.length);
        order.push(used);
      }
    }
  }

  const pool = new Pool();
  const code: number[] = [];
  const starts: number[] = [];
  const nodeIds: number[] = [];
  for (const [id, node] of builder.nodes.entries()) {
    if (!isUsed[id]) continue;
    yield;
    nodeIds[id] = starts.length;
    starts.push(code.length);
    code.push(node.opcode, ...operands(node, nodeIds, ruleIds, pool));
  }
  return {
    code: Float64Array.from(code),
    nodes: Uint32Array.from(starts),
    rules: Uint32Array.from(order, (rule) => nodeIds[builder.rules[rule]!]!),
    heights: Uint32Array.from(order, (rule) => heights[rule]!),
    pool: pool.bytes(),
  };
}

function operands(
  { opcode, children, numbers, text, object }: GrammarNode,
  nodeIds: readonly number[],
  ruleIds: ReadonlyMap<number, number>,
  pool: Pool,
): number[] {
  const nodes = children.map((child) => nodeIds[child]!);
  switch (opcode) {
    case Opcode.Literal:
      return [pool.place(text), text.length];
    case Opcode.Seq:
    case Opcode.Alt:
      return [nodes.length, ...nodes];
    case Opcode.Rule:
      return [ruleIds.get(numbers[0]!)!];
    case Opcode.Object: {
      const { additional, minProperties, maxProperties, members } = object!;
      const rule = additional === -1 ? -1 : ruleIds.get(additional)!;
      const operands = [...nodes, rule, minProperties, maxProperties, members.length];
      for (const { key, rule, isRequired } of members) {
        operands.push(pool.place(key), key.length, ruleIds.get(rule)!, isRequired ? 1 : 0);
      }
      return operands;
    }
    default:
      return [...nodes, ...numbers];
  }
}

/** The bytes of all literals and keys, equal ones once. */
class Pool {
  private readonly offsets = new Map<string, number>();
  private readonly texts: string[] = [];
  private length = 0;

  place(text: string): number {
    const known = this.offsets.get(text);
    if (known !== undefined) return known;
    const offset = this.length;
    this.offsets.set(text, offset);
    this.texts.push(text);
    this.length += text.length;
    return offset;
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.length);
    let at = 0;
    for (const text of this.texts) for (let i = 0; i < text.length; i++) bytes[at++] = text.charCodeAt(i);
    return bytes;
  }
}
