#!/usr/bin/env python3
"""Write the seeds of tests/fuzz/corpus/gguf, load, sequences, imatrix and quantize: small files, good and bad, one thing each.

    python3 tests/fuzz/make_corpus.py

Files that a fuzzer found stand beside them under other names and are left alone.
"""
import os
import random
import struct

HERE = os.path.dirname(os.path.abspath(__file__))
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}
# type in the file: weights in a block, bytes of a block
TYPES = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 10: (256, 84),
         11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210)}


def string(s):
    data = s.encode() if isinstance(s, str) else s
    return struct.pack("<Q", len(data)) + data


def scalar(kind, v):
    return string(v) if kind == STRING else struct.pack("<" + CODES[kind], v)


class File:
    """A GGUF file in the making. Lists of keys and tensors may be changed before bytes()."""

    def __init__(self, version=3, alignment=32):
        self.version, self.alignment = version, alignment
        self.keys, self.tensors = [], []
        if alignment != 32:
            self.key("general.alignment", U32, alignment)

    def key(self, name, kind, value):
        if isinstance(value, list):
            data = struct.pack("<IIQ", ARRAY, kind, len(value)) + b"".join(scalar(kind, v) for v in value)
        else:
            data = struct.pack("<I", kind) + scalar(kind, value)
        self.raw_key(name, data)

    def raw_key(self, name, data):
        self.keys.append((name, string(name) + data))

    def tensor(self, name, kind, *dims):
        """Pseudo-random weights. No byte is above 0x3b: whichever two of them are a scale, it is small and a number."""
        rng = random.Random(name)
        n = 1
        for d in dims:
            n *= d
        block, size = TYPES[kind]
        if kind == 0:
            data = b"".join(struct.pack("<f", rng.randrange(-100, 101) / 100) for _ in range(n))
        else:
            data = bytes(rng.randrange(0x3c) for _ in range(n // block * size))
        self.tensors.append((name, kind, dims, data))

    def without(self, *names):
        self.keys = [k for k in self.keys if k[0] not in names]
        self.tensors = [t for t in self.tensors if t[0] not in names]
        return self

    def bytes(self):
        def pad(data):
            return data + bytes(-len(data) % self.alignment)

        out = b"GGUF" + struct.pack("<IQQ", self.version, len(self.tensors), len(self.keys))
        out += b"".join(data for _, data in self.keys)
        body = b""
        for name, kind, dims, data in self.tensors:
            body = pad(body)
            out += string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
            out += struct.pack("<IQ", kind, len(body))
            body += data
        return (pad(out) if self.tensors else out) + body


def vocabulary(f, template=None):
    tokens = ["a", "b", "c", "ab", "abc", "\u0120", "<|im_start|>", "<|im_end|>"]
    f.key("tokenizer.ggml.model", STRING, "gpt2")
    f.key("tokenizer.ggml.pre", STRING, "gpt-2")
    f.key("tokenizer.ggml.tokens", STRING, tokens)
    f.key("tokenizer.ggml.token_type", I32, [1, 1, 1, 1, 1, 1, 3, 3])
    f.key("tokenizer.ggml.merges", STRING, ["a b", "ab c"])
    f.key("tokenizer.ggml.bos_token_id", U32, 6)
    f.key("tokenizer.ggml.eos_token_id", U32, 7)
    if template:
        f.key("tokenizer.ggml.add_bos_token", BOOL, 1)
        f.key("tokenizer.chat_template", STRING, template)


def pieces(f):
    """A SentencePiece vocabulary of as many tokens."""
    f.key("tokenizer.ggml.model", STRING, "llama")
    f.key("tokenizer.ggml.tokens", STRING, ["<unk>", "<s>", "</s>", "<0x61>", "\u2581", "a", "\u2581a", "aa"])
    f.key("tokenizer.ggml.scores", F32, [0, 0, 0, 0, -1, -2, -3, -4])
    f.key("tokenizer.ggml.token_type", I32, [2, 3, 3, 6, 1, 1, 1, 4])


# What a layer of an architecture has beyond or instead of what a llama has.
PARTS = {"phi3": {"fused", "factors"}, "gemma2": {"post"}, "gemma3": {"post", "heads"}, "qwen3": {"heads"}, "olmo2": {"post", "rows", "no pre"}}


def model(kind=0, arch="llama", embd=4, heads=2, heads_kv=1, head_dim=None, ff=6, layers=1, extras=False, array=False, window=1):
    """Rows of n_embd weights are of type `kind`; rows that are too short for its blocks are F32."""
    f = File()
    head = head_dim or embd // heads
    per_layer = (lambda v: [v] * layers) if array else (lambda v: v)
    f.key("general.architecture", STRING, arch)
    f.key(arch + ".context_length", U32, 64)
    f.key(arch + ".embedding_length", U32, embd)
    f.key(arch + ".block_count", U32, layers)
    f.key(arch + ".feed_forward_length", U32, per_layer(ff))
    f.key(arch + ".attention.head_count", U32, per_layer(heads))
    f.key(arch + ".attention.head_count_kv", U32, per_layer(heads_kv))
    f.key(arch + ".attention.layer_norm_rms_epsilon", F32, 1e-5)
    if head_dim:
        f.key(arch + ".attention.key_length", U32, head)
        f.key(arch + ".attention.value_length", U32, head)
    if extras:
        f.key(arch + ".rope.dimension_count", U32, head)
        f.key(arch + ".rope.freq_base", F32, 500000.0)
        f.key(arch + ".rope.scaling.type", STRING, "linear")
        f.key(arch + ".rope.scaling.factor", F32, 2.0)
    parts = PARTS.get(arch, set())
    if parts:
        f.key(arch + ".attention.sliding_window", U32, window)
        pieces(f)
    else:
        vocabulary(f, "{% for m in messages %}<|im_start|>{% endfor %}" if extras else None)

    def matrix(name, columns, rows):
        f.tensor(name, kind if columns % TYPES[kind][0] == 0 else 0, columns, rows)

    matrix("token_embd.weight", embd, 8)
    f.tensor("output_norm.weight", 0, embd)
    if extras:
        matrix("output.weight", embd, 8)
        f.tensors.append(("rope_freqs.weight", 0, (head // 2,), struct.pack(f"<{head // 2}f", *[1.5] * (head // 2))))
    for name in ("short", "long") if "factors" in parts else ():
        f.tensors.append((f"rope_factors_{name}.weight", 0, (head // 2,), struct.pack(f"<{head // 2}f", *[1.5] * (head // 2))))
    for layer in range(layers):
        b = f"blk.{layer}."
        if "no pre" not in parts:
            f.tensor(b + "attn_norm.weight", 0, embd)
        if "post" in parts:
            f.tensor(b + "post_attention_norm.weight", 0, embd)
            f.tensor(b + "post_ffw_norm.weight", 0, embd)
        if parts & {"heads", "rows"}:
            f.tensor(b + "attn_q_norm.weight", 0, head * (heads if "rows" in parts else 1))
            f.tensor(b + "attn_k_norm.weight", 0, head * (heads_kv if "rows" in parts else 1))
        if "fused" in parts:
            matrix(b + "attn_qkv.weight", embd, (heads + 2 * heads_kv) * head)
        for name, rows in (("q", heads * head), ("k", heads_kv * head), ("v", heads_kv * head)):
            if "fused" in parts:
                break
            matrix(f"{b}attn_{name}.weight", embd, rows)
            if extras or arch == "qwen2":
                f.tensor(f"{b}attn_{name}.bias", 0, rows)
        matrix(b + "attn_output.weight", heads * head, embd)
        if "no pre" not in parts:
            f.tensor(b + "ffn_norm.weight", 0, embd)
        if "fused" not in parts:
            matrix(b + "ffn_gate.weight", embd, ff)
        matrix(b + "ffn_up.weight", embd, ff * (2 if "fused" in parts else 1))
        matrix(b + "ffn_down.weight", ff, embd)
    return f


def every_key():
    f = File()
    for kind in CODES:
        f.key(f"one.{kind}", kind, 1)
        f.key(f"many.{kind}", kind, [0, 1, 1])
    f.key("one.text", STRING, "text")
    f.key("many.text", STRING, ["", "text", b"\xff\x00"])
    vocabulary(f)
    return f


def replaced(name, data):
    """The smallest model with the raw bytes (type and value) of one key changed."""
    f = model().without(name)
    f.raw_key(name, data)
    return f


def gguf_seeds():
    yield "empty", b""
    yield "header", File().bytes()
    yield "magic", b"GGUF"
    yield "big_endian", b"GGUF" + struct.pack(">IQQ", 3, 0, 0)
    yield "keys", every_key().bytes()
    yield "version_2", File(version=2).bytes() + b"tail"
    yield "model", model().bytes()
    for alignment in (8, 64):
        f = File(alignment=alignment)
        vocabulary(f)
        f.tensor("a", 0, 3)
        f.tensor("b", 1, 2, 2, 2, 2)
        yield f"alignment_{alignment}", f.bytes()
    f = File()
    vocabulary(f)
    for kind, (block, _) in TYPES.items():
        f.tensor(f"t{kind}", kind, block, 2)
    yield "types", f.bytes()
    f = every_key()
    f.key("one.4", U32, 1)
    yield "duplicate_key", f.bytes()
    f = model()
    f.tensor("x", 0, 1)
    f.tensor("x", 0, 1)
    yield "duplicate_tensor", f.bytes()
    yield "many_keys", b"GGUF" + struct.pack("<IQQ", 3, 0, 1 << 32)
    yield "many_tensors", b"GGUF" + struct.pack("<IQQ", 3, 1 << 63, 0)
    for name, data in (("nested", struct.pack("<IIQ", ARRAY, ARRAY, 1)), ("long", struct.pack("<IIQ", ARRAY, U8, 1 << 60)),
                       ("wrap", struct.pack("<IIQ", ARRAY, U64, (1 << 61) + 1)), ("bool", struct.pack("<IB", BOOL, 2)),
                       ("type", struct.pack("<IQ", 13, 0)), ("string", struct.pack("<IQ", STRING, (1 << 64) - 9))):
        f = every_key()
        f.raw_key("bad." + name, data)
        yield "bad_" + name, f.bytes()
    for name, patch in (("overlap", 0), ("unaligned", 4), ("far", 1 << 40), ("wraps", (1 << 64) - 32)):
        f = File()
        vocabulary(f)
        f.tensor("a", 0, 8)
        f.tensor("b", 0, 8)
        yield "offset_" + name, f.bytes().replace(struct.pack("<IQ", 0, 32), struct.pack("<IQ", 0, patch))


def load_seeds():
    yield "f32", model().bytes()
    yield "extras", model(extras=True, layers=2).bytes()
    yield "arrays", model(layers=2, array=True).bytes()
    yield "qwen2", model(arch="qwen2").bytes()
    for arch in PARTS:
        yield arch, model(arch=arch, layers=2).bytes()
    yield "windows", model(arch="gemma2", layers=2, window=20).bytes()
    yield "smollm3", model(arch="smollm3", layers=4).bytes()
    yield "wide_heads", model(head_dim=6, heads=3, heads_kv=3).bytes()
    for kind, (block, _) in TYPES.items():
        if block == 1 and kind:
            yield f"type_{kind}", model(kind).bytes()
        if block == 32:
            yield f"type_{kind}", model(kind, embd=32, heads=2, heads_kv=2, head_dim=16, ff=32).bytes()
        if block == 256:
            yield f"type_{kind}", model(kind, embd=256, heads=1, heads_kv=1, head_dim=2, ff=2).bytes()
    yield "no_tensors", model().without(*[t[0] for t in model().tensors]).bytes()
    yield "no_norm", model().without("output_norm.weight").bytes()
    yield "layers_2", replaced("llama.block_count", struct.pack("<II", U32, 2)).bytes()
    yield "heads_0", replaced("llama.attention.head_count", struct.pack("<II", U32, 0)).bytes()
    yield "eps_nan", replaced("llama.attention.layer_norm_rms_epsilon", struct.pack("<If", F32, float("nan"))).bytes()
    f = model().without("output_norm.weight")
    f.tensors.append(("output_norm.weight", 0, (4,), struct.pack("<4f", 1, float("nan"), float("inf"), 1)))
    yield "norm_nan", f.bytes()
    f = model()
    f.key("llama.expert_count", U32, 4)
    yield "experts", f.bytes()


def sequence_seeds():
    """What fuzz_sequences.c reads: a byte of parameters, then steps: number, sequence, arguments."""
    rng = random.Random(7)
    text = bytes(rng.randrange(8) for _ in range(39))
    grow = bytes([0, 0, 39]) + text + b"\0"
    yield "grow", bytes([7]) + 6 * grow
    yield "cut", bytes([7]) + 3 * grow + bytes([2, 0, 0, 101]) + grow
    yield "remove", bytes([0x4f]) + 4 * grow + bytes([3, 0, 0, 5, 0, 100]) + grow
    yield "remove_window", bytes([0x13]) + 6 * grow + bytes([3, 0, 0, 5, 0, 180]) + grow
    yield "share", bytes([0x2f]) + 2 * grow + bytes([4, 0, 1, 0, 70]) + bytes([0, 1, 5, 1, 2, 3, 4, 5, 6]) + bytes([3, 0, 0, 9, 0, 40])
    yield "save", bytes([3]) + 2 * grow + bytes([5, 0, 1, 0, 1])
    yield "changed", bytes([3]) + 2 * grow + bytes([5, 0, 2, 1, 0, 30, 1, 1])
    yield "short", bytes([3]) + 2 * grow + bytes([5, 0, 1, 0, 0, 0, 30])


def imatrix(values=None, counts=None):
    """Sums of a tensor and of one with two matrices; or of one, with these values."""
    f = File()
    f.key("general.type", STRING, "imatrix")
    f.key("imatrix.datasets", STRING, ["a.txt", ""])
    f.key("imatrix.chunk_count", U32, 2)
    f.key("imatrix.chunk_size", U32, 4)
    for name, dims, numbers in (("a-b.in_sum2", (3,), values or [1, 0, 2.5]), ("a-b.counts", (1,), counts or [8]),
                                ("a.in_sum2", (2, 2), [1, 2, 3, 4]), ("a.counts", (1, 2), [7, 0])):
        f.tensors.append((name, 0, dims, struct.pack(f"<{len(numbers)}f", *numbers)))
    return f


def imatrix_seeds():
    yield "two", imatrix().bytes()
    yield "nan", imatrix(values=[1, float("nan"), 1]).bytes()
    yield "negative", imatrix(counts=[-1]).bytes()
    yield "large", imatrix(values=[3e38, 3e38, 1e-45], counts=[1e-45]).bytes()
    yield "many", imatrix(counts=[3e38]).bytes()
    yield "no_counts", imatrix().without("a.counts").bytes()
    yield "no_sums", imatrix().without("a.in_sum2").bytes()
    yield "no_keys", imatrix().without("general.type", "imatrix.datasets", "imatrix.chunk_count", "imatrix.chunk_size").bytes()
    f = imatrix().without("a.counts")
    f.tensor("a.counts", 0, 3)
    yield "shape", f.bytes()
    f = imatrix()
    f.tensor("a.in_sum2", 0, 3)
    yield "twice", f.bytes()


def floats(name, dims, numbers):
    return name, 0, dims, struct.pack(f"<{len(numbers)}f", *numbers)


def quantize_seeds():
    """Keys and tensors; no models."""
    f = File()
    f.key("general.architecture", STRING, "llama")
    for name, value in (("block_count", 2), ("attention.head_count", 2), ("attention.head_count_kv", 1)):
        f.key("llama." + name, U32, value)
    for name, kind, *dims in (("token_embd.weight", 0, 256, 2), ("output_norm.weight", 0, 256), ("blk.0.attn_v.weight", 0, 256, 1),
                              ("blk.1.ffn_down.weight", 1, 256, 1), ("output.weight", 30, 256, 1)):
        f.tensor(name, kind, *dims)
    yield "layers", f.bytes()
    for kind in TYPES:
        f = File(alignment=8)
        f.tensor("token_embd.weight", kind, 256, 2)
        f.tensor("blk.0.attn_k.weight", kind, max(32, TYPES[kind][0]), 3)
        yield f"type_{kind}", f.bytes()
    f = File(alignment=64)
    f.tensor("blk.0.ffn_up_exps.weight", 0, 32, 2, 3)
    yield "experts", f.bytes()
    f = File()
    for name, row, rows in (("a.weight", 33, 2), ("b.weight", 8, 3), ("c.weight", 96, 1), ("d.weight", 32, 1)):
        f.tensor(name, 0, row, rows)
    yield "odd_rows", f.bytes()
    for name, bad in (("nan", float("nan")), ("infinite", float("inf")), ("large", 3e38), ("small", 1e-45)):
        f = File()
        f.tensors.append(floats("a.weight", (32, 2), [1, 2, 3, bad] * 16))
        yield name, f.bytes()
    f = File()
    f.key("list", STRING, ["a", "", "ccc"])
    f.key("quantize.imatrix.file", STRING, "m")
    f.key("general.file_type", STRING, "x")
    f.key("general.quantization_version", U32, 1)
    f.key("fuzz.text", STRING, "y")
    f.tensor("a.weight", 0, 32, 1)
    yield "keys", f.bytes()
    for name, key, kind, value in (("no_tensors", "a", STRING, "b"), ("parts", "split.count", U32, 2),
                                   ("alignment", "general.alignment", U32, 1 << 30)):
        f = File()
        f.key(key, kind, value)
        yield name, f.bytes()


def main():
    total = 0
    for folder, seeds in (("gguf", gguf_seeds()), ("load", load_seeds()), ("sequences", sequence_seeds()),
                          ("imatrix", imatrix_seeds()), ("quantize", quantize_seeds())):
        path = os.path.join(HERE, "corpus", folder)
        os.makedirs(path, exist_ok=True)
        for name, data in seeds:
            with open(os.path.join(path, "seed_" + name), "wb") as out:
                out.write(data)
            total += len(data)
    print(total, "bytes")


if __name__ == "__main__":
    main()
