#!/usr/bin/env python3
"""Write the seeds of tests/fuzz/corpus/gbnf: a grammar, a NUL, and bytes that choose tokens.

    python3 tests/fuzz/make_gbnf_corpus.py
"""
from pathlib import Path

HERE = Path(__file__).resolve().parent / "corpus" / "gbnf"
GRAMMARS = {
    "literal": r'root ::= "ab" | "a\x41\u00e9\U0001f600\n\"\\"',
    "classes": r'root ::= [a-z] [^a-z\]\-] [\x00-\uffff]+ .*',
    "counts": 'root ::= "a"{2} "b"{1,} [ab]{0,3} [^b]{5,300} "b"? "c"* "d"+',
    "nested": 'root ::= (("a" ("b"){2,9}){0,20} | [^"]{4,400}{2,7})*',
    "recursive": 'root ::= "(" root? ")" | item\nitem ::= "the" | [^()] item',
    "left": 'root ::= x "a"\nx ::= "b"? root | "c"',
    "json": 'root ::= value\nvalue ::= object | string | "true" | [0-9]{1,9}\nobject ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws\n'
            'string ::= "\\"" ([^"\\\\\\x00-\\x1f] | "\\\\" ["\\\\bfnrt])* "\\"" ws\nws ::= | " " | "\\n" [ \\t]{0,20}',
    "tokens": "root ::= <[256]> !<[97]>* <|a|> [b]*",
    "unending": 'root ::= "a" | "b" x\nx ::= "c" x',
    "palindrome": 'root ::= "a" root "a" | "b" root "b" | ""',
    "comments": "# one\nroot ::= ( # two\n \"a\" |\n \"b\" )\r\n\n# three",
    "broken": 'root ::= ("a" [z-a] {3',
    "ambiguous": 'root ::= (x{3,200} "b"){3,200}\nx ::= "a"{1,50} "c"? | "ab" x?',
}

HERE.mkdir(parents=True, exist_ok=True)
for name, text in GRAMMARS.items():
    (HERE / f"seed_{name}").write_bytes(text.encode() + b"\0" + bytes(range(3, 200, 11)))
