"""The oracle as a 16-bit engine would round: BF16 inputs of every matrix product and a BF16 cache, all else exact.

Not a truth; it tells how far from the golden a correct engine with BF16 activations may be on a given checkpoint.
"""
from deepseek_v3 import Model
from formats import from_bf16_bits, to_bf16_bits


def rounded(x):
    return from_bf16_bits(to_bf16_bits(x))


class RoundedModel(Model):
    def linear(self, x, name):
        # The router is computed in float32 by every engine.
        return super().linear(x if name.endswith("mlp.gate") else rounded(x), name)

    def norm(self, x, name, eps):
        y = super().norm(x, name, eps)
        return rounded(y) if name.endswith("kv_a_layernorm") else y

    def rotate(self, x):
        y = super().rotate(x)
        return rounded(y) if x.shape[1] == 1 else y
