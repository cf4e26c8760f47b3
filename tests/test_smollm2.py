"""SmolLM2-135M-Instruct, the real model. tools/get-model.sh fetches it; without network these tests are skipped."""
import functools
import json
import os
import re
import subprocess
import sys
import time
import unittest

from program import ROOT, SANITIZED, SLM, TIMEOUT, levels, slm

MIB = 1 << 20
CHAT = [1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198]

MODEL = None


def ways():
    """Options that must not change a result. Plain C takes its time, so it runs once, and under sanitizers in test_smollm2_bits only."""
    if not SANITIZED:
        yield "--cpu", "c", "-t", 2
    for level in levels()[1:]:
        yield from (("--cpu", level, "-t", t) for t in ((3,) if SANITIZED else (1, 2, 3)))


@functools.cache
def get_model():
    return subprocess.run([os.path.join(ROOT, "tools", "get-model.sh")], capture_output=True, text=True, timeout=TIMEOUT)


class Case(unittest.TestCase):
    def setUp(self):  # and not for the class: each test that does not run is counted as skipped
        global MODEL
        r = get_model()
        if r.returncode == 77:
            self.skipTest("the model could not be fetched: " + r.stderr)
        self.assertEqual(r.returncode, 0, r.stderr)
        MODEL = r.stdout.strip()

    def good(self, *args, **more):
        r = slm(*args, **more)
        self.assertEqual((r.code, r.message), (0, ""), args)
        return r

    def tokenize(self, text, *args):
        return [int(i) for i in self.good("tokenize", "-m", MODEL, *args, stdin=text.encode()).text.split()]

    def logprobs(self, ids, *args):
        line = " ".join(map(str, ids)).encode()
        return json.loads(self.good("logprobs", "-m", MODEL, "--ids", "-", *args, stdin=line).text)


class Text(Case):
    def test_goes_on(self):
        r = self.good("run", "-m", MODEL, "--raw", "--temp", 0, "-n", 12, "-p", "The capital of France is")
        self.assertTrue(r.text.startswith(" Paris."), r.text)

    def test_answers(self):
        r = self.good("run", "-m", MODEL, "--temp", 0, "-n", 40, "-p", "Name the capital of France.")
        self.assertEqual(r.text, "The capital of France is Paris.\n")

    def test_same_text_of_a_seed(self):
        def text(*more):
            return self.good("run", "-m", MODEL, "--raw", "--seed", 11, "-n", 10, "-p", "The sky is blue because", *more).out

        first = text("-t", 1)
        self.assertGreater(len(first), 20)
        for way in ways():
            self.assertEqual(text(*way), first)

    def test_drafts_do_not_change_the_text(self):
        code = "def foo(x, y):\n    return x + y\n\nprint(foo(3, 4))\nprint(foo(5, 6))\n"
        n = 8 if SANITIZED else 60
        for sampling in (["--temp", 0], ["--temp", 0.8, "--repeat-penalty", 1.1, "--seed", 6])[SANITIZED:]:
            args = ["run", "-m", MODEL, "-p", "Rename foo to bar and print the whole code again:\n" + code, "-n", n, *sampling]
            plain = self.good(*args, "--lookup", 0).out
            for drafts in ([], ["--lookup", 3, "-t", 1], ["--draft", MODEL])[2 * SANITIZED:]:
                self.assertEqual(self.good(*args, *drafts).out, plain)

    def test_reads_its_own_answers(self):
        """A prompt's tokens as text again, whatever is in it: a model that only copies would do as well."""
        text = "Grüße, 世界! 😀 don't   12345\n\tx = y[0]; // ok\n"
        r = self.good("tokenize", "-m", MODEL, "--text", stdin=text.encode())
        quoted = re.findall(r'^\d+\t"(.*)"$', r.text, flags=re.M)
        data = b"".join(q.encode() for q in quoted)
        data = re.sub(rb"\\x([0-9a-f]{2})", lambda m: bytes([int(m[1], 16)]), data)
        data = data.replace(b"\\n", b"\n").replace(b"\\t", b"\t").replace(b'\\"', b'"').replace(b"\\\\", b"\\")
        self.assertEqual(data.decode(), text)
        self.assertEqual(len(quoted), len(self.tokenize(text)))


class Tokens(Case):
    def test_ids(self):
        for text, ids in (
            ("Hello, world\n", [19556, 28, 905, 198]),
            ("The capital of France is", [504, 3575, 282, 4649, 314]),
            ("", []),
        ):
            self.assertEqual(self.tokenize(text), ids)

    def test_special(self):
        system = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        self.assertEqual(self.tokenize(system, "--special"), CHAT)
        self.assertFalse({1, 2} & set(self.tokenize(system)))


class Bits(Case):
    def test_hash(self):
        """One hash on this machine, whatever computes it."""
        hashes = {self.logprobs(CHAT, "--hash", "--top", 0, *way)["logits_hash"] for way in ways()}
        self.assertEqual(len(hashes), 1)

    def test_exact_mode_is_near(self):
        ids = self.tokenize("The capital of France is")
        usual, exact = (self.logprobs(ids, "--top", 1, *mode)["top"][-1][0] for mode in ([], ["--reference"]))
        self.assertEqual(usual[0], exact[0])
        self.assertAlmostEqual(usual[1], exact[1], delta=0.1)


class Inspect(Case):
    def test_numbers(self):
        info = json.loads(self.good("inspect", MODEL, "--json").text)
        for name, value in (("architecture", "llama"), ("n_params", 134515008), ("n_tensors", 272), ("n_vocab", 49152),
                            ("n_layer", 30), ("n_embd", 576), ("n_ff", 1536), ("n_head", 9), ("n_head_kv", 3),
                            ("n_ctx_train", 8192), ("file_bytes", os.path.getsize(MODEL)), ("not_runnable", None)):
            self.assertEqual(info[name], value, name)
        self.assertEqual({t["type"]: t["n_tensors"] for t in info["types"]}, {"Q8_0": 1, "F32": 61, "Q4_1": 210})
        # 30 layers, 3 heads of 64 keys and 64 values, two bytes each
        self.assertAlmostEqual(info["context"]["bytes_per_position"], 30 * 3 * 128 * 2, delta=8)


@unittest.skipIf(SANITIZED, "a sanitizer takes time and memory of its own")
class Cost(Case):
    """The promise of zero copy, measured from outside."""

    def test_opens_at_once(self):
        """The whole of `slm inspect`: start, map, check every header, load the vocabulary, print."""
        times = []
        while len(times) < 20 and min(times, default=1) >= 0.050:  # a busy machine gets more tries
            begin = time.perf_counter()
            self.good("inspect", MODEL)
            times.append(time.perf_counter() - begin)
        self.assertLess(min(times), 0.050, times)

    def peak(self, *args, stdin=b""):
        """Peak resident memory of one run in bytes. A process of its own: the kernel keeps the maximum over all children."""
        script = ("import resource, subprocess, sys\n"
                  "r = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
                  "print(r.returncode, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)")
        r = subprocess.run([sys.executable, "-c", script, SLM, *map(str, args)], input=stdin, capture_output=True, timeout=TIMEOUT)
        code, kib = map(int, r.stdout.split())
        self.assertEqual((code, r.stderr), (0, b""), args)
        return kib * 1024

    def budget(self, n_ctx):
        context = json.loads(self.good("inspect", MODEL, "--json", "-c", n_ctx).text)["context"]
        return os.path.getsize(MODEL) + n_ctx * context["bytes_per_position"]

    def test_memory_of_an_answer(self):
        n_ctx = 1024
        for t in (1, 8):
            peak = self.peak("run", "-m", MODEL, "-p", "Why is the sky blue?", "-n", 64, "-c", n_ctx, "-t", t)
            self.assertLess(peak, self.budget(n_ctx) + 64 * MIB)
            self.assertGreater(peak, 50 * MIB)  # or nothing was measured

    def test_memory_of_a_long_prompt(self):
        n_ctx = 2048
        peak = self.peak("run", "-m", MODEL, "--raw", "-n", 2, "-c", n_ctx, stdin=b"word " * 1500)
        self.assertLess(peak, self.budget(n_ctx) + 64 * MIB)

    def test_memory_of_many_distributions(self):
        """600 rows of 49152 floats are 112 MiB; they are never held together."""
        n = 600
        peak = self.peak("logprobs", "-m", MODEL, "--ids", "-", "--hash", "--top", 3, stdin=b"504 " * n)
        self.assertLess(peak, self.budget(n) + 64 * MIB)

    def test_vocabulary_alone_is_cheap(self):
        self.assertLess(self.peak("tokenize", "-m", MODEL, stdin=b"x"), 64 * MIB)


if __name__ == "__main__":
    unittest.main()
