// Control tokens: every id from the number of ordinary ranks up to the model's vocab_size, whatever the `special` flag of
// tokenizer_config.json says (the published files leave it off for the tool-call markers). Ids that the file does not
// declare are `<|reserved_token_ID|>`, as in the published tokenizer.

import { K2Error } from "../errors";

const DECLARATIONS = "added_tokens_decoder";
const MAX_NAME_LENGTH = 256;
const LONE_SURROGATE = /[\ud800-\udfff]/u;
const RESERVED_NAME = /^<\|reserved_token_(0|[1-9]\d{0,9})\|>$/;

/** What the ids depend on. */
export interface SpecialTokensOptions {
  /** Number of ordinary tokens: the first control id. */
  baseCount: number;
  /** Rows of the model's embedding: ids from here on do not exist. */
  vocabSize: number;
  /** Names the configuration in errors. */
  file: string;
}

/** The control tokens of a checkpoint, by name and by id. */
export class SpecialTokens {
  /** The first control id; all below are ordinary tokens. */
  readonly firstId: number;
  /** One more than the last control id. */
  readonly vocabSize: number;

  // The markers of the K2 family. `undefined`: this checkpoint does not declare the token, so it is ordinary text.
  /** `[BOS]` */
  readonly bos: number | undefined;
  /** `[EOS]`, the end of a document. */
  readonly eos: number | undefined;
  /** `[EOT]` */
  readonly eot: number | undefined;
  /** `[PAD]` */
  readonly pad: number | undefined;
  /** `[UNK]` */
  readonly unk: number | undefined;
  /** `<|im_end|>`, the end of a message. */
  readonly imEnd: number | undefined;
  /** `<|im_user|>` */
  readonly imUser: number | undefined;
  /** `<|im_assistant|>` */
  readonly imAssistant: number | undefined;
  /** `<|im_system|>` */
  readonly imSystem: number | undefined;
  /** `<|im_middle|>`, between the name of a role and the body. */
  readonly imMiddle: number | undefined;
  /** `<|tool_calls_section_begin|>` */
  readonly toolCallsSectionBegin: number | undefined;
  /** `<|tool_calls_section_end|>` */
  readonly toolCallsSectionEnd: number | undefined;
  /** `<|tool_call_begin|>` */
  readonly toolCallBegin: number | undefined;
  /** `<|tool_call_argument_begin|>` */
  readonly toolCallArgumentBegin: number | undefined;
  /** `<|tool_call_end|>` */
  readonly toolCallEnd: number | undefined;
  /** `<think>`; Instruct checkpoints do not declare it. */
  readonly thinkBegin: number | undefined;
  /** `</think>`; Instruct checkpoints do not declare it. */
  readonly thinkEnd: number | undefined;
  /** `<|media_begin|>` */
  readonly mediaBegin: number | undefined;
  /** `<|media_content|>` */
  readonly mediaContent: number | undefined;
  /** `<|media_end|>` */
  readonly mediaEnd: number | undefined;
  /** `<|media_pad|>` */
  readonly mediaPad: number | undefined;

  /** Those of `[EOS]`, `<|im_end|>`, `[EOT]` that are declared: the ids that always end generation. */
  readonly stopIds: readonly number[];

  private readonly nameById: ReadonlyMap<number, string>;
  private readonly idByName = new Map<string, number>();

  /**
   * Takes the parsed content of tokenizer_config.json. Throws `invalid-checkpoint` with `details.file` and
   * `details.key` where its declarations are not exactly what the ids allow.
   */
  constructor(configuration: unknown, options: SpecialTokensOptions) {
    this.firstId = options.baseCount;
    this.vocabSize = options.vocabSize;
    this.nameById = readDeclarations(configuration, options);
    for (const [id, name] of this.nameById) this.idByName.set(name, id);

    this.bos = this.id("[BOS]");
    this.eos = this.id("[EOS]");
    this.eot = this.id("[EOT]");
    this.pad = this.id("[PAD]");
    this.unk = this.id("[UNK]");
    this.imEnd = this.id("<|im_end|>");
    this.imUser = this.id("<|im_user|>");
    this.imAssistant = this.id("<|im_assistant|>");
    this.imSystem = this.id("<|im_system|>");
    this.imMiddle = this.id("<|im_middle|>");
    this.toolCallsSectionBegin = this.id("<|tool_calls_section_begin|>");
    this.toolCallsSectionEnd = this.id("<|tool_calls_section_end|>");
    this.toolCallBegin = this.id("<|tool_call_begin|>");
    this.toolCallArgumentBegin = this.id("<|tool_call_argument_begin|>");
    this.toolCallEnd = this.id("<|tool_call_end|>");
    this.thinkBegin = this.id("<think>");
    this.thinkEnd = this.id("</think>");
    this.mediaBegin = this.id("<|media_begin|>");
    this.mediaContent = this.id("<|media_content|>");
    this.mediaEnd = this.id("<|media_end|>");
    this.mediaPad = this.id("<|media_pad|>");
    this.stopIds = [this.eos, this.imEnd, this.eot].filter((id) => id !== undefined);
  }

  /** The names that the checkpoint declares, in the order of its file. */
  get declaredNames(): string[] {
    return [...this.idByName.keys()];
  }

  /** True for every id in [firstId, vocabSize). */
  has(id: number): boolean {
    return id >= this.firstId && id < this.vocabSize;
  }

  /** The name of a control id, declared or reserved. `has(id)` must hold. */
  name(id: number): string {
    return this.nameById.get(id) ?? reservedName(id);
  }

  /** The control id of a name, declared or reserved; `undefined` where the checkpoint has none of that name. */
  id(name: string): number | undefined {
    const declared = this.idByName.get(name);
    if (declared !== undefined) return declared;
    const reserved = RESERVED_NAME.exec(name);
    if (reserved === null) return undefined;
    const id = Number(reserved[1]);
    return this.has(id) && !this.nameById.has(id) ? id : undefined;
  }
}

function reservedName(id: number): string {
  return `<|reserved_token_${id}|>`;
}

function readDeclarations(configuration: unknown, options: SpecialTokensOptions): Map<number, string> {
  const { baseCount, vocabSize, file } = options;
  if (!isObject(configuration)) fail(file, "a JSON object", "the whole file", configuration);
  const declarations = configuration[DECLARATIONS];
  if (!isObject(declarations)) fail(file, "an object of id: token", DECLARATIONS, declarations);

  const nameById = new Map<number, string>();
  const idByName = new Map<string, number>();
  for (const [text, declaration] of Object.entries(declarations)) {
    const key = `${DECLARATIONS}[${quoted(text)}]`;
    const id = /^(0|[1-9]\d{0,9})$/.test(text) ? Number(text) : -1;
    if (id < baseCount || id >= vocabSize) {
      fail(file, `an id from ${baseCount} to ${vocabSize - 1} (control tokens) as key`, key, text);
    }
    if (!isObject(declaration)) fail(file, "an object", key, declaration);
    const name = declaration.content;
    if (typeof name !== "string" || name.length === 0 || name.length > MAX_NAME_LENGTH) {
      fail(file, `a string of 1 to ${MAX_NAME_LENGTH} characters`, `${key}.content`, name);
    }
    if (LONE_SURROGATE.test(name)) fail(file, "a string without lone surrogates", `${key}.content`, name);
    const { special } = declaration;
    if (special !== undefined && typeof special !== "boolean") {
      fail(file, "true or false", `${key}.special`, special);
    }
    if (idByName.has(name)) fail(file, "a name that no other token has", `${key}.content`, name);
    nameById.set(id, name);
    idByName.set(name, id);
  }
  for (const [id, name] of nameById) {
    const reserved = RESERVED_NAME.exec(name);
    const other = reserved === null ? id : Number(reserved[1]);
    if (other !== id && other >= baseCount && other < vocabSize && !nameById.has(other)) {
      fail(file, "a name that no other token has", `${DECLARATIONS}["${id}"].content`, name);
    }
  }
  return nameById;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function quoted(text: string): string {
  return JSON.stringify(text.length > 40 ? `${text.slice(0, 40)}...` : text);
}

function fail(file: string, expected: string, key: string, value: unknown): never {
  let got = "nothing";
  if (typeof value === "string") got = quoted(value);
  else if (Array.isArray(value)) got = "an array";
  else if (isObject(value)) got = "an object";
  else if (value !== undefined) got = String(value);
  throw new K2Error("invalid-checkpoint", `Expected ${expected} for ${key} of ${file}, got ${got}`, {
    file,
    key,
    expected,
    got,
  });
}
