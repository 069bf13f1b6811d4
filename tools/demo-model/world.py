"""Whole conversations: one to three questions, the tools that are declared, system prompts, failing and missing tools.

The one idea: variety lives here, in a few coin flips for each conversation, and never in the scenarios.
"""
import json
import random

from scenarios import Scenarios, Turn
from slots import Slots
from toolbox import TOOLS, compact

WEIGHTS = {
    "sum": 1.1, "expression": .5, "percent": .5, "weather": .9, "time": .6, "convert": 1.0, "date": .9, "price": .7,
    "phone": .7, "home": .5,
    "fahrenheit": .9, "quantity": 1.2, "weather_at_home": .8, "time_at_home": .6, "fahrenheit_at_home": 1.1,
    "message": 1.0,
    "compare_weather": .8, "compare_three": .4, "compare_time": .4, "total_price": 1.0, "report_weather": .9,
    "talk": .6, "repeat": 1.0, "unknown": .9,
}
FIRST_LESSONS = ("sum", "expression", "percent", "weather", "time", "convert", "date", "price", "phone", "home",
                 "repeat")
CAN_FOLLOW = ("weather", "time", "price", "phone")
SYSTEM_PROMPTS = ("You are a helpful assistant.", "Use the tools to answer.",
                  "You are a helpful assistant. Use the tools.", "Answer briefly.",
                  "You are a helpful assistant with access to tools.")
ERRORS = ("unknown city", "not found", "timeout", "service unavailable", "no such item", "no connection",
          "access denied", "rate limit reached", "invalid argument", "network error", "no such contact", "server error")
ADDRESSES = ("Please ", "Hey, ", "Ok, ", "Hello, ", "Now ", "Hi! ", "One more: ")
FAILED = "The tool failed."
MISSING = "I do not have a tool for this."
REFUSAL = "Sorry, I do not have a tool for that."


def _checked(needed, missing):
    """The first thought of a question with tools: each is looked for by name. Naming a tool before judging makes the
    judgement a matter of finding the same name again among the declarations."""
    return " ".join(f"{name}: {'not found' if name in missing else 'found'}." for name in needed)


def _tools_of(turn):
    return list(dict.fromkeys(name for step in turn.steps for name, _ in step.calls))


class World:
    """A stream of conversations, fixed by its seed. `missing` is the share of those that lack a tool they need."""

    def __init__(self, seed, heldout=False, blank=False, missing=0.17, pieces=()):
        self.random, self.missing = random.Random(seed), missing
        self.slots = Slots(self.random, heldout, blank, pieces)
        self.scenarios = Scenarios(self.slots)

    def _turn(self, first_lessons, previous):
        """One question and what the assistant does: (kind, Turn, names of the tools that the whole run needs)."""
        r = self.random
        if previous in CAN_FOLLOW and r.random() < 0.3:
            turn = getattr(self.scenarios, previous)(follow=True)
            return previous, turn, _tools_of(turn)
        if first_lessons:
            kind = r.choices(FIRST_LESSONS, [6 if k == "repeat" else WEIGHTS[k] for k in FIRST_LESSONS])[0]
        else:
            kind = r.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        turn = self.scenarios.repeat(2, 14) if kind == "repeat" and first_lessons else getattr(self.scenarios, kind)()
        if kind not in ("repeat", "message", "talk"):
            turn = turn._replace(user=self._casually(turn.user))
        needed = _tools_of(turn)
        if turn.steps and r.random() < 0.08:
            return "failing", self._fail(turn), needed
        return kind, turn, needed

    def _casually(self, text):
        """People forget capitals and full stops, and say please."""
        r = self.random
        if r.random() < 0.06:
            text = r.choice(ADDRESSES) + text[0].lower() + text[1:]
        elif r.random() < 0.08:
            text = text[0].lower() + text[1:]
        return text[:-1] if r.random() < 0.08 and text[-1] in ".?" else text

    def _fail(self, turn):
        """The same question, with one call that returns an error."""
        r = self.random
        at = r.randrange(len(turn.steps))
        step = turn.steps[at]
        error = r.choice(ERRORS) if r.random() < 0.5 else self.slots.words(1, 4)
        if r.random() < 0.2:
            error += " " + self.slots.city()
        results = list(step.results)
        results[r.randrange(len(results))] = {"error": error} if r.random() < 0.7 else "Error: " + error
        steps = turn.steps[:at] + [step._replace(results=results)]
        return Turn(turn.user, steps, FAILED, f"Sorry, the tool failed: {error}.")

    def _declare(self, turns, first_lessons):
        """Names of the tools offered in this conversation, and of those a turn needs but does not get."""
        r = self.random
        needed = list(dict.fromkeys(name for _, _, tools in turns for name in tools))
        missing = {r.choice(needed)} if needed and not first_lessons and r.random() < self.missing else set()
        if missing and r.random() < 0.2:
            missing = set(needed)
        offered = [name for name in needed if name not in missing]
        others = [name for name in TOOLS if name not in needed]
        if first_lessons:
            count = r.choice((0, 0, 1))
        else:
            count = len(others) if r.random() < 0.08 else r.choices((0, 1, 2, 3), (.35, .3, .2, .15))[0]
        offered += r.sample(others, min(count, len(others)))
        r.shuffle(offered)
        return offered, missing

    def _result_text(self, result):
        if isinstance(result, str):
            return result
        return json.dumps(result, ensure_ascii=False) if self.random.random() < 0.15 else compact(result)

    def conversation(self, first_lessons=False, questions=None):
        """-> (tools or None, messages in OpenAI form with reasoning_content, kind of each question)."""
        r = self.random
        count = questions or (1 if first_lessons else r.choices((1, 2, 3), (.6, .28, .12))[0])
        turns = []
        for _ in range(count):
            turns.append(self._turn(first_lessons, turns[-1][0] if turns else None))
        offered, missing = self._declare(turns, first_lessons)

        messages, kinds, index = [], [], 0
        if r.random() < 0.25:
            prompt = r.choice(SYSTEM_PROMPTS) if r.random() < 0.75 else self.slots.words(3, 12).capitalize() + "."
            messages.append({"role": "system", "content": prompt})
        for kind, turn, needed in turns:
            if needed:
                check = _checked(needed, missing)
                if any(name in missing for name in needed):
                    kind, turn = "missing", Turn(turn.user, [], f"{check} {MISSING}", REFUSAL)
                else:
                    first = turn.steps[0]
                    turn.steps[0] = first._replace(thought=f"{check} {first.thought}")
            kinds.append(kind)
            messages.append({"role": "user", "content": turn.user})
            named = r.random() < 0.5
            for step in turn.steps:
                calls = []
                for name, arguments in step.calls:
                    calls.append({"id": f"functions.{name}:{index}", "type": "function",
                                  "function": {"name": name, "arguments": compact(arguments)}})
                    index += 1
                messages.append({"role": "assistant", "reasoning_content": step.thought, "content": "",
                                 "tool_calls": calls})
                for call, result in zip(calls, step.results):
                    message = {"role": "tool", "tool_call_id": call["id"], "content": self._result_text(result)}
                    if named:
                        message["name"] = call["function"]["name"]
                    messages.append(message)
            messages.append({"role": "assistant", "reasoning_content": turn.thought, "content": turn.answer})
        return [TOOLS[name] for name in offered] or None, messages, kinds
