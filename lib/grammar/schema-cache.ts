// Grammars of schemas that were compiled before. They depend on no model, so one cache serves the whole process.

import type { GrammarProgram } from "./program";
import { compileSchema } from "./schema";

/** Most memory of the cached programs. */
const MOST_BYTES = 64 * 1024 * 1024;

/** Least recently used first. */
const cache = new Map<string, GrammarProgram>();
let cachedBytes = 0;

/** What `compileSchema` gives, from the cache where an equal schema was compiled before. */
export function schemaGrammar(schema: unknown, name: string): GrammarProgram {
  const text = JSON.stringify(schema);
  const known = cache.get(text);
  if (known !== undefined) {
    cache.delete(text);
    cache.set(text, known);
    return known;
  }
  const program = compileSchema(schema, name);
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
