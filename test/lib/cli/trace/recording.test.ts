// Which tokens of a timeline the model wrote, when calls and their results stand in between.

import { describe, expect, it } from "vitest";
import { AnswerMarks } from "../../../../lib/cli/trace/recording";
import type { View } from "../../../../lib/cli/view";
import type { StreamPart, Usage } from "../../../../lib/index";

const seen: StreamPart[] = [];
const view: View = { begin() {}, part: (part) => void seen.push(part), result() {}, end() {}, fail() {} };

function finish(promptTokens: number, completionTokens: number, cachedTokens: number): StreamPart {
  const usage: Usage = {
    promptTokens,
    completionTokens,
    cachedTokens,
    reasoningTokens: 0,
    insertedTokens: 0,
    totalTokens: promptTokens + completionTokens,
  };
  return { type: "finish", finishReason: "stop", usage };
}

const writtenOf = (marks: AnswerMarks, to: number) =>
  Array.from({ length: to }, (_, position) => position).filter((position) => marks.isWritten(position));

describe("marks", () => {
  it("begin where the first answer begins, and leave out what was read in between", () => {
    const marks = new AnswerMarks(view);
    expect(marks.start).toBeUndefined();
    marks.part({ type: "text-delta", text: "x" });
    marks.part(finish(4, 3, 0));
    marks.part(finish(9, 2, 7));
    expect(marks.start).toBe(4);
    expect(writtenOf(marks, 20)).toEqual([4, 5, 6, 9, 10]);
    expect(seen).toHaveLength(3);
  });

  it("what was laid out anew counts as read", () => {
    const marks = new AnswerMarks(view);
    marks.part(finish(4, 3, 0));
    marks.part(finish(9, 2, 5));
    expect(writtenOf(marks, 20)).toEqual([4, 9, 10]);
    marks.part(finish(8, 1, 2));
    expect(marks.start).toBe(8);
    expect(writtenOf(marks, 20)).toEqual([8]);
  });

  it("an answer without tokens has no place", () => {
    const marks = new AnswerMarks(view);
    marks.part(finish(4, 0, 0));
    expect(marks.start).toBeUndefined();
  });
});
