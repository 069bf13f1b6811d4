// One error class for everything that can go wrong, with a stable `code` that programs branch on.
// Messages have one form: "Expected <what> for <name>, got <value>"; checkpoint errors name file and tensor.

/** What kind of failure it is; programs branch on this. */
export type K2ErrorCode =
  /** An option, argument or message has a wrong type or value, or is unknown. `details.option` names it. */
  | "invalid-argument"
  /** A checkpoint file is missing, damaged or contradicts its config. `details.file`, `details.tensor`. */
  | "invalid-checkpoint"
  /** The checkpoint is well-formed, but uses a format that this build does not implement. */
  | "unsupported-checkpoint"
  /** The checkpoint has no tokenizer or template files, and a text feature was used. `details.file`. */
  | "missing-tokenizer"
  /** Reading, mapping or writing a file failed in the operating system. `details.file`, `cause`. */
  | "io"
  /** The model, the session or the process lacks memory for the request; nothing was changed. */
  | "out-of-memory"
  /** The addon could not be loaded, or the chosen device does not exist here. The message lists remedies. */
  | "unavailable"
  /** The session has no room for the given tokens. `details.position`, `details.contextTokens`. */
  | "context-full"
  /** NaN or infinity appeared in the logits of a session; that session is ended. */
  | "numerical-fault"
  /** The object was disposed, or a call is not possible in its present state. */
  | "invalid-state"
  /** The caller's AbortSignal fired. */
  | "aborted"
  /** A file of a session is cut off, altered, or not one. `details.file`. */
  | "damaged-file"
  /** A sound file of a session, but of another checkpoint, device or version of the format. `details.file`. */
  | "incompatible-file"
  /** A defect of this library. Please report it with the message. */
  | "internal";

/** Facts of a failure by name. Which ones there are depends on the code. */
export type K2ErrorDetails = Readonly<Record<string, string | number | boolean | undefined>>;

/** Every failure of this library. The message has the form "Expected <what> for <name>, got <value>". */
export class K2Error extends Error {
  override readonly name = "K2Error";
  readonly code: K2ErrorCode;
  /** What the message says, for programs: file, tensor, option, key, expected, got. */
  readonly details: K2ErrorDetails;

  constructor(
    code: K2ErrorCode,
    message: string,
    details: K2ErrorDetails = {},
    options?: { cause?: unknown },
  ) {
    super(message, options);
    this.code = code;
    this.details = details;
  }
}
