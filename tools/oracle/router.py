"""Which experts a token goes to and with what weight, for all router kinds; also how close the choice was.

Ties go to the lower index everywhere (stable sorts of negated keys).
"""
import numpy as np

# Published engines use -inf or 0.0; they differ only where the keys of kept groups are negative.
REFUSED_KEY = -np.inf


def score(config, logits):
    if config.scoring_func == "sigmoid":
        return 1 / (1 + np.exp(-logits))
    if config.scoring_func == "softmax":
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
    raise ValueError(f"expected sigmoid or softmax for scoring_func, got {config.scoring_func}")


def best(keys, count):
    """Indices of the largest `count` keys of each row, best first, lower index on ties."""
    return np.argsort(-keys, axis=-1, kind="stable")[:, :count]


def gap(keys, count):
    """Distance of the count-th largest key to the next one; infinite when there is no other candidate."""
    ordered = -np.sort(-keys, axis=-1)
    if count >= ordered.shape[1]:
        return np.full(len(keys), np.inf)
    with np.errstate(invalid="ignore"):
        return np.where(np.isneginf(ordered[:, count]), np.inf, ordered[:, count - 1] - ordered[:, count])


def route(config, logits, bias):
    """logits [T, E], bias [E] or None -> (experts [T, K], weights [T, K], margin [T]).

    margin is the smallest distance that decided the choice: between the last chosen and the first refused selection
    key, and between the last kept and the first masked group score.
    """
    scores = score(config, logits)
    keys = scores + bias if config.topk_method == "noaux_tc" else scores
    margin = np.full(len(keys), np.inf)
    if config.topk_method in ("noaux_tc", "group_limited_greedy") and config.n_group > 1:
        members = keys.reshape(len(keys), config.n_group, -1)
        if config.topk_method == "noaux_tc":
            group_scores = -np.sort(-members, axis=-1)[:, :, :2].sum(axis=-1)
        else:
            group_scores = members.max(axis=-1)
        margin = gap(group_scores, config.topk_group)
        kept = np.zeros(group_scores.shape, dtype=bool)
        np.put_along_axis(kept, best(group_scores, config.topk_group), True, axis=-1)
        keys = np.where(kept[:, :, None], members, REFUSED_KEY).reshape(keys.shape)
    margin = np.minimum(margin, gap(keys, config.num_experts_per_tok))
    experts = best(keys, config.num_experts_per_tok)
    weights = np.take_along_axis(scores, experts, axis=-1)
    return experts, scaled(config, weights), margin


def scaled(config, weights):
    if config.topk_method == "noaux_tc":
        if config.norm_topk_prob:
            weights = weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)
        return weights * config.routed_scaling_factor
    if config.norm_topk_prob and config.num_experts_per_tok > 1:
        return weights / (weights.sum(axis=-1, keepdims=True) + 1e-20)
    return weights * config.routed_scaling_factor
