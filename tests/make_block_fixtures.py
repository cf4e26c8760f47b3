#!/usr/bin/env python3
"""Write tests/data/blocks.bin: random blocks of every type and what the Python package `gguf` (0.19 when it was made) makes of them.

usage: make_block_fixtures.py

For each type: name (8 bytes, padded with zeros), number of weights and of block bytes (two u32), the blocks, the weights as f32.
All bytes of a block are random but its scales, which are made finite and not too small.
"""
import os
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

# Type: where its f16 scales lie.
TYPES = {"F32": (), "F16": (0,), "BF16": (), "Q4_0": (0,), "Q4_1": (0, 2), "Q5_0": (0,), "Q5_1": (0, 2), "Q8_0": (0,),
         "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
         "IQ4_NL": (0,), "IQ4_XS": (0,), "MXFP4": ()}
N = 1024

rng = np.random.default_rng(20261124)
out = bytearray()
for name, scales in TYPES.items():
    per_block, size = gguf.GGML_QUANT_SIZES[T[name]]
    n = N // per_block
    if name in ("F32", "BF16"):
        x = rng.standard_normal(n).astype(np.float32)
        blocks = x.view(np.uint8).reshape(n, 4)
        blocks = blocks if name == "F32" else np.ascontiguousarray(blocks[:, 2:])
    else:
        blocks = rng.integers(0, 256, size=(n, size), dtype=np.uint8)
        if name == "MXFP4":
            blocks[:, 0] %= 255  # 255 is NaN, but the package knows no NaN there
        for at in scales:
            d = (rng.standard_normal(n) * 0.1).astype(np.float16)
            blocks[:, at:at + 2] = d.view(np.uint8).reshape(n, 2)
    if name == "F32":
        weights = blocks.reshape(-1).view(np.float32)
    elif name == "F16":
        weights = blocks.reshape(-1).view(np.float16).astype(np.float32)
    else:
        weights = gguf.quants.dequantize(blocks.reshape(1, -1), T[name]).reshape(-1).astype(np.float32)
    assert weights.size == N
    out += name.encode().ljust(8, b"\0") + np.array([N, blocks.size], dtype="<u4").tobytes()
    out += blocks.tobytes() + weights.astype("<f4").tobytes()

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "blocks.bin"), "wb") as f:
    f.write(out)
