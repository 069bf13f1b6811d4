// Grammars of schemas, patterns and lists of choices that were compiled before. They depend on no model, so one cache
// serves the whole process.

import { aborted } from "../check";
import type { GrammarSource } from "../grammar/compile";
import type { GrammarProgram } from "../grammar/program";
import { sourceText } from "../grammar/source-text";
import { finishInSlices } from "../grammar/work";
import { compileAside } from "./compile-thread";

/** Most memory of the cached programs. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Least recently used first. */
const cache = new Map<string, GrammarProgram>();
let cachedBytes = 0;

/** A source that is being compiled, and how many wait for it. */
interface Compiling {
  readonly program: Promise<GrammarProgram>;
  readonly abort: AbortController;
  waiting: number;
}
const compiling = new Map<string, Compiling>();

/**
 * The source of a grammar. The value is read in slices of about 1 ms, the first of them at once: one of common size is read
 * before the call returns, a larger one must not change until the promise settles.
 * @throws K2Error `invalid-argument` that names the place of what is not JSON data.
 */
export async function readSource(
  kind: GrammarSource["kind"],
  value: unknown,
  name: string,
): Promise<GrammarSource> {
  return { kind, text: await finishInSlices(sourceText(value, name)), name };
}

/**
 * The grammar of a source, from the cache where an equal one was compiled before. Requests for equal sources share the
 * work; it ends early when all of them are aborted.
 * @throws K2Error `invalid-argument` that names the place of what cannot be enforced, `aborted`, and `out-of-memory`.
 */
export async function prepareGrammar(source: GrammarSource, signal?: AbortSignal): Promise<GrammarProgram> {
  if (signal?.aborted) throw aborted(signal);
  const text = source.kind + source.text;
  const known = cached(text);
  if (known !== undefined) return known;
  // Errors name the place of the source, so requests under other names do not share them.
  const key = `${source.name}\n${text}`;
  const work = compiling.get(key) ?? start(key, text, source);
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

function start(key: string, text: string, source: GrammarSource): Compiling {
  const abort = new AbortController();
  const program = compileAside(source, abort.signal).then((made) => keep(text, made));
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
