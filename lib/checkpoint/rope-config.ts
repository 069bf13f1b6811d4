// The rotary embedding of a config, in its two spellings: `rope_theta` beside `rope_scaling` (type), and the newer
// `rope_parameters` (rope_type, rope_theta inside). Only plain and YaRN rope exist in this family.

import type { ConfigReader } from "./config-reader";

/** YaRN, with the field names of the file. */
export interface RopeScaling {
  readonly type: "yarn";
  readonly factor: number;
  readonly beta_fast: number;
  readonly beta_slow: number;
  readonly mscale: number;
  readonly mscale_all_dim: number;
  readonly original_max_position_embeddings: number;
}

const THETA_ABSENT = 10_000;

/** Reads the base and the scaling; `rope_scaling` is null for plain rope. */
export function readRope(config: ConfigReader): { rope_theta: number; rope_scaling: RopeScaling | null } {
  const parameters = config.section("rope_parameters");
  const scaling = config.section("rope_scaling");
  const rope_theta = readTheta(config, parameters);
  const fromParameters = parameters && readScaling(parameters);
  const fromScaling = scaling && readScaling(scaling);
  if (
    fromParameters !== undefined &&
    fromScaling !== undefined &&
    JSON.stringify(fromParameters) !== JSON.stringify(fromScaling)
  ) {
    throw config.damaged("rope_parameters", "the same scaling as in rope_scaling");
  }
  return { rope_theta, rope_scaling: fromParameters ?? fromScaling ?? null };
}

function readTheta(config: ConfigReader, parameters: ConfigReader | undefined): number {
  // YaRN divides by ln(theta): a base of 1 or less has no meaning.
  const limits = { least: 1.001, most: 1e15 };
  const outer = config.has("rope_theta") || !parameters?.has("rope_theta");
  const theta = outer ? config.number("rope_theta", { ...limits, absent: THETA_ABSENT }) : undefined;
  if (!parameters?.has("rope_theta")) return theta!;
  const inner = parameters.number("rope_theta", limits);
  if (theta !== undefined && theta !== inner) {
    throw parameters.damaged("rope_theta", `the same value as the outer rope_theta ${theta}`);
  }
  return inner;
}

function readScaling(rope: ConfigReader): RopeScaling | null {
  const key = rope.has("rope_type") ? "rope_type" : "type";
  const type = rope.word(key, rope.has("factor") ? "" : "default");
  if (rope.has("type") && rope.has("rope_type") && rope.value("type") !== type) {
    throw rope.damaged("type", `the same value as rope_type "${type}"`);
  }
  if (rope.has("partial_rotary_factor") && rope.value("partial_rotary_factor") !== 1) {
    throw rope.unsupported("partial_rotary_factor", "1");
  }
  if (type === "default" || type === "none") return null;
  if (type !== "yarn") throw rope.unsupported(key, '"yarn" or "default"');
  // A fixed attention factor and an untruncated ramp change the formula; no model of the family uses them.
  if (rope.has("attention_factor")) throw rope.unsupported("attention_factor", "null");
  if (rope.has("truncate") && rope.value("truncate") !== true) throw rope.unsupported("truncate", "true");
  const scaling: RopeScaling = {
    type: "yarn",
    factor: rope.number("factor", { least: 1, most: 1e6 }),
    beta_fast: rope.number("beta_fast", { least: 1e-6, most: 1e6, absent: 32 }),
    beta_slow: rope.number("beta_slow", { least: 1e-6, most: 1e6, absent: 1 }),
    mscale: rope.number("mscale", { least: 0, most: 100, absent: 1 }),
    mscale_all_dim: rope.number("mscale_all_dim", { least: 0, most: 100, absent: 0 }),
    original_max_position_embeddings: rope.integer("original_max_position_embeddings", {
      least: 1,
      most: 2 ** 31 - 1,
    }),
  };
  if (scaling.beta_fast < scaling.beta_slow) {
    throw rope.damaged("beta_fast", `at least beta_slow ${scaling.beta_slow}`);
  }
  return scaling;
}
