// Grammars of plain text: a regular expression, a list of choices, and any JSON object.

import { invalidArgument, requireArray, requireString } from "../check";
import { regexNode } from "./automaton";
import { plainText } from "./code-points";
import { finishProgram } from "./finish";
import { oneOfTexts } from "./json-text";
import { GrammarBuilder, type GrammarProgram, utf8 } from "./program";
import { parseRegex, wholeMatch } from "./regex";
import { compileSchema } from "./schema";
import { finishAtOnce } from "./work";

/** Plain text that the pattern matches from its first to its last character, with or without anchors. */
export function compileRegex(pattern: unknown, name: string): GrammarProgram {
  const builder = new GrammarBuilder();
  const regex = wholeMatch(parseRegex(requireString(pattern, name), name), false, name);
  return finishProgram(builder, { start: builder.addRule(regexNode(builder, regex, plainText)), name });
}

/** Exactly one of the texts. */
export function compileChoice(choices: unknown, name: string): GrammarProgram {
  const builder = new GrammarBuilder();
  const texts = requireArray(choices, name).map((choice, i) => {
    const text = requireString(choice, `${name}[${i}]`);
    if (/\p{Cs}/u.test(text)) throw invalidArgument("well-formed text", `${name}[${i}]`, text);
    return utf8(text);
  });
  if (texts.length === 0) throw invalidArgument("at least one choice", name, choices);
  return finishProgram(builder, { start: builder.addRule(finishAtOnce(oneOfTexts(builder, texts))), name });
}

/** Any JSON object. */
export function compileJson(): GrammarProgram {
  return compileSchema({ type: "object" }, "responseFormat");
}
