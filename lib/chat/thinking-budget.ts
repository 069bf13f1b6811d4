// What ends a thinking block whose budget is used up.

import type { Segment } from "../template/segments";

/** What the model reads as its own last thought; cut off in the middle it would think on. */
const MESSAGE = "\n\nThat is enough thinking. I will answer now.\n";

/** @param isFirst The message is said once; a block that the model opens again is closed without it. */
export function endOfThinking(isFirst: boolean): Segment[] {
  const close: Segment = { kind: "control", name: "</think>" };
  return isFirst ? [{ kind: "template", text: MESSAGE }, close] : [close];
}
