#!/usr/bin/env python3
"""Writes the goldens for the end-to-end tests from an exported checkpoint.

The one idea: goldens come from the very numbers in the checkpoint folder, so an engine that loads the folder has to
give the same text; each entry says how clearly the intended text won.

  heldout.py --checkpoint ../../demo-model --to ../../test/golden
"""
import argparse
import json
import os

import torch

from checkpoint import model_from
from decode import greedy
from evaluate import heldout, margins
from render import prompt_text
from tokenizer import Tokenizer
from toolbox import TOOLS, compact

CONVERSATIONS, CONVERSATION_SEED = 200, 20260002
PROMPTS, PROMPT_SEED, WITH_LOGITS, TOP = 30, 20260003, 3, 20

ABOUT_CONVERSATIONS = (
    "Held-out conversations of the demo model. The assistant messages after lastQuestion are the expected run. margin "
    "is the smallest lead of an expected token's logit over all others: where it is positive, greedy decoding in "
    "float32 gives the run token for token. toolTable holds the declarations.")
ABOUT_GREEDY = (
    "Greedy turns of the demo model: float32 arithmetic on the exported weights. smallest_gap is the smallest "
    "difference between the best two logits over the turn; first_logits are the largest logits [id, value] at the "
    "first position. toolTable holds the declarations.")


def _names(tools):
    return [tool["function"]["name"] for tool in tools or []]


def _write(path, head, key, rows):
    """JSON with one row a line."""
    lines = ",\n".join(compact(row) for row in rows)
    with open(path, "w") as file:
        file.write(compact(head)[:-1] + f',\n"{key}":[\n{lines}\n]}}\n')
    print(f"{os.path.getsize(path):8d} {path}")


def conversations(model, tokenizer, path):
    """The expected runs, and for each whether the checkpoint reproduces its last question token for token."""
    drawn = heldout(CONVERSATIONS, CONVERSATION_SEED)
    leads, _ = margins(model, tokenizer, drawn)
    rows = []
    for (tools, messages, kinds), lead in zip(drawn, leads):
        asked = max(i for i, m in enumerate(messages) if m["role"] == "user")
        rows.append({"kind": kinds[-1], "margin": round(lead, 3), "tools": _names(tools), "lastQuestion": asked,
                     "messages": messages})
    head = {"about": ABOUT_CONVERSATIONS,
            "exactCount": sum(lead > 0 for lead in leads), "toolTable": TOOLS}
    _write(path, head, "conversations", rows)


def greedy_prompts(model, tokenizer, path):
    """Prompts of all kinds with the greedy turn that follows each, cut at the turns of held-out conversations."""
    stop, rows, seen = tokenizer.special["<|im_end|>"], [], {}
    for tools, messages, kinds in heldout(400, PROMPT_SEED):
        if len(rows) == PROMPTS:
            break
        if seen.get(kinds[-1], 0) > (len(seen) > 24):
            continue
        seen[kinds[-1]] = seen.get(kinds[-1], 0) + 1
        asked = max(i for i, m in enumerate(messages) if m["role"] == "user")
        turns = [i for i in range(asked, len(messages)) if messages[i]["role"] == "assistant"]
        at = turns[len(rows) % len(turns)]
        ids = tokenizer.encode(prompt_text(tools, messages[:at]))
        output, gap, first = greedy(model, ids, stop)
        row = {"kind": kinds[-1], "tools": _names(tools), "messages": messages[:at], "prompt_ids": ids,
               "output_ids": output, "output": tokenizer.decode(output), "smallest_gap": round(gap, 4)}
        if len(rows) < WITH_LOGITS:
            values, which = torch.topk(first, TOP)
            row["first_logits"] = [[i, round(v, 6)] for i, v in zip(which.tolist(), values.tolist())]
        rows.append(row)
    _write(path, {"about": ABOUT_GREEDY, "toolTable": TOOLS}, "prompts", rows)
    print(len(rows), "prompts, smallest gap", min(row["smallest_gap"] for row in rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--to", required=True, help="folder of the goldens")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = model_from(arguments.checkpoint)
    tokenizer = Tokenizer.load(os.path.join(arguments.checkpoint, "tiktoken.model"))
    os.makedirs(arguments.to, exist_ok=True)
    conversations(model, tokenizer, os.path.join(arguments.to, "demo-conversations.json"))
    greedy_prompts(model, tokenizer, os.path.join(arguments.to, "demo-greedy.json"))


if __name__ == "__main__":
    main()
