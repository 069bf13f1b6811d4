"""Writes test/golden/ops.json: goldens of single operations, for unit tests. python3 make_ops.py [--out FILE].

Inputs are float32 numbers written exactly; results are float64. Each comes from the formula, through the oracle's code.
"""
import argparse
import json
from pathlib import Path

import numpy as np

from formats import E4M3_TABLE, pack_int4, quantise_int4, to_bf16_bits, to_e4m3_codes
from model_config import ModelConfig
from router import route

DEFAULT_OUT = Path(__file__).resolve().parents[2] / "test" / "golden" / "ops.json"

ROPE_KINDS = {
    "Kimi-K2-Thinking": (50000.0, 64, 128, dict(factor=64, beta_fast=1, beta_slow=1, mscale=1, mscale_all_dim=1)),
    "Kimi-K2-Instruct-0711": (50000.0, 64, 128, dict(factor=32, beta_fast=1, beta_slow=1, mscale=1, mscale_all_dim=1)),
    "Kimi-K2.5": (50000.0, 64, 128, dict(factor=64, beta_fast=32, beta_slow=1, mscale=1, mscale_all_dim=1)),
    "DeepSeek-V3": (10000.0, 64, 128, dict(factor=40, beta_fast=32, beta_slow=1, mscale=1, mscale_all_dim=1)),
    "DeepSeek-V2-Lite": (10000.0, 64, 128, dict(factor=40, beta_fast=32, beta_slow=1, mscale=0.707, mscale_all_dim=0.707)),
    "mscale-differs": (10000.0, 16, 24, dict(factor=40, beta_fast=32, beta_slow=1, mscale=1, mscale_all_dim=0.5)),
    "low-equals-high": (10000.0, 8, 24, dict(factor=4, beta_fast=1000, beta_slow=1000, mscale=1, mscale_all_dim=1)),
    "high-below-low": (10000.0, 8, 24, dict(factor=4, beta_fast=1e6, beta_slow=1e6, mscale=1, mscale_all_dim=1)),
    "Moonlight": (50000.0, 64, 128, None),
    "GLM-4.7-Flash": (1000000.0, 64, 192, None),
}


def config_of(**values):
    """A ModelConfig whose other fields do not matter here."""
    numbers = ["hidden_size", "num_hidden_layers", "num_attention_heads", "kv_lora_rank", "v_head_dim"]
    numbers += ["intermediate_size", "vocab_size", "qk_nope_head_dim", "qk_rope_head_dim"]
    return ModelConfig({**dict.fromkeys(numbers, 1), "rms_norm_eps": 1e-6, **values})


def rope_config(kind):
    theta, width, nope, scaling = ROPE_KINDS[kind]
    if scaling:
        scaling = {"type": "yarn", "original_max_position_embeddings": 4096, **scaling}
    return config_of(rope_theta=theta, qk_rope_head_dim=width, qk_nope_head_dim=nope, rope_scaling=scaling), scaling


def yarn_tables():
    tables = []
    for kind in ROPE_KINDS:
        config, scaling = rope_config(kind)
        tables.append({
            "name": kind,
            "rope_theta": config.rope_theta,
            "qk_rope_head_dim": config.qk_rope_head_dim,
            "qk_nope_head_dim": config.qk_nope_head_dim,
            "rope_scaling": scaling,
            "correctionRange": list(config.correction_range()) if scaling else None,
            "inverseFrequencies": config.inverse_frequencies(),
            "amplitude": config.rope_amplitude(),
            "softmaxScale": config.softmax_scale(),
        })
    return tables


def rope_examples(random):
    """One vector at several positions, pairs (2i, 2i+1) turned in place by complex multiplication."""
    examples = []
    for kind in ("Kimi-K2-Thinking", "mscale-differs", "Moonlight"):
        config, _ = rope_config(kind)
        x = float32(random.standard_normal(config.qk_rope_head_dim))
        for position in (0, 1, 63, 4096, 262143):
            turns = np.exp(1j * position * np.array(config.inverse_frequencies())) * config.rope_amplitude()
            turned = (x[0::2] + 1j * x[1::2]) * turns
            y = np.stack([turned.real, turned.imag], axis=1).ravel()
            examples.append({"table": kind, "position": position, "x": numbers(x), "y": numbers(y)})
    return examples


def router_examples(random):
    def example(about, logits, bias=None, **values):
        logits = float32(logits)
        bias = None if bias is None else float32(bias)
        config = config_of(n_routed_experts=logits.shape[1], **values)
        experts, weights, _ = route(config, logits, bias)
        return {
            "about": about,
            "config": {"n_routed_experts": logits.shape[1], **values},
            "logits": [numbers(row) for row in logits],
            "bias": None if bias is None else numbers(bias),
            "experts": experts.tolist(),
            "weights": [numbers(row) for row in weights],
        }

    k2 = dict(
        scoring_func="sigmoid", topk_method="noaux_tc", n_group=1, topk_group=1, num_experts_per_tok=4,
        norm_topk_prob=True, routed_scaling_factor=2.827,
    )
    v3 = {**k2, "n_group": 4, "topk_group": 2, "routed_scaling_factor": 2.5}
    lite = dict(
        scoring_func="softmax", topk_method="greedy", n_group=1, topk_group=1, num_experts_per_tok=3,
        norm_topk_prob=False, routed_scaling_factor=1.0,
    )
    v2 = {**lite, "topk_method": "group_limited_greedy", "n_group": 3, "topk_group": 2, "routed_scaling_factor": 16.0}
    spread = lambda experts: 1.5 * random.standard_normal((6, experts))
    bias = lambda experts: 0.1 * random.standard_normal(experts)
    saturated = [[90, -90, 40, -40, 0, 120, -120, 1], [-100, -100, -100, -100, -100, -100, -100, -100]]
    return [
        example("noaux_tc, one group", spread(16), bias(16), **k2),
        example("noaux_tc without normalisation", spread(16), bias(16), **{**k2, "norm_topk_prob": False}),
        example("noaux_tc, the bias decides alone", np.zeros((1, 8)), [0, 3, 1, 0, 2, 0, 4, 0], **k2),
        example("noaux_tc, all keys equal: lowest indices", np.full((2, 12), 0.25), np.zeros(12), **k2),
        example("noaux_tc, ties at the border", [[1, 2, 1, 2, 1, 2, 1, 1]], np.zeros(8), **k2),
        example("noaux_tc, saturated sigmoid", saturated, np.zeros(8), **k2),
        example("noaux_tc, 4 groups of which 2 stay", spread(16), bias(16), **v3),
        example("noaux_tc, equal groups: lowest indices", np.full((1, 16), -0.5), np.zeros(16), **v3),
        example(
            "noaux_tc, two good experts beat one excellent one",
            [[6, -9, -9, -9, 0.5, 0.6, -9, -9, 0.4, 0.4, 0.4, 0.4, -9, -9, -9, 5]], np.zeros(16), **v3,
        ),
        example("softmax greedy", spread(12), **lite),
        example("softmax greedy, normalised and therefore unscaled", spread(12),
                **{**lite, "norm_topk_prob": True, "routed_scaling_factor": 16.0}),
        example("softmax greedy, large logits and ties", [[500, 499, 500, -500, 0, 499]], **lite),
        example("softmax, best groups by their maximum", spread(12), **v2),
        example("softmax, equal groups: lowest indices", np.zeros((1, 12)), **v2),
    ]


def int4_examples(random):
    """The published vector, then a matrix of 3 rows and 2 groups that reaches -8."""
    weight = random.standard_normal((3, 64))
    quanta, scale = quantise_int4(weight, 32, 7.5)
    quanta[0, 0], quanta[2, 63] = -8, 7
    words = pack_int4(quanta)
    return [
        {"words": [[-22444272]], "bytes": [0x10, 0x87, 0xA9, 0xFE], "group": 8, "scaleBits": [[0x3F80]],
         "values": [[-8.0, -7.0, -1.0, 0.0, 1.0, 2.0, 6.0, 7.0]]},
        {"words": words.tolist(), "bytes": list(words.astype("<i4").tobytes()), "group": 32,
         "scaleBits": to_bf16_bits(scale).tolist(),
         "values": [numbers(row) for row in quanta * scale.repeat(32, axis=1)]},
    ]


def bf16_examples(random):
    """float32 -> BF16 to nearest, ties to even, as bit patterns; finite values, overflow to infinity, subnormals."""
    special = [0x00000000, 0x80000000, 0x3F800000, 0x3F808000, 0x3F818000, 0x3F807FFF, 0x3F808001, 0x7F7FFFFF,
               0xFF7FFFFF, 0x7F800000, 0x00000001, 0x00008000, 0x00008001, 0x00018000, 0x007FFFFF, 0x33800000]
    values = np.concatenate([
        np.array(special, dtype=np.uint32), random.standard_normal(16).astype(np.float32).view(np.uint32)
    ])
    return {"float32Bits": values.tolist(), "bfloat16Bits": to_bf16_bits(values.view(np.float32)).tolist()}


def norm_examples(random):
    def example(x, weight, eps):
        x, weight = float32(x), float32(weight)
        y = x / np.sqrt((x**2).mean() + eps) * weight
        return {"x": numbers(x), "weight": numbers(weight), "eps": eps, "y": numbers(y)}

    return [
        example(random.standard_normal(24), 0.5 + random.random_sample(24), 1e-5),
        example(1e-3 * random.standard_normal(17), 0.5 + random.random_sample(17), 1e-6),
        example(np.zeros(8), np.ones(8), 1e-6),
        example([1e4, 1, -1, 0.5, 1e-4], np.ones(5), 1e-5),
    ]


def swiglu_examples(random):
    gate = float32(np.concatenate([[-200, -20, -1, -0.0, 0, 1e-4, 1, 20, 200], 3 * random.standard_normal(12)]))
    up = float32(random.standard_normal(len(gate)))
    sigmoid = np.where(gate >= 0, 1 / (1 + np.exp(-np.abs(gate))), np.exp(-np.abs(gate)) / (1 + np.exp(-np.abs(gate))))
    return {"gate": numbers(gate), "up": numbers(up), "y": numbers(gate * sigmoid * up)}


def float32(values):
    return np.asarray(values, dtype=np.float32).astype(np.float64)


def numbers(values):
    return [float(value) for value in values]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out = parser.parse_args().out
    random = np.random.RandomState(7)
    halves = random.standard_normal(64) * 2.0 ** random.randint(-12, 10, size=64)
    document = {
        "yarn": yarn_tables(),
        "rope": rope_examples(random),
        "router": router_examples(random),
        "int4": int4_examples(random),
        "e4m3": [None if np.isnan(value) else float(value) for value in E4M3_TABLE],
        "e4m3Encode": {"x": numbers(float32(halves)), "codes": to_e4m3_codes(float32(halves)).tolist()},
        "bfloat16": bf16_examples(random),
        "rmsNorm": norm_examples(random),
        "swiglu": swiglu_examples(random),
    }
    text = []
    for key, value in document.items():
        if isinstance(value, list) and isinstance(value[0], dict):
            entries = ",\n  ".join(json.dumps(entry, allow_nan=False) for entry in value)
            text.append(f" {json.dumps(key)}: [\n  {entries}\n ]")
        else:
            text.append(f" {json.dumps(key)}: {json.dumps(value, allow_nan=False)}")
    out.write_text("{\n" + ",\n".join(text) + "\n}\n")
    print(f"{out.name}: {out.stat().st_size / 1000:.1f} KB")


if __name__ == "__main__":
    main()
