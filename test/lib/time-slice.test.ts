import { describe, expect, it } from "vitest";
import { TimeSlice } from "../../lib/time-slice";

/** Holds the thread for so long. */
function spin(ms: number): void {
  for (const end = performance.now() + ms; performance.now() < end; );
}

async function work(name: string, steps: number, log: string[]): Promise<void> {
  const slice = new TimeSlice(name);
  for (let step = 0; step < steps; step += 1) {
    spin(2);
    log.push(name);
    if (slice.isOver) await slice.pause();
  }
}

describe("slices of work", () => {
  it("take turns, one in each turn of the event loop", async () => {
    const log: string[] = [];
    let isRunning = true;
    const tick = () => {
      log.push("|");
      if (isRunning) setImmediate(tick);
    };
    setImmediate(tick);
    await Promise.all([work("a", 5, log), work("b", 5, log), work("c", 5, log)]);
    isRunning = false;
    const steps = log.filter((entry) => entry !== "|").join("");
    expect(steps).toBe("abcabcabcabcabc");
    // The first step of each is what its caller pays for.
    const turns = log.join("").split("|");
    expect(turns.filter((turn) => turn.length > 1)).toEqual(["abc"]);
  });

  it("end where the signal has fired, with its reason", async () => {
    const controller = new AbortController();
    const slice = new TimeSlice("counting", controller.signal);
    const paused = slice.pause();
    controller.abort("enough");
    await expect(paused).rejects.toMatchObject({
      code: "aborted",
      message: "Expected no abort while counting, got a fired signal",
      cause: "enough",
    });
    expect(() => new TimeSlice("counting", controller.signal)).toThrow("while counting");
    // Those who wait behind it are served all the same.
    await expect(new TimeSlice("counting").pause()).resolves.toBeUndefined();
  });

  it("look at the clock as seldom as they say", () => {
    const slice = new TimeSlice("counting", undefined, 4);
    spin(2);
    expect([1, 2, 3, 4, 5].map(() => slice.isOver)).toEqual([false, false, false, true, false]);
  });
});
