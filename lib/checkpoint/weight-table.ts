// From config and headers to the table that native code maps: one row of numbers per weight, in the order of the
// forward pass. Nothing is used before its name, type, shape and place were checked.

import { WEIGHT_FIELDS, WeightField, WeightSlot, type WeightTable } from "../addon/contract";
import type { TimeSlice } from "../time-slice";
import { expectedWeights } from "./expected-weights";
import type { CheckpointFile } from "./faults";
import { checkLeftovers } from "./leftover-tensors";
import type { ModelConfig } from "./model-config";
import { type StorageShare, StorageShares } from "./storage-shares";
import { findLayout, moduleName } from "./tensor-layout";
import type { TensorTable } from "./tensor-table";
import { WeightForms } from "./weight-forms";

export interface CheckedWeights {
  readonly weightTable: WeightTable;
  /** Bytes of all weights of the text model with their scales, each counted once. */
  readonly weightBytes: number;
  readonly storageShares: readonly StorageShare[];
}

/**
 * Checks every tensor against the config. `origin` is the file that a missing tensor is reported for. `onBytes` is
 * called now and then with the weight bytes checked so far.
 */
export async function buildWeightTable(
  config: ModelConfig,
  table: TensorTable,
  files: readonly CheckpointFile[],
  origin: CheckpointFile,
  slice: TimeSlice,
  onBytes: (bytes: number) => void,
): Promise<CheckedWeights> {
  const layout = findLayout(table);
  const forms = new WeightForms({ table, files, origin, blockSize: config.weight_block_size });
  const shares = new StorageShares();
  slice.onPause = () => onBytes(shares.bytes);
  // Every row needs a tensor of its own, so that there cannot be more rows; what stays unused costs no memory.
  const rows = new Float64Array((table.count + 2) * WEIGHT_FIELDS);
  let count = 0;
  for (const weights of expectedWeights(config)) {
    for (const weight of weights) {
      forms.resolve(weight, moduleName(layout, weight), rows, count * WEIGHT_FIELDS);
      shares.add(rows, count * WEIGHT_FIELDS);
      count++;
      if (slice.isOver) await slice.pause();
    }
  }
  if (config.tie_word_embeddings) {
    rows.copyWithin(count * WEIGHT_FIELDS, 0, WEIGHT_FIELDS);
    rows[count * WEIGHT_FIELDS + WeightField.Slot] = WeightSlot.Head;
    count++;
  }
  await checkLeftovers({ config, layout, table, files }, slice);
  return {
    weightTable: { files: files.map((file) => file.path), rows: rows.subarray(0, count * WEIGHT_FIELDS) },
    weightBytes: shares.bytes,
    storageShares: shares.list(),
  };
}
