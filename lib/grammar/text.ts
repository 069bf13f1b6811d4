// Grammars of plain text: a regular expression, a list of choices, and any JSON object.

import { invalidArgument, requireArray, requireString } from "../check";
import { regexNode } from "./automaton";
import { plainText } from "./code-points";
import { finishWork } from "./finish";
import { oneOfTexts } from "./json-text";
import { GrammarBuilder, type GrammarProgram, utf8 } from "./program";
import { parseRegex, wholeMatch } from "./regex";
import { compileSchema } from "./schema";
import { finishAtOnce, type Work } from "./work";

/** Plain text that the pattern matches from its first to its last character, with or without anchors. */
export function compileRegex(pattern: unknown, name: string): GrammarProgram {
  return finishAtOnce(regexWork(pattern, name));
}

/** The same in small steps. */
export function* regexWork(pattern: unknown, name: string): Work<GrammarProgram> {
  const builder = new GrammarBuilder();
  const regex = wholeMatch(parseRegex(requireString(pattern, name), name), false, name);
  return yield* finishWork(builder, { start: builder.addRule(regexNode(builder, regex, plainText)), name });
}

/** Exactly one of the texts. */
export function compileChoice(choices: unknown, name: string): GrammarProgram {
  return finishAtOnce(choiceWork(choices, name));
}

/** The same in small steps. */
export function* choiceWork(choices: unknown, name: string): Work<GrammarProgram> {
  const builder = new GrammarBuilder();
  const texts: string[] = [];
  for (const [i, choice] of requireArray(choices, name).entries()) {
    yield;
    const text = requireString(choice, `${name}[${i}]`);
    if (/\p{Cs}/u.test(text)) throw invalidArgument("well-formed text", `${name}[${i}]`, text);
    texts.push(utf8(text));
  }
  if (texts.length === 0) throw invalidArgument("at least one choice", name, choices);
  return yield* finishWork(builder, { start: builder.addRule(yield* oneOfTexts(builder, texts)), name });
}

/** Any JSON object. */
export function compileJson(): GrammarProgram {
  return compileSchema({ type: "object" }, "responseFormat");
}
