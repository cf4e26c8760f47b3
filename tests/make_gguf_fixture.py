#!/usr/bin/env python3
"""Write tests/data/gguf/from_python.gguf with the Python package gguf: an oracle for tests/test_gguf_read.c that shares no
code with the library.

    pip install gguf && python3 tests/make_gguf_fixture.py

The file says itself what to expect: beside each key K there is an array of strings "text:K" with the values of K as Python
and NumPy write them (a whole float without its ".0"), and beside each tensor "TYPE" of quantized weights a tensor
"floats:TYPE" with what gguf.quants makes of them. Made with gguf 0.19.0; the bytes are the same each time.
"""
import os
import struct

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Q
from gguf import GGUFValueType as T

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data", "gguf", "from_python.gguf")
RNG = np.random.Generator(np.random.PCG64(1))

INTEGERS = {T.UINT8: (0, 8), T.INT8: (1, 8), T.UINT16: (0, 16), T.INT16: (1, 16), T.UINT32: (0, 32), T.INT32: (1, 32),
            T.UINT64: (0, 64), T.INT64: (1, 64)}


def text(value):
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    shown = str(value)
    if isinstance(value, np.float32):
        shown = repr(float(shown))  # the same digits; NumPy changes to exponents elsewhere than Python
    return shown[:-2] if shown.endswith(".0") else shown


def put(writer, name, value, kind):
    """A single value or a list, and how it looks."""
    values = value if isinstance(value, list) else [value]
    plain = [v.item() if isinstance(v, np.generic) else v for v in values]
    if isinstance(value, list):
        writer.add_key_value(name, plain, T.ARRAY, sub_type=kind)
    else:
        writer.add_key_value(name, plain[0], kind)
    writer.add_key_value("text:" + name, [text(v) for v in values], T.ARRAY, sub_type=T.STRING)


def floats(kind):
    """Special values, neighbours of powers of ten, and random bits."""
    size, code = (4, "f") if kind is np.float32 else (8, "d")
    values = [0.0, -0.0, 1.0, -1.0, 0.1, 1 / 3, 1e-4, 9.999e-5, 1e15, 1e16, 123456.789, 1e-5, 10000.0, 1e6, 5e5,
              float("inf"), float("-inf"), float("nan"), 1e22, 1e23]
    values += [np.finfo(kind).max, np.finfo(kind).tiny, np.finfo(kind).smallest_subnormal, 16777216.0, 33554430.0]
    for _ in range(40):
        v = struct.unpack(code, RNG.bytes(size))[0]
        if v == v:
            values.append(v)
    return [kind(v) for v in values]


def add_keys(writer):
    for kind, (signed, bits) in INTEGERS.items():
        low = -(1 << (bits - 1)) if signed else 0
        high = (1 << (bits - signed)) - 1
        put(writer, f"{kind.name}.low", low, kind)
        put(writer, f"{kind.name}.high", high, kind)
        put(writer, f"{kind.name}.array", [low, 0, 1, 100, high], kind)
    put(writer, "FLOAT32.one", np.float32(1e-5), T.FLOAT32)
    put(writer, "FLOAT64.one", 0.1, T.FLOAT64)
    put(writer, "FLOAT32.array", floats(np.float32), T.FLOAT32)
    put(writer, "FLOAT64.array", [float(v) for v in floats(np.float64)], T.FLOAT64)
    put(writer, "BOOL.yes", True, T.BOOL)
    put(writer, "BOOL.no", False, T.BOOL)
    put(writer, "BOOL.array", [True, False, False, True], T.BOOL)
    put(writer, "STRING.one", "Grüße, 世界 \x00\n", T.STRING)
    put(writer, "STRING.array", ["", "a", "", "Ġthe", "\U0001f600", "x" * 300], T.STRING)


def quantized(kind):
    """Two rows of one block: random bits with sane scales for the types that the package cannot make."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    if kind in (Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0):
        return gguf.quants.quantize(RNG.standard_normal((2, max(block, 32)), dtype=np.float32), kind)
    return RNG.integers(0, 0x3c, (2, size), dtype=np.uint8)


def add_tensors(writer):
    writer.add_tensor("cube", np.arange(24, dtype=np.float32).reshape(2, 3, 4))
    writer.add_tensor("one", np.array([0.5], dtype=np.float32))
    writer.add_tensor("F16", RNG.standard_normal((3, 5)).astype(np.float16))
    for kind in (Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q5_1, Q.Q8_0, Q.Q2_K, Q.Q3_K, Q.Q4_K, Q.Q5_K, Q.Q6_K,
                 Q.IQ4_NL, Q.IQ4_XS, Q.MXFP4):
        data = quantized(kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        writer.add_tensor("floats:" + kind.name, gguf.quants.dequantize(data, kind).astype(np.float32))


def main():
    os.makedirs(os.path.dirname(PATH), exist_ok=True)
    writer = gguf.GGUFWriter(PATH, "fixture")
    writer.add_custom_alignment(64)
    add_keys(writer)
    add_tensors(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    print(PATH, os.path.getsize(PATH), "bytes")


if __name__ == "__main__":
    main()
