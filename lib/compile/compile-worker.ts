// What runs in the thread of compile-thread.ts. Several sources are compiled side by side, in slices, so that an abort is
// heard.

import { parentPort } from "node:worker_threads";
import { K2Error } from "../errors";
import { compileWork } from "../grammar/compile";
import { finishInSlices } from "../grammar/work";
import type { CompileReply, CompileRequest } from "./compile-thread";

const running = new Map<number, AbortController>();

parentPort?.on("message", ({ id, source }: CompileRequest) => {
  if (source === undefined) running.get(id)?.abort();
  else void compile(id, source);
});

async function compile(id: number, source: NonNullable<CompileRequest["source"]>): Promise<void> {
  const abort = new AbortController();
  running.set(id, abort);
  try {
    const program = await finishInSlices(compileWork(source), abort.signal);
    const { code, nodes, rules, heights, pool } = program;
    const arrays = [code, nodes, rules, heights, pool];
    post(
      { id, program },
      arrays.map((array) => array.buffer as ArrayBuffer),
    );
  } catch (error) {
    // An error loses its class on the way.
    if (error instanceof K2Error) {
      const { code, message, details } = error;
      post({ id, refusal: { code, message, details } });
    } else post({ id, defect: error });
  } finally {
    running.delete(id);
  }
}

function post(reply: CompileReply, moved: ArrayBuffer[] = []): void {
  parentPort?.postMessage(reply, moved);
}
