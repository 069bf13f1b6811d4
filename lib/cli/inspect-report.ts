// An inspection as a page for people.

import type { Checkpoint, Device, MemoryForecast, ModelConfig, SamplingOptions } from "../index";
import { columns, formatBytes, formatCount, formatInteger, plural, wrap } from "./format";
import { visible } from "./style";
import type { Output } from "./terminal";

export interface ContextForecast extends MemoryForecast {
  readonly contextTokens: number;
}

export interface TextFacts {
  readonly files: Checkpoint["textFiles"];
  readonly tokenizer: { readonly tokens: number; readonly controlTokens: number } | null;
  /** The family of the chat layout. */
  readonly chatLayout: string | null;
  /** Why tokenizer or chat layout are null. */
  readonly problem: string | null;
  /** Names are null without a tokenizer. */
  readonly stopTokens: readonly { readonly id: number; readonly name: string | null }[];
  readonly samplingDefaults: SamplingOptions;
}

/** What `k2 inspect --json` prints. Sizes are in bytes. */
export interface Inspection {
  readonly path: string;
  readonly config: ModelConfig;
  readonly files: readonly { readonly name: string; readonly bytes: number }[];
  readonly tensorCount: number;
  readonly weightBytes: number;
  readonly parameters: number;
  /** Those that take part in one token. */
  readonly activeParameters: number;
  readonly storageShares: Checkpoint["storageShares"];
  readonly text: TextFacts;
  readonly memory: readonly ContextForecast[];
  readonly devices: readonly Device[];
  /** Why there are no devices and no forecast, or null. */
  readonly unavailable: string | null;
}

const INDENT = "  ";

type Row = readonly [name: string, value: string];

export function inspectionReport(inspection: Inspection, output: Output): string[] {
  const { bold, dim } = output.style;
  const section = (title: string, lines: readonly string[]) => [
    "",
    bold(title),
    ...lines.map((line) => `${INDENT}${line}`),
  ];
  const lines = [
    bold(visible(inspection.path)),
    dim(overview(inspection)),
    ...section("Architecture", pairs(architecture(inspection), output)),
    ...section("Weights", weights(inspection)),
    ...section("Text", pairs(text(inspection.text), output)),
  ];
  if (inspection.unavailable !== null) return [...lines, ...section("Devices", [inspection.unavailable])];
  return [
    ...lines,
    ...section(
      `Memory of one conversation (this machine has ${formatBytes(memoryOf(inspection))})`,
      memory(inspection),
    ),
    ...section("Devices", pairs(inspection.devices.map(device), output)),
  ];
}

function overview({ config, files, tensorCount, weightBytes }: Inspection): string {
  const { model_type, wrapper_model_type: wrapper } = config;
  const family = wrapper === null ? model_type : `${model_type} in ${wrapper}`;
  const amounts = [plural(files.length, "file"), plural(tensorCount, "tensor"), formatBytes(weightBytes)];
  return visible([family, ...amounts].join(" · "));
}

function architecture({ config, parameters, activeParameters }: Inspection): Row[] {
  const c = config;
  const query = c.q_lora_rank === null ? "full query" : `query rank ${formatInteger(c.q_lora_rank)}`;
  const rows: Row[] = [
    ["parameters", `${formatCount(parameters)}, ${formatCount(activeParameters)} for each token`],
    ["layers", `${c.num_hidden_layers}, hidden size ${formatInteger(c.hidden_size)}`],
    [
      "attention",
      `${c.num_attention_heads} heads, latent ${c.kv_lora_rank} + rope ${c.qk_rope_head_dim}, ${query}`,
    ],
  ];
  if (c.n_routed_experts > 0) {
    const shared = c.n_shared_experts > 0 ? `, ${c.n_shared_experts} shared` : "";
    const width = `width ${formatInteger(c.moe_intermediate_size)}`;
    rows.push([
      "experts",
      `${c.num_experts_per_tok} of ${c.n_routed_experts} for each token${shared}, ${width}`,
    ]);
    const groups = c.n_group > 1 ? `, ${c.topk_group} of ${c.n_group} groups` : "";
    rows.push(["router", `${c.scoring_func}, ${c.topk_method}${groups}`]);
  }
  rows.push(["vocabulary", `${formatInteger(c.vocab_size)} tokens`]);
  const yarn = c.rope_scaling;
  const scaling =
    yarn === null ? "" : ` (YaRN: ${yarn.factor} x ${formatInteger(yarn.original_max_position_embeddings)})`;
  rows.push(["context", `${formatInteger(c.max_position_embeddings)} tokens${scaling}`]);
  return rows;
}

function weights({ storageShares, weightBytes, parameters }: Inspection): string[] {
  const rows = storageShares.map(({ part, storage, weights: count, parameters: amount, bytes }) => [
    part,
    storage,
    formatInteger(count),
    formatCount(amount),
    formatBytes(bytes),
    `${((100 * bytes) / weightBytes).toFixed(1)} %`,
  ]);
  const count = storageShares.reduce((sum, share) => sum + share.weights, 0);
  const total = [
    "all",
    "",
    formatInteger(count),
    formatCount(parameters),
    formatBytes(weightBytes),
    "100.0 %",
  ];
  const head = ["part", "stored as", "weights", "parameters", "size", "share"];
  return columns([head, ...rows, total], [2, 3, 4, 5]);
}

function text({ files, tokenizer, chatLayout, problem, stopTokens, samplingDefaults }: TextFacts): Row[] {
  const found = Object.values(files).filter((path) => path !== null);
  const rows: Row[] = [["files", found.map((path) => path.replace(/^.*[\\/]/, "")).join(", ") || "none"]];
  if (tokenizer !== null) {
    const { tokens, controlTokens } = tokenizer;
    rows.push([
      "tokenizer",
      `${formatInteger(tokens)} tokens, ${formatInteger(controlTokens)} control tokens`,
    ]);
  }
  if (chatLayout !== null) rows.push(["chat layout", chatLayout]);
  if (problem !== null) rows.push(["problem", visible(problem)]);
  if (stopTokens.length > 0) rows.push(["stop tokens", stopTokens.map(stopToken).join(", ")]);
  const { temperature, topP } = samplingDefaults;
  if (temperature !== undefined) rows.push(["temperature", String(temperature)]);
  if (topP !== undefined) rows.push(["top-p", String(topP)]);
  return rows;
}

function memory({ memory: forecasts }: Inspection): string[] {
  const rows = forecasts.map((one) => [
    formatInteger(one.contextTokens),
    formatBytes(one.weightsBytes),
    formatBytes(one.cacheBytes),
    formatBytes(one.prefixCacheBytes),
    formatBytes(one.scratchBytes),
    formatBytes(one.totalBytes),
    one.fits ? "fits" : one.runs ? "from disk" : "too large",
  ]);
  const lines = columns(
    [["context", "weights", "cache", "prefix cache", "scratch", "together", ""], ...rows],
    [0, 1, 2, 3, 4, 5],
  );
  const fromDisk = forecasts.filter((one) => one.runs && !one.fits);
  if (fromDisk.length > 0) {
    const least = Math.min(...fromDisk.map((one) => one.expertMemoryBytes));
    const held = least > 0 ? `; at least ${formatBytes(least)} of memory hold some of the experts` : "";
    lines.push(`from disk: weights are read again while the model runs, which is slow${held}`);
  }
  return lines;
}

function memoryOf({ memory: forecasts }: Inspection): number {
  return forecasts[0]?.memoryBytes ?? 0;
}

function device({ name, isAvailable, reason, isas }: Device): Row {
  if (!isAvailable) return [name, `not available: ${reason}`];
  return [name, isas.length === 0 ? "available" : `kernels ${isas.join(", ")}`];
}

function stopToken({ id, name }: TextFacts["stopTokens"][number]): string {
  return name === null ? String(id) : `${visible(name)} ${id}`;
}

/** Two columns. On a terminal a long value goes on below itself. */
function pairs(rows: readonly Row[], output: Output): string[] {
  const left = Math.max(0, ...rows.map(([name]) => name.length));
  const room = output.isTerminal ? output.columns - INDENT.length - left - 2 : Number.POSITIVE_INFINITY;
  return columns(
    rows.flatMap(([name, value]) => wrap(value, room).map((line, i) => [i === 0 ? name : "", line])),
  );
}
