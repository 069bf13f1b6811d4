// Who is told of Ctrl-C, and when it ends the program.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { INTERRUPTED, Interrupts } from "../../../lib/cli/interrupts";

describe("Interrupts", () => {
  const exit = vi.spyOn(process, "exit");
  const others = process.listeners("SIGINT");
  let interrupts: Interrupts;

  beforeEach(() => {
    exit.mockReset().mockImplementation(() => undefined as never);
    interrupts = new Interrupts();
  });
  afterEach(() => {
    for (const listener of process.listeners("SIGINT")) {
      if (!others.includes(listener)) process.off("SIGINT", listener);
    }
  });

  const press = () => process.emit("SIGINT", "SIGINT");

  it("ends the program where nobody else wants to know", () => {
    press();
    expect(exit.mock.calls).toEqual([[INTERRUPTED]]);
  });

  it("fires the signal of what runs, and ends the program at the second time", async () => {
    await interrupts.during(async (signal) => {
      expect(signal.aborted).toBe(false);
      press();
      expect(signal.aborted).toBe(true);
      expect(exit).not.toHaveBeenCalled();
      press();
      expect(exit.mock.calls).toEqual([[INTERRUPTED]]);
    });
  });

  it("ignores further times where the program is to go on", async () => {
    await interrupts.during(async (signal) => {
      press();
      press();
      press();
      expect(signal.aborted).toBe(true);
    }, true);
    expect(exit).not.toHaveBeenCalled();
  });

  it("belongs to the innermost, and afterwards to the one before, failures included", async () => {
    const told: string[] = [];
    const tell = (name: string) => () => void told.push(name);
    await interrupts.with(tell("outer"), async () => {
      const inner = interrupts.with(tell("inner"), async () => {
        press();
        throw new Error("failed");
      });
      await expect(inner).rejects.toThrow("failed");
      press();
    });
    expect(told).toEqual(["inner", "outer"]);
    press();
    expect(exit).toHaveBeenCalledOnce();
  });
});
