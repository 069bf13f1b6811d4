// The errors of this room. Every one names its file and, where there is one, the tensor or key, says what was
// expected and what was found. Text from files is shown printable and short, whatever bytes it holds.

import { join } from "node:path";
import { K2Error, type K2ErrorCode } from "../errors";

/** A file of the checkpoint: `name` for people (relative to the folder), `path` for programs. */
export interface CheckpointFile {
  readonly name: string;
  readonly path: string;
}

/** The file of that name in a checkpoint folder. */
export function fileIn(folder: string, name: string): CheckpointFile {
  return { name, path: join(folder, name) };
}

/** What was wrong where. `tensor` and `key` may hold any text; they are made printable here. */
export interface Finding {
  readonly file: CheckpointFile;
  readonly tensor?: string | undefined;
  readonly key?: string | undefined;
  readonly expected: string;
  readonly got: string;
}

/** `text` in printable ASCII of at most about `limit` characters; long text loses its middle. */
export function printable(text: string, limit = 160): string {
  // Cut before and after: escaping a character makes six of it.
  return shortened(shortened(text, limit).replace(/[^\x20-\x7e]/g, escaped), limit);
}

function shortened(text: string, limit: number): string {
  if (text.length <= limit) return text;
  const half = Math.floor((limit - 3) / 2);
  return `${text.slice(0, half)}...${text.slice(text.length - half)}`;
}

function escaped(character: string): string {
  return `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`;
}

/** A parsed JSON value as it may appear in a message. */
export function shown(value: unknown): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return `"${printable(value, 80)}"`;
  if (Array.isArray(value)) {
    const few = value.slice(0, 6).map((item) => (Array.isArray(item) ? "[...]" : shown(item)));
    return `[${few.join(", ")}${value.length > 6 ? ", ..." : ""}]`;
  }
  if (typeof value === "object" && value !== null) return "an object";
  return String(value);
}

/** `[2048, 7168]` */
export function shapeText(shape: ArrayLike<number>): string {
  return `[${Array.from(shape).join(", ")}]`;
}

function fault(code: K2ErrorCode, finding: Finding, cause?: unknown): K2Error {
  const { file, expected, got } = finding;
  const tensor = finding.tensor === undefined ? undefined : printable(finding.tensor);
  const key = finding.key === undefined ? undefined : printable(finding.key);
  const fileName = printable(file.name);
  let subject = fileName;
  if (tensor !== undefined) subject = `tensor ${tensor} in ${fileName}`;
  else if (key !== undefined) subject = `${key} in ${fileName}`;
  return new K2Error(
    code,
    `Expected ${expected} for ${subject}, got ${got}`,
    { file: file.path, tensor, key, expected, got },
    cause === undefined ? undefined : { cause },
  );
}

/** The file is missing, damaged, or contradicts another file. */
export function damaged(finding: Finding, cause?: unknown): K2Error {
  return fault("invalid-checkpoint", finding, cause);
}

/** The file is well-formed and asks for something that this build does not implement. */
export function unsupported(finding: Finding): K2Error {
  return fault("unsupported-checkpoint", finding);
}

const ABSENT = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENAMETOOLONG"]);

/** Whether a failed file operation means that nothing is there. */
export function isAbsent(error: unknown): boolean {
  return ABSENT.has((error as NodeJS.ErrnoException | undefined)?.code ?? "");
}

/**
 * What to throw for an error of a file operation: `invalid-checkpoint` for an absent file, otherwise `io`. Errors that
 * no file operation made, such as one thrown by a progress callback, come back as they are.
 */
export function fileFault(file: CheckpointFile, expected: string, error: unknown): unknown {
  if (!(error instanceof Error) || !("syscall" in error)) return error;
  const { code = "an unknown error" } = error as NodeJS.ErrnoException;
  if (isAbsent(error)) return damaged({ file, expected, got: `no such file (${code})` }, error);
  return fault("io", { file, expected, got: code }, error);
}
