// What the router chose on a timeline: for every token, the experts that each layer sent it to, and with what weights.

import type { NativeRouting, NativeSession } from "./addon/contract";
import { invalidArgument, optionalBoolean, refuseUnknownKeys, requireObject } from "./check";
import { K2Error } from "./errors";

/** Options of `model.createSession`. */
export interface SessionOptions {
  /**
   * Whether the session remembers which experts the router chose for each token, for `session.routing()`. Takes 6 bytes a
   * token, layer and chosen expert (2880 a token for Kimi K2), as the session grows, and changes no result. Default: false.
   */
  trace?: boolean;
}

/** Options of `routing`. */
export interface RoutingOptions {
  /** First position. Default: 0. */
  from?: number;
  /** Behind the last position. Default: the end of the timeline. */
  to?: number;
}

/** What a model's router can choose. */
export interface RoutingShape {
  /** Indices of the layers that have routed experts, ascending. */
  readonly layers: readonly number[];
  /** Routed experts of each of these layers; their ids are 0 to `expertCount` - 1. */
  readonly expertCount: number;
  /** How many of them each token is sent to. */
  readonly expertsPerToken: number;
}

/** What the router chose for consecutive tokens of a timeline. Arrays are row-major; K is `expertsPerToken`. */
export interface Routing extends RoutingShape {
  /** Position of the first token on the timeline. */
  readonly firstPosition: number;
  /** The ids of the tokens, T of them. */
  readonly tokens: Int32Array;
  /** Expert ids: [T, layers, K], ascending within the K; 65535 where the token is not known. */
  readonly experts: Uint16Array;
  /**
   * The factors that the experts' outputs were multiplied by, to the bit: [T, layers, K], 0 where the token is not known.
   * The K of a token sum to the model's `routed_scaling_factor` where the config says `norm_topk_prob`.
   */
  readonly weights: Float32Array;
  /**
   * For each token 1, or 0 where this session has not computed it: its page came from the prefix cache, or it was sampled
   * last and enters the model with the next call.
   */
  readonly isKnown: Uint8Array;
}

const SESSION_KEYS: ReadonlySet<string> = new Set<keyof SessionOptions>(["trace"]);
const ROUTING_KEYS: ReadonlySet<string> = new Set<keyof RoutingOptions>(["from", "to"]);

/** @throws K2Error `invalid-argument` */
export function checkSessionOptions(options: unknown): { trace: boolean } {
  const checked = requireObject(options, "options");
  refuseUnknownKeys(checked, SESSION_KEYS, "options");
  return { trace: optionalBoolean(checked.trace, "trace") ?? false };
}

/** The positions that `options` name on a timeline of so many tokens. */
export function checkRange(options: unknown, position: number): { from: number; to: number } {
  const checked = requireObject(options, "options");
  refuseUnknownKeys(checked, ROUTING_KEYS, "options");
  const integer = (name: keyof RoutingOptions, least: number, otherwise: number) => {
    const value = checked[name];
    if (value === undefined) return otherwise;
    if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= position)
      return value;
    throw invalidArgument(`an integer of ${least}..${position}`, name, value);
  };
  const from = integer("from", 0, 0);
  return { from, to: integer("to", from, position) };
}

/** So many tokens are read at once: the steps of other sessions wait a few milliseconds, not until everything is read. */
const SLICE = 2048;

/** Reads from the engine what it chose for `tokens`, which stand at `firstPosition`. */
export async function readRouting(
  native: NativeSession,
  shape: RoutingShape,
  { firstPosition, tokens }: Pick<Routing, "firstPosition" | "tokens">,
): Promise<Routing> {
  const { experts, weights, isKnown } = allocate(tokens.length, shape);
  const width = shape.layers.length * shape.expertsPerToken;
  let from = 0;
  do {
    const to = Math.min(from + SLICE, tokens.length);
    await native.routing(
      firstPosition + from,
      experts.subarray(from * width, to * width),
      weights.subarray(from * width, to * width),
      isKnown.subarray(from, to),
    );
    from = to;
  } while (from < tokens.length);
  return { ...shape, firstPosition, tokens, experts, weights, isKnown };
}

function allocate(tokens: number, { layers, expertsPerToken }: RoutingShape): NativeRouting {
  const count = tokens * layers.length * expertsPerToken;
  try {
    return {
      experts: new Uint16Array(count),
      weights: new Float32Array(count),
      isKnown: new Uint8Array(tokens),
    };
  } catch (cause) {
    const message = `Expected memory for the routing of ${tokens} tokens, got a refusal of the system`;
    throw new K2Error("out-of-memory", message, { bytes: 6 * count }, { cause });
  }
}
