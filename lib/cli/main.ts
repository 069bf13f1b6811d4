#!/usr/bin/env node
// The command line `k2`: finds the command, and turns whatever happens into one line and an exit code.

import { K2Error } from "../index";
import { nearest, parseArguments, UsageError } from "./arguments";
import { chatCommand } from "./chat";
import type { Command } from "./command";
import { demoCommand } from "./demo";
import { printCommandHelp, printHelp } from "./help";
import { inspectCommand } from "./inspect";
import { INTERRUPTED, Interrupts } from "./interrupts";
import { packageVersion } from "./package-info";
import { runCommand } from "./run";
import { visible } from "./style";
import { openTerminal, type Terminal } from "./terminal";
import { traceCommand } from "./trace/command";

const COMMANDS: readonly Command[] = [runCommand, chatCommand, inspectCommand, traceCommand, demoCommand];
const FAILED = 1;
const WRONG_USAGE = 2;

async function main(words: readonly string[], terminal: Terminal): Promise<number> {
  const [first, ...rest] = words;
  if (first === undefined) {
    printHelp(COMMANDS, terminal.stderr);
    return WRONG_USAGE;
  }
  if (first === "--version" || first === "-V") {
    terminal.stdout.write(`k2-native ${packageVersion()}\n`);
    return 0;
  }
  if (first === "--help" || first === "-h" || (first === "help" && rest.length === 0)) {
    printHelp(COMMANDS, terminal.stdout);
    return 0;
  }
  const isHelp = first === "help";
  const command = findCommand(isHelp ? rest[0]! : first);
  const given = isHelp ? "help" : parseArguments(command, rest);
  if (given !== "help") return command.run(given, { terminal, interrupts: new Interrupts() });
  printCommandHelp(command, terminal.stdout);
  return 0;
}

function findCommand(name: string): Command {
  const command = COMMANDS.find((one) => one.name === name);
  if (command !== undefined) return command;
  const names = COMMANDS.map((one) => one.name);
  const near = nearest(name, names);
  const hint = near === undefined ? "" : `; did you mean ${near}?`;
  throw new UsageError(`Expected a command (${names.join(", ")}), got ${JSON.stringify(name)}${hint}`, "k2");
}

/** Prints why a command failed. A defect of this program shows where it is. */
function report(error: unknown, { stderr }: Terminal): number {
  const say = (text: string) => stderr.write(`${stderr.style.bad("k2:")} ${text}\n`);
  if (error instanceof UsageError) {
    say(visible(error.message));
    return WRONG_USAGE;
  }
  if (error instanceof K2Error) {
    if (error.code === "aborted") return INTERRUPTED;
    say(visible(error.message));
    return FAILED;
  }
  say(`a defect of k2, please report it: ${error instanceof Error ? error.stack : String(error)}`);
  return FAILED;
}

/** Whoever reads the output may stop reading, as `head` does; then there is nothing left to do. */
function whenClosed(error: NodeJS.ErrnoException): void {
  process.exit(error.code === "EPIPE" ? 0 : FAILED);
}

const terminal = openTerminal(whenClosed);
main(process.argv.slice(2), terminal)
  .catch((error: unknown) => report(error, terminal))
  .then((exitCode) => {
    process.exitCode = exitCode;
  });
