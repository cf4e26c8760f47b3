#!/usr/bin/env python3
"""Write the seeds of tests/fuzz/corpus/encode, spm, stream and template: small inputs, one thing each.

    python3 tests/fuzz/make_text_corpus.py
"""
from pathlib import Path

HERE = Path(__file__).resolve().parent / "corpus"
TEXTS = {
    "words": b"the then  the\n\nin theory's 123 1234 x",
    "contractions": b"it's IT'S we'll 'tis 'S's ' '",
    "spaces": b"  a   b \t\r\n \n\n c   ",
    "run_a": b"a" * 300,
    "run_space": b" " * 100 + b"x" + b"\n" * 50,
    "run_dash": b"-" * 90,
    "special": b"<|a|><|ab|> |> <|a <unk>",
    "overlap": b"abababab bab aba aaaaaaaaaaaaaaaa",
    "scripts": "é Привет 你好 สวัสดี नमस्ते ١٢٣ ½ Ⅷ".encode(),
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 1️⃣".encode(),
    "unicode_spaces": "a\u00a0b\u3000\u2003 c\u0085\u1680".encode(),
    "overlong": b"\xc0\x80 \xe0\x80\xaf \xf0\x80\x80\x80",
    "surrogates": b"\xed\xa0\x80\xed\xb0\x80",
    "cut": b"\xe2\x82 \xf0\x9f\x98 \xc3",
    "beyond": b"\xf4\x90\x80\x80\xf7\xbf\xbf\xbf\xf8\x88\x80\x80\x80",
    "bytes": bytes(range(256)),
    "nul": b"\0a\0\0 \0",
    "mark": b"\1\2\1\1\2\2",
    "many": b" ".join(b"w%d the" % i for i in range(60)),
}
TEMPLATES = {
    "chatml": "{% for m in messages %}<|im_start|>{{ m.role + '\\n' + m['content']|string }}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}a{% endif %}",
    "tools": "{%- for t in tools -%}{{ t | tojson(indent=2) }}{{ t.function.parameters|dictsort }}{% endfor %}",
    "macro": "{% macro m(a, b=2) %}{{ a ~ b }}{{ caller() }}{% endmacro %}{% call m(1) %}x{% endcall %}",
    "namespace": "{% set ns = namespace(a=0) %}{% for i in range(5) if i is odd %}{% set ns.a = ns.a + loop.index %}{% endfor %}{{ ns.a }}",
    "strings": "{{ ' aB é'.strip().upper().replace('B', 'c')[1:-1:2] }}{{ 'a,b'.split(',')|join('-') }}{{ '%s %5.2f' % ('x', 2.5) }}{{ '{:>5}'.format(1) }}",
    "filters": "{{ messages|map(attribute='role')|list|tojson }}{{ messages|selectattr('role', 'equalto', 'user')|first|default('d') }}{{ 'a\\nb'|indent(2)|title }}",
    "blocks": "{% set x %}a{% endset %}{% filter upper %}{{ x }}{% endfilter %}{% with y = 1 %}{{ y }}{% endwith %}{% generation %}g{% endgeneration %}{# c #}{% raw %}{{{% endraw %}",
    "loop": "{% for a, b in {'k': 1}.items() recursive %}{{ loop.last }}{{ loop.nextitem }}{% if b > 1 %}{% break %}{% else %}{% continue %}{% endif %}{% else %}n{% endfor %}",
    "recursion": "{% macro r(n) %}{{ r(n + 1) }}{% endmacro %}{{ r(0) }}",
    "doubling": "{% set ns = namespace(s='ab') %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    "raise": "{{ raise_exception('no ' ~ strftime_now('%Y-%m-%d %H:%M')) }}",
    "numbers": "{{ 0x1F + 1_000 - 2 ** 10 // 3 % 5 * 1.5e3 / 7 }}{{ -7 // 2 }}{{ 7.5 % -2 }}{{ 1 < 2 <= 3 }}{{ not 1 in [1] }}",
}
STREAMS = {
    "ascii": b"hello",
    "two": "é".encode(),
    "broken": b"\xe2\x82\xf0\x9f\x98\xffa\xc3",
    "whole": "€😀".encode(),
    "surrogate": b"\xed\xa0\x80",
    "held": b"\xf4\x8f\xbf",
}


def main():
    for folder in ("encode", "spm", "stream", "template"):
        (HERE / folder).mkdir(parents=True, exist_ok=True)
    for i, (name, text) in enumerate(TEXTS.items()):
        (HERE / "encode" / f"seed_{name}").write_bytes(bytes([i % 8]) + text)
        (HERE / "spm" / f"seed_{name}").write_bytes(bytes([i % 8]) + text)
    for name, text in TEMPLATES.items():
        (HERE / "template" / f"seed_{name}").write_bytes(b"\0" + text.encode())
    (HERE / "template" / "seed_no_memory").write_bytes(b"\5" + TEMPLATES["tools"].encode())
    (HERE / "spm" / "seed_swallowed").write_bytes(b"\0\xc3 \xe2\x96 \x81 \xf0 a\xe2\x96\x81 the \xe2")
    (HERE / "encode" / "seed_empty").write_bytes(b"\0")
    for i, (name, text) in enumerate(STREAMS.items()):
        (HERE / "stream" / f"seed_{name}").write_bytes(b"".join(bytes([b, 32 * i]) for b in text))
    # merges and special tokens too, numbers that are none, and an odd byte at the end
    (HERE / "stream" / "seed_all").write_bytes(b"".join(bytes([b & 255, 224 | b >> 8]) for b in range(512)) + b"x")
    (HERE / "stream" / "seed_no_room").write_bytes(b"".join(bytes([b & 255, b >> 8]) for b in range(512)))


main()
