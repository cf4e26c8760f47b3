#!/usr/bin/env python3
"""Write tests/data/NAME_golden.json: what exact arithmetic makes of a model on a few texts of our own.

usage: make_golden.py smollm2|gemma3 PEER_TOK PEER_ORACLE MODEL.gguf MODEL_F32.gguf

The oracle is another program (llama.cpp) computing in f32 on a lossless f32 copy of the file, so nothing of this library is in the
numbers: token ids, the 40 most probable tokens after each position (of a long text: after the last ones) with their
log-probabilities, and 48 tokens that follow greedily, each with the margin of its logit over the second best.
  PEER_TOK MODEL ADD_SPECIAL PARSE_SPECIAL FILE...   prints ids, a line a file
  PEER_ORACLE MODEL IDS K OUT.bin N                  writes n, then n x K x (id, logprob); prints {"greedy": [[id, margin], ...]}
"""
import json, os, struct, subprocess, sys, tempfile

K, GREEDY = 40, 48
LAST = 120  # positions of a long text that are kept
HERE = os.path.dirname(os.path.abspath(__file__))
TEXTS = [
    "The capital of France is",
    "def fibonacci(n):\n    \"\"\"Return the n-th number.\"\"\"\n",
    "Question: What is the largest planet of the solar system?\nAnswer:",
    "When the rain had stopped, the children ran down to the river to see how high the water was. The old bridge was still "
    "standing, but two of its boards were gone, and nobody dared to cross it before their father had come with his tools.",
    "#include <stdio.h>\n\nint main(int argc, char **argv) {\n    for (int i = 1; i < argc; i++) {\n"
    "        printf(\"%d: %s\\n\", i, argv[i]);\n    }\n    return 0;\n}\n",
]


def long_text():
    """Some 1,000 tokens: twice the window of Gemma 3."""
    with open(os.path.join(HERE, "data", "long_text.txt")) as f:
        return f.read()


def main(name, tok, oracle, model, exact):
    texts = TEXTS + [long_text()] if name == "gemma3" else TEXTS
    bos = "1" if name == "gemma3" else "0"
    with tempfile.TemporaryDirectory() as d:
        files = []
        for i, text in enumerate(texts):
            files.append(os.path.join(d, f"{i}.txt"))
            with open(files[-1], "w") as f:
                f.write(text)
        ids = subprocess.run([tok, model, bos, "0", *files], capture_output=True, check=True, text=True).stdout
        with open(os.path.join(d, "ids"), "w") as f:
            f.write(ids)
        out = os.path.join(d, "out")
        lines = subprocess.run([oracle, exact, f.name, str(K), out, str(GREEDY)], capture_output=True, check=True,
                               text=True).stdout.splitlines()
        with open(out, "rb") as f:
            data = f.read()
    cases, at = [], 0
    for text, line, greedy in zip(texts, ids.splitlines(), lines):
        tokens = [int(x) for x in line.split()]
        assert struct.unpack_from("<i", data, at)[0] == len(tokens)
        at += 4
        top = []
        for _ in tokens:
            row = struct.unpack_from("<" + "if" * K, data, at)
            at += 8 * K
            top.append([[row[2 * k], round(row[2 * k + 1], 5)] for k in range(K)])
        cases.append({"text": text, "tokens": tokens, "top": top[-LAST:], "greedy": json.loads(greedy)["greedy"]})
    with open(os.path.join(HERE, "data", name + "_golden.json"), "w") as f:
        f.write("[\n" + ",\n".join(json.dumps(c, separators=(",", ":")) for c in cases) + "\n]\n")


main(*sys.argv[1:6])
