#!/usr/bin/env python3
"""Write the seeds of tests/fuzz/corpus/encode, schema, spm, ugm, stream, stops, sampler and template: small inputs, one thing each.

    python3 tests/fuzz/make_text_corpus.py
"""
import json
import struct
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

STOPS = {
    "none": b"\0text",
    "two": b"\2\4abcde\2xyz" + b"abcd abcde",
    "nested": b"\3\1aa\3aaab\0b" + b"aaaaaab",
    "long": b"\1\13abababababac" + b"abab" * 20 + b"abababababac",
}
ORDERS = {
    "default": b"",
    "all": b"temperature;typ_p,top_n_sigma;xtc;penalties,dry",
    "filters": b"min_p,top_p,typical,top_k",
    "unknown": b"top_k,top_q",
}


def sampler(order, i):
    """As fuzz_sampler.c reads it: 16 floats, 6 integers, kind, flags, size, order, row."""
    floats = [1.2, .9, .9, .1, .8, 2, .5, 1, .05, 4, .1, 1, 1.5, .3, .2, .7]
    ints = [30, 40, 90, 1, 7 + i, 0x5fff if i else 0]
    head = struct.pack("<16f6iBBH", *floats, *ints, 0, [0, 7, 2, 2][i], 700 + 257 * i)
    return head + order.ljust(64, b"\0") + struct.pack("<50f", *((k * 7919 % 97) / 8 - 6 for k in range(50)))


def charsmap():
    """Units and texts as in tok_ugm.c: "A" becomes "a", "BC" "fi". A block of 128 units for each node; letters are below 128."""
    units, texts = [0] * 768, b"a\0fi\0"
    units[0] = 128 << 10  # the children of the root
    for at, label, block, ends in ((128 + 65, 65, 256, 1), (128 + 66, 66, 384, 0), (384 + 67, 67, 512, 1)):
        units[at] = (at ^ block) << 10 | ends << 8 | label
    units[256], units[512] = 1 << 31, 1 << 31 | 2
    return struct.pack("<I768I", 4 * 768, *units) + texts


def main():
    for folder in ("encode", "spm", "ugm", "stream", "stops", "sampler", "template"):
        (HERE / folder).mkdir(parents=True, exist_ok=True)
    for i, (name, text) in enumerate(TEXTS.items()):
        (HERE / "encode" / f"seed_{name}").write_bytes(bytes([i % 8]) + text)
        (HERE / "spm" / f"seed_{name}").write_bytes(bytes([i % 8]) + text)
        (HERE / "ugm" / f"seed_{name}").write_bytes(bytes([i % 8, 0]) + text)
    found = charsmap()
    found += b"\0" * (-len(found) % 16)
    (HERE / "ugm" / "seed_map").write_bytes(bytes([3, len(found) // 16]) + found + b"ABCA aabBC\0the<unk>\xff")
    for name, text in TEMPLATES.items():
        (HERE / "template" / f"seed_{name}").write_bytes(b"\0" + text.encode())
    (HERE / "template" / "seed_no_memory").write_bytes(b"\5" + TEMPLATES["tools"].encode())
    (HERE / "spm" / "seed_swallowed").write_bytes(b"\0\xc3 \xe2\x96 \x81 \xf0 a\xe2\x96\x81 the \xe2")
    (HERE / "encode" / "seed_empty").write_bytes(b"\0")
    for i, (name, text) in enumerate(STREAMS.items()):
        (HERE / "stream" / f"seed_{name}").write_bytes(b"".join(bytes([b, 32 * i]) for b in text))
    for name, data in STOPS.items():
        (HERE / "stops" / f"seed_{name}").write_bytes(data)
    for i, (name, order) in enumerate(ORDERS.items()):
        (HERE / "sampler" / f"seed_{name}").write_bytes(sampler(order, i))
    (HERE / "schema").mkdir(exist_ok=True)
    with open(HERE.parents[1] / "data" / "schemas.json", encoding="utf-8") as f:
        schemas = [s["schema"] for s in json.load(f)]
    schemas += [{"type": "string", "pattern": "(^|,)[^a-c\\d]{2,4}?(?:x|\\u00e9)+$", "maxLength": 9}, {"not": {}}, {"minimum": 3, "maximum": 1},
                {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, {"oneOf": [{"type": "integer"}, {"type": "number"}]}]
    for i, schema in enumerate(schemas):
        (HERE / "schema" / f"seed_{i}").write_bytes(bytes([i % 8]) + json.dumps(schema).encode())
    # merges and special tokens too, numbers that are none, and an odd byte at the end
    (HERE / "stream" / "seed_all").write_bytes(b"".join(bytes([b & 255, 224 | b >> 8]) for b in range(512)) + b"x")
    (HERE / "stream" / "seed_no_room").write_bytes(b"".join(bytes([b & 255, b >> 8]) for b in range(512)))


main()
