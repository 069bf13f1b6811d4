#!/usr/bin/env python3
"""How many held-out conversations end exactly right, by kind of question.

The one idea: the right continuation is known, so one pass over the whole conversation tells whether greedy decoding
would reproduce every token of the last question's turn (reasoning, calls and answer).

  evaluate.py --work DIR [--n 1000] [--int4]
"""
import argparse
import os
from collections import Counter

import torch

from model import TinyK2
from render import encode
from tokenizer import Tokenizer
from world import World

HELDOUT_SEED = 20260001            # training seeds are far from it
BATCH_TOKENS = 8192


def heldout(count, seed=HELDOUT_SEED):
    """Conversations with reserved names, cities and items and with words nobody has seen."""
    world = World(seed, heldout=True)
    return [world.conversation() for _ in range(count)]


def targets(ids, flags):
    """-> flat positions whose next token is learned, and that token."""
    wanted = torch.zeros_like(flags)
    wanted[:, :-1] = flags[:, 1:]
    select = wanted.flatten().nonzero().squeeze(1)
    return select, ids.roll(-1, 1).flatten()[select]


def stack(rows):
    """[(ids, flags)] -> two tensors [rows, longest], padded at the right."""
    length = max(len(ids) for ids, _ in rows)
    ids, flags = torch.zeros(len(rows), length, dtype=torch.long), torch.zeros(len(rows), length, dtype=torch.bool)
    for i, (row, learned) in enumerate(rows):
        ids[i, :len(row)] = torch.tensor(row)
        flags[i, :len(row)] = torch.tensor(learned, dtype=torch.bool)
    return ids, flags


@torch.no_grad()
def margins(model, tokenizer, conversations):
    """-> for each conversation the smallest lead of the right token's logit over all others (positive: greedy decoding
    reproduces the turn), and the share of right tokens."""
    was_training = model.training
    model.eval()
    rows = []
    for tools, messages, _ in conversations:
        last_question = max(i for i, m in enumerate(messages) if m["role"] == "user")
        rows.append(encode(tokenizer, tools, messages, learn_from=last_question))
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i][0]))
    leads, right, total = [0.0] * len(rows), 0, 0
    while order:
        size = max(1, BATCH_TOKENS // len(rows[order[0]][0]))
        batch, order = order[:size], order[size:]
        ids, flags = stack([rows[i] for i in batch])
        select, wanted = targets(ids, flags)
        logits = model(ids, select)
        lead = logits.gather(1, wanted[:, None])[:, 0]
        lead = lead - logits.scatter(1, wanted[:, None], -1e30).max(-1)[0]
        row_of = torch.div(select, ids.shape[1], rounding_mode="floor")
        for b, i in enumerate(batch):
            leads[i] = float(lead[row_of == b].min())
        right, total = right + int((lead > 0).sum()), total + len(lead)
    model.train(was_training)
    return leads, right / max(total, 1)


def load(work):
    """-> (tokenizer, model, saved state) of a training folder."""
    tokenizer = Tokenizer.load(os.path.join(work, "tiktoken.model"))
    model = TinyK2(tokenizer.vocab_size)
    state = torch.load(os.path.join(work, "model.pt"))
    model.load_state_dict(state["model"])
    return tokenizer, model.eval(), state


def share_exact(leads):
    return sum(lead > 0 for lead in leads) / len(leads)


def report(leads, conversations):
    """A table of right and all conversations by the kind of their last question."""
    right, total = Counter(), Counter()
    for lead, (_, _, kinds) in zip(leads, conversations):
        right[kinds[-1]] += lead > 0
        total[kinds[-1]] += 1
    lines = [f"  {kind:20s} {right[kind]:4d}/{total[kind]}" for kind in sorted(total)]
    return "\n".join(lines + [f"  {'all':20s} {sum(right.values()):4d}/{sum(total.values())}"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", required=True, help="training folder")
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=HELDOUT_SEED)
    parser.add_argument("--int4", action="store_true", help="round the experts as the export does")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer, model, state = load(arguments.work)
    model.int4 = arguments.int4
    conversations = heldout(arguments.n, arguments.seed)
    leads, tokens = margins(model, tokenizer, conversations)
    print(report(leads, conversations))
    print(f"step {state['step']}: {share_exact(leads):.4f} exact, {tokens:.5f} of the tokens")


if __name__ == "__main__":
    main()
