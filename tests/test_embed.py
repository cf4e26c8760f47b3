"""slm embed from outside: a model of a few kilobytes, and SmolLM2 for what vectors are good for."""
import hashlib
import json
import math
import os
import random
import signal
import struct
import subprocess
import unittest

from program import ROOT, SANITIZED, SLM, TIMEOUT, Case, levels, slm
import tiny_model
from tiny_model import B, N_CTX, N_EMBD, U

BOS, EOS = 1, 2


def cosine(a, b):
    return math.fsum(x * y for x, y in zip(a, b)) / math.sqrt(math.fsum(x * x for x in a) * math.fsum(y * y for y in b))


def ids_of(text):
    return [len(tiny_model.SPECIAL) + b for b in text.encode()]


class Embed(Case):
    def vectors(self, *args, model=None, **more):
        r = self.good("embed", "-m", model or self.model, *args, **more)
        self.assertTrue(r.text.endswith("\n"))
        return [[float(x) for x in line.split(" ")] for line in r.text[:-1].split("\n")]

    def lines(self, data, *args, **more):
        return self.vectors(*args, stdin=data.encode() if isinstance(data, str) else data, **more)

    def fails_after(self, n, *args, **more):
        """Exit code 1 after n vectors; returns the message."""
        r = slm("embed", "-m", self.model, *args, **more)
        self.assertEqual((r.code, r.out.count(b"\n")), (1, n))
        self.assertRegex(r.message, r"\Aslm: [^\n]+\n\Z")
        return r.message


class Output(Embed):
    def test_numbers_are_the_floats(self):
        for pool in ("mean", "last"):
            vectors = self.vectors("--pool", pool, "xyz", "the", "a longer text of more tokens")
            self.assertEqual([len(v) for v in vectors], [N_EMBD] * 3)
            for v in vectors:
                self.assertAlmostEqual(math.fsum(x * x for x in v), 1, delta=1e-6)
                for x in v:  # nine digits, no more than it takes to read the same float back
                    self.assertEqual(f"{struct.unpack('f', struct.pack('f', x))[0]:.9g}", f"{x:.9g}")

    def test_json(self):
        r = self.good("embed", "-m", self.model, "--json", "xyz", "the")
        self.assertEqual([json.loads(line) for line in r.text.splitlines()], self.vectors("xyz", "the"))
        self.assertEqual(r.text.count("\n"), 2)

    def test_where_texts_come_from(self):
        want = self.vectors("one two", "the", "x")
        for data in ("one two\nthe\nx\n", "one two\nthe\nx", "one two\r\nthe\r\nx\r\n"):
            self.assertEqual(self.lines(data), want)
            self.assertEqual(self.lines(data, "-f", "-"), want)
            self.assertEqual(self.vectors("-f", self.file("texts", data)), want)
        self.assertEqual(self.vectors("--", "one two", "the", "x"), want)
        self.assertEqual(len(self.lines(b"\xff\xfe\xc3(\0\n \n\r\r\n")), 3)  # any bytes are a text

    def test_dashes(self):
        self.assertEqual(self.vectors("--", "-x", "-"), self.lines("-x\n-\n"))

    def test_pooling(self):
        mean, last = self.vectors("abc"), self.vectors("--pool", "last", "abc")
        self.assertNotEqual(mean, last)
        self.assertEqual(self.vectors("--pool=mean", "abc"), mean)
        self.assertEqual(self.vectors("a"), self.vectors("--pool", "last", "a"))

    def test_similarity(self):
        texts = ["xyz", "the", "xyz", "tab\there \x1b[31m", "ä" * 100]
        vectors = self.vectors("--", *texts)
        rows = self.good("embed", "-m", self.model, "--similarity", "--", *texts).text.splitlines()
        self.assertEqual(rows[0].split(), ["1", "2", "3", "4", "5"])
        for i, row in enumerate(rows[1:]):
            words = row.split(maxsplit=6)
            self.assertEqual(words[0], str(i + 1))
            for j, word in enumerate(words[1:6]):
                self.assertAlmostEqual(float(word), cosine(vectors[i], vectors[j]), delta=6e-4)
        self.assertTrue(rows[4].endswith("  tab\\there \\x1b[31m"), rows[4])
        self.assertTrue(rows[5].endswith("  " + "ä" * 60 + "..."), rows[5])
        self.assertIn("256 texts", self.fails("embed", "-m", self.model, "--similarity", stdin=b"x\n" * 257).message)


class Numbers(Embed):
    """A model whose layers add nothing: states are the normed embeddings, so that a few lines here say what a vector is."""

    def states(self, ids):
        rows = {name: data for name, _, _, data in tiny_model.tensors()}
        weight = struct.unpack(f"<{N_EMBD}f", rows["output_norm.weight"])
        out = []
        for i in ids:
            row = rows["token_embd.weight"][i * N_EMBD // 32 * 34 : (i + 1) * N_EMBD // 32 * 34]  # Q8_0
            x = []
            for block in (row[:34], row[34:]):
                x += [struct.unpack("<e", block[:2])[0] * q for q in struct.unpack("<32b", block[2:])]
            rms = math.sqrt(sum(v * v for v in x) / N_EMBD + 1e-5)
            out.append([v / rms * w for v, w in zip(x, weight)])
        return out

    def test_tokens_that_are_pooled(self):
        text = "xyz q"
        for keys, ids in (({}, ids_of(text)),
                          ({"tokenizer.ggml.add_bos_token": B(1)}, [BOS, *ids_of(text)]),
                          ({"tokenizer.ggml.add_eos_token": B(1)}, [*ids_of(text), EOS]),
                          ({"tokenizer.ggml.add_bos_token": B(1), "tokenizer.ggml.add_eos_token": B(1)},
                           [BOS, *ids_of(text), EOS])):
            model = tiny_model.write(self.path("flat.gguf"), keys, layers=False)
            states = self.states(ids)
            for pool, want in (("mean", [sum(column) for column in zip(*states)]), ("last", states[-1])):
                (got,) = self.vectors("--pool", pool, text, model=model)
                length = math.sqrt(sum(x * x for x in want))
                for a, b in zip(got, want):
                    self.assertAlmostEqual(a, b / length, delta=1e-6)

    def test_texts_do_not_touch(self):
        """In groups, with neighbours of any length, and alone: the same numbers."""
        r = random.Random(3)
        lengths = [1, 2, 3, 1023, 1024, 1025, 1500] + [r.randrange(1, 90) for _ in range(150)]
        r.shuffle(lengths)
        texts = ["".join(r.choice("qxz 19") for _ in range(n)) for n in lengths]
        together = self.lines("\n".join(texts))
        self.assertEqual(len(together), len(texts))
        for i in [*range(0, len(texts), 12), *(lengths.index(n) for n in (1, 1023, 1024, 1025, 1500))]:
            self.assertEqual(self.lines(texts[i]), [together[i]], lengths[i])

    def test_same_bits(self):
        texts = ["the quick brown fox", "x", "jumps over " * 20]
        want = self.good("embed", "-m", self.model, "--", *texts).out
        for level in levels():
            for t in (1, 3):
                self.assertEqual(self.good("embed", "-m", self.model, "--cpu", level, "-t", t, "--", *texts).out, want)
        exact = self.vectors("--reference", "--kv", "f32", "--", *texts)
        for a, b in zip(exact, self.vectors("--", *texts)):
            self.assertNotEqual(a, b)
            self.assertGreater(cosine(a, b), 0.99)


class Faults(Embed):
    def test_usage(self):
        for args, word in ((["x"], "-m MODEL"), (["-m", self.model, "-f", "a", "b"], "exclude"), (["-m", self.model, "--pool", "max"], "mean"),
                           (["-m", self.model, "--json", "--similarity", "x"], "exclude"), (["-m", self.model, "--cpu", "mmx"], "has: c")):
            r = slm("embed", *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertIn(word, r.message)

    def test_fault_49_empty_texts(self):
        self.assertIn("standard input, line 3: empty", self.fails_after(2, stdin=b"x\ny\n\nz\n"))
        self.assertIn("line 1: empty", self.fails_after(0, stdin=b"\r\n"))
        self.assertIn("text 2: empty", self.fails_after(1, "x", "", "y"))
        bos = self.make("bos.gguf", {"tokenizer.ggml.add_bos_token": B(1)})
        self.assertIn("text 1: empty", self.fails("embed", "-m", bos, "").message)
        self.assertIn("no text in it", self.fails_after(0, stdin=b""))

    def test_fault_73_longer_than_the_context(self):
        self.assertEqual(len(self.vectors("q" * N_CTX)), 1)
        message = self.fails_after(1, stdin=b"x\n" + b"q" * (N_CTX + 1) + b"\ny\n")
        self.assertIn(f"standard input, line 2: {N_CTX + 1} tokens, the context has {N_CTX} (-c)", message)
        self.assertIn("text 3: 9 tokens, the context has 8", self.fails_after(2, "-c", 8, "q" * 8, "x", "q" * 9))
        path = self.file("long", b"q" * ((16 << 20) + 1))
        self.assertIn(f"{path}, line 1: longer than 16777216 bytes", self.fails_after(0, "-f", path))

    def test_fault_90_no_vector_for_one_text(self):
        data = bytearray(tiny_model.build())
        at = data.index(tiny_model.tensors()[0][3][:64]) + ids_of("!")[0] * N_EMBD // 32 * 34
        data[at : at + 2] = struct.pack("<H", 0x7E00)  # a scale that is no number
        model = self.file("nan.gguf", bytes(data))
        r = slm("embed", "-m", model, stdin=b"one\ntwo\nthree!\nfour\n")
        self.assertEqual(r.code, 1)
        self.assertIn("standard input, line 3: ", r.message)
        self.assertIn("SLM_ERR_NUMERIC", r.message)
        self.assertEqual(r.out, self.good("embed", "-m", model, stdin=b"one\ntwo\n").out)

    def test_fault_86_files_that_cannot_be_read(self):
        for path in (self.path("none"), self.folder.name, "/proc/self/mem"):
            self.assertIn(path, self.fails("embed", "-m", self.model, "-f", path).message)


class Streams(Embed):
    def start(self, *args, model=None):
        return subprocess.Popen([SLM, "embed", "-m", model or self.model, *args], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE)

    def test_answers_before_the_input_ends(self):
        p = self.start()
        for text in ("xyz", "the", "xyz"):
            p.stdin.write(text.encode() + b"\n")
            p.stdin.flush()
            self.assertEqual([float(x) for x in p.stdout.readline().split()], self.vectors(text)[0])
        p.stdin.write(b"no")  # half a line
        p.stdin.flush()
        out, err = p.communicate(b"w\n", timeout=TIMEOUT)
        self.assertEqual((p.returncode, err), (0, b""))
        self.assertEqual([float(x) for x in out.split()], self.vectors("now")[0])

    def test_many_lines(self):
        n = 500 if SANITIZED else 5000
        out = self.good("embed", "-m", self.model, stdin=b"the an\nxyz\n" * n).out.splitlines()
        self.assertEqual(len(out), 2 * n)
        self.assertEqual((set(out[::2]), set(out[1::2])), ({out[0]}, {out[1]}))

    def test_ctrl_c(self):
        model = self.make("long.gguf", {"llama.context_length": U(1 << 20)})
        text = self.file("long-line", b"xyz\n" * 40 + b"q" * 900_000 + b"\n")
        p = self.start("-f", text, model=model)
        self.assertEqual(len(p.stdout.readline().split()), N_EMBD)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=TIMEOUT)
        self.assertEqual(p.returncode, 130)
        p = self.start()  # while it waits for a line
        p.stdin.write(b"x\n")
        p.stdin.flush()
        p.stdout.readline()
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(TIMEOUT), 130)
        self.assertEqual(p.communicate(), (b"", b""))


class SmolLM2(Embed):
    """The real model."""

    alike = [("The cat sat on the mat.", "A kitten was lying on the rug."),
             ("Stock markets fell sharply today.", "Shares on Wall Street dropped this morning."),
             ("Add two numbers in Python.", "A Python function that returns the sum of a and b."),
             ("How do I bake bread?", "A recipe for a loaf with flour, water and yeast.")]
    # sha256 of what `slm embed` writes for alike[0], made with --cpu c -t 1; docs/numerics.md: the same on every machine
    golden = {"mean": "c08322c973fc4b10e2b88152bcb88bed7bbe743880a42ef4e2bcc99ef7c79815",
              "last": "2192687baad8832181a36c8d6202e0c8745d59ed068cbc9b674a73aafdf0e3d7"}

    def setUp(self):
        r = subprocess.run([os.path.join(ROOT, "tools", "get-model.sh")], capture_output=True, text=True, timeout=TIMEOUT)
        if r.returncode == 77:
            self.skipTest("the model could not be fetched: " + r.stderr)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.real = r.stdout.strip()

    def test_alike_is_near(self):
        """The nearest of all others is the other one of its pair."""
        texts = [t for pair in self.alike for t in pair]
        vectors = self.vectors("--", *texts, model=self.real)
        for i, v in enumerate(vectors):
            near = max((j for j in range(len(texts)) if j != i), key=lambda j: cosine(v, vectors[j]))
            self.assertEqual(near, i ^ 1, texts[i])

    def test_fault_92_golden_hash(self):
        for pool, want in self.golden.items():
            for level in levels()[SANITIZED:]:
                out = self.good("embed", "-m", self.real, "--pool", pool, "--cpu", level, "-t", 2, "--", *self.alike[0]).out
                self.assertEqual(hashlib.sha256(out).hexdigest(), want, (pool, level))


if __name__ == "__main__":
    unittest.main()
