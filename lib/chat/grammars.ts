// The grammars of a chat's answers: made at the first answer that needs them, kept for the next.

import { prepareGrammar, readSource } from "../compile/grammar-cache";
import type { GrammarProgram } from "../grammar/program";
import { finishInSlices } from "../grammar/work";
import type { JsonObject } from "../template/json";
import type { ToolDefinition } from "../template/tool-definition";
import { CALL_MARKERS, type CallableTool, type ThinkingState, turnWork } from "../tools/turn-grammar";
import type { ChatEngine } from "./engine";
import type { Turn } from "./options";
import type { ParsedFormat } from "./response-format";

/** Grammars of different answers that a chat keeps. */
const MOST_GRAMMARS = 16;
/** Of a tool that declares no parameters. */
const NO_PARAMETERS = { type: "object", properties: {}, additionalProperties: false };
const ANY_OBJECT = { type: "object" };

export class ChatGrammars {
  private readonly known = new Map<string, GrammarProgram>();
  private readonly formats = new Map<ParsedFormat, number>();

  constructor(
    private readonly engine: ChatEngine,
    private readonly tools: readonly ToolDefinition[],
  ) {}

  /**
   * The grammar of an answer; undefined where everything may be said.
   * @throws K2Error `invalid-argument` for a schema that cannot be enforced.
   */
  async of(turn: Turn, thinking: ThinkingState, signal: AbortSignal): Promise<GrammarProgram | undefined> {
    const { toolChoice, strict, parallelToolCalls, format } = turn;
    const mustCall = toolChoice === "required" || typeof toolChoice === "object";
    if (format === undefined && !mustCall) {
      if (!strict && toolChoice !== "none") return undefined;
      // A layout without calls.
      if (this.engine.tokenizer.controlId(CALL_MARKERS[0]) === undefined) return undefined;
    }
    const key = JSON.stringify([toolChoice, strict, parallelToolCalls, this.indexOf(format), thinking]);
    const known = this.known.get(key);
    if (known !== undefined) return known;
    const { tokenizer, vocabSize, stopTokens } = this.engine;
    const work = turnWork({
      tokenizer,
      vocabSize,
      endTokens: stopTokens,
      tools: await this.callable(turn, signal),
      mustCall,
      isParallel: parallelToolCalls,
      format: await format?.compile(signal),
      thinking,
    });
    const program = await finishInSlices(work, signal);
    if (this.known.size === MOST_GRAMMARS) this.known.clear();
    this.known.set(key, program);
    return program;
  }

  private async callable({ toolChoice, strict }: Turn, signal: AbortSignal): Promise<CallableTool[]> {
    if (toolChoice === "none") return [];
    const chosen = typeof toolChoice === "object" ? toolChoice.function.name : undefined;
    const callable: CallableTool[] = [];
    for (const [i, { function: tool }] of this.tools.entries()) {
      const { name, parameters, strict: isStrict = true } = tool;
      if (chosen !== undefined && name !== chosen) continue;
      const path = `tools[${i}].function.parameters`;
      const schema = parameters === undefined ? NO_PARAMETERS : withType(parameters);
      const wanted = strict && isStrict ? schema : ANY_OBJECT;
      const source = await readSource("schema", wanted, path);
      callable.push({ name, parameters: await prepareGrammar(source, signal) });
    }
    return callable;
  }

  private indexOf(format: ParsedFormat | undefined): number {
    if (format === undefined) return -1;
    let index = this.formats.get(format);
    if (index === undefined) {
      if (this.formats.size === MOST_GRAMMARS) {
        this.formats.clear();
        this.known.clear();
      }
      index = this.formats.size;
      this.formats.set(format, index);
    }
    return index;
  }
}

/** Parameters that do not say what they are, are an object. */
function withType(parameters: JsonObject): JsonObject {
  return SAY_WHAT_THEY_ARE.some((key) => Object.hasOwn(parameters, key))
    ? parameters
    : { type: "object", ...parameters };
}

const SAY_WHAT_THEY_ARE = ["type", "enum", "const", "allOf", "anyOf", "oneOf", "$ref"];
