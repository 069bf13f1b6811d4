"""config.json as the oracle understands it: text_config unwrapped, both spellings of the rope data, defaults filled.

Field names are those of the file. Nothing about a particular model is known here.
"""
import json
import math
from pathlib import Path


class ModelConfig:
    def __init__(self, document):
        text = document.get("text_config") or document
        quantization = text.get("quantization_config") or document.get("quantization_config") or {}
        self.hidden_size = text["hidden_size"]
        self.num_hidden_layers = text["num_hidden_layers"]
        self.num_attention_heads = text["num_attention_heads"]
        self.q_lora_rank = text.get("q_lora_rank")
        self.kv_lora_rank = text["kv_lora_rank"]
        self.qk_nope_head_dim = text["qk_nope_head_dim"]
        self.qk_rope_head_dim = text["qk_rope_head_dim"]
        self.v_head_dim = text["v_head_dim"]
        self.intermediate_size = text["intermediate_size"]
        self.vocab_size = text["vocab_size"]
        self.rms_norm_eps = text["rms_norm_eps"]
        # The published modelling code builds the two latent norms with its class default, whatever the config says.
        self.latent_norm_eps = 1e-6

        self.n_routed_experts = text.get("n_routed_experts") or 0
        self.num_experts_per_tok = text.get("num_experts_per_tok") or 0
        self.n_shared_experts = text.get("n_shared_experts") or 0
        self.moe_intermediate_size = text.get("moe_intermediate_size") or 0
        self.first_k_dense_replace = text.get("first_k_dense_replace", 0)
        self.moe_layer_freq = text.get("moe_layer_freq", 1)
        self.n_group = text.get("n_group") or 1
        self.topk_group = text.get("topk_group") or 1
        self.scoring_func = text.get("scoring_func", "sigmoid")
        self.topk_method = text.get("topk_method", "noaux_tc")
        self.norm_topk_prob = text.get("norm_topk_prob", True)
        self.routed_scaling_factor = text.get("routed_scaling_factor", 1.0)

        rope = text.get("rope_parameters") or text.get("rope_scaling") or {}
        self.rope_theta = rope.get("rope_theta", text.get("rope_theta", 10000.0))
        kind = rope.get("rope_type", rope.get("type", "default"))
        if kind not in ("default", "yarn"):
            raise ValueError(f"expected yarn or default for the rope type, got {kind}")
        self.yarn = None
        if kind == "yarn":
            self.yarn = {
                "factor": rope["factor"],
                "beta_fast": rope.get("beta_fast", 32),
                "beta_slow": rope.get("beta_slow", 1),
                "mscale": rope.get("mscale", 1),
                "mscale_all_dim": rope.get("mscale_all_dim", 0),
                "original_max_position_embeddings": rope["original_max_position_embeddings"],
            }
        self.weight_block_size = quantization.get("weight_block_size") or [128, 128]

    @staticmethod
    def read(folder):
        return ModelConfig(json.loads((Path(folder) / "config.json").read_text()))

    def is_moe(self, layer):
        return self.n_routed_experts > 0 and layer >= self.first_k_dense_replace and layer % self.moe_layer_freq == 0

    def softmax_scale(self):
        """(Dn + Dr)^-1/2 times m squared."""
        scale = 1 / math.sqrt(self.qk_nope_head_dim + self.qk_rope_head_dim)
        if self.yarn and self.yarn["mscale_all_dim"]:
            scale *= magnitude(self.yarn["factor"], self.yarn["mscale_all_dim"]) ** 2
        return scale

    def rope_amplitude(self):
        """Factor on cos and sin; 1 when mscale equals mscale_all_dim."""
        if not self.yarn:
            return 1.0
        factor = self.yarn["factor"]
        return magnitude(factor, self.yarn["mscale"]) / magnitude(factor, self.yarn["mscale_all_dim"])

    def inverse_frequencies(self):
        """Dr/2 angular speeds in radians per position, blended by YaRN where the config asks for it."""
        size = self.qk_rope_head_dim
        plain = [self.rope_theta ** (-2 * i / size) for i in range(size // 2)]
        if not self.yarn:
            return plain
        low, high = self.correction_range()
        if low == high:
            high += 0.001
        blended = []
        for i, speed in enumerate(plain):
            ramp = min(max((i - low) / (high - low), 0.0), 1.0)
            blended.append(speed / self.yarn["factor"] * ramp + speed * (1 - ramp))
        return blended

    def correction_range(self):
        """(low, high): pair indices below low keep their speed, those above high are slowed by the whole factor."""
        size, length = self.qk_rope_head_dim, self.yarn["original_max_position_embeddings"]

        def pair_of(turns):
            return size * math.log(length / (2 * math.pi * turns)) / (2 * math.log(self.rope_theta))

        low = max(math.floor(pair_of(self.yarn["beta_fast"])), 0)
        high = min(math.ceil(pair_of(self.yarn["beta_slow"])), size - 1)
        return low, high


def magnitude(factor, coefficient):
    return 1.0 if factor <= 1 else 1 + 0.1 * coefficient * math.log(factor)
