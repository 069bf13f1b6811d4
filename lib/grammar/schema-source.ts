// The schema, and the place of everything in it, for `$ref` and for messages.

import { invalidArgument } from "../check";
import { memberPath } from "./source-text";
import type { Work } from "./work";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** A schema within the schema, and where it stands. */
export interface SchemaRef {
  readonly value: Json;
  readonly path: string;
}

export class SchemaSource {
  readonly root: SchemaRef;
  private readonly ids = new Map<Json, number>();
  /** Places by `$id`, and by address and `$anchor`. */
  private readonly named = new Map<string, SchemaRef>();
  private readonly bases = new Map<Json, string>();
  private rootBase = "";

  private constructor(value: Json, name: string) {
    this.root = { value, path: name };
  }

  static *read(schema: Json, name: string): Work<SchemaSource> {
    const source = new SchemaSource(schema, name);
    yield* source.readNames();
    return source;
  }

  /** Equal for the same place of the schema, however it was reached. */
  idOf({ value }: SchemaRef): string {
    if (typeof value === "boolean") return String(value);
    let id = this.ids.get(value);
    if (id === undefined) {
      id = this.ids.size;
      this.ids.set(value, id);
    }
    return String(id);
  }

  keywords({ value, path }: SchemaRef): Readonly<Record<string, Json>> {
    if (typeof value === "object" && value !== null && !Array.isArray(value))
      return value as Record<string, Json>;
    throw invalidArgument("a schema (an object or a boolean)", path, value);
  }

  child(schema: SchemaRef, key: string): SchemaRef | undefined {
    const value = this.keywords(schema)[key];
    return value === undefined ? undefined : { value, path: memberPath(schema.path, key) };
  }

  list(schema: SchemaRef, key: string): readonly SchemaRef[] | undefined {
    const list = this.child(schema, key);
    if (list === undefined) return undefined;
    if (!Array.isArray(list.value)) throw invalidArgument("an array of schemas", list.path, list.value);
    return list.value.map((value: Json, i: number) => ({ value, path: `${list.path}[${i}]` }));
  }

  children(schema: SchemaRef, key: string): ReadonlyMap<string, SchemaRef> | undefined {
    const map = this.child(schema, key);
    if (map === undefined) return undefined;
    const entries = Object.entries(this.keywords(map));
    return new Map(entries.map(([name, value]) => [name, { value, path: memberPath(map.path, name) }]));
  }

  /** The target of the schema's `$ref`: a place of this schema, by its pointer, its `$anchor` or its `$id`. */
  resolve(schema: SchemaRef): SchemaRef {
    const reference = this.keywords(schema).$ref;
    const path = memberPath(schema.path, "$ref");
    if (typeof reference !== "string") throw invalidArgument("a string", path, reference);
    const [address, fragment = ""] = split(absolute(reference, this.bases.get(schema.value) ?? ""));
    const resource = address === split(this.rootBase)[0] ? this.root : this.named.get(address);
    if (resource === undefined) throw invalidArgument("a $ref to a place of this schema", path, reference);
    if (fragment !== "" && !fragment.startsWith("/")) {
      const anchored = this.named.get(`${address}#${fragment}`);
      if (anchored === undefined) throw invalidArgument("a $ref to a place of this schema", path, reference);
      return anchored;
    }
    let target = resource;
    for (const part of fragment === "" ? [] : fragment.slice(1).split("/")) {
      const key = unescapePointer(part);
      const container = target.value as Readonly<Record<string, Json>> | null;
      if (typeof container !== "object" || container === null || !Object.hasOwn(container, key)) {
        throw invalidArgument("a $ref to a place of this schema", path, reference);
      }
      target = { value: container[key]!, path: memberPath(target.path, key) };
    }
    return target;
  }

  /** Notes which names each place has, and to what address its references are relative. */
  private *readNames(): Work<void> {
    const pending = [{ at: this.root, base: "", isMap: false }];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      yield;
      const { value, path } = next.at;
      if (typeof value !== "object" || value === null) continue;
      let { base } = next;
      const { $id, $anchor } = next.isMap ? {} : (value as Record<string, Json>);
      if (typeof $id === "string" && $id.startsWith("#")) {
        // An anchor of draft 7.
        if ($id !== "#") this.addName(split(base)[0] + $id, next.at);
      } else if (typeof $id === "string") {
        base = absolute($id, base);
        if (next.at === this.root) this.rootBase = base;
        else this.addName(split(base)[0], next.at);
      }
      if (typeof $anchor === "string") this.addName(`${split(base)[0]}#${$anchor}`, next.at);
      this.bases.set(value, base);
      for (const [key, item] of Object.entries(value)) {
        // In values a $id is data, and in maps of schemas a name.
        if (DATA.has(key) && !next.isMap) continue;
        const at = { value: item, path: memberPath(path, key) };
        pending.push({ at, base, isMap: MAPS.has(key) && !next.isMap });
      }
    }
  }

  private addName(name: string, at: SchemaRef): void {
    const other = this.named.get(name);
    if (other !== undefined) throw invalidArgument(`another name than that of ${other.path}`, at.path, name);
    this.named.set(name, at);
  }
}

const DATA: ReadonlySet<string> = new Set(["enum", "const", "default", "examples"]);
const MAPS: ReadonlySet<string> = new Set(["properties", "$defs", "definitions"]);

/** Address and fragment. */
function split(uri: string): [string, string?] {
  const at = uri.indexOf("#");
  return at === -1 ? [uri] : [uri.slice(0, at), uri.slice(at + 1)];
}

/** The reference seen from an address. Addresses that are no URIs are taken as they are. */
function absolute(reference: string, base: string): string {
  if (reference.startsWith("#")) return split(base)[0] + reference;
  try {
    return new URL(reference, base).href;
  } catch {
    return reference;
  }
}

function unescapePointer(part: string): string {
  const text = part.replaceAll("~1", "/").replaceAll("~0", "~");
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
