"""Kimi K2's architecture in torch: latent attention, sigmoid router with a selection bias, one shared expert, YaRN.

The one idea: the same mathematics as the published model at a hidden size of 192, so that an engine that runs this
checkpoint right runs the large one right. Training form: whole rows at once, no cache.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

CONFIG = dict(hidden_size=192, num_hidden_layers=4, num_attention_heads=4, q_lora_rank=96, kv_lora_rank=96,
              qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=48, intermediate_size=384, moe_intermediate_size=96,
              n_routed_experts=8, num_experts_per_tok=2, n_shared_experts=1, first_k_dense_replace=1,
              routed_scaling_factor=2.0, rms_norm_eps=1e-5, rope_theta=10000.0, max_position_embeddings=4096,
              rope_scaling=dict(type="yarn", factor=4.0, original_max_position_embeddings=1024, beta_fast=32.0,
                                beta_slow=1.0, mscale=1.0, mscale_all_dim=1.0))
HEAD_KEYS = ("num_attention_heads", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
LATENT_EPS = 1e-6                  # the reference code builds the norms of the two latents with its default
GROUP = 32                         # inputs that share one INT4 scale


def yarn_inverse_frequencies(config):
    """Rotation speed of each pair: kept for fast pairs, divided by `factor` for slow ones, a ramp between."""
    dim, base, scaling = config["qk_rope_head_dim"], config["rope_theta"], config["rope_scaling"]
    kept = 1.0 / base ** (torch.arange(0, dim, 2).float() / dim)

    def pair_that_turns(times):
        length = scaling["original_max_position_embeddings"]
        return dim * math.log(length / (times * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(pair_that_turns(scaling["beta_fast"])), 0)
    high = min(math.ceil(pair_that_turns(scaling["beta_slow"])), dim - 1)
    ramp = ((torch.arange(dim // 2).float() - low) / max(high - low, 0.001)).clamp(0, 1)
    return kept / scaling["factor"] * ramp + kept * (1 - ramp)


def rms_norm(x, weight, eps):
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * weight


def int4_round(weight):
    """-> (steps -8..7, scales): symmetric, one scale rounded to bf16 for each group of 32 inputs."""
    groups = weight.detach().reshape(*weight.shape[:-1], -1, GROUP)
    scales = (groups.abs().amax(-1, keepdim=True) / 7.5).clamp_min(1e-8).bfloat16().float()
    return (groups / scales).round().clamp(-8, 7), scales


def as_int4(weight):
    """The weight as INT4 storage gives it back, with the gradient passed straight through."""
    steps, scales = int4_round(weight)
    return weight + ((steps * scales).reshape(weight.shape) - weight.detach())


def swiglu(x, gate, up, down):
    return (F.silu(x @ gate.t()) * (x @ up.t())) @ down.t()


class TinyK2(nn.Module):
    """Weights in [out, in] order; the experts of a layer are stacked in one tensor [expert, out, in]."""

    def __init__(self, vocab_size, config=CONFIG, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.config, self.int4 = config, False
        hidden, layers, experts = config["hidden_size"], config["num_hidden_layers"], config["n_routed_experts"]
        heads, nope, rope, value = (config[key] for key in HEAD_KEYS)
        into_stream = 1 / math.sqrt(2 * layers)

        def matrix(*shape, std=None, scale=1.0):
            return nn.Parameter(torch.randn(*shape) * (std if std is not None else scale * shape[-1] ** -0.5))

        def ones(size):
            return nn.Parameter(torch.ones(size))

        self.embed, self.head = matrix(vocab_size, hidden, std=0.5), matrix(vocab_size, hidden, std=0.02)
        self.norm = ones(hidden)
        self.layers = nn.ModuleList()
        for index in range(layers):
            m = nn.Module()
            m.input_norm, m.post_norm = ones(hidden), ones(hidden)
            m.q_a, m.q_norm = matrix(config["q_lora_rank"], hidden), ones(config["q_lora_rank"])
            m.q_b = matrix(heads * (nope + rope), config["q_lora_rank"])
            m.kv_a, m.kv_norm = matrix(config["kv_lora_rank"] + rope, hidden), ones(config["kv_lora_rank"])
            m.kv_b = matrix(heads * (nope + value), config["kv_lora_rank"])
            m.o = matrix(hidden, heads * value, scale=into_stream)
            dense = index < config["first_k_dense_replace"]
            shared = config["moe_intermediate_size"] * config["n_shared_experts"]
            width = config["intermediate_size"] if dense else shared
            m.gate, m.up = matrix(width, hidden), matrix(width, hidden)
            m.down = matrix(hidden, width, scale=into_stream)
            m.is_moe = not dense
            if m.is_moe:
                width = config["moe_intermediate_size"]
                m.router = matrix(experts, hidden)
                m.register_buffer("bias", torch.zeros(experts))
                m.register_buffer("load", torch.zeros(experts))
                m.expert_gate, m.expert_up = matrix(experts, width, hidden), matrix(experts, width, hidden)
                m.expert_down = matrix(experts, hidden, width, scale=into_stream)
            self.layers.append(m)

        angles = torch.outer(torch.arange(config["max_position_embeddings"]).float(), yarn_inverse_frequencies(config))
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)
        mscale = 0.1 * config["rope_scaling"]["mscale_all_dim"] * math.log(config["rope_scaling"]["factor"]) + 1.0
        self.softmax_scale = (nope + rope) ** -0.5 * mscale * mscale

    def _rotate(self, x):
        """Interleaved pairs (2i, 2i+1); x is [rows, length, heads, rope]."""
        cos, sin = self.cos[:x.shape[1], None], self.sin[:x.shape[1], None]
        a, b = x[..., 0::2], x[..., 1::2]
        return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)

    def _attention(self, m, x, mask):
        c = self.config
        rows, length, _ = x.shape
        heads, nope, rope, value = (c[key] for key in HEAD_KEYS)
        rank = c["kv_lora_rank"]
        q = (rms_norm(x @ m.q_a.t(), m.q_norm, LATENT_EPS) @ m.q_b.t()).view(rows, length, heads, nope + rope)
        kv = x @ m.kv_a.t()
        k_rope = self._rotate(kv[..., rank:].unsqueeze(2)).expand(rows, length, heads, rope)
        kv = (rms_norm(kv[..., :rank], m.kv_norm, LATENT_EPS) @ m.kv_b.t()).view(rows, length, heads, nope + value)
        q = torch.cat((q[..., :nope], self._rotate(q[..., nope:])), -1).transpose(1, 2)
        k = torch.cat((kv[..., :nope], k_rope), -1).permute(0, 2, 3, 1)
        shares = torch.softmax((q * self.softmax_scale) @ k + mask, -1)
        return (shares @ kv[..., nope:].transpose(1, 2)).transpose(1, 2).reshape(rows, length, heads * value) @ m.o.t()

    def _experts(self, m, x):
        """x is [tokens, hidden]. The bias takes part in the choice, not in the weights."""
        c, count = self.config, self.config["num_experts_per_tok"]
        scores = torch.sigmoid(x @ m.router.t())
        chosen = torch.topk(scores.detach() + m.bias, count, dim=-1)[1]
        weights = scores.gather(1, chosen)
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20) * c["routed_scaling_factor"]
        flat = chosen.flatten()
        order = flat.argsort()
        loads = torch.bincount(flat, minlength=c["n_routed_experts"])
        if self.training:
            m.load += loads.float()
        token = order // count
        gate, up, down = (as_int4(p) if self.int4 else p for p in (m.expert_gate, m.expert_up, m.expert_down))
        parts = [swiglu(part, gate[e], up[e], down[e]) for e, part in enumerate(x[token].split(loads.tolist()))]
        routed = torch.cat(parts) * weights.flatten()[order].unsqueeze(1)
        return swiglu(x, m.gate, m.up, m.down).index_add(0, token, routed)

    def forward(self, ids, select=None):
        """ids [rows, length] -> logits at the selected flat positions (at all of them when None)."""
        rows, length = ids.shape
        eps = self.config["rms_norm_eps"]
        mask = torch.full((length, length), -1e9).triu(1)
        x = F.embedding(ids, self.embed)
        for m in self.layers:
            x = x + self._attention(m, rms_norm(x, m.input_norm, eps), mask)
            y = rms_norm(x, m.post_norm, eps).view(rows * length, -1)
            y = self._experts(m, y) if m.is_moe else swiglu(y, m.gate, m.up, m.down)
            x = x + y.view(rows, length, -1)
        x = x.reshape(rows * length, -1)
        if select is not None:
            x = x[select]
        return rms_norm(x, self.norm, eps) @ self.head.t()

    def balance_experts(self, step):
        """Move each expert's selection bias by the sign of its load error; -> largest load over the mean."""
        worst = 0.0
        for m in self.layers:
            if m.is_moe:
                mean = m.load.mean()
                worst = max(worst, float(m.load.max() / mean))
                m.bias += step * torch.sign(mean - m.load)
                m.load.zero_()
        return worst
