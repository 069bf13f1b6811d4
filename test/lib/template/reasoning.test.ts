import { describe, expect, it } from "vitest";
import { withReasoningApart } from "../../../lib/template/reasoning";

function apart(content: string | null, reasoning?: string, promptOpens = false): [string, string] {
  const given = reasoning === undefined ? {} : { reasoning_content: reasoning };
  const result = withReasoningApart({ role: "assistant", content, ...given }, promptOpens);
  return [result.reasoning, result.content];
}

describe("withReasoningApart", () => {
  it.each<[string, string | null, [string, string]]>([
    ["no block", "answer", ["", "answer"]],
    ["nothing", null, ["", ""]],
    ["a block", "<think>r</think>answer", ["r", "answer"]],
    ["a block behind white space", "\n <think>r</think>\n\nanswer", ["r", "\n\nanswer"]],
    ["a block that was cut off", "<think>r and", ["r and", ""]],
    [
      "tags that the answer is about",
      "The tag <think> opens, </think> closes.",
      ["", "The tag <think> opens, </think> closes."],
    ],
    ["a closing tag alone", "r</think>answer", ["", "r</think>answer"]],
    ["a second block, which is text", "<think>r</think>a<think>b</think>", ["r", "a<think>b</think>"]],
  ])("finds %s", (_, content, expected) => {
    expect(apart(content)).toEqual(expected);
  });

  it("takes a closing tag alone for the end of a block that the prompt opened", () => {
    expect(apart("r</think>answer", undefined, true)).toEqual(["r", "answer"]);
    expect(apart("<think>r</think>answer", undefined, true)).toEqual(["r", "answer"]);
    expect(apart("answer", undefined, true)).toEqual(["", "answer"]);
  });

  it("leaves content beside reasoning_content as it is, and takes tags off the reasoning", () => {
    expect(apart("<think>a</think>b", "r", true)).toEqual(["r", "<think>a</think>b"]);
    expect(apart("b", "<think>r</think>\n")).toEqual(["r", "b"]);
    expect(apart("b", "<think>r")).toEqual(["r", "b"]);
    expect(apart("b", "r</think>x")).toEqual(["r</think>x", "b"]);
    expect(apart("<think>a</think>b", "")).toEqual(["a", "b"]);
  });
});
