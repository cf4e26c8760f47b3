"""slm quantize without a TYPE: a mixture of types found by what each tensor costs the model on a text."""
import json
import math
import os
import random
import re
import signal
import struct
import subprocess
import time
import unittest

import terminal
import test_village
import tiny_model
from program import SANITIZED, SLM, Case, slm
from test_quantize_file import read

WORDS = "the and thin in then a hand than".split()


def text(n=600, seed=1):
    words = random.Random(seed)
    return " ".join(words.choice(WORDS) for _ in range(n))


class Mix(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.text = cls.file("text.txt", text())
        cls.exact = cls.path("exact.gguf")
        if slm("quantize", cls.model, cls.exact, "F32", "--requantize").code != 0:
            raise unittest.SkipTest("slm quantize fails: test_quantize_file.py tells why")

    def setUp(self):
        self.before = set(os.listdir(self.folder.name))

    def new_files(self):
        return set(os.listdir(self.folder.name)) - self.before

    def mix(self, out, *args, source=None):
        """The printed plan: {tensor: type}, and the divergence that was measured."""
        r = self.good("quantize", source or self.exact, out, "-f", self.text, *args)
        plan = {}
        for line in r.text.split("\n\n")[-2].splitlines():
            name, rest = line.split(maxsplit=1)
            for group in rest.split(", "):
                type_, *layers = group.split()
                for layer in layers or [""]:
                    first, last = ([*map(int, layer.split("-"))] * 2)[:2] if layer else (0, 0)
                    if "-" in layer:
                        first, last = map(int, layer.split("-"))
                    for i in range(first, last + 1):
                        plan[name.replace("*", str(i))] = type_
        return plan, float(re.search(r": (\S+) measured", r.text)[1])

    def types(self, path):
        lines = self.good("inspect", path, "--tensors").text.split("\ntensor ")[1].splitlines()[1:]
        return {line.split()[0]: line.split()[1] for line in lines}


class Found(Mix):
    def test_never_larger_and_better_with_more(self):
        out, before = self.path("out.gguf"), None
        for size in (69000, 75000, 90000, 140000, 10**9):
            plan, kl = self.mix(out, "--target-size", size)
            self.assertLessEqual(os.path.getsize(out), size)
            if size < 140000:
                self.assertGreater(os.path.getsize(out), size - 2500)
            types = self.types(out)
            self.assertEqual(plan, {n: t for n, t in types.items() if t != "F32"})
            if before is not None:
                self.assertLessEqual(kl, before)
            before = kl
        self.assertLess(kl, 1e-5)
        self.assertEqual(self.new_files(), {"out.gguf"})

    def test_what_is_printed_is_what_was_measured(self):
        """Predicted from the tensors one by one, and measured for all of them at once: within a factor of two."""
        r = self.good("quantize", self.exact, self.path("p.gguf"), "--bits", 5, "-f", self.text)
        measured, predicted = map(float, re.search(r"(\S+) measured, (\S+) predicted", r.text).groups())
        self.assertGreater(measured, 0)
        self.assertLess(max(measured / predicted, predicted / measured), 2)
        bits = float(re.search(r"p\.gguf: .* MiB\), ([\d.]+) bits", r.text)[1])
        self.assertLessEqual(bits, 5)
        self.assertGreater(bits, 4.8)

    def test_at_most_that_divergence(self):
        sizes = []
        for limit in (0.1, 0.01, 0.001):
            out = self.path("kl.gguf")
            _, kl = self.mix(out, "--max-kl", limit)
            self.assertLessEqual(kl, limit * 1.005)  # printed with three digits
            sizes.append(os.path.getsize(out))
        self.assertEqual(sizes, sorted(sizes))
        self.assertLess(sizes[0], sizes[2])

    def test_the_same_bytes_for_any_number_of_threads_and_a_dry_run(self):
        outs = [self.path(f"t{t}.gguf") for t in (1, 2, 5)]
        for out, t in zip(outs, (1, 2, 5)):
            self.good("quantize", self.exact, out, "--bits", 5, "-f", self.text, "-t", t)
        self.assertEqual(len({read(out) for out in outs}), 1)
        before = self.new_files()
        rows = self.good("quantize", self.exact, self.path("dry.gguf"), "--bits", 5, "-f", self.text, "--dry-run").text.split("\n\n")[0]
        self.assertEqual(self.new_files(), before)
        self.assertEqual({r.split()[0]: r.split()[2] for r in rows.splitlines()[1:]}, self.types(outs[0]))

    def test_a_quantized_model_gives_the_mixture_of_its_weights(self):
        plan, kl = self.mix(self.path("a.gguf"), "--bits", 4.8)
        again, kl_again = self.mix(self.path("b.gguf"), "--bits", 4.8, "--requantize", source=self.model)
        self.assertEqual((plan, kl), (again, kl_again))
        self.assertEqual(self.new_files(), {"a.gguf", "b.gguf"})  # no copy in F32 is left

    def test_choices_of_the_caller_are_kept(self):
        out = self.path("kept.gguf")
        plan, _ = self.mix(out, "--bits", 8, "--tensor", "blk.1.*=Q8_0", "--tensor=output.weight=F16")
        self.assertTrue(plan and not any(n.startswith("blk.1.") or n == "output.weight" for n in plan), plan)
        types = self.types(out)
        self.assertEqual({t for n, t in types.items() if n.startswith("blk.1.") and "norm" not in n}, {"Q8_0"})
        self.assertEqual(types["output.weight"], "F16")

    def test_a_saved_plan_is_found_again(self):
        out, plan, importance = self.path("planned.gguf"), self.path("plan.txt"), self.path("importance.gguf")
        self.good("imatrix", "-m", self.exact, "-f", self.text, "-o", importance)
        found, _ = self.mix(out, "--bits", 5, "--imatrix", importance, "--save-plan", plan)
        remark, *lines = read(plan).decode().splitlines()
        self.assertEqual(dict(line.split("=") for line in lines), found)
        type_ = remark.removeprefix("# slm quantize IN OUT ").removesuffix(" --plan FILE")
        again = self.path("again.gguf")
        self.good("quantize", self.exact, again, type_, "--plan", plan, "--imatrix", importance)
        self.assertEqual(read(again), read(out))

    def test_the_file_says_what_most_weights_are(self):
        out = self.path("type.gguf")
        self.mix(out, "--target-size", "10GB")
        self.assertRegex(self.good("inspect", out).text, r"F16")
        self.good("run", "-m", out, "-p", "the", "-n", 3)

    def test_what_does_nothing_is_made_small(self):
        """Layers whose outputs are zeros: no weight of theirs before matters, and all bytes go to embedding and output."""
        silent = tiny_model.write(self.path("silent.gguf"), layers=False)
        out = self.path("silent_out.gguf")
        plan, _ = self.mix(out, "--target-size", 90000, "--requantize", source=silent)
        for name, type_ in plan.items():
            if re.search(r"attn_[qkv]|ffn_(gate|up)", name):
                self.assertEqual(type_, "IQ4_NL", name)
        self.assertIn(plan["output.weight"], ("F16", "Q8_0", "Q5_1"))


@unittest.skipIf(SANITIZED, "a minute; all of it is done by the tests above, too")
class Village(Case):
    """A model that speaks (tests/village), on stories that neither it nor the mixture was made with."""

    def perplexity(self, model):
        return json.loads(self.good("perplexity", "-m", model, "-f", self.path("heldout.txt"), "-c", 256, "--reference", "--json").text)["perplexity"]

    def test_better_than_the_fixed_mixture_of_the_same_size(self):
        """What they cost, ln(perplexity / that of the exact model)."""
        text = self.file("stories.txt", "\n".join(test_village.world.stories(99, 80)))
        with open(test_village.HELDOUT, encoding="utf-8") as f:
            self.file("heldout.txt", f.read()[:12000])
        exact, fixed, mixed = (self.path(n + ".gguf") for n in ("exact", "fixed", "mixed"))
        self.good("quantize", test_village.MODEL, exact, "F32", "--requantize")
        best = self.perplexity(exact)
        self.good("quantize", exact, fixed, "Q4_K_M")
        size = os.path.getsize(fixed)
        self.good("quantize", exact, mixed, "--target-size", size, "-f", text)
        self.assertLessEqual(os.path.getsize(mixed), size)
        costs = [math.log(self.perplexity(path) / best) for path in (fixed, mixed)]
        self.assertLess(costs[1], 0.7 * costs[0], costs)


class Faults(Mix):
    def test_usage(self):
        m, f = self.exact, self.text
        for args, word in (
            ([m, "out"], "TYPE is missing, or --target-size"),
            ([m, "out", "Q8_0", "--bits", 5, "-f", f], "not several"),
            ([m, "out", "--max-kl", 1, "--bits", 5, "-f", f], "not several"),
            ([m, "out", "--bits", 5], "-f TEXT is missing"),
            ([m, "out", "Q8_0", "-f", f], "nothing is measured for a TYPE"),
            ([m, "out", "--bits", "nan", "-f", f], "expected a number from 1 to 32"),
            ([m, "out", "--bits", "0.5", "-f", f], "expected a number from 1 to 32"),
            ([m, "out", "--max-kl", "-1", "-f", f], "expected a number from"),
            *(([m, "out", f"--target-size={s}", "-f", f], "expected a size like 75MB") for s in
              ("", "0", "-5", "MB", "75 MB", "75XB", "inf", "nan", "1e300", "9999999999999999999999", "0x", "75MB ")),
        ):
            r = slm("quantize", *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertIn(word, r.message, args)

    def test_messages(self):
        m, out, f = self.exact, self.path("out.gguf"), self.text
        short, empty = self.file("short.txt", "the"), self.file("empty.txt", "")
        vocabulary = self.make("vocabulary.gguf", weights=False)
        data = bytearray(read(m))
        data[-8:-4] = struct.pack("<f", float("nan"))
        nan = self.file("nan.gguf", bytes(data))
        self.before = set(os.listdir(self.folder.name))
        for args, word in (
            ([m, out, "--target-size", "1000", "-f", f], "1000 bytes are wanted, and "),
            ([m, out, "--bits", 1, "-f", f], "are the fewest that it can have"),
            ([m, out, "--max-kl", 1e-6, "-f", f, "--tensor", "blk.*=Q2_K"], "no mixture has a KL divergence of at most 1e-06"),
            ([m, out, "--bits", 5, "-f", f, "--tensor", "*=Q8_0"], "0 tensors whose type could be chosen"),
            ([m, out, "--bits", 5, "-f", f, "--tensor", "nothing=Q8_0"], "matches no tensor"),
            ([m, out, "--bits", 5, "-f", short], "too short, "),
            ([m, out, "--bits", 5, "-f", empty], "no text in it"),
            ([m, out, "--bits", 5, "-f", self.path("none.txt")], "No such file"),
            ([m, m, "--bits", 5, "-f", f], "is the model itself"),
            ([m, f, "--bits", 5, "-f", f], "is the text itself"),
            ([m, self.path("none/out"), "--bits", 5, "-f", f], "No such file"),
            ([self.model, out, "--bits", 5, "-f", f], "is quantized already"),
            ([vocabulary, out, "--bits", 5, "-f", f], "vocabulary.gguf"),
            ([nan, out, "--bits", 5, "-f", f], "NaN"),
        ):
            with self.subTest(args=args):
                self.assertIn(word, self.fails("quantize", *args).message)
                self.assertEqual(self.new_files(), set())


    def test_a_model_that_is_cut_short_meanwhile(self):
        """Weights are looked at in a copy that is nobody else's; the file, before it is read again."""
        model = self.file("cut_short.gguf", read(self.exact))
        before = set(os.listdir(self.folder.name))
        args = [SLM, "quantize", model, self.path("out.gguf"), "--bits", "5", "-f", "-"]
        with subprocess.Popen(args, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            while not self.has_copy(p.pid):
                self.assertIsNone(p.poll())
                time.sleep(0.005)
            os.truncate(model, 4096)
            _, message = p.communicate(text().encode())
        self.assertEqual(p.returncode, 1, message)
        self.assertIn(b"cut short", message)
        self.assertEqual(set(os.listdir(self.folder.name)), before)

    @staticmethod
    def has_copy(pid):
        with open(f"/proc/{pid}/maps") as f:
            return "work.gguf (deleted)" in f.read()


class Progress(terminal.Case, Mix):
    def test_interrupt(self):
        """While it reads the text, or soon after."""
        self.run_on_terminal(["quantize", self.model, self.path("late.gguf"), "--bits", 5, "-f", "-", "--requantize"])
        while not self.handles_interrupt():
            time.sleep(0.005)
        self.type(b"\x03", editing=False)
        self.assertEqual(self.end(None), 130)
        self.assertEqual(self.new_files(), set())

    def handles_interrupt(self):
        """The program itself, not the Python that it was forked from."""
        with open(f"/proc/{self.pid}/comm") as f:
            if f.read().strip() != os.path.basename(SLM)[:15]:
                return False
        with open(f"/proc/{self.pid}/status") as f:
            return int(re.search(r"SigCgt:\s*(\w+)", f.read())[1], 16) >> (signal.SIGINT - 1) & 1 == 1


if __name__ == "__main__":
    unittest.main()
