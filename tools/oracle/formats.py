"""Number formats of published checkpoints, decoded exactly into float64 and encoded for the test checkpoints.

Every stored weight is a number that float64 holds without rounding: INT4 (u - 8) * scale, FP8 value * scale. The
oracle never rounds weights further, so an engine's own rounding shows up as a difference.
"""
import numpy as np

from safetensors_io import Stored


def to_bf16_bits(values):
    """Rounds to the nearest BF16, ties to even; returns uint16 bits. The double is rounded to float32 first."""
    bits = np.asarray(values, dtype=np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)
    return rounded.astype(np.uint16)


def from_bf16_bits(bits):
    return (np.asarray(bits, dtype=np.uint16).astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def e4m3_value(code):
    """Value of one e4m3fn byte: 1 sign, 4 exponent (bias 7), 3 mantissa bits; 0x7F and 0xFF are NaN, no infinities."""
    sign = -1.0 if code & 0x80 else 1.0
    exponent, mantissa = (code >> 3) & 15, code & 7
    if exponent == 15 and mantissa == 7:
        return float("nan")
    if exponent == 0:
        return sign * mantissa * 2.0**-9
    return sign * (1 + mantissa / 8) * 2.0 ** (exponent - 7)


E4M3_TABLE = np.array([e4m3_value(code) for code in range(256)])


def to_e4m3_codes(values):
    """Nearest e4m3 code, ties to the even mantissa, saturating at 448: a search among the 127 magnitudes."""
    values = np.asarray(values, dtype=np.float64)
    magnitudes = E4M3_TABLE[:127]
    size = np.minimum(np.abs(values), 448.0)
    upper = np.clip(np.searchsorted(magnitudes, size), 1, 126)
    lower = upper - 1
    to_upper, to_lower = magnitudes[upper] - size, size - magnitudes[lower]
    code = np.where((to_upper < to_lower) | ((to_upper == to_lower) & (upper % 2 == 0)), upper, lower)
    return (code | np.where(np.signbit(values), 0x80, 0)).astype(np.uint8)


def pack_int4(quanta):
    """q in [-8, 7], [out, in] -> I32 words [out, in/8]; column 8j+i sits in bits 4i..4i+3 of word j as q + 8."""
    nibbles = (np.asarray(quanta, dtype=np.int64) + 8).astype(np.uint64)
    if nibbles.max() > 15:
        raise ValueError("q is outside [-8, 7]")
    grouped = nibbles.reshape(nibbles.shape[0], -1, 8)
    words = (grouped << (4 * np.arange(8, dtype=np.uint64))).sum(axis=2)
    return words.astype(np.uint32).view(np.int32)


def unpack_int4(words):
    """I32 words [out, in/8] -> q [out, in] as int64."""
    unsigned = np.asarray(words, dtype=np.int32).view(np.uint32).astype(np.int64)
    nibbles = (unsigned[:, :, None] >> (4 * np.arange(8))) & 15
    return nibbles.reshape(unsigned.shape[0], -1) - 8


def quantise_int4(weight, group, divisor):
    """[out, in] -> (q, BF16-valued scales [out, in/group]); scale = largest magnitude / divisor, rounded to BF16."""
    rows, columns = weight.shape
    grouped = weight.reshape(rows, columns // group, group)
    scale = from_bf16_bits(to_bf16_bits(np.abs(grouped).max(axis=2) / divisor))
    quanta = np.clip(np.rint(grouped / scale[:, :, None]), -8, 7).astype(np.int64)
    return quanta.reshape(rows, columns), scale


def expand_blocks(scale, shape, block):
    """Repeats block scales over a [rows, columns] matrix whose edge blocks may be partial."""
    rows = np.arange(shape[0]) // block[0]
    columns = np.arange(shape[1]) // block[1]
    return scale[np.ix_(rows, columns)]


def quantise_fp8(weight, block):
    """[M, N] -> (e4m3 codes, float32 scales [ceil(M/bm), ceil(N/bn)]); scale = block's largest magnitude / 448."""
    scale = np.zeros((-(-weight.shape[0] // block[0]), -(-weight.shape[1] // block[1])), dtype=np.float32)
    for i in range(scale.shape[0]):
        for j in range(scale.shape[1]):
            part = weight[i * block[0] : (i + 1) * block[0], j * block[1] : (j + 1) * block[1]]
            scale[i, j] = np.float32(np.abs(part).max() / 448.0)
    return to_e4m3_codes(weight / expand_blocks(scale.astype(np.float64), weight.shape, block)), scale


def encode(values, dtype):
    """Array -> Stored in a plain dtype, rounding to nearest."""
    values = np.asarray(values)
    if dtype == "BF16":
        return Stored(dtype, values.shape, to_bf16_bits(values).tobytes())
    kinds = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "I32": "<i4", "I64": "<i8", "F8_E4M3": "u1"}
    return Stored(dtype, values.shape, values.astype(kinds[dtype]).tobytes())


def decode(stored):
    """Stored -> float64 (or int64) array, exactly."""
    if stored.dtype == "BF16":
        array = from_bf16_bits(np.frombuffer(stored.data, "<u2"))
    elif stored.dtype == "F8_E4M3":
        array = E4M3_TABLE[np.frombuffer(stored.data, "u1")]
    elif stored.dtype in ("I32", "I64"):
        array = np.frombuffer(stored.data, "<i4" if stored.dtype == "I32" else "<i8").astype(np.int64)
    else:
        array = np.frombuffer(stored.data, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[stored.dtype]).astype(np.float64)
    return array.reshape(stored.shape)
