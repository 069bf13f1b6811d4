"""Reads and writes safetensors files with nothing but json, struct and numpy.

A tensor travels as (dtype name, shape, raw little-endian bytes), because numpy knows neither BF16 nor F8_E4M3; turning
bytes into numbers is the work of formats.py.
"""
import json
import struct
from pathlib import Path

ITEM_BYTES = {"BF16": 2, "F16": 2, "F32": 4, "F64": 8, "F8_E4M3": 1, "I32": 4, "I64": 8, "U8": 1, "I8": 1, "BOOL": 1}


class Stored:
    """One tensor as it lies in a file."""

    def __init__(self, dtype, shape, data):
        count = 1
        for size in shape:
            count *= size
        if count * ITEM_BYTES[dtype] != len(data):
            raise ValueError(f"expected {count * ITEM_BYTES[dtype]} bytes for {dtype}{list(shape)}, got {len(data)}")
        self.dtype, self.shape, self.data = dtype, tuple(shape), bytes(data)


def write_file(path, tensors, metadata=None):
    """Writes {name: Stored} in the given order; the header is padded with spaces to a multiple of 8 bytes."""
    header, offset = {}, 0
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, tensor in tensors.items():
        end = offset + len(tensor.data)
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(text)))
        out.write(text)
        for tensor in tensors.values():
            out.write(tensor.data)


def read_file(path):
    """Reads a whole file into {name: Stored}."""
    raw = Path(path).read_bytes()
    (length,) = struct.unpack_from("<Q", raw)
    header = json.loads(raw[8 : 8 + length])
    header.pop("__metadata__", None)
    body = memoryview(raw)[8 + length :]
    return {
        name: Stored(entry["dtype"], entry["shape"], body[entry["data_offsets"][0] : entry["data_offsets"][1]])
        for name, entry in header.items()
    }


def write_checkpoint(folder, tensors, shards=1):
    """Writes {name: Stored} as model.safetensors, or as `shards` numbered files and an index.

    Tensors are dealt out in runs of equal count, so that one matrix's packed and scale tensors may part.
    """
    folder = Path(folder)
    if shards == 1:
        write_file(folder / "model.safetensors", tensors, {"format": "pt"})
        return
    names = list(tensors)
    weight_map = {}
    for shard in range(shards):
        part = names[len(names) * shard // shards : len(names) * (shard + 1) // shards]
        file = f"model-{shard + 1:05d}-of-{shards:06d}.safetensors"
        write_file(folder / file, {name: tensors[name] for name in part}, {"format": "pt"})
        weight_map.update({name: file for name in part})
    total = sum(len(tensor.data) for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=0, separators=(",", ":")) + "\n")


def read_checkpoint(folder):
    """Reads every tensor of a checkpoint folder into {name: Stored}, by the index when there is one."""
    folder = Path(folder)
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return read_file(folder / "model.safetensors")
    weight_map = json.loads(index.read_text())["weight_map"]
    files = {file: read_file(folder / file) for file in sorted(set(weight_map.values()))}
    return {name: files[file][name] for name, file in weight_map.items()}
