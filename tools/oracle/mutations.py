"""Known ways to get this architecture wrong, each planted into a fresh model; self_check.py wants every one noticed.

A mutation is a context manager that takes a Checkpoint and yields a Model with the error inside.
"""
import copy
from contextlib import contextmanager
from unittest import mock

import numpy as np

import checkpoint as checkpoint_module
import deepseek_v3
import router
from deepseek_v3 import Model


def with_config(change):
    @contextmanager
    def apply(checkpoint):
        model = Model(checkpoint)
        model.config = copy.deepcopy(checkpoint.config)
        change(model.config)
        yield model

    return apply


def with_yarn(**values):
    def change(config):
        if config.yarn:
            config.yarn.update(values)

    return with_config(change)


def with_method(name, function):
    @contextmanager
    def apply(checkpoint):
        model = Model(checkpoint)
        setattr(model, name, lambda *arguments: function(model, *arguments))
        yield model

    return apply


def with_patch(target, name, function):
    @contextmanager
    def apply(checkpoint):
        with mock.patch.object(target, name, function):
            yield Model(checkpoint)

    return apply


def drop_m_squared(config):
    if config.yarn:
        amplitude = config.rope_amplitude()
        config.rope_amplitude = lambda: amplitude
        config.yarn["mscale_all_dim"] = 0


def drop_amplitude(config):
    config.rope_amplitude = lambda: 1.0


def half_split(model, x):
    """Pairs (i, i + Dr/2) instead of neighbours, without the permutation that would make it right."""
    shuffled = np.stack(np.split(x, 2, axis=-1), axis=-1).reshape(x.shape)
    return Model.rotate(model, shuffled)


def late_keys(model, x):
    """Keys (recognised by their single head) turned as if one position later than queries."""
    return Model.rotate(model, np.concatenate([x[:1], x]))[1:] if x.shape[1] == 1 else Model.rotate(model, x)


def route_with_biased_weights(config, logits, bias):
    experts, weights, margin = ROUTE(config, logits, bias)
    if bias is not None:
        keys = router.score(config, logits) + bias
        weights = router.scaled(config, np.take_along_axis(keys, experts, axis=-1))
    return experts, weights, margin


def route_without_bias(config, logits, bias):
    return ROUTE(config, logits, None if bias is None else np.zeros_like(bias))


ROUTE = router.route
UNPACK = checkpoint_module.unpack_int4


def high_nibble_first(words):
    quanta = UNPACK(words)
    return quanta.reshape(len(quanta), -1, 2)[:, :, ::-1].reshape(quanta.shape)


def twos_complement(words):
    quanta = UNPACK(words) + 8
    return np.where(quanta > 7, quanta - 16, quanta)


def without_least(words):
    return np.maximum(UNPACK(words), -7)


def divided_blocks(scale, shape, block):
    return EXPAND(1 / scale, shape, block)


def transposed_blocks(scale, shape, block):
    rows, columns = np.arange(shape[0]) // block[0], np.arange(shape[1]) // block[1]
    flat = scale.ravel()
    return flat[(columns[None, :] * scale.shape[0] + rows[:, None]) % len(flat)]


EXPAND = checkpoint_module.expand_blocks


def set_fields(**values):
    def change(config):
        for name, value in values.items():
            setattr(config, name, value)

    return with_config(change)


def silu_as_gelu(model, prefix, x):
    gate = model.linear(x, prefix + "gate_proj")
    gelu = 0.5 * gate * (1 + np.tanh(0.7978845608 * (gate + 0.044715 * gate**3)))
    return model.linear(gelu * model.linear(x, prefix + "up_proj"), prefix + "down_proj")


def narrow_shared(model, prefix, x):
    """Only the first of several shared experts."""
    if not prefix.endswith("shared_experts."):
        return Model.swiglu(model, prefix, x)
    width = model.config.moe_intermediate_size
    gate = model.linear(x, prefix + "gate_proj")[:, :width]
    up = model.linear(x, prefix + "up_proj")[:, :width]
    return gate / (1 + np.exp(-gate)) * up @ model.matrix(prefix + "down_proj")[:, :width].T


def scale_everything(config, weights):
    return SCALED(config, weights) * (config.routed_scaling_factor if config.topk_method != "noaux_tc" else 1)


SCALED = router.scaled

# What sources disagree on and no golden may depend on.
HARMLESS = {"refused groups masked with 0.0 instead of -inf": with_patch(router, "REFUSED_KEY", 0.0)}

MUTATIONS = {
    "softmax scale without m squared": with_config(drop_m_squared),
    "rope amplitude dropped": with_config(drop_amplitude),
    "rope pairs half-split": with_method("rotate", half_split),
    "keys one position late": with_method("rotate", late_keys),
    "no YaRN": with_config(lambda config: setattr(config, "yarn", None)),
    "beta_fast 32 for 1": with_yarn(beta_fast=32),
    "beta_fast 1 for 32": with_yarn(beta_fast=1),
    "YaRN factor 32": with_yarn(factor=32.0),
    "theta 10000": set_fields(rope_theta=10000.0),
    "latent eps from rms_norm_eps": with_config(lambda c: setattr(c, "latent_norm_eps", c.rms_norm_eps)),
    "rms eps 1e-6": set_fields(rms_norm_eps=1e-6),
    "rms eps 1e-5": set_fields(rms_norm_eps=1e-5),
    "bias inside the weights": with_patch(deepseek_v3, "route", route_with_biased_weights),
    "bias ignored": with_patch(deepseek_v3, "route", route_without_bias),
    "refused groups masked with 0.9": with_patch(router, "REFUSED_KEY", 0.9),
    "groups ignored": set_fields(n_group=1),
    "one group too many": with_config(lambda c: setattr(c, "topk_group", min(c.topk_group + 1, c.n_group))),
    "weights not normalised": set_fields(norm_topk_prob=False),
    "weights normalised": set_fields(norm_topk_prob=True),
    "scaling factor 1": set_fields(routed_scaling_factor=1.0),
    "one expert fewer": with_config(lambda c: setattr(c, "num_experts_per_tok", c.num_experts_per_tok - 1)),
    "V2 weights scaled after normalising": with_patch(router, "scaled", scale_everything),
    "softmax scores as sigmoid": set_fields(scoring_func="sigmoid"),
    "first shared expert only": with_method("swiglu", narrow_shared),
    "gelu for silu": with_method("swiglu", silu_as_gelu),
    "INT4 high nibble first": with_patch(checkpoint_module, "unpack_int4", high_nibble_first),
    "INT4 two's complement": with_patch(checkpoint_module, "unpack_int4", twos_complement),
    "INT4 -8 read as -7": with_patch(checkpoint_module, "unpack_int4", without_least),
    "FP8 scale divides": with_patch(checkpoint_module, "expand_blocks", divided_blocks),
    "FP8 blocks transposed": with_patch(checkpoint_module, "expand_blocks", transposed_blocks),
}
