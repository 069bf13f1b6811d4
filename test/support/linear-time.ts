import { expect } from "vitest";

const FACTOR = 16;

/**
 * Expects that `work(count)` costs time that grows linearly with `count`: sixteen times the work may cost 64 times
 * the time (a linear one costs 16, a quadratic one 256). It is far from both, so that noise cannot decide.
 * Processor time is counted, not the clock's: other programs of a busy machine count for less.
 */
export function expectLinearTime(count: number, work: (count: number) => void): void {
  const time = (times: number) => {
    const start = process.cpuUsage();
    work(times);
    return process.cpuUsage(start).user / 1000;
  };
  time(count);
  const short = Math.max(2, Math.min(time(count), time(count), time(count)));
  const long = Math.min(time(FACTOR * count), time(FACTOR * count));
  expect(long / short).toBeLessThan(4 * FACTOR);
}
