// Help texts, made from the tables of commands and flags.

import type { Command } from "./command";
import { type Flag, type FlagGroup, HELP_FLAG } from "./flags";
import { wrap } from "./format";
import { packageVersion } from "./package-info";
import type { Output } from "./terminal";

const WIDEST = 100;
const NARROWEST = 40;

export function printHelp(commands: readonly Command[], output: Output): void {
  const { bold } = output.style;
  const rows = commands.map((command): [string, string] => [synopsis(command), command.summary]);
  const lines = [
    ...paragraph(
      `k2 runs Moonshot's Kimi K2 models on this machine (k2-native ${packageVersion()}).`,
      output,
    ),
    "",
    bold("Commands"),
    ...describe(rows, output),
    "",
    ...paragraph(
      "MODEL is the folder of a checkpoint as it was published, or the word demo for the small model that comes with k2-native.",
      output,
    ),
    "",
    ...paragraph(
      "k2 COMMAND --help describes a command and its flags; k2 --version prints the version. " +
        "Answers go to standard output, everything else to standard error. " +
        "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 ended by Ctrl-C. NO_COLOR turns colours off.",
      output,
    ),
  ];
  output.write(`${lines.join("\n")}\n`);
}

export function printCommandHelp(command: Command, output: Output): void {
  const { bold } = output.style;
  const lines = [`${bold("Usage")}  k2 ${synopsis(command)} [FLAGS]`, ""];
  for (const text of command.description) lines.push(...paragraph(text, output), "");
  const positionals = command.positionals.map(({ name, help }): [string, string] => [name, help]);
  if (positionals.length > 0) lines.push(bold("Arguments"), ...describe(positionals, output), "");
  for (const { title, flags } of withHelpFlag(command.groups)) {
    const rows = flags.map((flag): [string, string] => [spelling(flag), flag.help]);
    lines.push(bold(title), ...describe(rows, output), "");
  }
  lines.push(bold("Examples"), ...command.examples.map((example) => `  ${example}`));
  output.write(`${lines.join("\n")}\n`);
}

function withHelpFlag(groups: readonly FlagGroup[]): FlagGroup[] {
  const last = groups.at(-1);
  if (last === undefined) return [{ title: "Flags", flags: [HELP_FLAG] }];
  return [...groups.slice(0, -1), { ...last, flags: [...last.flags, HELP_FLAG] }];
}

function synopsis({ name, positionals }: Command): string {
  return [name, ...positionals.map((positional) => positional.name)].join(" ");
}

function spelling({ name, short, value }: Flag): string {
  const long = value === undefined ? `--${name}` : `--${name} ${value}`;
  return short === undefined ? long : `-${short}, ${long}`;
}

function widthOf(output: Output): number {
  return Math.max(NARROWEST, Math.min(WIDEST, output.columns));
}

function paragraph(text: string, output: Output): string[] {
  return wrap(text, widthOf(output));
}

/** Terms on the left, what they mean on the right, wrapped inside its column. */
function describe(rows: readonly [term: string, meaning: string][], output: Output): string[] {
  const left = Math.max(...rows.map(([term]) => term.length)) + 4;
  return rows.flatMap(([term, meaning]) =>
    wrap(meaning, widthOf(output) - left).map((line, index) =>
      index === 0
        ? `  ${output.style.accent(term)}${" ".repeat(left - 2 - term.length)}${line}`
        : `${" ".repeat(left)}${line}`,
    ),
  );
}
