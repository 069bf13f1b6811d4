// Grammars are compiled in a thread of their own: the work of a large schema, and above all V8's work on the code that it
// makes hot, would hold JavaScript's thread for more than a slice. The thread starts with the first source and ends when
// none came for a while. Where there can be none (in a bundle that lacks the file, in a window of Electron), the same work
// is done here in slices.

import { existsSync } from "node:fs";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { aborted } from "../check";
import { K2Error, type K2ErrorCode, type K2ErrorDetails } from "../errors";
import { compileWork, type GrammarSource } from "../grammar/compile";
import type { GrammarProgram } from "../grammar/program";
import { finishInSlices } from "../grammar/work";
import { TimeSlice } from "../time-slice";

/** To the thread. Without a source: the request of this id is aborted. */
export interface CompileRequest {
  readonly id: number;
  readonly source?: GrammarSource;
}

/** From the thread: the program, why the source is refused, or what went wrong. */
export interface CompileReply {
  readonly id: number;
  readonly program?: GrammarProgram;
  readonly refusal?: {
    readonly code: K2ErrorCode;
    readonly message: string;
    readonly details: K2ErrorDetails;
  };
  readonly defect?: unknown;
}

const FILE = join(__dirname, "compile-worker.js");
const IDLE_MS = 10_000;
/** The largest source takes a tenth of it. */
const MOST_HEAP_MB = 1024;

interface Waiting {
  resolve(program: GrammarProgram): void;
  reject(reason: unknown): void;
}

/** Why a request has no answer: the thread could not start or is no more. */
class ThreadLost extends Error {}

class CompileThread {
  private readonly waiting = new Map<number, Waiting>();
  private readonly worker: Worker;
  private idle: NodeJS.Timeout | undefined;
  private lastId = 0;

  /** @throws where the process cannot have threads. */
  constructor(private readonly onEnd: (thread: CompileThread) => void) {
    // Nothing of how the process was started (a debugger, hooks of a loader) concerns this thread.
    this.worker = new Worker(FILE, {
      execArgv: [],
      resourceLimits: { maxOldGenerationSizeMb: MOST_HEAP_MB },
    });
    this.worker.on("message", (reply: CompileReply) => this.receive(reply));
    this.worker.on("error", (error) => this.end(error));
    this.worker.on("exit", () => this.end(undefined));
  }

  compile(source: GrammarSource, signal: AbortSignal | undefined): Promise<GrammarProgram> {
    const id = ++this.lastId;
    const stop = () => {
      this.post({ id });
      this.settle(id)?.reject(aborted(signal!));
    };
    const program = new Promise<GrammarProgram>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      clearTimeout(this.idle);
      // The process lives as long as somebody waits.
      this.worker.ref();
      this.post({ id, source });
      signal?.addEventListener("abort", stop);
    });
    return program.finally(() => signal?.removeEventListener("abort", stop));
  }

  private post(request: CompileRequest): void {
    this.worker.postMessage(request);
  }

  private receive({ id, program, refusal, defect }: CompileReply): void {
    const request = this.settle(id);
    if (program !== undefined) request?.resolve(program);
    else if (refusal !== undefined)
      request?.reject(new K2Error(refusal.code, refusal.message, refusal.details));
    else request?.reject(defect);
  }

  private settle(id: number): Waiting | undefined {
    const request = this.waiting.get(id);
    this.waiting.delete(id);
    if (this.waiting.size === 0) {
      this.worker.unref();
      clearTimeout(this.idle);
      this.idle = setTimeout(() => this.rest(), IDLE_MS).unref();
    }
    return request;
  }

  private rest(): void {
    this.onEnd(this);
    void this.worker.terminate();
  }

  private end(error: unknown): void {
    clearTimeout(this.idle);
    this.onEnd(this);
    const isFull = (error as NodeJS.ErrnoException | undefined)?.code === "ERR_WORKER_OUT_OF_MEMORY";
    const expected = `a grammar that compiles within ${MOST_HEAP_MB} MiB`;
    for (const request of this.waiting.values()) {
      request.reject(
        isFull ? new K2Error("out-of-memory", `Expected ${expected}, got a larger one`) : new ThreadLost(),
      );
    }
    this.waiting.clear();
  }
}

let thread: CompileThread | undefined;
let canHaveThread: boolean | undefined;

/**
 * Compiles in the thread, or in slices of about 1 ms here where there can be no thread.
 * @throws K2Error as `compileWork`, `aborted`, and `out-of-memory` for a source that takes more than a thread may have.
 */
export async function compileAside(source: GrammarSource, signal?: AbortSignal): Promise<GrammarProgram> {
  if (signal?.aborted) throw aborted(signal);
  canHaveThread ??= existsSync(FILE);
  if (canHaveThread) {
    try {
      // To start a thread, and to send it a large text, takes milliseconds: each alone in its turn of the event loop.
      const slice = new TimeSlice("compiling a grammar", signal);
      await slice.pause();
      if (thread === undefined) {
        thread = new CompileThread((ended) => {
          if (thread === ended) thread = undefined;
        });
        await slice.pause();
        if (thread === undefined) throw new ThreadLost();
      }
      return await thread.compile(source, signal);
    } catch (error) {
      if (error instanceof K2Error) throw error;
      // Whatever went wrong with the thread would go wrong again.
      canHaveThread = false;
    }
  }
  return finishInSlices(compileWork(source), signal);
}
