// What saving and restoring have in common: the path, and errors that name the file.

import { resolve } from "node:path";
import { settle } from "../addon/native-error";
import { invalidArgument } from "../check";
import { K2Error } from "../errors";

/** An absolute path. A zero would end it early in native code. */
export function checkPath(path: unknown, name = "path"): string {
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    throw invalidArgument("a path", name, path);
  }
  return resolve(path);
}

/** Awaits a native promise about `file`; its failure is thrown as a K2Error whose details name the file. */
export async function settleFile<T>(promise: Promise<T>, file: string): Promise<T> {
  try {
    return await settle(promise);
  } catch (error) {
    const { code, message } = error as K2Error;
    throw new K2Error(code, message, { file }, { cause: error });
  }
}
