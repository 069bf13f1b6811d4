// Tensors that no weight of the table uses. Some are known not to matter (vision towers, multi-token prediction,
// rope leftovers, cache scales); every other one would silently change the result, and is refused by name.

import type { K2Error } from "../errors";
import type { TimeSlice } from "../time-slice";
import { type CheckpointFile, damaged, unsupported } from "./faults";
import type { ModelConfig } from "./model-config";
import type { TensorLayout } from "./tensor-layout";
import type { TensorTable } from "./tensor-table";

/** Leftovers of the rope of other attention kinds, and scales of a quantised KV cache, which this engine has not. */
const IGNORED = /\.(?:rotary_emb\.inv_freq|k_scale|v_scale|kv_scale)$/;

/** Tensors that only multi-token prediction layers have. */
const PREDICTION_MARKS = ["eh_proj.weight", "eh_proj.weight_packed", "enorm.weight", "hnorm.weight"];

const UNSUPPORTED: readonly (readonly [suffix: RegExp, meaning: string])[] = [
  [/\.bias$/, "a bias"],
  [/\.weight_zero_point$/, "asymmetric quantisation"],
  [/\.weight_g_idx$/, "columns in activation order"],
  [/\.(?:input_scale|output_scale)$/, "static activation scales"],
  [/\.weight_global_scale$/, "a quantisation with global scales"],
];

export interface LeftoverContext {
  readonly config: ModelConfig;
  readonly layout: TensorLayout;
  readonly table: TensorTable;
  readonly files: readonly CheckpointFile[];
}

/** Throws for the first unused tensor that may not be ignored. */
export async function checkLeftovers(context: LeftoverContext, slice: TimeSlice): Promise<void> {
  const { table } = context;
  const predictionLayers = new Map<number, boolean>();
  for (let id = 0; id < table.count; id++) {
    if (slice.isOver) await slice.pause();
    if (table.used[id] !== 0) continue;
    const name = table.name(id);
    if (isIgnored(context, name, predictionLayers)) continue;
    throw refusal(context, id, name);
  }
}

function isIgnored(context: LeftoverContext, name: string, predictionLayers: Map<number, boolean>): boolean {
  const { config, layout } = context;
  if (IGNORED.test(name)) return true;
  if (name.startsWith(`${layout.head}.`)) return config.tie_word_embeddings;
  if (!name.startsWith(layout.body)) {
    // Under a wrapper everything outside of the text model belongs to other modalities.
    return config.wrapper_model_type !== null || layout.body !== "model.";
  }
  const layer = layerOf(name, layout);
  if (layer < config.num_hidden_layers) return false;
  let isPrediction = predictionLayers.get(layer);
  if (isPrediction === undefined) {
    isPrediction = isPredictionLayer(context, layer);
    predictionLayers.set(layer, isPrediction);
  }
  return isPrediction;
}

/**
 * Layers behind the last one predict further tokens. The config counts them; where it does not, their own tensors
 * tell. A layer that is neither means that `num_hidden_layers` is wrong, and dropping it would change the result.
 */
function isPredictionLayer({ config, layout, table }: LeftoverContext, layer: number): boolean {
  const { num_hidden_layers, num_nextn_predict_layers } = config;
  if (num_nextn_predict_layers > 0) return layer < num_hidden_layers + num_nextn_predict_layers;
  return PREDICTION_MARKS.some((mark) => {
    const name = Buffer.from(`${layout.body}layers.${layer}.${mark}`);
    return table.find(name, 0, name.length) >= 0;
  });
}

/** The layer that a text tensor belongs to, or -1. */
function layerOf(name: string, layout: TensorLayout): number {
  const match = /^layers\.(\d{1,9})\./.exec(name.slice(layout.body.length));
  return match === null ? -1 : Number(match[1]);
}

function refusal({ config, layout, table, files }: LeftoverContext, id: number, name: string): K2Error {
  const place = { file: files[table.file[id]!]!, tensor: name };
  const layer = layerOf(name, layout);
  if (layer >= config.num_hidden_layers) {
    const expected = `a layer below num_hidden_layers ${config.num_hidden_layers}`;
    return damaged({ ...place, expected, got: `layer ${layer}` });
  }
  const expert = /\.mlp\.experts\.(\d{1,9})\./.exec(name);
  if (expert !== null && Number(expert[1]) >= config.n_routed_experts) {
    const expected = `an expert below n_routed_experts ${config.n_routed_experts}`;
    return damaged({ ...place, expected, got: `expert ${expert[1]}` });
  }
  const known = UNSUPPORTED.find(([suffix]) => suffix.test(name));
  return unsupported({
    ...place,
    expected: "only tensors of the DeepSeek-V3 graph",
    got: known?.[1] ?? "one that the config does not ask for",
  });
}
