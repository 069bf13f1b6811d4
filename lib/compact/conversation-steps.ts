// Which messages of a conversation may go and what has to stay. The unit is a step: an answer of the model together with
// the results of its calls. Steps go as a whole, the oldest first, and a question goes with the last step of its answer.

import { contentText, type Message, type UserMessage } from "../template/message";

/**
 * Stands where messages were removed. A message of the user: K2's layouts know no other role for it. As a system message
 * it would give the authority of the system to what tools have returned, and DeepSeek's layouts would move it to the
 * front; as an answer of the model it would end the task, and K2 would no longer see its reasoning.
 */
const NOTICE = "Earlier steps of this conversation are no longer shown.";
const SUMMARY_HEAD = `${NOTICE} Their summary:\n\n`;

interface Step {
  /** Indices of the answer and of the results of its calls. */
  messages: number[];
  /** Number of the question that it belongs to. */
  turn: number;
  /** Has calls that wait for results, or a message that is not to be removed. */
  isHeld: boolean;
}

/** The conversation in steps. Its messages passed `canonicalToolCalls`. */
export class ConversationSteps {
  readonly messages: readonly Message[];
  private readonly steps: Step[] = [];
  /** Number of the question by index of a message of the user. */
  private readonly questions = new Map<number, number>();
  private readonly notices: number[] = [];
  private readonly firstQuestion: number;
  /** The one at hand: questions of it stay. */
  private readonly lastTurn: number;

  /** @param held How many messages at the end stay in any case. */
  constructor(messages: readonly Message[], held: number) {
    this.messages = messages;
    const open = new Map<string, Step>();
    const unanswered = new Map<Step, number>();
    const firstHeld = messages.length - held;
    let turn = 0;
    for (const [index, message] of messages.entries()) {
      if (message.role === "user") {
        if (isNotice(message)) this.notices.push(index);
        else this.questions.set(index, turn);
      } else if (message.role === "tool") {
        const step = open.get(message.tool_call_id)!;
        step.messages.push(index);
        unanswered.set(step, unanswered.get(step)! - 1);
      } else if (message.role === "assistant") {
        const step: Step = { messages: [index], turn, isHeld: false };
        this.steps.push(step);
        unanswered.set(step, message.tool_calls?.length ?? 0);
        for (const call of message.tool_calls ?? []) open.set(call.id, step);
        if (message.tool_calls === undefined) turn += 1;
      }
    }
    for (const step of this.steps) {
      step.isHeld = unanswered.get(step) !== 0 || step.messages.some((index) => index >= firstHeld);
    }
    for (const index of this.questions.keys()) if (index >= firstHeld) this.questions.delete(index);
    this.firstQuestion = [...this.questions.keys()][0] ?? -1;
    this.lastTurn = turn;
  }

  get count(): number {
    return this.steps.length;
  }

  /** Indices of what goes with the oldest `steps` steps, in order. */
  removed(steps: number): number[] {
    const gone = new Set(this.steps.slice(0, steps).filter((step) => !step.isHeld));
    if (gone.size === 0) return [];
    const keptTurns = new Set(this.steps.flatMap((step) => (gone.has(step) ? [] : [step.turn])));
    const indices = [...gone].flatMap((step) => step.messages);
    for (const [index, turn] of this.questions) {
      if (index !== this.firstQuestion && turn < this.lastTurn && !keptTurns.has(turn)) indices.push(index);
    }
    return indices.sort((a, b) => a - b);
  }

  /** The messages that a summary stands for: those that go with the oldest `steps` steps, and earlier notices. */
  summarized(steps: number): Message[] {
    return this.withNotices(this.removed(steps)).map((index) => this.messages[index]!);
  }

  /**
   * The conversation without the oldest `steps` steps.
   * @param summary Of `summarized(steps)`. Without one, an earlier summary stays.
   */
  without(steps: number, summary?: string): Message[] {
    const removed = this.removed(steps);
    if (removed.length === 0) return [...this.messages];
    const indices = summary === undefined ? removed : this.withNotices(removed);
    const gone = new Set(indices);
    const hasNotice = this.notices.some((index) => !gone.has(index));
    return this.messages.flatMap((message, index) => {
      const kept = gone.has(index) ? [] : [message];
      return index === indices[0] && !hasNotice ? [noticeWith(summary ?? ""), ...kept] : kept;
    });
  }

  private withNotices(indices: readonly number[]): number[] {
    return [...indices, ...this.notices].sort((a, b) => a - b);
  }
}

function noticeWith(summary: string): UserMessage {
  return { role: "user", content: summary === "" ? NOTICE : SUMMARY_HEAD + summary };
}

/** Whether a message stands where others were removed. */
export function isNotice(message: UserMessage): boolean {
  const text = contentText(message.content);
  return text === NOTICE || text.startsWith(SUMMARY_HEAD);
}
