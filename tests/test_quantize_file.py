"""slm quantize from outside: what it says, what it leaves, and that others read what it writes."""
import os
import re
import resource
import signal
import struct
import subprocess
import sys
import unittest

import terminal
import tiny_model
from program import SANITIZED, SLM, TIMEOUT, Case, slm


def read(path):
    with open(path, "rb") as f:
        return f.read()


def floats(value=0.5, n_rows=64, name="a.weight"):
    """A file with a matrix of rows of 256."""
    data = struct.pack("<f", value) * (256 * n_rows)
    return tiny_model.gguf({"general.name": tiny_model.S("x")}, [(name, [256, n_rows], 0, data)])


class Quantize(Case):
    def setUp(self):
        self.before = set(os.listdir(self.folder.name))

    def new_files(self):
        return set(os.listdir(self.folder.name)) - self.before


class Output(Quantize):
    def test_a_smaller_model_that_runs(self):
        out = self.path("small.gguf")
        text = self.good("quantize", self.model, out, "q4_0", "--requantize").text
        size = os.path.getsize(out)
        self.assertLess(size, os.path.getsize(self.model))
        first, second, third = text.splitlines()
        self.assertEqual(first.split(": ")[0], self.model)
        self.assertRegex(second, rf"^{re.escape(out)}: {size} bytes \(0\.\d MiB\), \d+\.\d\d bits a weight$")
        self.assertRegex(third, r"^Q4_0: \d+\.\d% of the size; 1 of 21 tensors get a larger type")
        self.good("run", "-m", out, "-p", "the", "-n", 3)
        self.assertEqual(self.new_files(), {"small.gguf"})

    def test_dry_run_is_what_then_happens(self):
        out = self.path("dry.gguf")
        args = ["quantize", self.model, out, "Q2_K", "--requantize", "--tensor", "blk.1.*=Q5_1", "--tensor=*ffn_up*=Q8_0"]
        rows = [line.split(maxsplit=4) for line in self.good(*args, "--dry-run").text.split("\n\n")[0].splitlines()[1:]]
        self.assertEqual(self.new_files(), set())
        self.good(*args)
        lines = self.good("inspect", out, "--tensors").text.split("\ntensor ")[1].splitlines()[1:]
        self.assertEqual([(r[0], r[2], r[3]) for r in rows], [tuple(line.split()[:3]) for line in lines])
        types = {r[0]: r[2] for r in rows}
        self.assertEqual(types["blk.1.ffn_up.weight"], "Q5_1")
        self.assertEqual(types["blk.0.ffn_up.weight"], "Q8_0")
        self.assertEqual(types["blk.0.attn_q.weight"], "IQ4_NL")
        self.assertEqual(types["blk.1.attn_norm.weight"], "F32")
        self.assertIn("64 x 64, not Q2_K", [r[4] for r in rows])

    def test_keys_and_tensors_as_the_package_gguf_reads_them(self):
        try:
            import gguf
        except ImportError:
            self.skipTest("the Python package gguf is not installed: no second reader")
        exact, out = self.path("exact.gguf"), self.path("gguf.gguf")
        self.good("quantize", self.model, exact, "F32", "--requantize")
        for name in ("F16", "Q8_0", "Q5_0", "Q4_1", "Q4_0", "IQ4_NL", "BF16"):
            self.good("quantize", exact, out, name)
            a, b = gguf.GGUFReader(exact), gguf.GGUFReader(out)
            skipped = {"general.file_type", "general.quantization_version", "GGUF.version", "GGUF.tensor_count", "GGUF.kv_count"}
            self.assertEqual(list(a.fields), list(b.fields))
            for key in set(a.fields) - skipped:
                self.assertEqual(a.fields[key].contents(), b.fields[key].contents(), key)
            self.assertEqual(gguf.LlamaFileType(b.fields["general.file_type"].contents()).name.split("_", 1)[1], name)
            for x, y in zip(a.tensors, b.tensors, strict=True):
                self.assertEqual((x.name, list(x.shape)), (y.name, list(y.shape)))
                v, w = gguf.dequantize(x.data, x.tensor_type), gguf.dequantize(y.data, y.tensor_type)
                if len(y.shape) == 1:
                    self.assertEqual(x.data.tobytes(), y.data.tobytes())
                elif "blk" in x.name:
                    self.assertEqual(y.tensor_type.name, name)
                    self.assertLess(((v - w) ** 2).mean(), {"4": 0.02, "5": 0.005}.get(name[1], 0.02) * (v**2).mean())

    def test_the_same_bytes_for_any_number_of_threads(self):
        out = [self.path(f"threads{t}.gguf") for t in (1, 3)]
        for path, t in zip(out, (1, 3)):
            self.good("quantize", self.model, path, "Q4_K_M", "--requantize", "-t", t)
        self.assertEqual(read(out[0]), read(out[1]))

    def test_a_plan_is_read_as_the_choices_that_it_has(self):
        """Behind those of the command line, the first that fits counts; what was saved makes the same file again."""
        plan = self.file("plan.txt", "# a remark\n\nblk.0.*=Q8_0\r\n*ffn_up*=Q5_1\nblk.*=Q4_0")
        one, two, saved, again = (self.path(n) for n in ("one", "two", "saved.txt", "again.txt"))
        args = ["--requantize", "--tensor", "blk.1.attn_q*=Q5_0"]
        self.good("quantize", self.model, one, "Q4_1", *args, "--tensor=blk.0.*=Q8_0", "--tensor=*ffn_up*=Q5_1", "--tensor=blk.*=Q4_0")
        self.good("quantize", self.model, two, "Q4_1", *args, "--plan", plan, "--save-plan", saved)
        self.assertEqual(read(one), read(two))
        remark, *lines = read(saved).decode().splitlines()
        self.assertEqual(remark, "# slm quantize IN OUT Q4_1 --plan FILE")
        types = dict(line.split("=") for line in lines)
        self.assertEqual((types["blk.0.ffn_up.weight"], types["blk.1.ffn_up.weight"], types["blk.1.attn_q.weight"]), ("Q8_0", "Q5_1", "Q5_0"))
        self.assertFalse([name for name in types if "norm" in name])
        self.good("quantize", self.model, two, "Q4_1", "--requantize", "--plan", saved, "--save-plan", again)
        self.assertEqual(read(one), read(two))
        self.assertEqual(read(saved), read(again))
        os.unlink(again)
        self.good("quantize", self.model, self.path("none"), "Q4_1", "--requantize", "--plan", saved, "--save-plan", again, "--dry-run")
        self.assertEqual(read(saved), read(again))

    def test_types_are_listed_in_the_help(self):
        known = self.fails("quantize", self.model, "x", "Q9").message
        names = known[known.index("known: ") + 7:known.rindex(" (SLM")].split(", ")
        self.assertGreater(len(names), 15)
        details = re.sub(r"\s+", " ", self.good("quantize", "--help").text)
        self.assertEqual(re.search(r"TYPE: (.*?) \(docs", details)[1].replace(" or ", ", ").split(", "), names)

    def test_memory_does_not_grow_with_the_model(self):
        """Above that of a small file by far less than the matrix."""
        def peak(n_rows):
            source = self.file("large.gguf", floats(n_rows=n_rows))
            code = "import os, resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL); " \
                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
            r = subprocess.run([sys.executable, "-c", code, SLM, "quantize", source, self.path("peak.gguf"), "F16", "-t", "1"], check=True,
                               capture_output=True, text=True, timeout=TIMEOUT)
            return int(r.stdout)
        if SANITIZED:
            self.skipTest("a sanitizer takes memory of its own")
        # the pages of the mapping that were read count, too: 16 MB
        self.assertLess(peak(16 * 1024) - peak(64), (16 + 6) * 1024)


class Faults(Quantize):
    def test_usage(self):
        m = self.model
        for args, word in (
            ([], "IN is missing"),
            ([m], "OUT is missing"),
            ([m, "out"], "TYPE is missing"),
            ([m, "out", "Q8_0", "more"], "unexpected"),
            ([m, "out", "Q8_0", "--tensor", "x"], "expected PATTERN=TYPE"),
            ([m, "out", "Q8_0", "--tensor", "=Q8_0"], "expected PATTERN=TYPE"),
            ([m, "out", "Q8_0", "--tensor", "x="], "expected PATTERN=TYPE"),
            ([m, "out", "Q8_0", "-t", "513"], "whole number"),
        ):
            r = slm("quantize", *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertIn(word, r.message)

    def test_messages(self):
        m, out = self.model, self.path("out.gguf")
        small = self.file("small.bin", read(m)[:-100])
        nan = self.file("nan.gguf", floats(float("nan"), name="blk.3.attn_q.weight"))
        plan, bad, none = (self.file(n, t) for n, t in (("p", "*=Q8_0"), ("bad", "# x\n*=Q8_0\nblk.0"), ("typo", "blok.*=Q8_0")))
        many, strange = self.file("many", "a=b\n" * 65537), self.file("strange.gguf", floats(name="a\nb.weight"))
        wild, link = self.file("wild.gguf", floats(name="a*b.weight")), self.path("link")
        os.symlink(self.path("behind"), link)
        self.before = set(os.listdir(self.folder.name))
        for args, word in (
            ([m, link, "Q8_0", "--requantize", "--plan", self.path("no")], "no regular file"),  # before anything is read
            ([m, out, "Q8_0", "--requantize", "--save-plan", link], "No such file"),
            ([wild, out, "Q8_0", "--dry-run", "--save-plan", self.path("s")], "the name of tensor 0 does not fit in a line"),
            ([m, out, "Q4_K_X"], "unknown type Q4_K_X, known: F32, F16"),
            ([m, out, "Q4_K_M"], "is quantized already"),
            ([m, out, "Q8_0", "--requantize", "--tensor", "nothing*=Q4_0"], "nothing* matches no tensor"),
            ([m, out, "Q8_0", "--requantize", "--tensor", "*=Q4_K_M"], "unknown type Q4_K_M"),
            ([m, out, "Q8_0", "--requantize", "--plan", bad], "line 3: expected PATTERN=TYPE"),
            ([m, out, "Q8_0", "--requantize", "--plan", none], "blok.* matches no tensor"),
            ([m, out, "Q8_0", "--requantize", "--plan", many], "more than 65536 choices"),
            ([m, out, "Q8_0", "--requantize", "--plan", self.path("no")], "No such file"),
            ([m, out, "Q8_0", "--requantize", "--plan", plan, "--save-plan", plan], "is the plan itself"),
            ([m, out, "Q8_0", "--requantize", "--save-plan", m], "is the model itself"),
            ([m, out, "Q8_0", "--requantize", "--save-plan", out], "is the new model itself"),
            ([m, out, "Q8_0", "--requantize", "--save-plan", self.path("none/plan")], "No such file"),
            ([strange, out, "Q8_0", "--dry-run", "--save-plan", self.path("s")], "the name of tensor 0 does not fit in a line"),
            ([m, m, "Q8_0", "--requantize"], "is the model itself"),
            ([m, self.path("none/out"), "Q8_0", "--requantize"], "No such file"),
            ([m, self.folder.name, "Q8_0", "--requantize"], "Is a directory"),
            ([m, "/proc/out", "Q8_0", "--requantize"], "/proc/out: "),  # nobody may write there
            ([m, "/dev/full", "Q8_0", "--requantize"], "no regular file"),
            ([self.path("none.gguf"), out, "Q8_0"], "No such file"),
            ([small, out, "Q8_0", "--requantize"], "the file ends at"),
            ([nan, out, "Q8_0"], "tensor blk.3.attn_q.weight: weight 0 of row 0 is NaN"),
        ):
            with self.subTest(args=args):
                before = read(m)
                self.assertIn(word, self.fails("quantize", *args).message)
                self.assertEqual(self.new_files(), set())
                self.assertEqual(read(m), before)

    def test_a_full_disk(self):
        """The system lets no file grow beyond that."""
        out = self.file("old.gguf", "old")
        self.before = set(os.listdir(self.folder.name))
        for limit in (0, 1000, 20000, 100000):
            def limited():
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            r = self.fails("quantize", self.model, out, "F32", "--requantize", preexec_fn=limited)
            self.assertIn("File too large", r.message)
            self.assertEqual(self.new_files(), set())
            self.assertEqual(read(out), b"old")


class Terminal(Quantize, terminal.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.large = cls.file("large.gguf", floats(n_rows=1 << 17))

    def test_bar_and_interrupt(self):
        out = self.path("out.gguf")
        self.run_on_terminal(["quantize", self.large, out, "Q2_K", "-t", 1])
        self.expect(b"quantizing [")
        self.type(b"\x03", editing=False)
        self.assertEqual(self.end(None), 130)
        self.assertEqual(self.new_files(), set())

    def test_bar_goes_at_the_end(self):
        out = self.path("done.gguf")
        self.run_on_terminal(["quantize", self.large, out, "Q2_K", "-t", 1])
        self.expect(b"quantizing [")
        seen = self.expect(b"\r\x1b[K")
        self.assertRegex(seen, rb"\d+%")
        self.expect(b"Q2_K: ")
        self.assertEqual(self.end(None), 0)
        self.assertTrue(os.path.exists(out))


if __name__ == "__main__":
    unittest.main()
