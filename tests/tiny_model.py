"""Small GGUF files for tests, made without any package.

    write(path)                          a llama model with random weights, a vocabulary of bytes, ChatML
    write(path, {"general.name": S("x"), "tokenizer.chat_template": None})    keys changed, added, left out
    write(path, weights=False)           the vocabulary alone
    write(path, layers=False)            layers that add nothing: a token decides the next one, and greedy text repeats itself
"""
import random
import struct

U32, I32, F32, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
GGML_F32, GGML_Q4_0, GGML_Q8_0 = 0, 2, 8

N_EMBD, N_FF, N_HEAD, N_HEAD_KV, N_LAYER = 64, 128, 4, 2, 2
N_CTX = 4096
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
MERGES = ["t h", "th e", "Ġ the", "i n", "Ġ a", "a n", "an d"]
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>'"
    " + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def byte_characters():
    """The character by which a byte-level vocabulary writes each byte (Radford et al. 2019)."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table, more = {b: chr(b) for b in plain}, 0
    for b in range(256):
        if b not in table:
            table[b] = chr(256 + more)
            more += 1
    return [table[b] for b in range(256)]


def tokens():
    return SPECIAL + byte_characters() + [m.replace(" ", "") for m in MERGES]


N_VOCAB = len(SPECIAL) + 256 + len(MERGES)


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


# A value: its type and its bytes.
def U(v):
    return (U32, struct.pack("<I", v))


def F(v):
    return (F32, struct.pack("<f", v))


def B(v):
    return (BOOL, struct.pack("<B", v))


def S(v):
    return (STRING, string(v))


def A(element_type, values):
    pack = string if element_type == STRING else lambda v: struct.pack({I32: "<i", F32: "<f", U32: "<I"}[element_type], v)
    return (ARRAY, struct.pack("<IQ", element_type, len(values)) + b"".join(map(pack, values)))


def keys():
    return {
        "general.architecture": S("llama"),
        "general.name": S("tiny"),
        "llama.context_length": U(N_CTX),
        "llama.embedding_length": U(N_EMBD),
        "llama.block_count": U(N_LAYER),
        "llama.feed_forward_length": U(N_FF),
        "llama.attention.head_count": U(N_HEAD),
        "llama.attention.head_count_kv": U(N_HEAD_KV),
        "llama.attention.layer_norm_rms_epsilon": F(1e-5),
        "llama.rope.dimension_count": U(N_EMBD // N_HEAD),
        "tokenizer.ggml.model": S("gpt2"),
        "tokenizer.ggml.pre": S("gpt-2"),
        "tokenizer.ggml.tokens": A(STRING, tokens()),
        "tokenizer.ggml.token_type": A(I32, [3] * len(SPECIAL) + [1] * (N_VOCAB - len(SPECIAL))),
        "tokenizer.ggml.merges": A(STRING, MERGES),
        "tokenizer.ggml.bos_token_id": U(1),
        "tokenizer.ggml.eos_token_id": U(2),
        "tokenizer.ggml.add_bos_token": B(0),
        "tokenizer.chat_template": S(CHATML),
    }


class Weights:
    """Random rows in three block types; the same for the same seed."""

    def __init__(self, seed=1):
        self.random = random.Random(seed)

    def f32(self, n_rows, n, scale):
        return b"".join(struct.pack("<f", self.random.gauss(0, scale)) for _ in range(n_rows * n))

    def blocks(self, n_rows, n, scale, n_bytes, spread):
        """Blocks of 32: an f16 scale, then random codes. `spread` is the root mean square of the codes."""
        out = bytearray()
        for _ in range(n_rows * n // 32):
            out += struct.pack("<e", scale / spread * self.random.uniform(0.7, 1.3))
            out += self.random.randbytes(n_bytes)
        return bytes(out)

    def make(self, ggml_type, n_rows, n, scale):
        if ggml_type == GGML_F32:
            return self.f32(n_rows, n, scale)
        if ggml_type == GGML_Q4_0:
            return self.blocks(n_rows, n, scale, 16, 4.6)
        return self.blocks(n_rows, n, scale, 32, 74)


def tensors(seed=1):
    """[(name, dims, type, bytes)]; special tokens are never the most probable ones: their rows of output are zero."""
    w, head = Weights(seed), N_EMBD // N_HEAD
    rows = [("token_embd.weight", N_VOCAB, N_EMBD, GGML_Q8_0)]
    for layer in range(N_LAYER):
        blk = f"blk.{layer}."
        rows += [
            (blk + "attn_norm.weight", 0, N_EMBD, GGML_F32),
            (blk + "attn_q.weight", N_EMBD, N_EMBD, GGML_Q4_0),
            (blk + "attn_k.weight", N_HEAD_KV * head, N_EMBD, GGML_Q4_0),
            (blk + "attn_v.weight", N_HEAD_KV * head, N_EMBD, GGML_Q8_0),
            (blk + "attn_output.weight", N_EMBD, N_EMBD, GGML_Q4_0),
            (blk + "ffn_norm.weight", 0, N_EMBD, GGML_F32),
            (blk + "ffn_gate.weight", N_FF, N_EMBD, GGML_Q4_0),
            (blk + "ffn_up.weight", N_FF, N_EMBD, GGML_Q8_0),
            (blk + "ffn_down.weight", N_EMBD, N_FF, GGML_Q4_0),
        ]
    rows += [("output_norm.weight", 0, N_EMBD, GGML_F32), ("output.weight", N_VOCAB, N_EMBD, GGML_F32)]
    out = []
    for name, n_rows, n, ggml_type in rows:
        if n_rows == 0:
            data = struct.pack(f"<{n}f", *(w.random.uniform(0.8, 1.2) for _ in range(n)))
        else:
            data = w.make(ggml_type, n_rows, n, 0.15)
        if name == "output.weight":
            data = bytes(4 * n * len(SPECIAL)) + data[4 * n * len(SPECIAL):]
        out.append((name, [n, n_rows] if n_rows else [n], ggml_type, data))
    return out


def gguf(all_keys, all_tensors):
    """The bytes of a file."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(all_tensors), len(all_keys))
    for name, (value_type, data) in all_keys.items():
        head += string(name) + struct.pack("<I", value_type) + data
    offset, body = 0, b""
    for name, dims, ggml_type, data in all_tensors:
        head += string(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        head += struct.pack("<IQ", ggml_type, offset)
        data += bytes(-len(data) % 32)
        body += data
        offset += len(data)
    return head + bytes(-len(head) % 32) + body


def build(changed=None, weights=True, seed=1, layers=True):
    """The bytes of a model. `changed`: keys to set, or to leave out when None."""
    all_keys = {k: v for k, v in {**keys(), **(changed or {})}.items() if v is not None}
    all_tensors = tensors(seed) if weights else []
    if not layers:
        silent = ("attn_output.weight", "ffn_down.weight")
        all_tensors = [(n, d, t, bytes(len(b)) if n.endswith(silent) else b) for n, d, t, b in all_tensors]
    return gguf(all_keys, all_tensors)


def build_adapter(seed=1, rank=4, kinds=("attn_q", "ffn_down", "output.weight")):
    """The bytes of a LoRA adapter for the matrices of these kinds."""
    w, factors = Weights(seed), []
    for name, dims, _, _ in tensors():
        if any(kind in name for kind in kinds) and len(dims) == 2:
            factors.append((name + ".lora_a", [dims[0], rank], GGML_F32, w.f32(rank, dims[0], 0.3)))
            factors.append((name + ".lora_b", [rank, dims[1]], GGML_F32, w.f32(dims[1], rank, 0.3)))
    return gguf({"general.type": S("adapter"), "general.architecture": S("llama"), "adapter.type": S("lora"),
                 "adapter.lora.alpha": F(2 * rank)}, factors)


def write(path, changed=None, weights=True, seed=1, layers=True):
    with open(path, "wb") as f:
        f.write(build(changed, weights, seed, layers))
    return str(path)
