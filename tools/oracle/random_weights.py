"""Random weights that make a healthy small model, and their stored forms.

Healthy: the residual stays of order 1, attention is neither uniform nor one-hot, router keys are spread, logits have a
standard deviation near 1. A constant weight or a vanishing branch would hide errors from the logits.
"""
import numpy as np

from formats import encode, from_bf16_bits, pack_int4, quantise_fp8, quantise_int4, to_bf16_bits

# As seen in published files: the content of weight_shape can be anything.
GARBAGE_SHAPES = [(-1752796263, -1707567530), (241597647, 1216029047), (0, -1), (2147483647, 7)]


def tensor_shapes(config):
    """{name: shape} of every text tensor in the order of the files; matrices are named without `.weight`."""
    D, H = config.hidden_size, config.num_attention_heads
    R, Rq = config.kv_lora_rank, config.q_lora_rank
    Dn, Dr, Dv = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
    shapes = {"model.embed_tokens": (config.vocab_size, D)}

    def mlp(at, width):
        shapes.update({at + "gate_proj": (width, D), at + "up_proj": (width, D), at + "down_proj": (D, width)})

    for layer in range(config.num_hidden_layers):
        at = f"model.layers.{layer}."
        shapes[at + "input_layernorm.weight"] = (D,)
        shapes[at + "post_attention_layernorm.weight"] = (D,)
        attention = at + "self_attn."
        if Rq is None:
            shapes[attention + "q_proj"] = (H * (Dn + Dr), D)
        else:
            shapes[attention + "q_a_proj"] = (Rq, D)
            shapes[attention + "q_a_layernorm.weight"] = (Rq,)
            shapes[attention + "q_b_proj"] = (H * (Dn + Dr), Rq)
        shapes[attention + "kv_a_proj_with_mqa"] = (R + Dr, D)
        shapes[attention + "kv_a_layernorm.weight"] = (R,)
        shapes[attention + "kv_b_proj"] = (H * (Dn + Dv), R)
        shapes[attention + "o_proj"] = (D, H * Dv)
        if not config.is_moe(layer):
            mlp(at + "mlp.", config.intermediate_size)
            continue
        shapes[at + "mlp.gate"] = (config.n_routed_experts, D)
        if config.topk_method == "noaux_tc":
            shapes[at + "mlp.gate.e_score_correction_bias"] = (config.n_routed_experts,)
        if config.n_shared_experts:
            mlp(at + "mlp.shared_experts.", config.n_shared_experts * config.moe_intermediate_size)
        for expert in range(config.n_routed_experts):
            mlp(f"{at}mlp.experts.{expert}.", config.moe_intermediate_size)
    shapes["model.norm.weight"] = (D,)
    shapes["lm_head"] = (config.vocab_size, D)
    return shapes


def random_weight(config, name, shape, random, gains):
    """float64 values of one tensor. Gains are relative to 1/sqrt(fan-in), which keeps the variance of the input."""
    if name.endswith("layernorm.weight") or name == "model.norm.weight":
        return 0.7 + 0.6 * random.random_sample(shape)
    if name.endswith("e_score_correction_bias"):
        return gains["bias"] * random.standard_normal(shape)
    values = random.standard_normal(shape)
    if name == "model.embed_tokens":
        return values * gains["embedding"]
    values /= np.sqrt(shape[1])
    if name.endswith(("q_proj", "q_b_proj")):
        # Scores get a standard deviation near 2 once the softmax scale, with its m squared, is applied.
        width = config.qk_nope_head_dim + config.qk_rope_head_dim
        return values * gains["query"] / (config.softmax_scale() * np.sqrt(width))
    if name.endswith("kv_a_proj_with_mqa"):
        # Small latents, as in published models: the eps inside their norm then matters.
        values[: config.kv_lora_rank] *= gains["latent"]
        return values
    if name.endswith("mlp.gate"):
        return values * gains["router"]
    if name.endswith("down_proj"):
        return values * (1.5 / routed_weight(config) if ".experts." in name else 1.5)
    return values


def routed_weight(config):
    """Roughly the sum of a token's expert weights, which would otherwise drown or amplify the routed branch."""
    if config.topk_method == "noaux_tc":
        return config.routed_scaling_factor
    if config.norm_topk_prob:
        return 1.0
    return min(1.0, 2 * config.num_experts_per_tok / config.n_routed_experts) * config.routed_scaling_factor


def store(config, name, values, form, random):
    """-> [(full name, Stored)] of one tensor. `form` is a dtype name, or a dict: {"int4": group or "channel",
    "divisor", "shape": "true" | "garbage", "shape_dtype"} or {"fp8": block}."""
    full = name if name.endswith((".weight", "_bias")) else name + ".weight"
    if isinstance(form, str):
        return [(full, encode(values, form))]
    if "fp8" in form:
        codes, scale = quantise_fp8(values, form["fp8"])
        return [(full, encode(codes, "F8_E4M3")), (name + ".weight_scale_inv", encode(scale, "F32"))]
    group = values.shape[1] if form["int4"] == "channel" else form["int4"]
    quanta, scale = quantise_int4(from_bf16_bits(to_bf16_bits(values)), group, form.get("divisor", 7))
    shape = values.shape
    if form.get("shape") == "garbage":
        shape = GARBAGE_SHAPES[random.randint(len(GARBAGE_SHAPES))]
    return [
        (name + ".weight_packed", encode(pack_int4(quanta), "I32")),
        (name + ".weight_scale", encode(scale, "BF16")),
        (name + ".weight_shape", encode(np.array(shape), form.get("shape_dtype", "I32"))),
    ]
