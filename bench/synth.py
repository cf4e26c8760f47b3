#!/usr/bin/env python3
"""Write a GGUF file of a public shape with random weights: right for speed and memory, noise as text.

    bench/synth.py SHAPE TYPE OUT.gguf [--vocab FILE.gguf] [--layers N] [--vocab-size N] [--seed N]

SHAPE is one of SHAPES below; TYPE a block type (Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K ... Q6_K, IQ4_NL, F16, ...) or the mixture Q4_K_M.
Without --vocab the vocabulary is made up: single bytes and pairs of tokens. Wants the Python package gguf.
"""
import argparse
import dataclasses

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T

SPREAD = 0.02  # standard deviation of the weights


@dataclasses.dataclass
class Shape:
    arch: str
    n_layer: int
    n_embd: int
    n_head: int
    n_head_kv: int
    head: int  # components of a head
    n_ff: int
    n_vocab: int
    rope_base: float
    n_ctx: int = 8192


SHAPES = {
    "smollm2-135m": Shape("llama", 30, 576, 9, 3, 64, 1536, 49152, 1e5),
    "qwen2.5-0.5b": Shape("qwen2", 24, 896, 14, 2, 64, 4864, 151936, 1e6),
    "llama3.2-1b": Shape("llama", 16, 2048, 32, 8, 64, 8192, 128256, 5e5),
    "llama3.2-3b": Shape("llama", 28, 3072, 24, 8, 128, 8192, 128256, 5e5),
}

# Where a block has its scale, and its minimum or -1: float16 at these bytes. All others may be anything.
FLOATS = {
    T.Q4_0: (0, -1), T.Q4_1: (0, 2), T.Q5_0: (0, -1), T.Q5_1: (0, 2), T.Q8_0: (0, -1), T.IQ4_NL: (0, -1), T.IQ4_XS: (0, -1),
    T.Q2_K: (80, 82), T.Q3_K: (108, -1), T.Q4_K: (0, 2), T.Q5_K: (0, 2), T.Q6_K: (208, -1),
}
# Or as an exponent in one byte, here of about SPREAD.
EXPONENTS = {T.MXFP4: (0, 120)}
# For rows that are no whole number of super-blocks.
SMALLER = {T.Q2_K: T.IQ4_NL, T.Q3_K: T.IQ4_NL, T.IQ4_XS: T.IQ4_NL, T.Q4_K: T.Q5_0, T.Q5_K: T.Q5_1, T.Q6_K: T.Q8_0}


# ---- Weights ----

class Blocks:
    """Random blocks of each type, scaled so that the weights have a mean of 0 and the deviation SPREAD."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.found = {}  # type: (scale, minimum)

    def bytes(self, n_blocks, t, scale, minimum):
        blocks = self.random.integers(0, 256, size=(n_blocks, gguf.GGML_QUANT_SIZES[t][1]), dtype=np.uint8)
        if t in EXPONENTS:
            blocks[:, EXPONENTS[t][0]] = EXPONENTS[t][1]
        for at, value in zip(FLOATS.get(t, ()), (scale, minimum)):
            if at >= 0:
                blocks[:, at:at + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)
        return blocks

    def floats(self, t):
        """The scale and the minimum, found by trying: the mean grows with both, each by itself."""
        if t not in self.found:
            mean = lambda *floats: gguf.quants.dequantize(self.bytes(4096, t, *floats), t).mean()
            minimum = -mean(1, 0) / mean(0, 1) if FLOATS[t][1] >= 0 else 0
            scale = SPREAD / gguf.quants.dequantize(self.bytes(4096, t, 1, minimum), t).std()
            self.found[t] = scale, scale * minimum
        return self.found[t]

    def rows(self, n_rows, n, t):
        if t in FLOATS or t in EXPONENTS:
            floats = self.floats(t) if t in FLOATS else (0, 0)
            return self.bytes(n_rows * (n // gguf.GGML_QUANT_SIZES[t][0]), t, *floats).reshape(n_rows, -1)
        return gguf.quants.quantize(self.random.standard_normal((n_rows, n), dtype=np.float32) * SPREAD, t)


def matrix_type(name, layer, shape, n, wanted):
    """Q4_K_M gives more bits to the output, and to some layers of what follows attention and feed-forward."""
    t = T.Q4_K if wanted == "Q4_K_M" else T[wanted]
    if wanted == "Q4_K_M":
        eighth = shape.n_layer // 8
        favoured = layer < eighth or layer >= 7 * shape.n_layer // 8 or (layer - eighth) % 3 == 2
        if name == "token_embd" or (name in ("attn_v", "ffn_down") and favoured):
            t = T.Q6_K
    return SMALLER.get(t, t) if n % gguf.GGML_QUANT_SIZES[t][0] else t


def matrices(s):
    """(name, rows, columns) of a layer."""
    q, kv = s.n_head * s.head, s.n_head_kv * s.head
    return [("attn_q", q, s.n_embd), ("attn_k", kv, s.n_embd), ("attn_v", kv, s.n_embd), ("attn_output", s.n_embd, q),
            ("ffn_gate", s.n_ff, s.n_embd), ("ffn_up", s.n_ff, s.n_embd), ("ffn_down", s.n_embd, s.n_ff)]


def tensors(s, wanted):
    """(name, shape, type) in the order of the file. The embedding is the output matrix, too. Vectors have type F32."""
    yield "token_embd.weight", (s.n_vocab, s.n_embd), matrix_type("token_embd", 0, s, s.n_embd, wanted)
    for layer in range(s.n_layer):
        blk = f"blk.{layer}."
        for name in ("attn_norm", "ffn_norm"):
            yield f"{blk}{name}.weight", (s.n_embd,), T.F32
        for name, rows, n in matrices(s):
            yield f"{blk}{name}.weight", (rows, n), matrix_type(name, layer, s, n, wanted)
            if s.arch == "qwen2" and name in ("attn_q", "attn_k", "attn_v"):
                yield f"{blk}{name}.bias", (rows,), T.F32
    yield "output_norm.weight", (s.n_embd,), T.F32


def values(blocks, name, shape, t):
    if len(shape) == 1:
        return np.full(shape, 0 if name.endswith("bias") else 1, dtype=np.float32)
    return blocks.rows(*shape, t)


# ---- Vocabulary ----

def byte_characters():
    """How a byte-level vocabulary writes each byte: itself if it can be seen, else the next character above 255."""
    seen = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [b for b in range(256) if b not in seen]
    return [chr(b) if b in seen else chr(256 + hidden.index(b)) for b in range(256)]


def made_up_vocabulary(w, n):
    """Bytes, then tokens with one byte more, in the order of their merges; the last one is special."""
    tokens, merges = byte_characters(), []
    letters = list(tokens)
    more = ((a, b) for a in tokens for b in letters)  # goes on over what is appended
    while len(tokens) < n - 1:
        a, b = next(more)
        tokens.append(a + b)
        merges.append(f"{a} {b}")
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens[:n - 1] + ["<|endoftext|>"])
    w.add_token_types([gguf.TokenType.NORMAL] * (n - 1) + [gguf.TokenType.CONTROL])
    w.add_token_merges(merges)
    w.add_bos_token_id(n - 1)
    w.add_eos_token_id(n - 1)


def copied_vocabulary(w, path, n):
    """The tokenizer's keys of a file, its tokens filled up to n."""
    fields = {k: f for k, f in gguf.GGUFReader(path).fields.items() if k.startswith("tokenizer.")}
    n_there = len(fields["tokenizer.ggml.tokens"].contents())
    if n_there > n:
        raise SystemExit(f"synth: {path} has {n_there} tokens, more than {n}")
    fill = {"tokens": [f"<unused{i}>" for i in range(n)], "token_type": [int(gguf.TokenType.UNUSED)] * n, "scores": [-1e4] * n}
    for key, field in fields.items():
        value, name = field.contents(), key.removeprefix("tokenizer.ggml.")
        if name in fill:
            value = value + fill[name][len(value):]
        if field.types[0] == gguf.GGUFValueType.ARRAY:
            w.add_array(key, value)
        else:
            w.add_key_value(key, value, field.types[0])


# ---- The file ----

def add_keys(w, s, name):
    w.add_name(name)
    w.add_block_count(s.n_layer)
    w.add_context_length(s.n_ctx)
    w.add_embedding_length(s.n_embd)
    w.add_feed_forward_length(s.n_ff)
    w.add_head_count(s.n_head)
    w.add_head_count_kv(s.n_head_kv)
    w.add_rope_dimension_count(s.head)
    w.add_rope_freq_base(s.rope_base)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_vocab_size(s.n_vocab)


def write(path, shape, wanted, vocab=None, seed=1):
    """One tensor in memory at a time."""
    w = gguf.GGUFWriter(path, shape.arch)
    add_keys(w, shape, f"random weights, {wanted}")
    if vocab:
        copied_vocabulary(w, vocab, shape.n_vocab)
    else:
        made_up_vocabulary(w, shape.n_vocab)
    rows = list(tensors(shape, wanted))
    for name, dims, t in rows:
        n_weights, n_bytes = gguf.GGML_QUANT_SIZES[t]
        w.add_tensor_info(name, dims, np.dtype(np.float32), int(np.prod(dims)) // n_weights * n_bytes, raw_dtype=t)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    blocks = Blocks(seed)
    for row in rows:
        w.write_tensor_data(values(blocks, *row))
    w.close()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("shape", choices=SHAPES)
    p.add_argument("type", choices=["Q4_K_M", "F32", "F16", "BF16"] + [t.name for t in (*FLOATS, *EXPONENTS)], metavar="TYPE")
    p.add_argument("out")
    p.add_argument("--vocab", metavar="FILE", help="take the vocabulary of this GGUF file")
    p.add_argument("--layers", type=int, metavar="N", help="fewer layers, for trials")
    p.add_argument("--vocab-size", type=int, metavar="N", help="another size of the vocabulary, at least 257")
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    shape = SHAPES[args.shape]
    shape = dataclasses.replace(shape, n_layer=args.layers or shape.n_layer, n_vocab=args.vocab_size or shape.n_vocab)
    if shape.n_vocab < 257:
        p.error("--vocab-size: at least 257")
    write(args.out, shape, args.type, args.vocab, args.seed)


if __name__ == "__main__":
    main()
