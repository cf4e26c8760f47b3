#!/usr/bin/env python3
"""Write tests/data/quantize.bin: weights, and the blocks that the Python package `gguf` (0.19 when it was made) makes of them.

usage: make_quantize_fixtures.py

First 1024 weights as f32: gaussian, of a different size in each block of 32, and blocks of zeros, of one value, with one outlier,
without a negative value, halves (which lie between two levels), and tiny ones. Then for each type that the package quantizes:
name (8 bytes, padded with zeros), number of bytes (u32), blocks.
"""
import os
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

TYPES = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4")
N = 1024

rng = np.random.default_rng(20261125)
x = (rng.standard_normal((N // 32, 32)) * 2.0 ** rng.integers(-8, 4, size=(N // 32, 1))).astype(np.float32)
x[3] = 0
x[5] = 0.7
x[7] = -1.25
x[9, 17] *= 100
x[11] = np.abs(x[11])
x[13] = np.arange(32) * 0.5 - 8
x[15] = np.arange(32) * 0.5
x[17] *= 1e-7
out = bytearray(x.astype("<f4").tobytes())
for name in TYPES:
    blocks = gguf.quants.quantize(x.reshape(1, -1), T[name]).tobytes()
    out += name.encode().ljust(8, b"\0") + np.array([len(blocks)], dtype="<u4").tobytes() + blocks

with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "quantize.bin"), "wb") as f:
    f.write(out)
