#!/usr/bin/env python3
"""Token ids of this library against those of another program, on random and mutated strings. Run by hand:

    make && python3 tests/diff_tokenizer.py TOK MODEL.gguf... [-n 100000] [--seed 1]

TOK is called as `TOK MODEL ADD_SPECIAL PARSE_SPECIAL FILE...` and prints the ids of each file in a line. Beside a model
MODEL.gguf.inp and MODEL.gguf.out may hold cases with known ids, as llama.cpp has them for its vocabularies.
$O is the build folder. Needs `pip install gguf`. About a tenth of the strings is no valid UTF-8.
"""
import argparse
import os
import random
import re
import subprocess
import sys
import tempfile
from pathlib import Path

O = os.environ.get("O", "build")
CHUNK = 4000  # strings in a call

WORDS = """the of and to in is was for that it with as on be at by this had not are but from or have an they which one you
were all her she there would their we him been has when who will no more if out so up said what its about than into
I'm don't We'LL they're IT'S 'tis rock'n'roll you've I'd he'd O'Neil naïve café Straße über façade résumé
HTTP README snake_case camelCase PascalCase x86_64 e.g. i.e. U.S.A. 3.14159 1,000,000 0xDEADBEEF 2024-01-31 10:30:59""".split()
CODE = """int main(void) { return 0; }|for (i = 0; i < n; ++i) a[i] += b[i] * 3.0f;|def f(x, *args, **kw):\n    return x  # !\n|
#include <stdio.h>\n\n\tif (x != NULL && !y) {\n\t\tfree(x);\n\t}|<div class="a">&nbsp;</div>|SELECT * FROM t WHERE a='b';|
{"key": [1, 2.5e-3, null, "\\u00e9\\n"]}|$ ls -la | grep '^d' > /dev/null 2>&1|\\frac{a}{b} \\sum_{i=1}^{n}|https://example.org/?q=a%20b#c""".split("|")
SPACES = [" ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\x85", "\xa0", "\u1680", "\u2003", "\u2028", "\u202f", "\u3000", "\u200b", "\x1c"]
RANGES = [(0x20, 0x7E), (0xA0, 0x24F), (0x370, 0x3FF), (0x400, 0x4FF), (0x5D0, 0x5EA), (0x600, 0x6FF), (0x900, 0x97F),
          (0xE00, 0xE7F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1F00, 0x1FFF), (0x2000, 0x206F), (0x2070, 0x218F),
          (0x2200, 0x22FF), (0x2460, 0x24FF), (0x3040, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFE00, 0xFE0F),
          (0xFF00, 0xFFEF), (0x10000, 0x100FF), (0x1D400, 0x1D7FF), (0x1F300, 0x1FAFF), (0x20000, 0x2A6DF), (0, 0x10FFFF)]
EMOJI = ["👩‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "❤️", "😀", "🤷🏿‍♀️", "1️⃣"]
TAILS = ["'s", "'S", "'t", "'re", "'RE", "'vE", "'m", "'ll", "'lL", "'d", "’s", "'\u017f", "''", "'", "'l", "'r ", "'K", "'0"]
# What other programs may not survive: code points beyond 10FFFF.
BEYOND = re.compile(rb"\xf4[\x90-\xbf][\x80-\xbf]{2}|[\xf5-\xf7][\x80-\xbf]{3}")


def code_point(r):
    while True:
        cp = r.randint(*r.choice(RANGES))
        if not 0xD800 <= cp < 0xE000:
            return chr(cp)


class Texts:
    def __init__(self, r, tokens, special):
        self.r, self.tokens, self.special = r, tokens, special

    def piece(self):
        r = self.r
        kind = r.randrange(12)
        if kind == 0:
            return (" ".join(r.choices(WORDS, k=r.randint(1, 8)))).encode()
        if kind == 1:
            return r.choice(CODE).encode()
        if kind == 2:
            return "".join(r.choices(SPACES, k=r.choice([1, 1, 2, 3, 9]))).encode()
        if kind == 3:
            return (r.choice(SPACES[:8]) * r.choice([1, 2, 3, 5, 8, 40])).encode()
        if kind == 4:
            return "".join(code_point(r) for _ in range(r.randint(1, 12))).encode()
        if kind == 5:
            low, high = r.choice(RANGES[:-1])
            return "".join(chr(r.randint(low, high)) for _ in range(r.randint(1, 20))).encode()
        if kind == 6:
            return "".join(r.choices("0123456789", k=r.randint(1, 12))).encode() + r.choice(["", "٣", "Ⅷ", "½", "²", "०"]).encode()
        if kind == 7:
            return (r.choice(WORDS) + r.choice(TAILS)).encode() + r.choice([b"", b" ", b"\n", b"x"])
        if kind == 8:
            return r.choice(EMOJI).encode()
        if kind == 9:
            return "".join(r.choices("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~ \n", k=r.randint(1, 10))).encode()
        if kind == 10 and self.special:
            s = r.choice(self.special)
            return s if r.random() < 0.7 else s[r.randrange(len(s)) :] if r.random() < 0.5 else s[: r.randrange(len(s)) + 1]
        return b"".join(r.choices(self.tokens, k=r.randint(1, 10)))

    def mutate(self, text):
        r = self.r
        b = bytearray(text)
        for _ in range(r.choice([1, 1, 2, 3, 8])):
            at = r.randrange(len(b) + 1)
            kind = r.randrange(5)
            if kind == 0:
                b[at:at] = bytes([r.randrange(256)])
            elif kind == 1:
                del b[at : at + r.randint(1, 3)]
            elif kind == 2 and at < len(b):
                b[at] = r.randrange(256)
            elif kind == 3:
                b[at:at] = r.choice([b"\xc0\x80", b"\xe0\x80\xaf", b"\xed\xa0\x80", b"\xed\xb0\x80", b"\xf0\x80\x80\x80",
                                     b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\xfe", b"\x80", b"\0", b"\xc1\xbf", b"\xf8\x88\x80\x80\x80"])
            else:
                b[at:at] = b[at : at + 8]
        return bytes(b)

    def text(self):
        r = self.r
        pieces = r.choice([0, 1, 1, 2, 3, 4, 6, 10]) if r.random() < 0.98 else r.randint(50, 300)
        out = b"".join(self.piece() for _ in range(pieces))
        if r.random() < 0.12:
            out = self.mutate(out)
        if r.random() < 0.01:
            out = r.randbytes(r.randint(1, 60))
        while m := BEYOND.search(out):
            out = out[: m.start()] + b"\xf1" + out[m.start() + 1 :]
        return out


def vocabulary(path):
    """Bytes of the tokens, and of the special ones."""
    from gguf import GGUFReader

    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    byte_of = {chr(b): b for b in printable}
    byte_of.update({chr(256 + i): b for i, b in enumerate(b for b in range(256) if b not in printable)})
    fields = GGUFReader(path).fields
    texts = [bytes(fields["tokenizer.ggml.tokens"].parts[i]) for i in fields["tokenizer.ggml.tokens"].data]
    types = fields["tokenizer.ggml.token_type"].contents()
    tokens = [bytes(byte_of.get(c, 0x3F) for c in t.decode("utf-8", "replace")) for t in texts]
    return tokens, [t for t, y in zip(texts, types) if y in (3, 4)]


def ids(program, model, flags, files):
    out = subprocess.run([program, model, *flags, *files], stdout=subprocess.PIPE, check=True).stdout
    return out.decode().split("\n")[: len(files)]


def known_cases(ours, model, folder):
    if not os.path.exists(model + ".inp"):
        return 0
    texts = Path(model + ".inp").read_bytes().split(b"\n__ggml_vocab_test__\n")
    wanted = [line.strip() for line in Path(model + ".out").read_text().split("\n")]
    files = [os.path.join(folder, f"case{i}") for i in range(len(texts))]
    for f, t in zip(files, texts):
        Path(f).write_bytes(t)
    got = ids(ours, model, "00", files)
    bad = [i for i in range(len(texts)) if got[i] != wanted[i]]
    print(f"{model}: {len(texts)} known cases, {len(bad)} differ {bad[:5]}")
    return len(bad)


def compare(ours, tok, model, n, seed, folder):
    r = random.Random(f"{seed} {os.path.basename(model)}")
    texts = Texts(r, *vocabulary(model))
    files = [os.path.join(folder, str(i)) for i in range(min(n, CHUNK))]
    differ = invalid = done = 0
    while done < n:
        batch = [texts.text() for _ in range(min(CHUNK, n - done))]
        for f, t in zip(files, batch):
            Path(f).write_bytes(t)
            invalid += t.decode("utf-8", "replace").encode() != t
        flags = r.choice(["00", "01", "11"])
        a = ids(ours, model, flags, files[: len(batch)])
        b = ids(tok, model, flags, files[: len(batch)])
        for t, x, y in zip(batch, a, b):
            # a TOK with room for as many tokens as bytes prints nothing when broken bytes take three each
            if x != y and not (y == "" and len(x.split()) > len(t)):
                differ += 1
                if differ <= 10:
                    print(f"  flags {flags} {t!r}\n    ours  {x}\n    other {y}")
        done += len(batch)
    print(f"{model}: {done} strings ({invalid} invalid UTF-8), {differ} differ")
    return differ


def main():
    p = argparse.ArgumentParser()
    p.add_argument("tok")
    p.add_argument("models", nargs="+")
    p.add_argument("-n", type=int, default=100000)
    p.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    os.chdir(Path(__file__).resolve().parent.parent)
    ours = f"{O}/diff_driver"
    libs = subprocess.run(["pkg-config", "--libs", "openblas"], capture_output=True, text=True).stdout.split()
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-std=c11", "-D_GNU_SOURCE", "-o", ours, "tests/diff_driver.c",
                    f"{O}/libslm.a", *libs, "-lm", "-pthread", *os.environ.get("LDFLAGS", "").split()], check=True)
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for model in args.models:
            bad += known_cases(ours, model, folder) + compare(ours, args.tok, model, args.n, args.seed, folder)
    sys.exit(bad != 0)


if __name__ == "__main__":
    main()
