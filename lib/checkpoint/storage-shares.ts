// What a checkpoint is made of: number and bytes of weights by part of the model and by storage, for `k2 inspect`.

import { Storage, WeightField, WeightSlot } from "../addon/contract";

/** A part of the model, as `k2 inspect` adds weights up. */
export type ModelPart =
  | "embedding and head"
  | "attention"
  | "dense"
  | "router"
  | "shared"
  | "experts"
  | "norms";

/** Weights of one part in one storage. `bytes` includes their scales. */
export interface StorageShare {
  readonly part: ModelPart;
  /** `BF16`, `F16`, `F32`, `FP8 128x128` or `INT4 group 32`. */
  readonly storage: string;
  readonly weights: number;
  readonly parameters: number;
  readonly bytes: number;
}

const PART: Readonly<Record<WeightSlot, ModelPart>> = {
  [WeightSlot.Embed]: "embedding and head",
  [WeightSlot.FinalNorm]: "norms",
  [WeightSlot.Head]: "embedding and head",
  [WeightSlot.InputNorm]: "norms",
  [WeightSlot.PostAttentionNorm]: "norms",
  [WeightSlot.Q]: "attention",
  [WeightSlot.QA]: "attention",
  [WeightSlot.QANorm]: "norms",
  [WeightSlot.QB]: "attention",
  [WeightSlot.KvA]: "attention",
  [WeightSlot.KvANorm]: "norms",
  [WeightSlot.KvB]: "attention",
  [WeightSlot.O]: "attention",
  [WeightSlot.DenseGate]: "dense",
  [WeightSlot.DenseUp]: "dense",
  [WeightSlot.DenseDown]: "dense",
  [WeightSlot.Router]: "router",
  [WeightSlot.RouterBias]: "router",
  [WeightSlot.SharedGate]: "shared",
  [WeightSlot.SharedUp]: "shared",
  [WeightSlot.SharedDown]: "shared",
  [WeightSlot.ExpertGate]: "experts",
  [WeightSlot.ExpertUp]: "experts",
  [WeightSlot.ExpertDown]: "experts",
};

/** A share with the numbers that decide whether a row belongs to it. */
interface Entry {
  readonly share: { -readonly [Key in keyof StorageShare]: StorageShare[Key] };
  readonly storage: number;
  readonly blockRows: number;
  readonly blockColumns: number;
}

/** Collects rows of the weight table. */
export class StorageShares {
  private readonly entries: Entry[] = [];
  private latest: Entry | undefined;
  /** Bytes of all weights with their scales. */
  bytes = 0;

  /** Adds the row that begins at `rows[start]`. */
  add(rows: Float64Array, start: number): void {
    const part = PART[rows[start + WeightField.Slot]! as WeightSlot];
    const belongs = ({ share, storage, blockRows, blockColumns }: Entry) =>
      share.part === part &&
      storage === rows[start + WeightField.Storage] &&
      blockRows === rows[start + WeightField.BlockRows] &&
      blockColumns === rows[start + WeightField.BlockColumns];
    // Neighbours mostly belong together, and even a trillion parameters have a handful of shares.
    if (this.latest === undefined || !belongs(this.latest)) {
      this.latest = this.entries.find(belongs) ?? this.begin(part, rows, start);
    }
    const { share } = this.latest;
    const bytes = rows[start + WeightField.Bytes]! + Math.max(0, rows[start + WeightField.ScaleBytes]!);
    share.weights++;
    share.parameters += rows[start + WeightField.Rows]! * rows[start + WeightField.Columns]!;
    share.bytes += bytes;
    this.bytes += bytes;
  }

  /** Largest first. */
  list(): StorageShare[] {
    return this.entries.map((entry) => entry.share).sort((a, b) => b.bytes - a.bytes);
  }

  private begin(part: ModelPart, rows: Float64Array, start: number): Entry {
    const storage = rows[start + WeightField.Storage]!;
    const blockRows = rows[start + WeightField.BlockRows]!;
    const blockColumns = rows[start + WeightField.BlockColumns]!;
    const text = storageText(storage, blockRows, blockColumns);
    const share = { part, storage: text, weights: 0, parameters: 0, bytes: 0 };
    const entry = { share, storage, blockRows, blockColumns };
    this.entries.push(entry);
    return entry;
  }
}

function storageText(storage: Storage, blockRows: number, blockColumns: number): string {
  switch (storage) {
    case Storage.Bf16:
      return "BF16";
    case Storage.F16:
      return "F16";
    case Storage.F32:
      return "F32";
    case Storage.F8E4m3:
      return `FP8 ${blockRows}x${blockColumns}`;
    case Storage.Int4:
      return `INT4 group ${blockColumns}`;
  }
}
