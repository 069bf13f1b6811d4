"""The same model written a second time, to catch slips of the first: one token at a time, latent cache, absorbed matrices.

Shares with deepseek_v3.py only the file reader and the config fields. Differs on purpose in: attention form, half-split
rope after a permutation, YaRN by cases, INT4 by bytes, FP8 by loops over blocks, router by sorting tuples.
"""
import math

import numpy as np


class Twin:
    """`step` gives the logits of one more token; the cache holds the latent and the turned rope key of each layer."""

    def __init__(self, checkpoint):
        self.config, self.stored = checkpoint.config, checkpoint.stored
        self.cache = [[] for _ in range(self.config.num_hidden_layers)]
        self.decoded = {}
        self.speeds = [self.speed(pair) for pair in range(self.config.qk_rope_head_dim // 2)]

    def step(self, token, commit=True):
        """-> (logits [V], margin). With commit false the cache stays as it was."""
        config = self.config
        h, margin, additions = self.plain("model.embed_tokens.weight")[token], math.inf, []
        for layer in range(config.num_hidden_layers):
            at = f"model.layers.{layer}."
            x = self.normalise(h, at + "input_layernorm.weight", config.rms_norm_eps)
            update, entry = self.attend(layer, at + "self_attn.", x)
            additions.append(entry)
            h = h + update
            x = self.normalise(h, at + "post_attention_layernorm.weight", config.rms_norm_eps)
            if layer < config.first_k_dense_replace or layer % config.moe_layer_freq or not config.n_routed_experts:
                h = h + self.feed(at + "mlp.", x)
            else:
                update, distance = self.experts(at + "mlp.", x)
                h, margin = h + update, min(margin, distance)
        if commit:
            for layer, entry in enumerate(additions):
                self.cache[layer].append(entry)
        return self.weight("lm_head") @ self.normalise(h, "model.norm.weight", config.rms_norm_eps), margin

    def attend(self, layer, at, x):
        config, position = self.config, len(self.cache[layer])
        H, R, Dn = config.num_attention_heads, config.kv_lora_rank, config.qk_nope_head_dim
        if config.q_lora_rank is None:
            q = self.weight(at + "q_proj") @ x
        else:
            reduced = self.normalise(self.weight(at + "q_a_proj") @ x, at + "q_a_layernorm.weight", 1e-6)
            q = self.weight(at + "q_b_proj") @ reduced
        both = self.weight(at + "kv_a_proj_with_mqa") @ x
        latent = self.normalise(both[:R], at + "kv_a_layernorm.weight", 1e-6)
        entry = np.concatenate([latent, self.turn(both[R:], position)])
        timeline = np.array([*self.cache[layer], entry])
        up = self.weight(at + "kv_b_proj").reshape(H, -1, R)
        heads = []
        for head, query in enumerate(q.reshape(H, -1)):
            probe = np.concatenate([up[head, :Dn].T @ query[:Dn], self.turn(query[Dn:], position)])
            scores = timeline @ probe * self.scale()
            weights = np.exp(scores - scores.max())
            blend = (weights / weights.sum()) @ timeline[:, :R]
            heads.append(up[head, Dn:] @ blend)
        return self.weight(at + "o_proj") @ np.concatenate(heads), entry

    def scale(self):
        config, yarn = self.config, self.config.yarn
        width = config.qk_nope_head_dim + config.qk_rope_head_dim
        m = 1 + 0.1 * yarn["mscale_all_dim"] * math.log(yarn["factor"]) if yarn and yarn["factor"] > 1 else 1
        return m * m * width**-0.5

    def speed(self, pair):
        """YaRN told by cases: fast pairs keep their speed, slow ones are divided, those between are mixed."""
        width, theta, yarn = self.config.qk_rope_head_dim, self.config.rope_theta, self.config.yarn
        plain = math.exp(-math.log(theta) * 2 * pair / width)
        if not yarn:
            return plain
        per_turn = yarn["original_max_position_embeddings"] / (2 * math.pi)
        low = max(0, math.floor(width / 2 * math.log(per_turn / yarn["beta_fast"], theta)))
        high = min(width - 1, math.ceil(width / 2 * math.log(per_turn / yarn["beta_slow"], theta)))
        if pair <= low:
            return plain
        if pair >= high:
            return plain / yarn["factor"]
        slowed = (pair - low) / (high - low)
        return plain * (1 - slowed + slowed / yarn["factor"])

    def turn(self, vector, position):
        """Even elements to the first half, odd ones to the second, then the half-split rotation; stays permuted."""
        yarn, amplitude = self.config.yarn, 1.0
        if yarn and yarn["factor"] > 1:
            depth = 0.1 * math.log(yarn["factor"])
            amplitude = (1 + yarn["mscale"] * depth) / (1 + yarn["mscale_all_dim"] * depth)
        half = len(vector) // 2
        permuted = np.concatenate([vector[::2], vector[1::2]])
        turned = np.concatenate([-permuted[half:], permuted[:half]])
        angles = np.array([position * speed for speed in self.speeds] * 2)
        return amplitude * (permuted * np.cos(angles) + turned * np.sin(angles))

    def experts(self, at, x):
        config, z = self.config, self.plain(at + "gate.weight") @ x
        if config.scoring_func == "sigmoid":
            scores = [1 / (1 + math.exp(-value)) for value in z]
        else:
            total = math.fsum(math.exp(value) for value in z)
            scores = [math.exp(value) / total for value in z]
        keys, distance = list(scores), math.inf
        if config.topk_method == "noaux_tc":
            keys = [s + b for s, b in zip(scores, self.plain(at + "gate.e_score_correction_bias"))]
        allowed = range(len(keys))
        if config.topk_method != "greedy" and config.n_group > config.topk_group:
            size, strength = len(keys) // config.n_group, 2 if config.topk_method == "noaux_tc" else 1
            ranked = sorted(
                (-sum(sorted(keys[g * size : (g + 1) * size])[-strength:]), g) for g in range(config.n_group)
            )
            distance = ranked[config.topk_group][0] - ranked[config.topk_group - 1][0]
            kept = {g for _, g in ranked[: config.topk_group]}
            allowed = [e for e in allowed if e // size in kept]
        order = sorted((-keys[e], e) for e in allowed)
        count = config.num_experts_per_tok
        if len(order) > count:
            distance = min(distance, order[count][0] - order[count - 1][0])
        chosen = [e for _, e in order[:count]]
        total = math.fsum(scores[e] for e in chosen) if config.norm_topk_prob else 1.0
        factor = config.routed_scaling_factor
        if config.topk_method != "noaux_tc" and config.norm_topk_prob:
            factor = 1.0
        y = sum(scores[e] / total * factor * self.feed(f"{at}experts.{e}.", x) for e in chosen)
        return (y + self.feed(at + "shared_experts.", x) if config.n_shared_experts else y), distance

    def feed(self, at, x):
        gate, up = self.weight(at + "gate_proj") @ x, self.weight(at + "up_proj") @ x
        return self.weight(at + "down_proj") @ (gate * up * 0.5 * (1 + np.tanh(gate / 2)))

    def normalise(self, x, name, eps):
        return self.plain(name) * x * (np.dot(x, x) / len(x) + eps) ** -0.5

    def plain(self, name):
        if name not in self.decoded:
            self.decoded[name] = read_plain(self.stored[name])
        return self.decoded[name]

    def weight(self, name):
        if name not in self.decoded:
            self.decoded[name] = self.read_weight(name)
        return self.decoded[name]

    def read_weight(self, name):
        if name + ".weight" not in self.stored:
            return read_int4(self.stored[name + ".weight_packed"], read_plain(self.stored[name + ".weight_scale"]))
        weight = np.array(read_plain(self.stored[name + ".weight"]))
        if name + ".weight_scale_inv" in self.stored:
            tall, wide = self.config.weight_block_size
            for (i, j), scale in np.ndenumerate(read_plain(self.stored[name + ".weight_scale_inv"])):
                weight[i * tall : (i + 1) * tall, j * wide : (j + 1) * wide] *= scale
        return weight


def read_plain(stored):
    raw = stored.data
    if stored.dtype == "BF16":
        wide = np.zeros((len(raw) // 2, 4), dtype=np.uint8)
        wide[:, 2:] = np.frombuffer(raw, np.uint8).reshape(-1, 2)
        values = np.frombuffer(wide.tobytes(), "<f4")
    elif stored.dtype == "F8_E4M3":
        values = np.array([small_float(byte) for byte in raw])
    else:
        values = np.frombuffer(raw, {"F16": "<f2", "F32": "<f4"}[stored.dtype])
    return values.astype(np.float64).reshape(stored.shape)


def small_float(byte):
    """e4m3 by arithmetic on the bit string."""
    bits = f"{byte:08b}"
    exponent, fraction = int(bits[1:5], 2), int(bits[5:], 2)
    size = math.ldexp(fraction, -9) if exponent == 0 else math.ldexp(8 + fraction, exponent - 10)
    return -size if bits[0] == "1" else size


def read_int4(packed, scale):
    """Row by row over bytes: low nibble first, minus 8, times the scale of its group."""
    raw = np.frombuffer(packed.data, np.uint8).reshape(packed.shape[0], -1)
    weight = np.empty((raw.shape[0], raw.shape[1] * 2))
    weight[:, 0::2] = (raw & 15).astype(float) - 8
    weight[:, 1::2] = (raw >> 4).astype(float) - 8
    group = weight.shape[1] // scale.shape[1]
    for g in range(scale.shape[1]):
        weight[:, g * group : (g + 1) * group] *= scale[:, g : g + 1]
    return weight
