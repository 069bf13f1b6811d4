// A grammar's source, whatever kind it is of, and the one function that compiles it.

import type { GrammarProgram } from "./program";
import { schemaWork } from "./schema";
import type { Json } from "./schema-source";
import { choiceWork, regexWork } from "./text";
import type { Work } from "./work";

export interface GrammarSource {
  readonly kind: "schema" | "regex" | "choice";
  /** The JSON text of the schema, the pattern or the list of choices. */
  readonly text: string;
  /** The place of the source in error messages. */
  readonly name: string;
}

/** @throws K2Error `invalid-argument` that names the place of what cannot be enforced. */
export function* compileWork({ kind, text, name }: GrammarSource): Work<GrammarProgram> {
  const value = JSON.parse(text) as Json;
  switch (kind) {
    case "schema":
      return yield* schemaWork(value, name);
    case "regex":
      return yield* regexWork(value, name);
    case "choice":
      return yield* choiceWork(value, name);
  }
}
