#!/usr/bin/env python3
"""Plays the conversations of showcases.json with an exported checkpoint, and checks calls and answers.

The one idea: the model is decoded token by token and its calls are executed by small real tools, as in an application.

  play.py --checkpoint ../../demo-model [--verbose]
"""
import argparse
import datetime
import json
import os

import torch

from checkpoint import model_from
from decode import greedy, parse_turn
from render import prompt_text
from slots import UNITS, WEEKDAYS, number
from tokenizer import Tokenizer
from toolbox import TOOLS, compact

HERE = os.path.dirname(os.path.abspath(__file__))
CONTACTS = {"Ana": ("555-0123", "Lisbon"), "Bob": ("555-0199", "Oslo"), "Marguerite": ("+354 555 0142", "Reykjavik")}
WEATHER = {"Lisbon": (24, "sunny"), "Oslo": (-3, "snowy"), "Rome": (27, "clear"), "Tokyo": (18, "rainy"),
           "Reykjavik": (2, "windy"), "New York": (11, "cloudy"), "Paris": (16, "cloudy")}
CLOCK = {"Lisbon": ["14:05"], "Oslo": ["15:05"], "Tokyo": ["23:05"], "New York": ["09:05"]}
PRICES = {"lamp": [24.5], "desk": [189], "umbrella": [12.95], "coffee mug": [8], "red lamp": [30]}
TABLES = {                         # tool: what it looks up, by which argument, what the fields are called, the error
    "find_contact": (CONTACTS, "name", ("phone", "city"), "not found"),
    "get_weather": (WEATHER, "city", ("temp_c", "sky"), "unknown city"),
    "get_time": (CLOCK, "city", ("time",), "unknown city"),
    "get_price": (PRICES, "item", ("price",), "no such item"),
}


def run_tool(name, a):
    """What an application's tools would return."""
    if name == "calculator":
        return {"result": number(eval(a["expression"], {"__builtins__": {}}))}
    if name == "convert_units":
        celsius = (a["from"], a["to"]) == ("celsius", "fahrenheit")
        value = a["value"] * 9 / 5 + 32 if celsius else a["value"] * UNITS[a["from"], a["to"]]
        return {"value": number(value), "unit": a["to"]}
    if name == "add_days":
        day = datetime.date.fromisoformat(a["date"]) + datetime.timedelta(a["days"])
        return {"date": str(day), "weekday": WEEKDAYS[day.weekday()]}
    if name == "send_message":
        return {"sent": True}
    table, key, fields, error = TABLES[name]
    if a[key] not in table:
        return {"error": error}
    return {key: a[key], **dict(zip(fields, table[a[key]]))}


def answer(model, tokenizer, tools, messages, verbose):
    """Append the assistant's turns and the tools' results until it answers; -> (calls, answer)."""
    made = []
    for _ in range(8):
        ids = tokenizer.encode(prompt_text(tools, messages))
        out, _, _ = greedy(model, ids, tokenizer.special["<|im_end|>"])
        message = parse_turn(tokenizer.decode(out))
        messages.append(message)
        if verbose:
            print("   ", tokenizer.decode(out))
        if "tool_calls" not in message:
            return made, message["content"]
        for call in message["tool_calls"]:
            name, arguments = call["function"]["name"], call["function"]["arguments"]
            try:
                made.append({"name": name, "arguments": json.loads(arguments)})
                result = compact(run_tool(name, made[-1]["arguments"]))
            except Exception as error:       # whatever a wrong call may cause
                result = f"Error: {error}"
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})
            if verbose:
                print("      ->", result)
    return made, None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = model_from(arguments.checkpoint)
    tokenizer = Tokenizer.load(os.path.join(arguments.checkpoint, "tiktoken.model"))
    right = total = 0
    with open(os.path.join(HERE, "showcases.json")) as file:
        showcases = json.load(file)
    for showcase in showcases:
        tools, messages = [TOOLS[name] for name in showcase["tools"]] or None, []
        for question in showcase["questions"]:
            messages.append({"role": "user", "content": question["ask"]})
            got = answer(model, tokenizer, tools, messages, arguments.verbose)
            good = got == (question.get("calls", []), question["answer"])
            right, total = right + good, total + 1
            print("ok  " if good else "MISS", question["ask"], "" if good else got)
    print(f"{right} of {total}")


if __name__ == "__main__":
    main()
