"""Values that others published or computed for real models; the oracle has to give them. Run by self_check.py."""
import numpy as np

from formats import E4M3_TABLE, from_bf16_bits, pack_int4, to_bf16_bits, to_e4m3_codes, unpack_int4
from make_ops import rope_config

INDICES = [0, 1, 8, 9, 12, 16, 19, 20, 24, 31]
INVERSE_FREQUENCIES = {
    "Kimi-K2-Thinking": [1, 0.713111085, 6.68740305e-2, 4.76886124e-2, 1.72936334e-2, 4.47213595e-3, 1.62175991e-3,
                         1.80702339e-5, 4.67296494e-6, 4.38220646e-7],
    "Kimi-K2-Instruct-0711": [1, 0.713111085, 6.68740305e-2, 4.76886124e-2, 1.72936334e-2, 4.47213595e-3,
                              1.62175991e-3, 3.61404677e-5, 9.34592988e-6, 8.76441291e-7],
    "Kimi-K2.5": [1, 0.713111085, 6.68740305e-2, 4.37766560e-2, 1.16191599e-2, 1.53729673e-3, 1.58374991e-4,
                  1.80702339e-5, 4.67296494e-6, 4.38220646e-7],
}
SOFTMAX_SCALES = {
    "Kimi-K2-Thinking": 0.1446796258,
    "Kimi-K2-Instruct-0711": 0.1308607998,
    "DeepSeek-V3": 0.1352337789,
    "DeepSeek-V2-Lite": 0.114722,
    "Moonlight": 0.0721687836,
}
RANGES = {"Kimi-K2-Thinking": (19, 20), "Kimi-K2.5": (8, 20), "DeepSeek-V3": (10, 23)}


def check_known_values():
    """Yields (label, whether it holds)."""
    for kind, expected in INVERSE_FREQUENCIES.items():
        found = np.array(rope_config(kind)[0].inverse_frequencies())[INDICES]
        yield f"inverse frequencies of {kind}", np.allclose(found, expected, rtol=5e-9, atol=0)
    v3 = rope_config("DeepSeek-V3")[0].inverse_frequencies()
    yield "inverse frequencies of DeepSeek-V3", np.allclose([v3[16], v3[31]], [5.5e-3, 3.33380358e-6], rtol=5e-9)
    for kind, expected in SOFTMAX_SCALES.items():
        yield f"softmax scale of {kind}", abs(rope_config(kind)[0].softmax_scale() - expected) < 1e-6
    for kind, expected in RANGES.items():
        yield f"correction range of {kind}", rope_config(kind)[0].correction_range() == expected
    quanta = [[-8, -7, -1, 0, 1, 2, 6, 7]]
    yield "INT4 word 0xFEA98710", pack_int4(quanta).tolist() == [[-22444272]]
    yield "INT4 bytes 10 87 a9 fe", pack_int4(quanta).tobytes().hex() == "1087a9fe"
    yield "INT4 unpacks", unpack_int4([[-22444272]]).tolist() == quanta
    yield "e4m3 limits", (E4M3_TABLE[0x7E], E4M3_TABLE[1], E4M3_TABLE[0xFE]) == (448.0, 2.0**-9, -448.0)
    yield "e4m3 NaN codes", np.isnan(E4M3_TABLE).nonzero()[0].tolist() == [0x7F, 0xFF]
    codes = [code for code in range(256) if code not in (0x7F, 0xFF)]
    yield "e4m3 codes survive a round trip", to_e4m3_codes(E4M3_TABLE[codes]).tolist() == codes
    finite = [bits for bits in range(65536) if bits & 0x7F80 != 0x7F80]
    yield "BF16 bits survive a round trip", to_bf16_bits(from_bf16_bits(finite)).tolist() == finite
    yield "BF16 against torch", torch_agrees()


def torch_agrees():
    try:
        import torch
    except ImportError:
        return True
    values = np.random.RandomState(1).standard_normal(100000).astype(np.float32)
    return (torch.from_numpy(values).bfloat16().double().numpy() == from_bf16_bits(to_bf16_bits(values))).all()
