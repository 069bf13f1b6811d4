#!/usr/bin/env python3
"""Learns the tokenizer and trains the model, on one CPU thread.

The one idea: a rate that stays high for most of the run and then falls to zero; the falling part turns a model that
gets a few conversations right into one that gets nearly all of them.

  train.py tokenizer --work DIR
  train.py run --work DIR [--steps N] [--minutes M] [--resume | --start CHECKPOINT]
"""
import argparse
import os
import shutil
import time

import torch
import torch.nn as nn
import torch.nn.functional as F

from checkpoint import model_from
from evaluate import heldout, margins, share_exact, stack, targets
from model import TinyK2
from muon import Muon
from render import encode, render
from slots import COPIED_WORDS
from tokenizer import Tokenizer, learn
from world import World

LONGEST = 1000                     # tokens of a training row
POOL = 6                           # batches drawn at a time and sorted by length


def learn_tokenizer(work):
    """The vocabulary of the fixed phrases."""
    os.makedirs(work, exist_ok=True)
    world, texts = World(12345, blank=True), []
    for _ in range(6000):
        tools, messages, _ = world.conversation()
        texts.append("".join(text for parts in render(tools, messages) for text, _ in parts))
    tokenizer = learn(texts, COPIED_WORDS)
    tokenizer.save(os.path.join(work, "tiktoken.model"))
    for _, messages, _ in heldout(200):
        for message in messages:
            assert tokenizer.decode(tokenizer.encode(message["content"])) == message["content"]
    print(f"{len(tokenizer.ranks)} base tokens, vocabulary {tokenizer.vocab_size}")


def batches(tokenizer, world, tokens, is_first_lesson):
    """Endless batches of about `tokens` tokens: rows of similar length, (ids, flags)."""
    while True:
        pool, drawn = [], 0
        while drawn < tokens * POOL:
            row = encode(tokenizer, *world.conversation(is_first_lesson())[:2])
            if len(row[0]) <= LONGEST:
                pool.append(row)
                drawn += len(row[0])
        pool.sort(key=lambda row: len(row[0]))
        groups, group = [], []
        for row in pool:
            if group and len(row[0]) * (len(group) + 1) > tokens:
                groups.append(group)
                group = []
            group.append(row)
        groups.append(group)
        world.random.shuffle(groups)
        for group in groups:
            yield stack(group)


class Schedule:
    """Everything that depends on how far the run is: 0 at the start, 1 at the end, by steps or by the clock,
    whichever is further."""

    def __init__(self, arguments):
        self.a = arguments

    def progress(self, step, seconds):
        clock = seconds / 60 / self.a.minutes if self.a.minutes else 0.0
        return max(step / self.a.steps, clock)

    def rate(self, step, progress):
        falling = min(1.0, max(0.0, (1 - progress) / self.a.falling))
        return self.a.rate * min(1.0, (step + 1) / 40) * max(0.01, falling)


def train(arguments):
    """Run the schedule to its end; a checkpoint every `--every` steps."""
    torch.set_num_threads(1)
    work = arguments.work
    path = os.path.join(work, "model.pt")
    if arguments.start:
        os.makedirs(work, exist_ok=True)
        shutil.copyfile(os.path.join(arguments.start, "tiktoken.model"), os.path.join(work, "tiktoken.model"))
    tokenizer = Tokenizer.load(os.path.join(work, "tiktoken.model"))
    model = TinyK2(tokenizer.vocab_size, seed=arguments.seed)
    if arguments.start:
        model.load_state_dict(model_from(arguments.start).state_dict())
    optimiser = Muon(model)
    step, tokens_seen, seconds_before = 0, 0, 0.0
    if arguments.resume:
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimiser.load_state(state["optimiser"])
        step, tokens_seen, seconds_before = state["step"], state["tokens"], state["seconds"]

    schedule, progress = Schedule(arguments), 0.0
    world = World(arguments.seed * 1000003 + 7 + step, missing=arguments.missing, pieces=tokenizer.word_pieces())
    source = batches(tokenizer, world, arguments.tokens, lambda: progress < arguments.first_lessons)
    sample = heldout(120, seed=999)
    log = open(os.path.join(work, "log.txt"), "a")

    def say(text):
        print(text, flush=True)
        log.write(text + "\n")
        log.flush()

    say(f"# {sum(p.numel() for p in model.parameters())} parameters; {vars(arguments)}")
    start = last = time.time()
    losses, tokens_at_last = [], tokens_seen
    while progress < 1:
        seconds = seconds_before + time.time() - start
        progress = schedule.progress(step, seconds)
        if progress >= 1:
            break
        model.int4 = progress >= 1 - arguments.int4
        ids, flags = next(source)
        select, wanted = targets(ids, flags)
        loss = F.cross_entropy(model(ids, select), wanted)
        loss.backward()
        nn.utils.clip_grad_norm_(optimiser.others, 1.0)
        rate = schedule.rate(step, progress)
        optimiser.step(rate)
        load = model.balance_experts(arguments.balance * (1.0 if progress < 0.8 else 0.1))
        step, tokens_seen = step + 1, tokens_seen + ids.numel()
        losses.append(float(loss))
        if step % 25 == 0:
            now = time.time()
            loss_mean = sum(losses) / len(losses)
            say(f"step {step} progress {progress:.3f} loss {loss_mean:.4f} rate {rate:.2e} load {load:.2f} "
                f"tokens/s {(tokens_seen - tokens_at_last) / (now - last):.0f} tokens {tokens_seen / 1e6:.2f}M "
                f"minutes {seconds / 60:.1f} cpu {time.process_time() / 60:.1f}")
            losses, last, tokens_at_last = [], now, tokens_seen
        if step % arguments.every == 0:
            _save(path, model, optimiser, step, tokens_seen, seconds_before + time.time() - start)
            if step % (2 * arguments.every) == 0:
                leads, share = margins(model, tokenizer, sample)
                say(f"  == step {step}: {share_exact(leads):.3f} exact, {share:.4f} of the tokens")
    _save(path, model, optimiser, step, tokens_seen, seconds_before + time.time() - start)
    leads, share = margins(model, tokenizer, sample)
    say(f"  == end, step {step}: {share_exact(leads):.3f} exact, {share:.4f} of the tokens")


def _save(path, model, optimiser, step, tokens, seconds):
    state = dict(model=model.state_dict(), optimiser=optimiser.state(), step=step, tokens=tokens, seconds=seconds)
    torch.save(state, path + ".new")
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("tokenizer", "run"))
    parser.add_argument("--work", required=True, help="training folder")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3200, help="length of the schedule")
    parser.add_argument("--minutes", type=float, help="end the schedule by the clock if that comes first")
    parser.add_argument("--tokens", type=int, default=4096, help="tokens of one step")
    parser.add_argument("--rate", type=float, default=4e-3)
    parser.add_argument("--falling", type=float, default=0.45, help="last part of the run, with falling rate")
    parser.add_argument("--int4", type=float, default=0.15, help="last part of the run, with INT4 experts")
    parser.add_argument("--first-lessons", type=float, default=0.2,
                        help="first part of the run: copying and single calls")
    parser.add_argument("--missing", type=float, default=0.17, help="share of conversations that lack a tool")
    parser.add_argument("--balance", type=float, default=0.003, help="step of the router's selection bias")
    parser.add_argument("--every", type=int, default=200, help="steps between checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on with the run in the training folder")
    parser.add_argument("--start", metavar="CHECKPOINT", help="begin with the weights and vocabulary of an export")
    arguments = parser.parse_args()
    if arguments.command == "tokenizer":
        learn_tokenizer(arguments.work)
    else:
        train(arguments)


if __name__ == "__main__":
    main()
