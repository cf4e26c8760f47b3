"""slm imatrix from outside: against the definition in the first layer, what it says, and what slm quantize makes of its files."""
import math
import os
import struct
import unittest

import terminal
import tiny_model
from program import Case, levels, slm
from tiny_model import N_EMBD, B, F, S, U

TEXT = "".join(f"{i}: the {'quick brown fox and that dog'[i % 23:]}\n" for i in range(30))
BOS = 1
N_TENSORS = 14


def read(path):
    with open(path, "rb") as f:
        return f.read()


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


def embedding(data, token):
    """A row of Q8_0."""
    out, row = [], N_EMBD // 32 * 34
    for at in range(token * row, (token + 1) * row, 34):
        scale, *codes = struct.unpack_from("<e32b", data, at)
        out += [scale * c for c in codes]
    return out


class Imatrix(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.text = cls.file("text.txt", TEXT)
        cls.weights = {name: data for name, _, _, data in tiny_model.tensors()}

    def collect(self, name, *args, model=None, text=None):
        out = self.path(name)
        self.good("imatrix", "-m", model or self.model, "-f", text or self.text, "-o", out, *args)
        return out

    def tensors(self, path):
        """{name: (columns, numbers)} as the package gguf reads them, and the keys."""
        try:
            import gguf
        except ImportError:
            self.skipTest("the Python package gguf is not installed: no second reader")
        r = gguf.GGUFReader(path)
        keys = {k: f.contents() for k, f in r.fields.items() if not k.startswith("GGUF.")}
        return {t.name: [float(v) for v in t.data.reshape(-1)] for t in r.tensors}, keys


class Numbers(Imatrix):
    def test_special_tokens(self):
        """Text, unless they are asked for; then, of a text without any, nothing changes."""
        chat = self.file("chat.txt", "<|im_start|>" * 32 + "\n")
        for text, special, plain in ((chat, 32, 12 * 32), (self.text, None, None)):
            sums = []
            for args, n in (([], plain), (["--parse-special"], special)):
                tensors, _ = self.tensors(self.collect("special.gguf", "-c", 32, *args, text=text))
                sums.append(tensors)
                if n:
                    self.assertEqual(tensors["blk.0.attn_q.weight.counts"], [n])
            self.assertEqual(sums[0] == sums[1], text == self.text)

    def inputs(self, token):
        """What the first layer's attention multiplies its matrices by."""
        x, norm = embedding(self.weights["token_embd.weight"], token), floats(self.weights["blk.0.attn_norm.weight"])
        scale = 1 / math.sqrt(math.fsum(v * v for v in x) / N_EMBD + 1e-5)
        return [v * scale * w for v, w in zip(x, norm)]

    def test_definition(self):
        tokens = [int(i) for i in self.good("tokenize", "-m", self.model, "--no-bos", stdin=TEXT[:-1].encode()).text.split()]
        with_bos = self.make("bos.gguf", {"tokenizer.ggml.add_bos_token": B(1)})
        for model, bos in ((self.model, False), (with_bos, True)):
            for size, chunks in ((32, None), (50, 3)):
                got, keys = self.tensors(self.collect("definition.gguf", "-c", size, *(["--chunks", chunks] if chunks else []), model=model))
                stream = [BOS, *tokens] if bos else tokens
                n = min(len(stream) // size, chunks or len(stream))
                self.assertGreater(n, 2)
                used = [BOS if bos and i % size == 0 else t for i, t in enumerate(stream[: n * size])]
                self.assertEqual(keys, {"general.type": "imatrix", "imatrix.datasets": ["text.txt"], "imatrix.chunk_count": n,
                                        "imatrix.chunk_size": size})
                self.assertEqual(len(got), 2 * N_TENSORS)
                rows = [self.inputs(t) for t in used]
                for name in ("q", "k", "v"):
                    self.assertEqual(got[f"blk.0.attn_{name}.weight.counts"], [n * size])
                    for i, value in enumerate(got[f"blk.0.attn_{name}.weight.in_sum2"]):
                        want = math.fsum(r[i] * r[i] for r in rows)
                        self.assertAlmostEqual(value / want, 1, delta=1e-5)

    def test_output_matrix(self):
        """Inputs of the output matrix, of each token: normed to 1, times the weights of the norm."""
        got, _ = self.tensors(self.collect("output.gguf", "-c", 32, "--output-matrix"))
        n = got["blk.0.attn_q.weight.counts"][0]
        self.assertEqual(got["output.weight.counts"], [n])
        norm = floats(self.weights["output_norm.weight"])
        mean = math.fsum(s / n / (w * w) for s, w in zip(got["output.weight.in_sum2"], norm)) / N_EMBD
        self.assertAlmostEqual(mean, 1, delta=1e-3)
        without, _ = self.tensors(self.collect("layers.gguf", "-c", 32))
        self.assertEqual({k: v for k, v in got.items() if not k.startswith("output.")}, without)

    def test_same_bytes(self):
        """For any number of threads, and on any instruction set."""
        want = read(self.collect("first.gguf", "-c", 32, "-t", 1, "--cpu", "c"))
        for level in levels()[1:]:
            self.assertTrue(read(self.collect("again.gguf", "-c", 32, "-t", 2, "--cpu", level)) == want, level)
        self.assertTrue(read(self.collect("again.gguf", "-c", 32, "-t", 5)) == want)
        self.assertTrue(read(self.collect("other.gguf", "-c", 32, "--reference")) != want)

    def test_sum_of_two(self):
        """Of files, and of a file and a text."""
        a, b = self.collect("a.gguf", "-c", 32), self.collect("b.gguf", "-c", 32, text=self.file("other.txt", TEXT[:400]))
        out = self.path("sum.gguf")
        r = self.good("imatrix", "--in", a, "--in", b, "-o", out)
        both = self.collect("both.gguf", "-c", 32, "--in", a, text=self.path("other.txt"))
        (x, _), (y, _), (z, keys), (v, more) = map(self.tensors, (a, b, out, both))
        self.assertEqual(keys, more)
        self.assertEqual(keys["imatrix.datasets"], ["text.txt", "other.txt"])
        self.assertEqual(r.text, f"{out}: {N_TENSORS} tensors, {keys['imatrix.chunk_count']} windows of 32 tokens\n")
        for name in z:
            for p, q, s, t in zip(x[name], y[name], z[name], v[name], strict=True):
                self.assertAlmostEqual(s / (p + q), 1, delta=1e-6)
                self.assertAlmostEqual(t / s, 1, delta=1e-6)

    def test_show(self):
        path = self.collect("show.gguf", "-c", 32)
        lines = self.good("imatrix", "--show", path).text.splitlines()
        self.assertRegex(lines[0], rf"show\.gguf: {N_TENSORS} tensors, \d+ windows of 32 tokens$")
        self.assertEqual(lines[1], "text: text.txt")
        self.assertEqual(lines[3].split(), ["tensor", "columns", "tokens", "sum", "mean", "largest", "top", "1%"])
        self.assertEqual(len(lines), 4 + N_TENSORS)
        got, _ = self.tensors(path)
        for line in lines[4:]:
            name, columns, tokens, total, mean, largest, top = line.split()
            values = sorted((v / float(tokens) for v in got[name + ".in_sum2"]), reverse=True)
            self.assertEqual(int(columns), len(values))
            self.assertAlmostEqual(float(total) / math.fsum(values), 1, delta=1e-3)
            self.assertAlmostEqual(float(mean) * len(values) / math.fsum(values), 1, delta=1e-3)
            self.assertAlmostEqual(float(largest) / values[0], 1, delta=1e-3)
            best = math.fsum(values[: (len(values) + 99) // 100])
            self.assertAlmostEqual(float(top[:-1]), 100 * best / math.fsum(values), delta=0.06)


class Use(Imatrix):
    def test_quantize(self):
        im = self.collect("use.gguf", "-c", 32, "--output-matrix")
        plain, out = self.path("plain.gguf"), self.path("out.gguf")
        args = ["Q4_1", "--requantize"]
        self.good("quantize", self.model, plain, *args)
        text = self.good("quantize", self.model, out, *args, "--imatrix", im, "-t", 1).text
        self.assertIn(f"; importance of {N_TENSORS + 1} tensors from {im}\n", text)
        first = read(out)
        self.good("quantize", self.model, out, *args, "--imatrix", im, "-t", 3)
        self.assertTrue(read(out) == first)
        self.assertTrue(first[-2000:] != read(plain)[-2000:], "blocks of the output matrix are those without importance")
        keys = {line.split()[0]: line.split()[-1] for line in self.good("inspect", out).text.splitlines() if line.startswith("quantize.")}
        chunks = self.good("imatrix", "--show", im).text.split(" tensors, ")[1].split()[0]
        self.assertEqual(keys, {"quantize.imatrix.file": '"use.gguf"', "quantize.imatrix.dataset": '"text.txt"',
                                "quantize.imatrix.entries_count": str(N_TENSORS + 1), "quantize.imatrix.chunks_count": chunks})
        self.good("run", "-m", out, "-p", "the", "-n", 3)
        # once more: keys are set in their place
        self.good("quantize", out, plain, *args, "--imatrix", self.path("use.gguf"))
        self.assertEqual(self.good("inspect", plain).text.count("quantize.imatrix"), 4)
        # and without a matrix: the new weights were made with none
        self.good("quantize", plain, out, "Q5_1", "--requantize")
        self.assertNotIn("quantize.imatrix", self.good("inspect", out).text)


class Faults(Imatrix):
    def test_usage(self):
        m, t = self.model, self.text
        for args, word in (
            ([], "-o OUT is missing"),
            (["-o", "x"], "-m MODEL is missing"),
            (["-o", "x", "-m", m], "-f TEXT is missing"),
            (["-o", "x", "--in", "y", "-m", m], "-f TEXT is missing"),
            (["-m", m, "-f", t, "-o", "x", "-c", 3], "whole number from 4"),
            (["-m", m, "-f", t, "-o", "x", "--chunks", 0], "whole number from 1"),
            (["-m", m, "-f", t, "-o", "x", "more"], "unexpected"),
        ):
            r = slm("imatrix", *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertIn(word, r.message)

    def imatrix_of(self, name, shape, keys=None):
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        tensors = [(name + ".in_sum2", shape, 0, struct.pack("<f", 1) * n), (name + ".counts", [1, *shape[1:]], 0, struct.pack("<f", 2))]
        return self.file("hand.gguf", tiny_model.gguf(keys or {"general.type": S("imatrix")}, tensors))

    def test_messages(self):
        m, t, out = self.model, self.text, self.path("out.gguf")
        good = self.collect("good.gguf", "-c", 32)
        old = self.file("old.dat", struct.pack("<ii", 1, 19) + b"blk.0.attn_q.weight" + struct.pack("<iif", 1, 1, 1.0))
        cut = self.file("cut.gguf", read(good)[:-70])
        nothing, link = self.file("nothing.txt", ""), self.path("link.gguf")
        os.symlink(self.path("old.gguf"), link)
        before = set(os.listdir(self.folder.name))
        new = ["imatrix", "-m", m, "-f", t, "-o", out]
        for args, word in (
            ([*new, "-c", 5000], "too short"),
            ([*new[:4], nothing, *new[5:]], "no text in it"),
            ([*new[:5], "-o", self.path("none/x")], "cannot write"),
            ([*new[:5], "-o", self.model], "is the model itself"),
            ([*new[:5], "-o", self.text], "is the text itself"),
            ([*new[:5], "-o", self.folder.name], "Is a directory"),
            ([*new[:4], nothing, "-o", link], "no regular file"),  # before anything is read
            (["imatrix", "-m", t, "-f", t, "-o", out], "no GGUF file"),
            ([*new, "--in", m], "none of 21 tensors"),
            (["imatrix", "--show", m], "none of 21 tensors is called NAME.in_sum2"),
            (["imatrix", "--show", old], "from before GGUF: llama-imatrix --in-file OLD -o NEW.gguf"),
            (["imatrix", "--show", cut], "cut.gguf: "),
            (["imatrix", "--show", self.path("no.gguf")], "No such file"),
            (["quantize", m, out, "Q4_0", "--requantize", "--imatrix", old], "from before GGUF"),
            (["quantize", m, good, "Q4_0", "--requantize", "--imatrix", good], "is the importance matrix itself"),
            (["quantize", m, out, "Q4_0", "--requantize", "--imatrix", m], "NAME.in_sum2"),
        ):
            with self.subTest(args=args):
                self.assertIn(word, self.fails(*args).message)
                self.assertEqual(set(os.listdir(self.folder.name)), before)

    def test_of_another_model(self):
        m, t, out = self.model, self.text, self.path("out.gguf")
        for name, shape, word in (("blk.0.attn_q.weight", [N_EMBD - 1], "63 columns of 1 matrices in the importance matrix, 64 of 1"),
                                  ("blk.0.nothing.weight", [N_EMBD], "none of its tensors is in the model")):
            im = self.imatrix_of(name, shape)
            self.assertIn(word, self.fails("quantize", m, out, "Q4_0", "--requantize", "--imatrix", im).message)
            self.assertIn(word, self.fails("imatrix", "-m", m, "-f", t, "-o", out, "-c", 32, "--in", im).message)
        im = self.imatrix_of("x\x1b[31m", [3], {"general.type": S("imatrix"), "imatrix.chunk_size": U(1), "x": F(1)})
        self.assertIn("\nx\\x1b[31m ", self.good("imatrix", "--show", im).text)


class Terminal(Imatrix, terminal.Case):
    def test_bar_and_interrupt(self):
        out, long = self.path("none.gguf"), self.file("long.txt", TEXT * 100)
        before = set(os.listdir(self.folder.name))
        self.run_on_terminal(["imatrix", "-m", self.model, "-f", long, "-o", out, "-t", 1, "--cpu", "c", "--reference"])
        self.expect(b"computing [")
        self.type(b"\x03", editing=False)
        self.assertEqual(self.end(None), 130)
        self.assertEqual(set(os.listdir(self.folder.name)), before)


if __name__ == "__main__":
    unittest.main()
