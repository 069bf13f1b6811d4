// The slow twin of the grammar matcher: writes random texts of a program straight from the contract of its opcodes, by
// choosing among the parts of each node. Depth falls towards the shallowest rules, so that it always ends.

import { type GrammarProgram, Opcode } from "../../lib/grammar/program";

/** A random text (one character per byte), or undefined where a text would be too long to write. */
export function randomText(program: GrammarProgram, random: () => number): string | undefined {
  const { code, nodes, rules, heights, pool } = program;
  const words = (offset: number, length: number) =>
    String.fromCharCode(...pool.subarray(offset, offset + length));
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
  let isTooLong = false;
  const ruleHeight = (node: number): number => {
    const at = nodes[node]!;
    if (code[at] === Opcode.Rule) return heights[rules.length > 0 ? code[at + 1]! : 0]!;
    return 0;
  };
  const write = (node: number, depth: number): string => {
    const at = nodes[node]!;
    const operand = (i: number) => code[at + 1 + i]!;
    switch (code[at]) {
      case Opcode.Empty:
        return "";
      case Opcode.Bytes: {
        const bytes = Array.from({ length: 256 }, (_, b) => b).filter(
          (b) => (operand(b >> 5) >>> (b & 31)) & 1,
        );
        return String.fromCharCode(pick(bytes));
      }
      case Opcode.Literal:
        return words(operand(0), operand(1));
      case Opcode.Seq:
        return Array.from({ length: operand(0) }, (_, i) => write(operand(1 + i), depth)).join("");
      case Opcode.Alt: {
        const parts = Array.from({ length: operand(0) }, (_, i) => operand(1 + i));
        const least = Math.min(...parts.map(ruleHeight));
        return write(pick(depth < 4 ? parts : parts.filter((part) => ruleHeight(part) === least)), depth);
      }
      case Opcode.Repeat: {
        const [part, lo, hi] = [operand(0), operand(1), operand(2)];
        let count = lo;
        while ((hi === -1 || count < hi) && depth < 6 && random() < 0.6) count += 1;
        if (count > 2000) isTooLong = true;
        return isTooLong ? "" : Array.from({ length: count }, () => write(part, depth)).join("");
      }
      case Opcode.Rule:
        return write(rules[operand(0)]!, depth);
      case Opcode.Deeper:
        return write(operand(0), depth + 1);
      case Opcode.Object: {
        const [ws, key, additional, least, most, n] = Array.from({ length: 6 }, (_, i) =>
          operand(i),
        ) as number[];
        const members = Array.from({ length: n! }, (_, i) => {
          const [offset, length, rule, required] = [0, 1, 2, 3].map((j) => operand(6 + 4 * i + j));
          return { key: words(offset!, length!), rule: rule!, isRequired: required === 1 };
        });
        const limit = most === -1 ? Number.POSITIVE_INFINITY : most!;
        const chosen = members.filter((member) => member.isRequired);
        const others = members.filter((member) => !member.isRequired).sort(() => random() - 0.5);
        others.sort((a, b) => (depth < 4 ? 0 : heights[a.rule]! - heights[b.rule]!));
        const isDeeper = (rule: number) => additional !== -1 && heights[additional!]! < heights[rule]!;
        for (const member of others) {
          if (depth >= 4 && isDeeper(member.rule)) break;
          const isNeeded = chosen.length < least!;
          if (chosen.length < limit && (isNeeded || (depth < 4 && random() < 0.5))) chosen.push(member);
        }
        const taken = new Set(members.map((member) => member.key));
        const isWanted = () => chosen.length < least! || (depth < 3 && random() < 0.5);
        while (additional !== -1 && chosen.length < limit && isWanted()) {
          // As at the top, where keys have random lengths: there must be a new one.
          let name = write(key!, 0);
          while (taken.has(name)) name = write(key!, 0);
          taken.add(name);
          chosen.push({ key: name, rule: additional!, isRequired: false });
        }
        chosen.sort(() => random() - 0.5);
        const space = () => write(ws!, depth + 1);
        const texts = chosen.map(
          (member) => `${member.key}${space()}:${space()}${write(rules[member.rule]!, depth + 1)}`,
        );
        const content = texts.map((text) => `${text}${space()}`).join(`,${space()}`);
        return `{${space()}${content}}`;
      }
      default:
        throw new Error(`no text for opcode ${code[at]}`);
    }
  };
  const text = write(rules[0]!, 0);
  return isTooLong ? undefined : text;
}

/** The text of bytes; throws where they are not UTF-8. */
export function decodeBytes(bytes: string): string {
  const array = Uint8Array.from(bytes, (byte) => byte.charCodeAt(0));
  return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(array);
}
