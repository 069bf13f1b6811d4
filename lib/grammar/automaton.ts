// A regular expression as nodes, as a matcher, and with a bound on its length. Nodes keep the shape of the tree; a bound on
// a tree of variable length needs the positions of Glushkov's automaton, each with a count of the code points so far.

import { invalidArgument } from "../check";
import { type CodePointSet, type CodePointWriter, contains } from "./code-points";
import { type GrammarBuilder, NO_LIMIT } from "./program";
import type { Regex } from "./regex";
import type { Work } from "./work";

export function regexNode(builder: GrammarBuilder, regex: Regex, write: CodePointWriter): number {
  switch (regex.kind) {
    case "set":
      return write(builder, regex.set);
    case "seq":
      return builder.seq(...regex.parts.map((part) => regexNode(builder, part, write)));
    case "alt":
      return builder.alt(...regex.parts.map((part) => regexNode(builder, part, write)));
    case "repeat":
      return builder.repeat(regexNode(builder, regex.part, write), regex.lo, regex.hi);
    default:
      return builder.empty;
  }
}

/** Least and most code points; Infinity for no limit. */
export function lengthsOf(regex: Regex): { lo: number; hi: number } {
  switch (regex.kind) {
    case "set":
      return { lo: 1, hi: 1 };
    case "seq": {
      const parts = regex.parts.map(lengthsOf);
      return { lo: sum(parts.map((part) => part.lo)), hi: sum(parts.map((part) => part.hi)) };
    }
    case "alt": {
      const parts = regex.parts.map(lengthsOf);
      return { lo: Math.min(...parts.map((part) => part.lo)), hi: Math.max(...parts.map((part) => part.hi)) };
    }
    case "repeat": {
      const part = lengthsOf(regex.part);
      const most = regex.hi === NO_LIMIT ? Infinity : regex.hi;
      return { lo: part.lo * regex.lo, hi: part.hi === 0 || most === 0 ? 0 : part.hi * most };
    }
    default:
      return { lo: 0, hi: 0 };
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}

/** Copies of positions beyond this are refused: quantifiers multiply. */
const MOST_POSITIONS = 2000;
/** Transitions of a bounded automaton, over all lengths. */
const MOST_TRANSITIONS = 25_000;

/** Positions are the sets of the tree, quantifiers unrolled; position -1 is the beginning. */
export class Automaton {
  private readonly sets: CodePointSet[] = [];
  private readonly follow: Set<number>[] = [];
  private readonly first: Set<number>;
  private readonly last: Set<number>;

  constructor(
    regex: Regex,
    private readonly name: string,
  ) {
    const whole = this.read(regex);
    this.first = new Set(whole.first);
    this.last = new Set(whole.isNullable ? [...whole.last, -1] : whole.last);
  }

  matches(text: string): boolean {
    let states = new Set([-1]);
    for (const character of text) {
      const next = new Set<number>();
      for (const state of states) {
        for (const to of this.next(state))
          if (contains(this.sets[to]!, character.codePointAt(0)!)) next.add(to);
      }
      states = next;
    }
    return [...states].some((state) => this.last.has(state));
  }

  /** Whether `bounded` can count to these lengths. */
  canCount(lo: number, hi: number): boolean {
    const transitions = sum(this.follow.map((to) => to.size)) + this.first.size;
    return transitions * (hi === Infinity ? lo : hi) <= MOST_TRANSITIONS;
  }

  /** The texts of `lo` to `hi` code points; `canCount` must hold. */
  *bounded(builder: GrammarBuilder, write: CodePointWriter, lo: number, hi: number): Work<number> {
    const states = [-1, ...this.sets.keys()];
    const sets = this.sets.map((set) => write(builder, set));
    // From the last count to the first. Without an upper limit the last count stands for all later ones, in rules.
    const rules = new Map(hi === Infinity ? states.map((state) => [state, builder.declareRule()]) : []);
    let later = new Map([...rules].map(([state, rule]) => [state, builder.rule(rule)]));
    const layer = (count: number) => {
      const nodes = states.map((state): [number, number] => {
        const parts = [...this.next(state)].map((to) =>
          builder.seq(sets[to]!, later.get(to) ?? builder.fail),
        );
        const end = this.last.has(state) && count >= lo ? builder.empty : builder.fail;
        return [state, builder.alt(end, ...parts)];
      });
      return new Map(nodes);
    };
    if (hi === Infinity) for (const [state, node] of layer(lo)) builder.defineRule(rules.get(state)!, node);
    for (let count = hi === Infinity ? lo - 1 : hi; count >= 0; count--) {
      later = layer(count);
      yield;
    }
    return later.get(-1)!;
  }

  private next(state: number): ReadonlySet<number> {
    return state === -1 ? this.first : this.follow[state]!;
  }

  private read(regex: Regex): Part {
    switch (regex.kind) {
      case "set": {
        const position = this.sets.push(regex.set) - 1;
        if (position >= MOST_POSITIONS)
          throw invalidArgument("a pattern with smaller quantifiers", this.name, "more");
        this.follow.push(new Set());
        return { first: [position], last: [position], isNullable: false };
      }
      case "alt": {
        const parts = regex.parts.map((part) => this.read(part));
        return {
          first: parts.flatMap((part) => part.first),
          last: parts.flatMap((part) => part.last),
          isNullable: parts.some((part) => part.isNullable),
        };
      }
      case "seq":
        return regex.parts.reduce<Part>((before, part) => this.join(before, this.read(part)), NOTHING);
      case "repeat":
        return this.unroll(regex.part, regex.lo, regex.hi);
      default:
        return NOTHING;
    }
  }

  private unroll(part: Regex, lo: number, hi: number): Part {
    let whole = NOTHING;
    const copies = hi === NO_LIMIT ? Math.max(lo, 1) : hi;
    if (copies > MOST_POSITIONS)
      throw invalidArgument("a pattern with smaller quantifiers", this.name, copies);
    for (let i = 0; i < copies; i++) {
      const copy = this.read(part);
      if (hi === NO_LIMIT && i === copies - 1) this.connect(copy.last, copy.first);
      whole = this.join(whole, i >= lo ? { ...copy, isNullable: true } : copy);
    }
    return whole;
  }

  private join(left: Part, right: Part): Part {
    this.connect(left.last, right.first);
    return {
      first: left.isNullable ? [...left.first, ...right.first] : left.first,
      last: right.isNullable ? [...left.last, ...right.last] : right.last,
      isNullable: left.isNullable && right.isNullable,
    };
  }

  private connect(from: readonly number[], to: readonly number[]): void {
    for (const position of from) for (const next of to) this.follow[position]!.add(next);
  }
}

interface Part {
  first: readonly number[];
  last: readonly number[];
  isNullable: boolean;
}

const NOTHING: Part = { first: [], last: [], isNullable: true };
