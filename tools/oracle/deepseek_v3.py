"""The forward pass in its plainest form: whole sequence at once, keys and values expanded per head, one dtype.

Runs in float64 (the truth) or float32 (to measure the noise that any float32 engine has). Letters: T tokens, D hidden,
H heads, R kv rank, Dn nope, Dr rope, Dv value, E experts, K chosen experts, V vocabulary.
"""
import numpy as np

from router import route


class Model:
    """A checkpoint's weights, decoded once into `dtype`."""

    def __init__(self, checkpoint, dtype=np.float64):
        self.config, self.dtype, self.checkpoint = checkpoint.config, dtype, checkpoint
        self.cache = {}

    def matrix(self, name):
        if name not in self.cache:
            self.cache[name] = self.checkpoint.matrix(name).astype(self.dtype)
        return self.cache[name]

    def vector(self, name):
        if name not in self.cache:
            self.cache[name] = self.checkpoint.vector(name).astype(self.dtype)
        return self.cache[name]

    def linear(self, x, name):
        return x @ self.matrix(name).T

    def norm(self, x, name, eps):
        mean_square = (x * x).mean(axis=-1, keepdims=True)
        return x / np.sqrt(mean_square + self.dtype(eps)) * self.vector(name + ".weight")

    def forward(self, ids, trace=None):
        """ids [T] -> (logits [T, V], router margin [T]). `trace`, a dict, collects the residual after every layer."""
        config = self.config
        h = self.matrix("model.embed_tokens")[np.asarray(ids)]
        margin = np.full(len(ids), np.inf)
        for layer in range(config.num_hidden_layers):
            prefix = f"model.layers.{layer}."
            h = h + self.attention(prefix + "self_attn.", self.norm(h, prefix + "input_layernorm", config.rms_norm_eps))
            x = self.norm(h, prefix + "post_attention_layernorm", config.rms_norm_eps)
            if config.is_moe(layer):
                y, layer_margin = self.mixture(prefix + "mlp.", x)
                margin = np.minimum(margin, layer_margin)
            else:
                y = self.swiglu(prefix + "mlp.", x)
            h = h + y
            if trace is not None:
                trace[layer] = h
        return self.linear(self.norm(h, "model.norm", config.rms_norm_eps), "lm_head"), margin

    def attention(self, prefix, x):
        config = self.config
        T, H, R = len(x), config.num_attention_heads, config.kv_lora_rank
        Dn, Dr, Dv = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim
        if config.q_lora_rank is None:
            q = self.linear(x, prefix + "q_proj")
        else:
            low_rank = self.norm(self.linear(x, prefix + "q_a_proj"), prefix + "q_a_layernorm", config.latent_norm_eps)
            q = self.linear(low_rank, prefix + "q_b_proj")
        q = q.reshape(T, H, Dn + Dr)
        compressed = self.linear(x, prefix + "kv_a_proj_with_mqa")
        latent = self.norm(compressed[:, :R], prefix + "kv_a_layernorm", config.latent_norm_eps)
        kv = self.linear(latent, prefix + "kv_b_proj").reshape(T, H, Dn + Dv)
        k_rope = self.rotate(compressed[:, None, R:])
        key = np.concatenate([kv[:, :, :Dn], np.broadcast_to(k_rope, (T, H, Dr))], axis=-1)
        query = np.concatenate([q[:, :, :Dn], self.rotate(q[:, :, Dn:])], axis=-1)

        scores = np.einsum("thd,shd->hts", query, key) * self.dtype(config.softmax_scale())
        scores = np.where(np.tri(T, dtype=bool), scores, self.dtype(-np.inf))
        powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights = powers / powers.sum(axis=-1, keepdims=True)
        mixed = np.einsum("hts,shd->thd", weights, kv[:, :, Dn:])
        return self.linear(mixed.reshape(T, H * Dv), prefix + "o_proj")

    def rotate(self, x):
        """x [T, heads, Dr]: pair (2i, 2i+1) of row t turns by t * speed[i]. Angles are float64 in every run."""
        angle = np.arange(len(x), dtype=np.float64)[:, None] * np.array(self.config.inverse_frequencies())
        amplitude = self.config.rope_amplitude()
        cos = (np.cos(angle) * amplitude).astype(self.dtype)[:, None, :]
        sin = (np.sin(angle) * amplitude).astype(self.dtype)[:, None, :]
        a, b = x[:, :, 0::2], x[:, :, 1::2]
        return np.stack([a * cos - b * sin, a * sin + b * cos], axis=-1).reshape(x.shape)

    def swiglu(self, prefix, x):
        gate = self.linear(x, prefix + "gate_proj")
        with np.errstate(over="ignore"):
            activated = gate / (1 + np.exp(-gate))
        return self.linear(activated * self.linear(x, prefix + "up_proj"), prefix + "down_proj")

    def mixture(self, prefix, x):
        config = self.config
        bias = self.vector(prefix + "gate.e_score_correction_bias") if config.topk_method == "noaux_tc" else None
        experts, weights, margin = route(config, self.linear(x, prefix + "gate"), bias)
        y = np.zeros_like(x)
        for expert in range(config.n_routed_experts):
            rows, slots = np.nonzero(experts == expert)
            if len(rows):
                y[rows] += weights[rows, slots][:, None] * self.swiglu(f"{prefix}experts.{expert}.", x[rows])
        if config.n_shared_experts:
            y = y + self.swiglu(prefix + "shared_experts.", x)
        return y, margin
