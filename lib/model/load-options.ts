// The options of `loadModel`: their checks, their defaults, and their native form.

import { availableParallelism } from "node:os";
import type { EngineOptions, NativeBackend } from "../addon/contract";
import { checkSignal, invalidArgument, refuseUnknownKeys, requireObject } from "../check";
import { K2Error } from "../errors";
import { checkPath } from "../session/files";
import { type ChatTemplateName, TEMPLATE_NAMES } from "../template/choose-template";

/** How far loading has come. */
export interface LoadProgress {
  /** `index`, `headers` and `check` read the checkpoint, `tokenizer` its text files, `map` hands it to the engine. */
  phase: "index" | "headers" | "check" | "tokenizer" | "map";
  bytes: number;
  total: number;
}

/** Options of `loadModel`. Unknown ones are errors. */
export interface LoadOptions {
  /**
   * "auto" (default) takes the best that is available and was run on hardware: "cpu". "reference" is slow and exact, for
   * comparison. "cuda" is for NVIDIA's GPUs and "metal" for Macs; both were verified in an emulator alone (docs/cuda.md,
   * docs/metal.md), and are `unavailable` elsewhere.
   */
  device?: "auto" | "cpu" | "cuda" | "metal" | "reference";
  /** Threads that compute; 1..1024. Default: the machine's cores. Does not change any result. */
  threads?: number;
  /**
   * Most tokens of one session; 1..16777216. Default: the model's own limit, at most 32768. Cache memory is taken as a
   * session grows.
   */
  contextTokens?: number;
  /** The form of attention: "auto" (default) goes by the length of each call; the others fix it. See docs/numerics.md. */
  attention?: "auto" | "absorbed" | "expanded";
  /**
   * What cached positions are kept in. "bf16" (default) rounds to 16 bits, as the models were trained; "int8" keeps latents
   * in 8 bits with a scale for every 128 columns: 0.57 of the memory for K2, and logits that differ a little
   * (docs/numerics.md says how much). Files of sessions are for the type that made them. The reference device rounds
   * alike and saves no memory.
   */
  cacheType?: "bf16" | "int8";
  /** Forces a set of CPU kernels by name (`listDevices()` names them). Default: the best for this processor. */
  isa?: string;
  /**
   * What the inputs of INT4 weights are rounded to. "16-bit" (default) is what such checkpoints were trained with. "int8"
   * makes long prompts faster, and less exact: each 32 numbers share a scale, and the largest of them decides how coarse the
   * others become. It changes results; docs/numerics.md says by how much. Not with the device "reference".
   */
  activations?: "16-bit" | "int8";
  /** Most tokens of one forward step; 1..65536, default 512. Does not change any result. */
  batchTokens?: number;
  /**
   * The chat layout, where the checkpoint does not tell the right one. "auto" (default) goes by its template text and its
   * control tokens; "jinja" runs the template text itself. See docs/formats.md.
   */
  chatTemplate?: "auto" | ChatTemplateName;
  /**
   * Most memory for pages of prompts and answers that sessions may share after those that computed them went on or ended;
   * 0 (default): they share nothing but by `fork`. Does not change any result, only the time that a known beginning takes.
   */
  prefixCacheBytes?: number;
  /**
   * A directory for such pages that outlives the process: after a restart a known beginning is read from there and not
   * computed. Made where there is none; may be shared by processes and checkpoints. Its files tell what was talked about,
   * and are readable by their owner only. Pages that wait to be written take at most 2 GiB of memory. Default: none. Does
   * not change any result.
   */
  prefixCacheDirectory?: string;
  /** Most bytes of the files in `prefixCacheDirectory`; the least recently used go first. Default: 8 GiB. */
  prefixCacheDirectoryBytes?: number;
  /**
   * "auto" (default): decoding guesses further tokens where the latest ones occurred before on the timeline, and computes
   * them in the same forward pass, where guesses of this session came true often enough for what such passes were measured
   * to take, and no other session shares the pass. "off": one token a pass. Does not change any result.
   */
  speculation?: "auto" | "off";
  /**
   * Where routed experts are while the model runs. "mapped": where the files are mapped, like all other weights. A number:
   * in so many bytes of memory, into which they are read from disk as they are needed, past the page cache; at least the
   * experts of one token, and no more is taken than all of them need. "auto" (default): mapped where the model fits into
   * memory; where it does not, in nine tenths of memory less everything else. Does not change any result.
   */
  expertMemory?: "auto" | "mapped" | number;
  /**
   * Most bytes for copies of mapped routed experts in INT4, in a form that the CPU reads up to twice as fast. An expert is
   * copied on the way, when it is first used by up to four tokens at once. "auto" (default): half of what nine tenths of
   * memory leave after everything else; 0: none. Does not change any result.
   */
  expertCopyBytes?: "auto" | number;
  /** Told how far loading has come. What it throws ends loading. */
  onProgress?: (progress: LoadProgress) => void;
  /** Rejects loading with `aborted`. */
  signal?: AbortSignal;
}

/** What a machine has to compute with. */
export interface Device {
  name: string;
  isAvailable: boolean;
  /** Why it is not available; empty when it is. */
  reason: string;
  /** Names for `isa`, best first. */
  isas: string[];
}

export interface CheckedLoadOptions {
  /** All but what depends on the model. */
  engine: Omit<EngineOptions, "contextTokens" | "expertMemoryBytes" | "expertCopyBytes">;
  contextTokens: number | undefined;
  expertMemory: "auto" | "mapped" | number;
  expertCopyBytes: "auto" | number;
  /** undefined: as the checkpoint says. */
  chatTemplate: ChatTemplateName | undefined;
  onProgress: ((progress: LoadProgress) => void) | undefined;
  signal: AbortSignal | undefined;
}

const KEYS: ReadonlySet<string> = new Set<keyof LoadOptions>([
  "device",
  "threads",
  "contextTokens",
  "attention",
  "cacheType",
  "isa",
  "activations",
  "batchTokens",
  "chatTemplate",
  "prefixCacheBytes",
  "prefixCacheDirectory",
  "prefixCacheDirectoryBytes",
  "speculation",
  "expertMemory",
  "expertCopyBytes",
  "onProgress",
  "signal",
]);
const ATTENTION = { auto: 0, absorbed: 1, expanded: 2 } as const;
const ACTIVATIONS = { "16-bit": 0, int8: 1 } as const;
const CACHE_TYPE = { bf16: 0, int8: 1 } as const;
const SPECULATION = { auto: 0, off: 1 } as const;
const DEFAULT_CONTEXT = 32_768;
const DEFAULT_BATCH = 512;
const DEFAULT_DIRECTORY_BYTES = 8 * 2 ** 30;

export function toDevices(backends: readonly NativeBackend[]): Device[] {
  return backends.map(({ name, available, reason, kernels }) => ({
    name,
    isAvailable: available,
    reason,
    isas: kernels,
  }));
}

/** @throws K2Error `invalid-argument` naming the option; `unavailable` for a device that cannot be used here. */
export function checkLoadOptions(value: unknown, devices: readonly Device[]): CheckedLoadOptions {
  const options = requireObject(value, "options");
  refuseUnknownKeys(options, KEYS, "options");
  const integer = (name: keyof LoadOptions, most: number, least = 1) => {
    const got = options[name];
    if (got === undefined) return undefined;
    if (typeof got === "number" && Number.isInteger(got) && got >= least && got <= most) return got;
    throw invalidArgument(`an integer of ${least}..${most}`, name, got);
  };
  const {
    device: deviceName = "auto",
    attention = "auto",
    cacheType = "bf16",
    isa = "",
    activations = "16-bit",
    speculation = "auto",
    onProgress,
  } = options;
  const device = chooseDevice(deviceName, devices);
  if (typeof attention !== "string" || !Object.hasOwn(ATTENTION, attention)) {
    throw invalidArgument(`one of ${Object.keys(ATTENTION).join(", ")}`, "attention", attention);
  }
  if (typeof activations !== "string" || !Object.hasOwn(ACTIVATIONS, activations)) {
    throw invalidArgument(`one of ${Object.keys(ACTIVATIONS).join(", ")}`, "activations", activations);
  }
  if (device.name === "reference" && activations !== "16-bit") {
    throw invalidArgument("16-bit with the device reference", "activations", activations);
  }
  if (typeof cacheType !== "string" || !Object.hasOwn(CACHE_TYPE, cacheType)) {
    throw invalidArgument(`one of ${Object.keys(CACHE_TYPE).join(", ")}`, "cacheType", cacheType);
  }
  if (typeof speculation !== "string" || !Object.hasOwn(SPECULATION, speculation)) {
    throw invalidArgument(`one of ${Object.keys(SPECULATION).join(", ")}`, "speculation", speculation);
  }
  if (isa !== "" && !device.isas.includes(isa as string)) {
    throw invalidArgument(`one of ${device.isas.join(", ")} on this machine`, "isa", isa);
  }
  const directory =
    options.prefixCacheDirectory === undefined
      ? ""
      : checkPath(options.prefixCacheDirectory, "prefixCacheDirectory");
  if (directory === "" && options.prefixCacheDirectoryBytes !== undefined) {
    const got = options.prefixCacheDirectoryBytes;
    throw invalidArgument("undefined without prefixCacheDirectory", "prefixCacheDirectoryBytes", got);
  }
  if (onProgress !== undefined && typeof onProgress !== "function") {
    throw invalidArgument("a function", "onProgress", onProgress);
  }
  return {
    engine: {
      device: device.name,
      threads: integer("threads", 1024) ?? Math.min(availableParallelism(), 1024),
      isa: isa as string,
      activations: ACTIVATIONS[activations as keyof typeof ACTIVATIONS],
      attention: ATTENTION[attention as keyof typeof ATTENTION],
      cacheType: CACHE_TYPE[cacheType as keyof typeof CACHE_TYPE],
      batchTokens: integer("batchTokens", 65_536) ?? DEFAULT_BATCH,
      prefixCacheBytes: integer("prefixCacheBytes", Number.MAX_SAFE_INTEGER, 0) ?? 0,
      prefixCacheDirectory: directory,
      prefixCacheDirectoryBytes:
        integer("prefixCacheDirectoryBytes", Number.MAX_SAFE_INTEGER) ?? DEFAULT_DIRECTORY_BYTES,
      speculation: SPECULATION[speculation as keyof typeof SPECULATION],
    },
    contextTokens: integer("contextTokens", 1 << 24),
    expertMemory: checkExpertMemory(options.expertMemory),
    expertCopyBytes:
      options.expertCopyBytes === "auto"
        ? "auto"
        : (integer("expertCopyBytes", Number.MAX_SAFE_INTEGER, 0) ?? "auto"),
    chatTemplate: checkChatTemplate(options.chatTemplate),
    onProgress: onProgress as CheckedLoadOptions["onProgress"],
    signal: checkSignal(options.signal),
  };
}

function checkExpertMemory(value: unknown): CheckedLoadOptions["expertMemory"] {
  if (value === undefined) return "auto";
  if (value === "auto" || value === "mapped") return value;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 1) return value;
  throw invalidArgument("auto, mapped or an integer of at least 1", "expertMemory", value);
}

export function defaultContext(maxPositions: number): number {
  return Math.min(maxPositions, DEFAULT_CONTEXT);
}

/** @throws K2Error `invalid-argument` */
export function checkChatTemplate(name: unknown): ChatTemplateName | undefined {
  if (name === undefined || name === "auto") return undefined;
  const known = TEMPLATE_NAMES.find((one) => one === name);
  if (known !== undefined) return known;
  throw invalidArgument(`one of auto, ${TEMPLATE_NAMES.join(", ")}`, "chatTemplate", name);
}

function chooseDevice(name: unknown, devices: readonly Device[]): Device {
  // The first backend of the list is the best one of this build.
  const device =
    name === "auto" ? devices.find((one) => one.isAvailable) : devices.find((one) => one.name === name);
  if (device === undefined) {
    const names = ["auto", ...devices.map((one) => one.name)].join(", ");
    throw invalidArgument(`one of ${names}`, "device", name);
  }
  if (!device.isAvailable) {
    const message = `Expected device "${device.name}" to be usable here, got: ${device.reason}`;
    throw new K2Error("unavailable", message, { option: "device", device: device.name });
  }
  return device;
}
