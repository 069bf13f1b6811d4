// What a grammar is made of, as JSON text: read from the caller's value once and bounded, so that nothing later meets a
// cycle, a getter or endless depth. Another thread takes a text at no cost, and equal texts have equal grammars.

import { invalidArgument } from "../check";
import type { Work } from "./work";

const DEEPEST = 256;
/** Values and characters together. */
const LARGEST = 500_000;

/** The place of a member in error messages. */
export function memberPath(path: string, key: string): string {
  return /^[\w$-]+$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key.slice(0, 60))}]`;
}

/**
 * The JSON text of a value. Members that are undefined are left out.
 * @throws K2Error `invalid-argument` that names the place of what is not JSON data.
 */
export function* sourceText(value: unknown, name: string): Work<string> {
  const writer = new Writer(name);
  yield* writer.write(value, name, 0);
  return writer.finish();
}

/** Pieces joined at a time: one text of all of them would be put together in one long step at its first use. */
const PIECES = 1000;

class Writer {
  private text = "";
  private pieces: string[] = [];
  private left = LARGEST;

  constructor(private readonly name: string) {}

  finish(): string {
    return this.text + this.pieces.join("");
  }

  *write(value: unknown, path: string, depth: number): Work<void> {
    yield;
    if (typeof value !== "object" || value === null) {
      this.scalar(value, path);
      return;
    }
    if (depth === DEEPEST) throw invalidArgument(`at most ${DEEPEST} levels of nesting`, this.name, "more");
    this.count(1);
    if (Array.isArray(value)) yield* this.list(value, path, depth);
    else yield* this.members(value as Record<string, unknown>, path, depth);
  }

  private *list(list: readonly unknown[], path: string, depth: number): Work<void> {
    this.put("[");
    for (let i = 0; i < list.length; i++) {
      if (i > 0) this.put(",");
      yield* this.write(list[i], `${path}[${i}]`, depth + 1);
    }
    this.put("]");
  }

  private *members(object: Readonly<Record<string, unknown>>, path: string, depth: number): Work<void> {
    let before = "{";
    for (const key of Object.keys(object)) {
      this.count(key.length);
      if (/\p{Cs}/u.test(key)) throw invalidArgument("well-formed keys", path, key);
      const value = object[key];
      if (value === undefined) continue;
      this.put(`${before}${JSON.stringify(key)}:`);
      before = ",";
      yield* this.write(value, memberPath(path, key), depth + 1);
    }
    this.put(before === "{" ? "{}" : "}");
  }

  private scalar(value: unknown, path: string): void {
    this.count(typeof value === "string" ? value.length + 1 : 1);
    const isJson =
      value === null || typeof value === "boolean" || typeof value === "string" || Number.isFinite(value);
    if (!isJson) throw invalidArgument("JSON data", path, value);
    if (typeof value === "string" && /\p{Cs}/u.test(value))
      throw invalidArgument("well-formed text", path, value);
    this.put(JSON.stringify(value));
  }

  private put(piece: string): void {
    if (this.pieces.push(piece) < PIECES) return;
    this.text += this.pieces.join("");
    this.pieces = [];
  }

  private count(size: number): void {
    this.left -= size;
    if (this.left >= 0) return;
    throw invalidArgument("a smaller schema", this.name, `more than ${LARGEST} values and characters`);
  }
}
