#!/usr/bin/env python3
"""Write tests/data/tok/splits.txt: how HuggingFace's tokenizers splits random texts by the published expressions.

    pip install tokenizers unicodedata2==15.1.0 && python3 tests/make_split_fixtures.py

A line: the name of the pre-tokenizer, a text in hex, the ends of its words in bytes. Only code points of Unicode 15.1 are drawn, as `tokenizers` knows a later one.
"""
import random
from pathlib import Path

import diff_tokenizer
import unicodedata2
from tokenizers import Regex, pre_tokenizers

ANY_CASE = "'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD]"  # (?i:) would take U+017F for an s
WORD, SIGNS = r"[^\r\n\p{L}\p{N}]?\p{L}+", r" ?[^\s\p{L}\p{N}]+[\r\n]*"
SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(tail, numbers):
    return (rf"[^\r\n\p{{L}}\p{{N}}]?{UPPER}*{LOWER}+{tail}|[^\r\n\p{{L}}\p{{N}}]?{UPPER}+{LOWER}*{tail}|{numbers}"
            rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{SPACES}")


SIGN = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
PUBLISHED = {
    "llama-bpe": [rf"{ANY_CASE}|{WORD}|\p{{N}}{{1,3}}|{SIGNS}|{SPACES}"],
    "qwen2": [rf"{ANY_CASE}|{WORD}|\p{{N}}|{SIGNS}|{SPACES}"],
    "qwen35": [rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{SPACES}"],
    "bailingmoe": [rf"{ANY_CASE}|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"],
    "seed-coder": [rf"{ANY_CASE}|{WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{SPACES}"],
    "gpt-4o": [cased(f"(?:{ANY_CASE})?", r"\p{N}{1,3}")],
    "tekken": [cased("", r"\p{N}")],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", cased(f"(?:{ANY_CASE})?", r"\p{N}")],
    "deepseek-v3": [r"\p{N}{1,3}", "[一-龥぀-ゟ゠-ヿ]+",
                    rf"{SIGN}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*|{SPACES}"],
    "bloom": [r" ?[^(\s|[.,!?…。，、।۔،])]+"],
}
N_TEXTS = 120


def known(text):
    return "".join(c for c in text if unicodedata2.category(c) not in ("Cn", "Cs", "Co"))


def main():
    r = random.Random("splits")
    source = diff_tokenizer.Texts(r, [b"the", b" and", b"ing", b"XMLHttp", "Éa aÉ ÀÉÎx".encode(), b"//!\n"], [])
    lines = []
    for name, expressions in PUBLISHED.items():
        splitter = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(e), "isolated") for e in expressions])
        for _ in range(N_TEXTS):
            text = known(source.text().decode("utf-8", "ignore"))[:60]
            if text:
                at, ends = 0, []
                for word, _ in splitter.pre_tokenize_str(text):
                    at += len(word.encode())
                    ends.append(at)
                lines.append(f"{name} {text.encode().hex()} " + " ".join(map(str, ends)))
    (Path(__file__).resolve().parent / "data/tok/splits.txt").write_text("\n".join(lines) + "\n")


main()
