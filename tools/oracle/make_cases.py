"""Writes the tiny checkpoints and their goldens: python3 make_cases.py [case ...] [--out FOLDER].

Per case: random weights -> files in the published layout -> read back from disk -> token ids -> float64 logits.
Everything follows from the case's seed, so a second run writes the same bytes.
"""
import argparse
import json
import shutil
from pathlib import Path

import numpy as np

from cases import CASES
from checkpoint import Checkpoint
from deepseek_v3 import Model
from formats import encode
from model_config import ModelConfig
from random_weights import random_weight, store, tensor_shapes
from rounded import RoundedModel
from safetensors_io import write_checkpoint
from twin import Twin

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "test" / "golden" / "checkpoints"
GAINS = {"embedding": 1.0, "query": 1.4, "latent": 0.05, "router": 1.6, "bias": 0.1}
CANDIDATES = 40
# Least distance of the two largest logits in standard deviations: ten times the tolerance for a float32 engine.
CLEAR_WINNER = 5e-3


def write_weights(folder, case):
    config = ModelConfig(case["config"])
    random = np.random.RandomState(case["seed"])
    gains = {**GAINS, **case.get("gains", {})}
    prefix = case.get("prefix", "")
    tensors = {}
    for name, shape in tensor_shapes(config).items():
        values = random_weight(config, name, shape, random, gains)
        for full, stored in store(config, name, values, case["form"](name), random):
            tensors[prefix + full] = stored
    for name, shape, dtype in case.get("strangers", []):
        tensors[name] = encode(100 * random.standard_normal(shape), dtype)
    write_checkpoint(folder, tensors, case.get("shards", 1))


def choose_ids(checkpoint, case):
    """Random token ids. A token whose logits have no clear winner is drawn again, and with "margin" set also one whose
    routing is closer than that, so that an engine with 16-bit activations chooses the same experts at every position."""
    random = np.random.RandomState(case["seed"] + 1000)
    twin, ids = Twin(checkpoint), []
    for _ in range(case["tokens"]):
        candidates = []
        for _ in range(CANDIDATES):
            token = int(random.randint(checkpoint.config.vocab_size))
            logits, margin = twin.step(token, commit=False)
            second, first = np.sort(logits)[-2:]
            calm = min(margin / case["margin"], 1.0) if "margin" in case else 1.0
            clear = min((first - second) / logits.std() / CLEAR_WINNER, 1.0)
            candidates.append((min(calm, clear), -len(candidates), token))
            if candidates[-1][0] == 1.0:
                break
        token = max(candidates)[2]
        twin.step(token)
        ids.append(token)
    return ids


def digits(values, count=9):
    """Numbers for JSON; infinity (nothing was decided) becomes null."""
    return [None if np.isinf(value) else float(f"{value:.{count}g}") for value in values]


def make(name, out):
    case, folder = CASES[name], out / name
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(case["config"], indent=2) + "\n")
    if "generation" in case:
        (folder / "generation_config.json").write_text(json.dumps(case["generation"], indent=2) + "\n")
    write_weights(folder, case)

    checkpoint = Checkpoint(folder)
    ids = choose_ids(checkpoint, case)
    logits, margin = Model(checkpoint, np.float64).forward(ids)
    single, _ = Model(checkpoint, np.float32).forward(ids)
    deviation = logits.std(axis=1)
    noise = np.abs(single - logits).max(axis=1) / deviation
    sixteen, _ = RoundedModel(checkpoint, np.float64).forward(ids)
    sixteen_noise = np.abs(sixteen - logits).max(axis=1) / deviation
    ordered = np.sort(logits, axis=1)
    golden = {
        "about": case["about"],
        "shape": [len(ids), checkpoint.config.vocab_size],
        "ids": ids,
        "argmax": [int(token) for token in logits.argmax(axis=1)],
        "argmaxGap": digits((ordered[:, -1] - ordered[:, -2]) / deviation, 5),
        "logitsStd": float(f"{logits.std():.9g}"),
        "positionStd": digits(deviation, 7),
        "routerMargin": digits(margin, 5),
        "minRouterMargin": digits([margin.min()], 5)[0],
        "float32Noise": float(f"{noise.max():.3g}"),
        "bfloat16Noise": float(f"{sixteen_noise.max():.3g}"),
        "bfloat16Rms": float(f"{np.sqrt(np.mean((sixteen - logits) ** 2)) / logits.std():.3g}"),
    }
    lines = [f"  {json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}" for key, value in golden.items()]
    (folder / "golden.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    (folder / "logits.f32").write_bytes(logits.astype("<f4").tobytes())
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(
        f"{name:22} {size / 1000:7.1f} KB  T {len(ids):3}  std {logits.std():.3f}  noise {noise.max():.1e}  "
        f"bf16 {sixteen_noise.max():.1e} rms {golden['bfloat16Rms']:.1e}  "
        f"margin {margin.min():.1e} median {np.median(margin):.1e}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", help="names of the table in cases.py; all when none is given")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    arguments = parser.parse_args()
    for name in arguments.cases or CASES:
        make(name, arguments.out)


if __name__ == "__main__":
    main()
