// Grammars of schemas that were compiled before. They depend on no model, so one cache serves the whole process.

import { aborted } from "../check";
import type { GrammarProgram } from "./program";
import { compileSchema, schemaWork } from "./schema";
import { finishInSlices } from "./work";

/** Most memory of the cached programs. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Least recently used first. */
const cache = new Map<string, GrammarProgram>();
let cachedBytes = 0;

/** A schema that is being compiled, and how many wait for it. */
interface Compiling {
  readonly program: Promise<GrammarProgram>;
  readonly abort: AbortController;
  waiting: number;
}
const compiling = new Map<string, Compiling>();

/** What `compileSchema` gives, from the cache where an equal schema was compiled before. */
export function schemaGrammar(schema: unknown, name: string): GrammarProgram {
  const text = keyOf(schema, name);
  return cached(text) ?? keep(text, compileSchema(schema, name));
}

/**
 * The same in slices of about 1 ms. Requests for equal schemas share the work; it ends early when all of them are aborted.
 * The schema must not change meanwhile.
 * @throws K2Error as `compileSchema`, and `aborted`.
 */
export async function prepareSchemaGrammar(
  schema: unknown,
  name: string,
  signal?: AbortSignal,
): Promise<GrammarProgram> {
  if (signal?.aborted) throw aborted(signal);
  const text = keyOf(schema, name);
  const known = cached(text);
  if (known !== undefined) return known;
  // Errors name the place of the schema, so requests under other names do not share them.
  const key = `${name}\n${text}`;
  const work = compiling.get(key) ?? start(key, text, schema, name);
  work.waiting += 1;
  try {
    return await orAborted(work.program, signal);
  } finally {
    work.waiting -= 1;
    if (work.waiting === 0) {
      compiling.delete(key);
      work.abort.abort();
    }
  }
}

function start(key: string, text: string, schema: unknown, name: string): Compiling {
  const abort = new AbortController();
  const program = finishInSlices(schemaWork(schema, name), abort.signal).then((made) => keep(text, made));
  const work = { program, abort, waiting: 0 };
  // When nobody waits any more, nobody sees the failure either; a later request then begins anew.
  program.catch(() => {});
  compiling.set(key, work);
  return work;
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  let stop = () => {};
  const stopped = new Promise<never>((_, reject) => {
    stop = () => reject(aborted(signal));
    signal.addEventListener("abort", stop);
  });
  try {
    return await Promise.race([promise, stopped]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** The text of a schema that has one; others are refused where they are compiled, with their place. */
function keyOf(schema: unknown, name: string): string {
  try {
    return JSON.stringify(schema, onlyJson) ?? "";
  } catch {
    compileSchema(schema, name);
    return "";
  }
}

/** Keeps what JSON would write like something else from looking like it. */
function onlyJson(_key: string, value: unknown): unknown {
  const isOther = typeof value === "number" ? !Number.isFinite(value) : value === undefined;
  return isOther ? { "not JSON": String(value) } : value;
}

function cached(text: string): GrammarProgram | undefined {
  const known = cache.get(text);
  if (known === undefined) return undefined;
  cache.delete(text);
  cache.set(text, known);
  return known;
}

function keep(text: string, program: GrammarProgram): GrammarProgram {
  // Two requests under different names may both have compiled it.
  const known = cached(text);
  if (known !== undefined) return known;
  cache.set(text, program);
  cachedBytes += bytesOf(text, program);
  for (const [oldest, old] of cache) {
    if (cachedBytes <= MOST_BYTES) break;
    cache.delete(oldest);
    cachedBytes -= bytesOf(oldest, old);
  }
  return program;
}

/** With as much again in native code. */
function bytesOf(text: string, program: GrammarProgram): number {
  const arrays = [program.code, program.nodes, program.rules, program.heights, program.pool];
  return 2 * text.length + 2 * arrays.reduce((sum, array) => sum + array.byteLength, 0);
}
