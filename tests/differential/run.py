#!/usr/bin/env python3
"""Token ids of this library against llama.cpp's, for the vocabularies that its source comes with. Needs cmake, make and a C++ compiler.

    make differential                                  the cases of llama.cpp, and 10,000 random texts for each
    make differential ARGS="-n 1000000 --seed 2"       more of them (an hour or two)
    make differential ARGS="-n 1000 MODEL.gguf..."     of these files
    make differential ARGS=--write                     tests/data/tok/peer.txt anew: what test_vocabularies.py compares with

Each text is read without and with special tokens. llama.cpp is fetched and built by bench/peer.py.
"""
import argparse
import glob
import os
import re
import shlex
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "bench"))
import peer  # noqa: E402

O = os.environ.get("O", "build")
CC, CXX = os.environ.get("CC", "cc"), os.environ.get("CXX", "c++")
GOLDEN = os.path.join(ROOT, "tests/data/tok/peer.txt")
REFUSED = ["bert-bge"]  # of encoders
N_TEXTS, SEED = 250, 6


def build():
    programs = peer.build()
    source, libs = peer.fetch(peer.FOLDER), os.path.dirname(programs)
    out = os.path.join(O, "tests/differential")
    os.makedirs(out, exist_ok=True)
    includes = [flag for d in ("include", "ggml/include") for flag in ("-isystem", os.path.join(source, d))]
    peer.must_run([CC, "-std=c11", "-O2", "-g", "-Wall", "-Wextra", *includes, "-c", "tests/differential/tokens.c",
                   "-o", f"{out}/tokens.o"])
    archives = [os.path.join(libs, a) for a in ("src/libllama.a", "ggml/src/libggml.a", "ggml/src/libggml-cpu.a", "ggml/src/libggml-base.a")]
    blas = subprocess.run(["pkg-config", "--libs", "openblas"], capture_output=True, text=True).stdout
    peer.must_run([CXX, "-o", f"{out}/tokens", f"{out}/tokens.o", f"{O}/tests/support/texts.o", f"{O}/libslm.a", *archives,
                   "-lgomp", "-lpthread", "-ldl", "-lm", *shlex.split(blas)])
    return f"{out}/tokens", source


def name_of(path):
    return re.sub(r"^ggml-vocab-|\.gguf$", "", os.path.basename(path))


def write(tokens, models):
    lines = []
    for m in models:
        r = subprocess.run([tokens, m, "hashes", str(N_TEXTS), str(SEED)], capture_output=True, text=True, check=True)
        lines += [f"{name_of(m)} {special} {SEED} {line}" for special, line in enumerate(r.stdout.splitlines())]
    with open(GOLDEN, "w") as f:
        f.write("\n".join(lines) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL.gguf")
    parser.add_argument("-n", type=int, default=10000, help="texts for each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true")
    args = parser.parse_args()
    os.chdir(ROOT)
    tokens, source = build()
    models = args.models or [m for m in sorted(glob.glob(os.path.join(source, "models/ggml-vocab-*.gguf"))) if name_of(m) not in REFUSED]
    if args.write:
        return write(tokens, models)
    failed = []
    for m in models:
        print(name_of(m), flush=True)
        runs = [["compare", str(args.n), str(args.seed)]]
        if os.path.exists(m + ".inp"):
            runs.insert(0, ["cases", m + ".inp", m + ".out"])
        failed += [name_of(m) for r in runs if subprocess.run([tokens, m, *r]).returncode != 0]
    if failed:
        sys.exit("different: " + " ".join(sorted(set(failed))))


main()
