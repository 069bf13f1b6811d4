// Grammars on their way to the engine: the vocabulary goes there once, and every grammar is read by native code once, however
// many decodes use it.

import type { NativeEngine, NativeGrammar } from "../addon/contract";
import { invalidArgument } from "../check";
import type { GrammarProgram } from "../grammar/program";
import { TimeSlice } from "../time-slice";

/** The ordinary tokens as the engine takes them: token i has the bytes [offsets[i], offsets[i + 1]) of the pool. */
export interface TokenTable {
  pool: Uint8Array;
  offsets: Uint32Array;
}

/** The grammars of one engine. */
export class Grammars {
  private readonly handles = new WeakMap<GrammarProgram, NativeGrammar>();
  private ready: Promise<void> | undefined;

  /** @param readTokens Rejects where the model has no tokenizer. */
  constructor(
    private readonly engine: NativeEngine,
    private readonly readTokens: () => Promise<TokenTable>,
  ) {}

  /** The grammar as the engine knows it. */
  async prepare(program: GrammarProgram): Promise<NativeGrammar> {
    this.ready ??= this.sendTokens();
    try {
      await this.ready;
    } catch (error) {
      this.ready = undefined;
      throw error;
    }
    // Those of twenty large tools together would hold the thread for milliseconds.
    const slice = new TimeSlice("reading a grammar");
    for (const imported of program.imports) {
      this.handleOf(imported);
      if (slice.isOver) await slice.pause();
    }
    return this.handleOf(program);
  }

  private async sendTokens(): Promise<void> {
    const { pool, offsets } = await this.readTokens();
    this.engine.setVocabulary(pool, offsets);
  }

  private handleOf(program: GrammarProgram): NativeGrammar {
    const known = this.handles.get(program);
    if (known !== undefined) return known;
    const imports = program.imports.map((imported) => this.handleOf(imported));
    const handle = this.engine.createGrammar({ ...program, imports });
    this.handles.set(program, handle);
    return handle;
  }
}

/** Whether a value has the form of a grammar; native code checks what it holds. */
export function checkGrammar(value: unknown): GrammarProgram | undefined {
  if (value === undefined) return undefined;
  const { code, imports } = (value ?? {}) as Partial<GrammarProgram>;
  if (code instanceof Float64Array && Array.isArray(imports)) return value as GrammarProgram;
  throw invalidArgument("a grammar of createGrammar", "grammar", value);
}
