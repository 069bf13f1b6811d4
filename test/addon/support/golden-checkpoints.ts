// The golden checkpoints of test/golden (tools/oracle wrote them) and how far logits lie from theirs.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export interface Golden {
  name: string;
  path: string;
  ids: number[];
  shape: [number, number];
  argmax: number[];
  /** Standard deviation of the logits at each position. */
  positionStd: number[];
  /** Largest difference that a BF16 engine shows against exact arithmetic, in `positionStd`. */
  bfloat16Noise: number;
  /** The same as root mean square, in the standard deviation of all logits. */
  bfloat16Rms: number;
  logitsStd: number;
  routerMargin: (number | null)[];
  logits: Float32Array;
}

const folder = join(__dirname, "..", "..", "golden", "checkpoints");

export const goldenNames: string[] = readdirSync(folder).sort();

export function readGolden(name: string): Golden {
  const path = join(folder, name);
  const raw = readFileSync(join(path, "logits.f32"));
  const logits = new Float32Array(raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length));
  return { ...JSON.parse(readFileSync(join(path, "golden.json"), "utf8")), name, path, logits };
}

export interface Distance {
  /** Largest difference at any position, in that position's standard deviation. */
  worst: number;
  /** Root mean square difference, in the standard deviation of all logits. */
  rms: number;
  /** Positions whose most likely token differs. */
  otherArgmax: number;
}

export function distance(golden: Golden, logits: Float32Array): Distance {
  const [tokens, vocab] = golden.shape;
  let worst = 0;
  let squares = 0;
  let otherArgmax = 0;
  for (let t = 0; t < tokens; t += 1) {
    let best = 0;
    for (let v = 0; v < vocab; v += 1) {
      const difference = Math.abs(logits[t * vocab + v]! - golden.logits[t * vocab + v]!);
      worst = Math.max(worst, difference / golden.positionStd[t]!);
      squares += difference * difference;
      if (logits[t * vocab + v]! > logits[t * vocab + best]!) best = v;
    }
    if (best !== golden.argmax[t]) otherArgmax += 1;
  }
  return { worst, rms: Math.sqrt(squares / (tokens * vocab)) / golden.logitsStd, otherArgmax };
}

/** Whether two arrays of floats have the same bits. */
export function sameBits(left: Float32Array, right: Float32Array): boolean {
  const bytes = (array: Float32Array) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
  return bytes(left).equals(bytes(right));
}
