"""The model as safetensors shards with Kimi K2 Thinking's tensor names and dtypes, written and read back.

The one idea: routed experts are INT4 (`weight_packed` words of eight offset nibbles, lowest first, and a BF16 scale
for each 32 inputs), the selection bias is F32, everything else BF16; `model_from` undoes it, so that goldens come from
the very numbers that an engine reads.
"""
import json
import os

import numpy as np
import torch

from model import CONFIG, GROUP, TinyK2, int4_round

SIZES = {"BF16": 2, "F32": 4, "I32": 4}
NUMPY = {"BF16": np.uint16, "F32": np.float32, "I32": np.int32}
ATTENTION = (("q_a_proj", "q_a"), ("q_a_layernorm", "q_norm"), ("q_b_proj", "q_b"), ("kv_a_proj_with_mqa", "kv_a"),
             ("kv_a_layernorm", "kv_norm"), ("kv_b_proj", "kv_b"), ("o_proj", "o"))
MLP = (("gate_proj", "gate"), ("up_proj", "up"), ("down_proj", "down"))


def to_bf16(values):
    """float32 -> the upper 16 bits, rounded to nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def from_bf16(halves):
    return (halves.astype(np.uint32) << 16).view(np.float32)


def pack_int4(weight):
    """[out, in] -> (I32 words [out, in/8], BF16 scales [out, in/32])."""
    steps, scales = int4_round(weight)
    nibbles = (steps.reshape(weight.shape[0], -1, 8).numpy() + 8).astype(np.uint32)
    words = (nibbles << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    return words.view(np.int32), to_bf16(scales.squeeze(-1).numpy())


def unpack_int4(words, scales):
    """The weight that the words stand for: (nibble - 8) * scale, exact in float32."""
    nibbles = (words.view(np.uint32)[..., None] >> (4 * np.arange(8, dtype=np.uint32))) & 15
    steps = nibbles.reshape(words.shape[0], -1, GROUP).astype(np.float32) - 8
    return (steps * from_bf16(scales)[..., None]).reshape(words.shape[0], -1)


def _plain(model):
    """(tensor name, parameter) of everything that is stored as it is, but for the selection bias."""
    yield "model.embed_tokens.weight", model.embed
    for index, m in enumerate(model.layers):
        base = f"model.layers.{index}."
        yield base + "input_layernorm.weight", m.input_norm
        yield base + "post_attention_layernorm.weight", m.post_norm
        for name, attribute in ATTENTION:
            yield f"{base}self_attn.{name}.weight", getattr(m, attribute)
        for name, attribute in MLP:
            yield f"{base}mlp.{'shared_experts.' if m.is_moe else ''}{name}.weight", getattr(m, attribute)
        if m.is_moe:
            yield base + "mlp.gate.weight", m.router
    yield "model.norm.weight", model.norm
    yield "lm_head.weight", model.head


def _experts(model):
    """(tensor name without suffix, matrix) of every routed expert's projection."""
    for index, m in enumerate(model.layers):
        if m.is_moe:
            for e in range(m.expert_gate.shape[0]):
                for name, attribute in MLP:
                    yield f"model.layers.{index}.mlp.experts.{e}.{name}", getattr(m, "expert_" + attribute)[e]


def _biases(model):
    for index, m in enumerate(model.layers):
        if m.is_moe:
            yield f"model.layers.{index}.mlp.gate.e_score_correction_bias", m.bias


def tensors_of(model):
    """{name: (dtype, array)} as published: BF16, F32 selection bias, INT4 routed experts."""
    tensors = {name: ("BF16", to_bf16(p.detach().numpy())) for name, p in _plain(model)}
    tensors.update({name: ("F32", p.numpy()) for name, p in _biases(model)})
    for name, weight in _experts(model):
        words, scales = pack_int4(weight.detach())
        tensors[name + ".weight_packed"] = ("I32", words)
        tensors[name + ".weight_scale"] = ("BF16", scales)
        tensors[name + ".weight_shape"] = ("I32", np.array(weight.shape, np.int32))
    return tensors


def _layer_of(name):
    if name.startswith("model.layers."):
        return int(name.split(".")[2])
    return -1 if "embed" in name else 1 << 30


def _write_shard(path, tensors):
    """One safetensors file; wider dtypes first, so that every tensor is aligned."""
    order = sorted(tensors, key=lambda name: (-SIZES[tensors[name][0]], name))
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name in order:
        dtype, array = tensors[name]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(np.ascontiguousarray(tensors[name][1]).tobytes())


def write_shards(folder, tensors, shard_bytes):
    """Shards in layer order with their index; each holds at most `shard_bytes` of data."""
    shards, size = [{}], 0
    for name in sorted(tensors, key=lambda name: (_layer_of(name), name)):
        bytes_here = tensors[name][1].nbytes
        if size + bytes_here > shard_bytes and shards[-1]:
            shards.append({})
            size = 0
        shards[-1][name] = tensors[name]
        size += bytes_here
    index = {}
    for number, shard in enumerate(shards, 1):
        file = f"model-{number:05d}-of-{len(shards):06d}.safetensors"
        _write_shard(os.path.join(folder, file), shard)
        index.update({name: file for name in shard})
    total = sum(array.nbytes for _, array in tensors.values())
    with open(os.path.join(folder, "model.safetensors.index.json"), "w") as file:
        json.dump({"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}, file, indent=1)
        file.write("\n")


def read_shards(folder):
    """{name: (dtype, array)} of a checkpoint folder."""
    with open(os.path.join(folder, "model.safetensors.index.json")) as file:
        files = sorted(set(json.load(file)["weight_map"].values()))
    tensors = {}
    for name in files:
        with open(os.path.join(folder, name), "rb") as file:
            data = file.read()
        start = 8 + int.from_bytes(data[:8], "little")
        for tensor, entry in json.loads(data[8:start]).items():
            if tensor != "__metadata__":
                first, last = (start + offset for offset in entry["data_offsets"])
                array = np.frombuffer(data[first:last], NUMPY[entry["dtype"]]).reshape(entry["shape"])
                tensors[tensor] = (entry["dtype"], array)
    return tensors


@torch.no_grad()
def model_from(folder):
    """The torch model with exactly the numbers of an exported checkpoint, in float32."""
    tensors = read_shards(folder)
    model = TinyK2(tensors["lm_head.weight"][1].shape[0], CONFIG)
    for name, parameter in _plain(model):
        parameter.copy_(torch.from_numpy(from_bf16(tensors[name][1])))
    for name, bias in _biases(model):
        bias.copy_(torch.from_numpy(tensors[name][1].copy()))
    for name, weight in _experts(model):
        words, scales = tensors[name + ".weight_packed"][1], tensors[name + ".weight_scale"][1]
        weight.copy_(torch.from_numpy(unpack_int4(words, scales)))
    return model.eval()
