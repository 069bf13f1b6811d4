"""Building stones of the golden cases: whole config.json objects, stored forms by tensor name, foreign tensors."""

INT4_IGNORE = ["lm_head", "re:.*self_attn.*", "re:.*shared_experts.*", "re:.*mlp\\.(gate|up|gate_up|down)_proj.*"]


def base(**changes):
    """A small K2: latent queries, one dense layer, sigmoid router with bias, YaRN with m squared near 2."""
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "model_type": "kimi_k2",
        "hidden_size": 40,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "q_lora_rank": 20,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 12,
        "qk_rope_head_dim": 8,
        "v_head_dim": 12,
        "intermediate_size": 40,
        "moe_intermediate_size": 16,
        "n_routed_experts": 6,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
        "n_group": 1,
        "topk_group": 1,
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "norm_topk_prob": True,
        "routed_scaling_factor": 2.827,
        "first_k_dense_replace": 1,
        "moe_layer_freq": 1,
        "vocab_size": 97,
        "rms_norm_eps": 1e-5,
        "rope_theta": 50000.0,
        "rope_scaling": yarn(),
        "max_position_embeddings": 4096,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "tie_word_embeddings": False,
        "num_nextn_predict_layers": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 0,
        "torch_dtype": "bfloat16",
        "use_cache": True,
    }
    config.update(changes)
    return {key: value for key, value in config.items() if value != "absent"}


def yarn(**changes):
    scaling = {
        "type": "yarn",
        "factor": 64.0,
        "beta_fast": 1.0,
        "beta_slow": 1.0,
        "mscale": 1.0,
        "mscale_all_dim": 1.0,
        "original_max_position_embeddings": 64,
    }
    scaling.update(changes)
    return scaling


def pack_quantized(group_size, ignore=INT4_IGNORE):
    strategy = "channel" if group_size is None else "group"
    weights = {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "strategy": strategy,
        "group_size": group_size,
        "dynamic": False,
        "actorder": None,
        "block_structure": None,
        "observer": "minmax",
        "observer_kwargs": {},
    }
    group = {"targets": ["Linear"], "input_activations": None, "output_activations": None, "weights": weights}
    return {
        "quant_method": "compressed-tensors",
        "format": "pack-quantized",
        "quantization_status": "compressed",
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
        "config_groups": {"group_0": group},
        "ignore": ignore,
    }


def published(experts="BF16", rest="BF16", bias="F32"):
    """Form by name as published K2 files have it: routed experts one way, the selection bias another."""

    def form(name):
        if name.endswith("e_score_correction_bias"):
            return bias
        return experts if ".experts." in name else rest

    return form


def linears(form, bias="F32"):
    """Every matrix of attention, dense layers, shared and routed experts one way; router, norms, embedding, head BF16."""

    def choose(name):
        if name.endswith("e_score_correction_bias"):
            return bias
        return form if "_proj" in name else "BF16"

    return choose


def patchwork(name):
    """Mixed matrix by matrix: INT4 experts with BF16 and F16 ones among them, norms and router in F32."""
    if name.endswith(("norm.weight", "_bias", "mlp.gate")):
        return "F32"
    if name.endswith(("experts.0.down_proj", "experts.1.gate_proj")):
        return "BF16"
    if name.endswith("experts.2.up_proj"):
        return "F16"
    return {"int4": 32, "shape": "garbage"} if ".experts." in name else "BF16"


def next_token_layer(layer, hidden, vocab, prefix=""):
    """A few tensors of a stored multi-token-prediction layer, which an engine must skip."""
    at = f"{prefix}model.layers.{layer}."
    return [
        (at + "enorm.weight", (hidden,), "BF16"),
        (at + "hnorm.weight", (hidden,), "BF16"),
        (at + "eh_proj.weight", (hidden, 2 * hidden), "BF16"),
        (at + "shared_head.norm.weight", (hidden,), "BF16"),
        (at + "shared_head.head.weight", (vocab, 3), "BF16"),
        (at + "input_layernorm.weight", (hidden,), "BF16"),
        (at + "mlp.gate.weight", (4, hidden), "BF16"),
    ]


def leftover_frequencies(layers, length, prefix=""):
    return [(f"{prefix}model.layers.{i}.self_attn.rotary_emb.inv_freq", (length,), "F32") for i in range(layers)]


def v2(**changes):
    """A small DeepSeek-V2: softmax router without a bias, plain queries, weights not normalised."""
    values = {
        "architectures": ["DeepseekV2ForCausalLM"],
        "model_type": "deepseek_v2",
        "q_lora_rank": None,
        "scoring_func": "softmax",
        "topk_method": "greedy",
        "norm_topk_prob": False,
        "rope_theta": 10000,
        "rms_norm_eps": 1e-6,
    }
    values.update(changes)
    return base(**values)
