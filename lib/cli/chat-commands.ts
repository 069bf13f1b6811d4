// What can be typed in a chat besides messages: the commands that begin with a slash.

import type { ChatOptions } from "../index";
import { columns } from "./format";

/** A chat as its commands see it. */
export interface Conversation {
  /** Of the next conversation. */
  readonly options: ChatOptions;
  say(text: string): void;
  /** Forgets what was said, and begins a conversation with the options as they are now. */
  restart(): Promise<void>;
}

interface SlashCommand {
  readonly usage: string;
  readonly help: string;
  run(rest: string, conversation: Conversation): Promise<"leave" | undefined>;
}

const COMMANDS: Readonly<Record<string, SlashCommand>> = {
  help: {
    usage: "/help",
    help: "this list",
    async run(_rest, conversation) {
      const rows = Object.values(COMMANDS).map(({ usage, help }) => [usage, help]);
      conversation.say(columns(rows).join("\n"));
      return undefined;
    },
  },
  reset: {
    usage: "/reset",
    help: "forget the conversation",
    async run(_rest, conversation) {
      await conversation.restart();
      conversation.say("A new conversation.");
      return undefined;
    },
  },
  system: {
    usage: "/system [TEXT]",
    help: "show the system prompt, or set it and forget the conversation",
    async run(rest, conversation) {
      if (rest !== "") {
        conversation.options.system = rest;
        await conversation.restart();
      }
      const { system } = conversation.options;
      const begun = rest === "" ? "" : "A new conversation. ";
      conversation.say(`${begun}System prompt: ${system ?? "the model's own"}`);
      return undefined;
    },
  },
  tools: {
    usage: "/tools",
    help: "list the tools that the model may call",
    async run(_rest, conversation) {
      const rows = (conversation.options.tools ?? []).map((tool) => [
        tool.function.name,
        tool.function.description ?? "",
      ]);
      conversation.say(rows.length === 0 ? "No tools (see --tools)." : columns(rows).join("\n"));
      return undefined;
    },
  },
  exit: {
    usage: "/exit",
    help: "leave",
    async run() {
      return "leave";
    },
  },
};

export const COMMANDS_HELP = "/help lists the commands.";

/** @param text What was typed, beginning with a slash. */
export async function runSlashCommand(
  text: string,
  conversation: Conversation,
): Promise<"leave" | undefined> {
  const [, name = "", rest = ""] = /^\/(\S*)\s*([\s\S]*)$/.exec(text) ?? [];
  if (Object.hasOwn(COMMANDS, name)) return COMMANDS[name]!.run(rest, conversation);
  const names = Object.keys(COMMANDS).map((one) => `/${one}`);
  conversation.say(
    `Expected one of ${names.join(", ")}, got "/${name}". A space in front sends it as a message.`,
  );
  return undefined;
}
