#!/usr/bin/env python3
"""Quantized files of libslm and of llama.cpp side by side: size, time and KL divergence.

    bench/quality.py --peer BIN [--slm build/slm] [--types Q4_K_M,Q6_K] [--imatrix FILE] [--text FILE] [--chunks 8] MODEL...

BIN is the folder of llama.cpp's llama-quantize and llama-perplexity. A MODEL that is quantized already is dequantized first: the reference is
its F32 version. Both programs quantize that to each type with the same number of threads; llama-perplexity then measures both files against
the logits of the reference on the same text. Results are printed and kept in bench/results/types-MODEL.json, and as a table in
types-MODEL.md; what the peer gave stays valid there, so a second run measures only our files again (--again: all).
"""
import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time

TYPES = "Q8_0 Q6_K Q5_1 Q5_K_M Q5_K_S Q5_0 Q4_1 Q4_K_M Q4_K_S Q4_0 IQ4_NL IQ4_XS Q3_K_L Q3_K_M Q3_K_S Q2_K".split()
HERE = os.path.dirname(os.path.abspath(__file__))


prefix = []


def run(*args):
    r = subprocess.run(prefix + [str(a) for a in args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, errors="replace")
    if r.returncode:
        sys.exit(f"{' '.join(map(str, args))}: exit code {r.returncode}\n{r.stdout[-2000:]}")
    return r.stdout


def text_file(path, folder):
    """At least one: the documentation of this project, which everybody has."""
    if path:
        return path
    docs = os.path.join(HERE, "..", "docs")
    path = os.path.join(folder, "text.txt")
    with open(path, "w") as out:
        for name in sorted(os.listdir(docs)):
            if name.endswith(".md"):
                with open(os.path.join(docs, name)) as f:
                    out.write(f.read())
    return path


class Model:
    def __init__(self, path, options, folder):
        self.o = options
        self.name = os.path.basename(path).removesuffix(".gguf").removesuffix(".f32")
        self.folder = folder
        self.reference = os.path.join(folder, self.name + ".f32.gguf")
        self.base = os.path.join(folder, self.name + ".logits")
        run(self.tool("quantize"), "--allow-requantize", path, self.reference, "F32")
        self.perplexity(self.reference)
        self.results = os.path.join(HERE, "results", f"types-{self.name}{'-imatrix' if options.imatrix else ''}.json")

    def tool(self, name):
        return os.path.join(self.o.peer, "llama-" + name)

    def perplexity(self, path, *more):
        return run(self.tool("perplexity"), "-m", path, "-f", self.o.text, "-c", 512, "--chunks", self.o.chunks, "-t", self.o.threads,
                   "--kl-divergence-base", self.base, *more)

    def kl(self, path):
        found = re.search(r"Mean\s+KLD:\s*(-?[\d.]+)\s*±\s*([\d.]+)", self.perplexity(path, "--kl-divergence"))
        return float(found[1]), float(found[2])

    def measure(self, command):
        path = os.path.join(self.folder, "out.gguf")
        begin = time.monotonic()
        run(*command(path))
        seconds = time.monotonic() - begin
        kl, error = self.kl(path)
        size = os.path.getsize(path)
        os.unlink(path)
        return {"bytes": size, "seconds": round(seconds, 3), "kl": kl, "kl_error": error}

    def ours(self, type_):
        more = ["--imatrix", self.o.imatrix] if self.o.imatrix else []
        return self.measure(lambda out: [self.o.slm, "quantize", self.reference, out, type_, "-t", self.o.threads, *more])

    def peer(self, type_):
        more = ["--imatrix", self.o.imatrix] if self.o.imatrix else []
        return self.measure(lambda out: [self.tool("quantize"), *more, self.reference, out, type_, self.o.threads])

    def table(self):
        known = {}
        if os.path.exists(self.results) and not self.o.again:
            with open(self.results) as f:
                known = json.load(f)
        print(f"{self.name}\n{'type':7} {'bytes':>11} {'peer':>6} {'KL':>10} {'peer':>10} {'ratio':>6} {'s':>6} {'peer':>6}", flush=True)
        for t in self.o.types.split(","):
            row = known.setdefault(t, {})
            if "peer" not in row:
                row["peer"] = self.peer(t)
            if not self.o.only_peer:
                row["ours"] = self.ours(t)
                a, b = row["ours"], row["peer"]
                print(f"{t:7} {a['bytes']:11} {a['bytes'] / b['bytes']:6.3f} {a['kl']:10.6f} {b['kl']:10.6f} {a['kl'] / b['kl']:6.3f} "
                      f"{a['seconds']:6.2f} {b['seconds']:6.2f}", flush=True)
            os.makedirs(os.path.dirname(self.results), exist_ok=True)
            with open(self.results, "w") as f:
                json.dump(known, f, indent=1)
            write_markdown(self.results.removesuffix("json") + "md", known)


def write_markdown(path, known):
    with open(path, "w") as f:
        f.write("| type | bytes | more than llama.cpp's | mean KL | of llama.cpp's | ratio |\n|---|---|---|---|---|---|\n")
        for t, row in known.items():
            if "ours" not in row:
                continue
            a, b = row["ours"], row["peer"]
            f.write(f"| {t} | {a['bytes']:,} | {a['bytes'] - b['bytes']:,} | {a['kl']:.5f} \u00b1 {a['kl_error']:.5f} | "
                    f"{b['kl']:.5f} \u00b1 {b['kl_error']:.5f} | {a['kl'] / b['kl']:.3f} |\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("models", nargs="+")
    p.add_argument("--peer", required=True)
    p.add_argument("--slm", default="build/slm")
    p.add_argument("--types", default=",".join(TYPES))
    p.add_argument("--text")
    p.add_argument("--imatrix")
    p.add_argument("--chunks", type=int, default=8)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--again", action="store_true")
    p.add_argument("--only-peer", action="store_true")
    p.add_argument("--prefix", default="", help="put before every command, like: taskset -c 0,1")
    options = p.parse_args()
    prefix.extend(options.prefix.split())
    with tempfile.TemporaryDirectory() as folder:
        options.text = text_file(options.text, folder)
        for path in options.models:
            Model(path, options, folder).table()


if __name__ == "__main__":
    main()
