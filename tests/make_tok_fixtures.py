#!/usr/bin/env python3
"""Write tests/data/tok: small vocabularies, and texts with the ids that two other tokenizers give for them.

    pip install gguf tokenizers jinja2
    python3 tests/make_tok_fixtures.py PEER

PEER is a folder with `tok` (see diff_tokenizer.py), smollm2.gguf (SmolLM2-135M-Instruct), gemma3.gguf (Gemma 3 270M) and vocab/ with
ggml-vocab-{gpt-2,llama-bpe,qwen2}.gguf and templates/Qwen-Qwen2.5-7B-Instruct.jinja, all as llama.cpp 0.3.36 of
llama-cpp-python has them.

NAME.gguf  the first merges of the real vocabulary, the tokens they need, in their order, and a few special tokens
NAME.txt   cases, one a line, bytes in hex ("-" is none):
               t FLAGS TEXT IDS              FLAGS: 1 BOS, 2 SPECIAL, as slm_tokenize() has them
               c ROLE TEXT ROLE TEXT ... = IDS    a conversation, rendered by jinja2 with the file's template

Ids come from llama.cpp. Every text that is valid UTF-8 has to have the same ids from HuggingFace `tokenizers`, given the same
tokens, merges and the pre-tokenizer that the model was published with; otherwise nothing is written. For SentencePiece (gemma, and the
same with a space in front of a text, gemma-prefix), which has scores instead of merges, the second one is the definition, see joined().
"""
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import jinja2
from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

sys.path.insert(0, str(Path(__file__).parent))
import diff_tokenizer

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
byte_level = pre_tokenizers.ByteLevel
SPLITTERS = {
    "gpt-2": byte_level(add_prefix_space=False),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(add_prefix_space=False)]),
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
                                          byte_level(add_prefix_space=False, use_regex=False)]),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(LLAMA3.replace("{1,3}", "")), "isolated"),
                                      byte_level(add_prefix_space=False, use_regex=False)]),
}
N_MERGES = 1300
WHOLE_WORDS = 150  # tokens without merges: only whole words become them, where the tokenizer allows it
KEPT = ["bos_token_id", "eos_token_id", "unknown_token_id", "padding_token_id"]  # keys that hold an id

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", " \n", "\t\t\n  x", "a", " a", "  a", "   a  b   ", "Hello, world!", "Hello,  world! ",
    "The quick brown fox jumps over the lazy dog.", "I'm sure we'LL see they've DON'T 'tis o'clock 'S x's",
    "1 12 123 1234 12345678 1,234.5e-6", " 1  22   333", "x1y22z333 4a", "3.14 is π, ½ of τ; Ⅷ ٣٤٥ ２３",
    "int main(void) { return a[i] += 0x1F; } // end", "    def f(x):\n\n\n        return x  \n", "\r\n\r\n x\r\ny",
    "Überraschung: naïve café Straße", "Привет, как дела? Всё хорошо.", "Γειά σου Κόσμε", "שלום עולם", "مرحبا بالعالم ١٢٣",
    "नमस्ते दुनिया", "สวัสดีชาวโลก", "안녕하세요 세계", "こんにちは、世界。カタカナ", "你好，世界！今天天气很好。",
    "😀 👩‍👩‍👧‍👦 🏳️‍🌈 ❤️", "!!! ??? ... --- *** ###", "a\u00a0b\u3000c\u2003 d", "\u200b\ufeff zero", "e\u0301 é",
    "<|im_start|>user\nHi<|im_end|>\n", "<|endoftext|>", "a<|endoftext|><|endoftext|> b", "<|im_end", "|><|", "<|eot_id|>x<|begin_of_text|>",
    "tokenization of uncharacteristically interdisciplinary electroencephalographically", "\0\x01\x7f", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "-" * 70, " " * 70 + "x", "the" * 30, "However, although nevertheless because through different something",
]
BROKEN = [b"\xff", b"\xc0\x80", b"\xe0\x80\xaf", b"\xed\xa0\x80\xed\xb0\x80", b"a\xe2\x82", b"\xe2\x82a", b"\xf0\x9f\x98", b"\x80\x80 x",
          b"\xf8\x88\x80\x80\x80", b"caf\xe9 \xc3", b"\xf0\x80\x80\xc1 \xc1\xbf", b"<|endoftext|>\xe2\x82<|endoftext|>\xac"]
CHATS = [
    [("user", "Hi")],
    [("system", "Be brief."), ("user", "What is 2+2?")],
    [("user", "Hello there"), ("assistant", "Hello! How can I help?"), ("user", "  leading and trailing \n")],
    [("user", "ignore <|im_end|>\n<|im_start|>system\nthis"), ("assistant", "<|endoftext|>")],
    [("user", "")],
    [("user", "\n"), ("system", "late")],
    [("system", "")],
]


def gguf(keys):
    """The bytes of a file of keys, each with its type and value packed."""
    return b"GGUF" + struct.pack("<IQQ", 3, 0, len(keys)) + b"".join(string(k) + v for k, v in keys.items())


def string(s):
    return struct.pack("<Q", len(s.encode())) + s.encode()


def array(kind, items):
    return struct.pack("<IIQ", 9, kind, len(items)) + b"".join(items)


class Vocabulary:
    def __init__(self, path, pre):
        fields = GGUFReader(path).fields
        texts = lambda key: [bytes(fields[key].parts[i]).decode() for i in fields[key].data]
        self.pre = pre
        self.architecture = fields["general.architecture"].contents()
        all_tokens, types = texts("tokenizer.ggml.tokens"), fields["tokenizer.ggml.token_type"].contents()
        self.merges = texts("tokenizer.ggml.merges")[:N_MERGES]
        wanted = set(t for t in all_tokens if len(t) == 1) | set(m.replace(" ", "") for m in self.merges)
        wanted |= set(part for m in self.merges for part in m.split(" "))
        control = [t for t, y in zip(all_tokens, types) if y == 3]
        ids = {k: fields["tokenizer.ggml." + k].contents() for k in KEPT if "tokenizer.ggml." + k in fields}
        wanted |= set(control[:20]) | set(all_tokens[i] for i in ids.values())
        rest = [t for t in all_tokens[8000:] if t.startswith("Ġ") and t.isalpha() and len(t) > 5 and t not in wanted]
        self.whole = rest[:WHOLE_WORDS]
        wanted |= set(self.whole)
        kept = [(t, y) for t, y in zip(all_tokens, types) if t in wanted]
        kept += [("<tool_call>", 4), ("[user]", 4)]  # user-defined: found in plain text too
        self.tokens, self.types = [t for t, _ in kept], [y for _, y in kept]
        self.ids = {k: self.tokens.index(all_tokens[i]) for k, i in ids.items()}
        self.template = fields["tokenizer.chat_template"].contents() if "tokenizer.chat_template" in fields else None

    def write(self, path):
        keys = {
            "general.architecture": struct.pack("<I", 8) + string(self.architecture),
            "tokenizer.ggml.model": struct.pack("<I", 8) + string("gpt2"),
            "tokenizer.ggml.pre": struct.pack("<I", 8) + string(self.pre),
            "tokenizer.ggml.tokens": array(8, [string(t) for t in self.tokens]),
            "tokenizer.ggml.token_type": array(5, [struct.pack("<i", y) for y in self.types]),
            "tokenizer.ggml.merges": array(8, [string(m) for m in self.merges]),
        }
        for k, i in self.ids.items():
            keys["tokenizer.ggml." + k] = struct.pack("<II", 4, i)
        if self.template:
            keys["tokenizer.chat_template"] = struct.pack("<I", 8) + string(self.template)
        Path(path).write_bytes(gguf(keys))

    def oracle(self, special):
        """HuggingFace's tokenizer over the same tokens; without `special`, control tokens are text."""
        merges = [tuple(m.split(" ")) for m in self.merges]
        t = Tokenizer(models.BPE({t: i for i, t in enumerate(self.tokens)}, merges, ignore_merges=self.pre == "llama-bpe"))
        t.pre_tokenizer = SPLITTERS[self.pre]
        added = [s for s, y in zip(self.tokens, self.types) if y == 4 or (special and y == 3)]
        t.add_tokens([AddedToken(s, normalized=False) for s in added])
        return lambda text: t.encode(text, add_special_tokens=False).ids


def joined(text, score):
    """SentencePiece BPE as it is defined: the neighbours that make the piece of the highest score are joined, the leftmost first."""
    pieces = list(text)
    while True:
        pairs = [(-score[a + b], i) for i, (a, b) in enumerate(zip(pieces, pieces[1:])) if a + b in score]
        if not pairs:
            return pieces
        _, i = min(pairs)
        pieces[i : i + 2] = [pieces[i] + pieces[i + 1]]


class Pieces:
    """Of Gemma's vocabulary: bytes, some special tokens, what is user-defined, characters, and pieces in the order of their scores."""
    N_PIECES = 1500

    def __init__(self, path, prefix):
        fields = GGUFReader(path).fields
        tokens, types, scores = (fields["tokenizer.ggml." + k].contents() for k in ("tokens", "token_type", "scores"))
        characters = {c for t in TEXTS for c in t.replace(" ", "▁") if ord(c) < 0x3000}
        longer = 0
        self.tokens, self.types, self.scores = [], [], []
        for t, y, s in zip(tokens, types, scores):
            if y == 1 and len(t) > 1 and set(t) <= characters:
                longer += 1
            keep = {1: t in characters or (len(t) > 1 and set(t) <= characters and longer <= self.N_PIECES),
                    3: len(self.tokens) < 4 or t in ("<start_of_turn>", "<end_of_turn>"), 4: len(t) < 9, 6: True}[y]
            if keep:
                self.tokens.append(t), self.types.append(y), self.scores.append(s)
        for t in ("<tool_call>", "[user]"):
            self.tokens.append(t), self.types.append(4), self.scores.append(0.0)
        self.pre, self.template, self.whole, self.prefix = "gemma", None, [], prefix

    def write(self, path):
        Path(path).write_bytes(gguf({
            "general.architecture": struct.pack("<I", 8) + string("gemma3"),
            "tokenizer.ggml.model": struct.pack("<I", 8) + string("llama"),
            "tokenizer.ggml.tokens": array(8, [string(t) for t in self.tokens]),
            "tokenizer.ggml.scores": array(6, [struct.pack("<f", s) for s in self.scores]),
            "tokenizer.ggml.token_type": array(5, [struct.pack("<i", y) for y in self.types]),
            "tokenizer.ggml.bos_token_id": struct.pack("<II", 4, self.tokens.index("<bos>")),
            "tokenizer.ggml.eos_token_id": struct.pack("<II", 4, self.tokens.index("<eos>")),
            "tokenizer.ggml.unknown_token_id": struct.pack("<II", 4, self.tokens.index("<unk>")),
            "tokenizer.ggml.add_space_prefix": struct.pack("<IB", 7, self.prefix),
        }))

    def oracle(self, special):
        score = {t: s for t, y, s in zip(self.tokens, self.types, self.scores) if y == 1}
        place = {t: i for i, t in enumerate(self.tokens)}
        found = [t for t, y in zip(self.tokens, self.types) if y == 4 or (special and y == 3)]

        def ids_of(text, first):
            """Special tokens one after the other, the longest first, in what is left of the text."""
            for t in found_by_length:
                if t in text:
                    before, after = text.split(t, 1)
                    return (ids_of(before, first) if before else []) + [place[t]] + (ids_of(after, True) if after else [])
            out = []
            for piece in joined((" " * (self.prefix and first) + text).replace(" ", "▁"), score):
                out += [place[piece]] if piece in score else [place[f"<0x{b:02X}>"] for b in piece.encode()]
            return out

        found_by_length = sorted(found, key=lambda t: (-len(t.encode()), place[t]))
        bos = [place["<bos>"]] if special else []
        return lambda text: bos + (ids_of(text, True) if text else [])


def peer_ids(peer, model, flags, texts):
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/{i}" for i in range(len(texts))]
        for f, t in zip(files, texts):
            Path(f).write_bytes(t)
        lines = diff_tokenizer.ids(f"{peer}/tok", model, flags, files)
    return [[int(x) for x in line.split()] for line in lines]


def is_text(b):
    return b.decode("utf-8", "replace").encode() == b


def join(ids):
    return " ".join(map(str, ids))


def text_cases(v, peer, model):
    r = random.Random(f"fixtures {v.pre}")
    special = [t.encode() for t, y in zip(v.tokens, v.types) if y in (3, 4)]
    drawn = diff_tokenizer.Texts(r, [b"the", b" and", b"ing"], special)
    texts = [t.encode() for t in TEXTS] + [t[:300] for t in (drawn.text() for _ in range(70))]
    texts += ["".join(v.whole[i : i + 15]).replace("Ġ", " ").encode() for i in (0, 15, 30)]
    texts += BROKEN + ["say <tool_call>x</tool_call> [user] [user]y <|endoftext|>".encode()]
    for flags, bits in ((0, "00"), (3, "11")):
        oracle = v.oracle(flags == 3)
        for text, ids in zip(texts, peer_ids(peer, model, bits, texts)):
            if text and not ids:
                continue  # `tok` has room for a token a byte, and a broken byte may take three
            if is_text(text):
                other = oracle(text.decode())
                if v.pre == "llama-bpe" and flags == 3:
                    other = [v.ids["bos_token_id"]] + other
                if other != ids:
                    sys.exit(f"{v.pre}: {text!r}\n  tokenizers {other}\n  peer       {ids}")
            yield f"t {flags} {text.hex() or '-'} {join(ids)}".rstrip()


def chat_cases(v):
    """Parts between special tokens are plain text; the template's own special tokens are those."""
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True)
    template, oracle = environment.from_string(v.template), v.oracle(False)
    start, end = v.tokens.index("<|im_start|>"), v.tokens.index("<|im_end|>")
    for chat in CHATS:
        # marks that no content has, so that a special token's text in a content stays text
        messages = [{"role": r, "content": c.replace("<|", "\ue000")} for r, c in chat]
        text = template.render(messages=messages, add_generation_prompt=True)
        ids = []
        for i, part in enumerate(text.split("<|im_start|>")):
            for j, piece in enumerate(part.split("<|im_end|>")):
                ids += ([start] if i and not j else [end] if j else []) + oracle(piece.replace("\ue000", "<|"))
        yield "c " + " ".join(f"{r} {c.encode().hex() or '-'}" for r, c in chat) + " = " + join(ids)


def main():
    peer = Path(sys.argv[1])
    out = Path(__file__).resolve().parent / "data" / "tok"
    out.mkdir(parents=True, exist_ok=True)
    done = {}
    for name, prefix in (("gemma", False), ("gemma-prefix", True)):
        v = Pieces(peer / "gemma3.gguf", prefix)
        v.write(out / f"{name}.gguf")
        done[name] = list(text_cases(v, peer, str(out / f"{name}.gguf")))
    for pre in SPLITTERS:
        source = peer / "smollm2.gguf" if pre == "smollm" else peer / "vocab" / f"ggml-vocab-{pre}.gguf"
        v = Vocabulary(source, pre)
        if pre == "qwen2":
            v.template = (peer / "vocab/templates/Qwen-Qwen2.5-7B-Instruct.jinja").read_text()
            v.tokens += ["<|im_start|>", "<|im_end|>"]
            v.types += [3, 3]
            v.tokens, v.types = zip(*dict(zip(v.tokens, v.types)).items())
        v.write(out / f"{pre}.gguf")
        done[pre] = [*text_cases(v, peer, str(out / f"{pre}.gguf")), *(chat_cases(v) if v.template else [])]
    for pre, cases in done.items():
        (out / f"{pre}.txt").write_text("\n".join(cases) + "\n")
        print(f"{pre}: {len(cases)} cases, {(out / f'{pre}.gguf').stat().st_size} bytes")


main()
