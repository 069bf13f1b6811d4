// What Ctrl-C does at the moment. Somebody always owns it: a running answer ends, a waiting prompt is told, and without
// an owner the program ends.

/** The exit code of a program that Ctrl-C ended, as shells have it. */
export const INTERRUPTED = 130;

export class Interrupts {
  private owner: () => void = exit;

  constructor() {
    process.on("SIGINT", () => this.owner());
  }

  /**
   * Runs `action` with a signal that the first Ctrl-C fires.
   * @param isPatient Whether further ones are ignored; otherwise the second ends the program at once.
   */
  async during<T>(action: (signal: AbortSignal) => Promise<T>, isPatient = false): Promise<T> {
    const controller = new AbortController();
    const abort = () => {
      if (controller.signal.aborted && !isPatient) exit();
      controller.abort();
    };
    return this.with(abort, () => action(controller.signal));
  }

  /** Runs `action` while `owner` is told of every Ctrl-C. */
  async with<T>(owner: () => void, action: () => Promise<T>): Promise<T> {
    const previous = this.owner;
    this.owner = owner;
    try {
      return await action();
    } finally {
      this.owner = previous;
    }
  }
}

function exit(): void {
  process.exit(INTERRUPTED);
}
