// The bar of loading and the clock of waiting: late, not too often, and gone without a trace.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { ProgressBar, WaitingClock } from "../../../lib/cli/progress";
import { Screen } from "./screen";

const ERASE = "\r\u001b[2K";

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setInterval", "clearInterval", "performance"] });
});
afterEach(() => {
  vi.useRealTimers();
});

describe("ProgressBar", () => {
  const half = { phase: "headers", bytes: 297_100_000_000, total: 594_200_000_000 } as const;

  it("appears when loading takes a while, at most twenty times a second, and goes away", () => {
    const screen = new Screen({ canRedraw: true });
    const bar = new ProgressBar(screen);
    bar.show(half);
    vi.advanceTimersByTime(150);
    bar.show(half);
    expect(screen.text).toBe("");
    vi.advanceTimersByTime(100);
    bar.show(half);
    expect(screen.text).toBe(
      `${ERASE}reading headers        ████████████░░░░░░░░░░░░  50 %  297.1 GB of 594.2 GB`,
    );
    const { length } = screen.text;
    for (let i = 0; i < 10; i += 1) {
      vi.advanceTimersByTime(4);
      bar.show(half);
    }
    expect(screen.text).toHaveLength(length);
    vi.advanceTimersByTime(20);
    bar.show(half);
    expect(screen.text.length).toBe(2 * length);
    bar.clear();
    bar.clear();
    expect(screen.text.slice(2 * length)).toBe(ERASE);
  });

  it("fits narrow terminals, and is absent where lines cannot be drawn again", () => {
    const narrow = new Screen({ canRedraw: true });
    narrow.columns = 40;
    const file = new Screen({ isTerminal: false });
    for (const screen of [narrow, file]) {
      const bar = new ProgressBar(screen);
      vi.advanceTimersByTime(1000);
      bar.show(half);
      bar.clear();
    }
    expect(narrow.text).toBe(`${ERASE}reading headers  50 %${ERASE}`);
    expect(file.text).toBe("");
  });

  it("shows full and empty totals", () => {
    const screen = new Screen({ canRedraw: true });
    const bar = new ProgressBar(screen);
    vi.advanceTimersByTime(1000);
    bar.show({ phase: "map", bytes: 5, total: 5 });
    expect(screen.text).toContain("████████████████████████ 100 %");
    vi.advanceTimersByTime(1000);
    bar.show({ phase: "tokenizer", bytes: 0, total: 1 });
    expect(screen.text.endsWith(`${ERASE}reading the tokenizer`)).toBe(true);
  });
});

describe("WaitingClock", () => {
  it("counts seconds while a prompt is read, and erases itself", () => {
    const screen = new Screen({ canRedraw: true });
    const clock = new WaitingClock(screen);
    clock.start();
    vi.advanceTimersByTime(900);
    expect(screen.text).toBe("");
    vi.advanceTimersByTime(1200);
    expect(screen.text).toBe(`${ERASE}reading the prompt, 1 s${ERASE}reading the prompt, 2 s`);
    clock.stop();
    clock.stop();
    vi.advanceTimersByTime(5000);
    expect(screen.text.endsWith(`2 s${ERASE}`)).toBe(true);
  });

  it("says nothing where the answer comes at once, or nobody looks", () => {
    const screen = new Screen({ canRedraw: true });
    const quick = new WaitingClock(screen);
    quick.start();
    quick.stop();
    const file = new Screen({ isTerminal: false });
    const unseen = new WaitingClock(file);
    unseen.start();
    vi.advanceTimersByTime(5000);
    unseen.stop();
    expect(screen.text + file.text).toBe("");
  });
});
