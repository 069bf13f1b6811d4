"""Logits of any small checkpoint, for comparisons by hand: python3 logits.py CHECKPOINT --ids 1,2,3 [--generate N].

Prints per position the argmax, its lead over the second in standard deviations, and the router margin; --out writes all
logits as raw little-endian float32 [T, V]. --generate continues greedily with the token-by-token twin (float64).
"""
import argparse
import json
from pathlib import Path

import numpy as np

from checkpoint import Checkpoint
from deepseek_v3 import Model
from rounded import RoundedModel
from twin import Twin


def read_ids(text):
    """`1,2,3`, or @FILE holding a JSON array of ids or a golden.json."""
    if not text.startswith("@"):
        return [int(token) for token in text.split(",")]
    document = json.loads(Path(text[1:]).read_text())
    return document["ids"] if isinstance(document, dict) else document


def generate(checkpoint, ids, count, stop):
    twin = Twin(checkpoint)
    for token in ids:
        logits, margin = twin.step(token)
    for _ in range(count):
        token = int(logits.argmax())
        second, first = np.sort(logits)[-2:]
        yield token, (first - second) / logits.std(), margin
        if token in stop:
            return
        logits, margin = twin.step(token)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--ids", required=True, help="comma-separated token ids, or @FILE (JSON array or golden.json)")
    parser.add_argument("--precision", choices=["float64", "float32", "bfloat16"], default="float64",
                        help="bfloat16 rounds the inputs of matrix products and the cache, as a 16-bit engine does")
    parser.add_argument("--generate", type=int, default=0, metavar="N", help="continue with N greedy tokens")
    parser.add_argument("--stop", default="", help="comma-separated ids that end the generation")
    parser.add_argument("--out", type=Path, help="file for the raw float32 logits")
    parser.add_argument("--top", type=int, default=0, metavar="K", help="also print the K largest logits per position")
    arguments = parser.parse_args()

    checkpoint, ids = Checkpoint(arguments.checkpoint), read_ids(arguments.ids)
    wrong = [token for token in ids if not 0 <= token < checkpoint.config.vocab_size]
    if wrong or not ids:
        parser.error(f"expected ids within 0..{checkpoint.config.vocab_size - 1} for --ids, got {wrong or 'none'}")
    kind, dtype = {
        "float64": (Model, np.float64), "float32": (Model, np.float32), "bfloat16": (RoundedModel, np.float64),
    }[arguments.precision]
    logits, margin = kind(checkpoint, dtype).forward(ids)
    if arguments.out:
        arguments.out.write_bytes(logits.astype("<f4").tobytes())
    print("position     id argmax   lead   router margin")
    for position, row in enumerate(logits):
        second, first = np.sort(row)[-2:]
        line = f"{position:8} {ids[position]:6} {row.argmax():6} {(first - second) / row.std():6.3f} {margin[position]:9.1e}"
        if arguments.top:
            order = np.argsort(-row, kind="stable")[: arguments.top]
            line += "  " + " ".join(f"{token}:{row[token]:.5f}" for token in order)
        print(line)
    print(f"standard deviation of all logits {logits.std():.6f}")
    if arguments.generate:
        stop = {int(token) for token in arguments.stop.split(",") if token}
        steps = list(generate(checkpoint, ids, arguments.generate, stop))
        print("generated " + ",".join(str(token) for token, _, _ in steps))
        print(f"smallest lead {min(lead for _, lead, _ in steps):.4f}, "
              f"smallest router margin {min(margin for _, _, margin in steps):.1e}")


if __name__ == "__main__":
    main()
