// Where the text model's tensors hang: published checkpoints put "model." in front, multimodal wrappers one more level.

import type { ExpectedWeight } from "./expected-weights";
import type { TensorTable } from "./tensor-table";

export interface TensorLayout {
  /** Prefix of everything but the head. */
  readonly body: string;
  /** Module name of the head. */
  readonly head: string;
}

const LAYOUTS: readonly TensorLayout[] = [
  { body: "model.", head: "lm_head" },
  { body: "language_model.model.", head: "language_model.lm_head" },
  { body: "model.language_model.", head: "lm_head" },
];

/** The layout of a checkpoint: the one whose embedding exists, or else the plain one. */
export function findLayout(table: TensorTable): TensorLayout {
  const holds = ({ body }: TensorLayout) => {
    const prefix = Buffer.from(`${body}embed_tokens.weight`);
    return table.find(prefix, 0, prefix.length) >= 0;
  };
  return LAYOUTS.find(holds) ?? LAYOUTS[0]!;
}

/** Full name of a weight's module, without `.weight`. */
export function moduleName(layout: TensorLayout, weight: ExpectedWeight): string {
  if (weight.module === "lm_head") return layout.head;
  return weight.layer < 0
    ? layout.body + weight.module
    : `${layout.body}layers.${weight.layer}.${weight.module}`;
}
