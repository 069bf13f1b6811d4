"""A checkpoint folder as {name: float64 matrix}: prefix stripped, quantised matrices decoded, foreign tensors ignored.

Which form a matrix has is decided by which tensors exist, matrix by matrix; shapes of INT4 matrices come from the
packed words and the scales, never from weight_shape.
"""
from formats import decode, expand_blocks, unpack_int4
from model_config import ModelConfig
from safetensors_io import read_checkpoint

PREFIX = "language_model."


class Checkpoint:
    def __init__(self, folder):
        self.config = ModelConfig.read(folder)
        stored = read_checkpoint(folder)
        prefix = PREFIX if any(name.startswith(PREFIX + "model.") for name in stored) else ""
        self.stored = {name[len(prefix) :]: tensor for name, tensor in stored.items() if name.startswith(prefix)}

    def vector(self, name):
        return decode(self.stored[name])

    def matrix(self, name):
        """name without `.weight` -> [out, in] float64."""
        if name + ".weight_packed" in self.stored:
            quanta = unpack_int4(decode(self.stored[name + ".weight_packed"]))
            scale = decode(self.stored[name + ".weight_scale"])
            group = quanta.shape[1] // scale.shape[1]
            return quanta * scale.repeat(group, axis=1)
        weight = decode(self.stored[name + ".weight"])
        if name + ".weight_scale_inv" in self.stored:
            scale = decode(self.stored[name + ".weight_scale_inv"])
            weight = weight * expand_blocks(scale, weight.shape, self.config.weight_block_size)
        return weight
