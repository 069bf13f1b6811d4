// The tool schemas that Moonshot AI published, where they lie beside the project, and an independent validator for any
// schema: ajv, with the dialect that the schema asks for.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv07 from "ajv";
import Ajv2020 from "ajv/dist/2020";

const FOLDER = join(__dirname, "../../../shared/tool-schemas");

/** Empty where they are absent; a test that needs them is skipped then. */
export const publishedSchemas: readonly unknown[] = existsSync(FOLDER)
  ? readdirSync(FOLDER)
      .filter((file) => file.endsWith(".jsonl"))
      .flatMap((file) => readFileSync(join(FOLDER, file), "utf8").split("\n").filter(Boolean))
      .map((line) => JSON.parse(line) as unknown)
  : [];
export const whyNoSchemas = "skipped: the published tool schemas are not in ../shared/tool-schemas";

const options = { strict: false, ownProperties: true, validateFormats: false, logger: false } as const;
const ajv07 = new Ajv07(options);
const ajv2020 = new Ajv2020(options);

/** Why the value is invalid under the schema; undefined where it is valid. */
export type Validator = (value: unknown) => string | undefined;

export function validatorOf(schema: unknown): Validator {
  const whole = (typeof schema === "object" ? schema : { allOf: [schema] }) as Record<string, unknown>;
  const { $schema, ...rest } = whole;
  // A name with a fragment is none, and ajv refuses it.
  if (rest.$id === "" || /#./.test(String(rest.$id))) delete rest.$id;
  const isOld = typeof $schema === "string" && /draft-0[4-7]/.test($schema);
  // Names of schemas belong to one validator.
  const isNamed = JSON.stringify(rest).includes('"$id"');
  const shared = isOld ? ajv07 : ajv2020;
  const ajv = !isNamed ? shared : isOld ? new Ajv07(options) : new Ajv2020(options);
  const validate = ajv.compile(rest);
  return (value) => (validate(value) ? undefined : ajv.errorsText(validate.errors));
}
