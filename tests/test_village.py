"""A model that speaks (tests/village): what quantization costs is measured here on real words, and is not noise.

Golden values: tests/village/train.py perplexity, PyTorch in double precision with the weights as the Python package gguf reads them.
"""
import json
import os
import re
import sys
import unittest

from program import ROOT, SANITIZED, Case

FOLDER = os.path.join(ROOT, "tests", "village")
sys.path.insert(0, FOLDER)
import world  # noqa: E402

MODEL = os.path.join(FOLDER, "village.gguf")
HELDOUT = os.path.join(FOLDER, "heldout.txt")
N_VOCAB, N_TOKENS, N_SCORED, PERPLEXITY = 1280, 9307, 4572, 1.522487
WINDOW = 256
# Fewer and fewer bits, and what each has to cost at least: its perplexity divided by that of the one before.
LADDER = [("Q6_K", 1.0005), ("Q4_K_M", 1.001), ("Q4_0", 1.005), ("Q2_K", 1.1)]
SLOW = unittest.skipIf(SANITIZED, "quality is the same under sanitizers, and takes minutes")


def words(text):
    return re.findall(r"[A-Za-z]+", text)


class Village(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        with open(HELDOUT, encoding="utf-8") as f:
            cls.text = f.read()
        with open(os.path.join(FOLDER, "questions.jsonl"), encoding="utf-8") as f:
            cls.questions = [json.loads(line) for line in f]

    def quantized(self, name):
        """From the weights of the file as they are: what is in 8 bits has an exact value in 32."""
        exact, out = self.path("F32.gguf"), self.path(name + ".gguf")
        if not os.path.exists(exact):
            self.good("quantize", MODEL, exact, "F32", "--requantize")
        if not os.path.exists(out):
            self.good("quantize", exact, out, name)
        return out

    def perplexity(self, model, *args):
        return json.loads(self.good("perplexity", "-m", model, "-f", HELDOUT, "-c", WINDOW, "--json", *args).text)

    def go_on(self, text, *args, n=60):
        return self.good("run", "-m", MODEL, "--raw", "-p", text, "--temp", 0, "-n", n, *args).text

    @SLOW
    def test_perplexity_is_that_of_pytorch(self):
        got = self.perplexity(self.quantized("F32"), "--reference", "--kv", "f32")
        self.assertEqual((got["n_tokens"], got["n_scored"]), (N_TOKENS, N_SCORED))
        self.assertLess(abs(got["perplexity"] / PERPLEXITY - 1), 1e-5)
        usual = self.perplexity(MODEL)["perplexity"]
        self.assertLess(abs(usual / PERPLEXITY - 1), 1e-3)
        self.assertLess(usual, N_VOCAB / 500)  # of which a guess has all

    @SLOW
    def test_fewer_bits_cost_more(self):
        exact = self.perplexity(self.quantized("F32"))["perplexity"]
        got = [self.perplexity(self.quantized("Q8_0"))["perplexity"]]
        self.assertLess(abs(got[0] / exact - 1), 1e-3)
        for name, factor in LADDER:
            got.append(self.perplexity(self.quantized(name))["perplexity"])
            self.assertGreater(got[-1], got[-2] * factor, (name, got))

    def test_8_bits_again_are_the_same_weights(self):
        """MODEL is not made by libslm: its blocks are those of the definition, scale = largest / 127."""
        with open(MODEL, "rb") as a, open(self.quantized("Q8_0"), "rb") as b:
            self.assertTrue(a.read() == b.read())

    def test_speaks(self):
        """Whole sentences, and no word that is in none of the stories."""
        known = {word for story in world.stories(1, 3000) for word in words(story)}
        for begin in ("One day", "On Monday", "Anna", "In winter", "A young cow"):
            text = begin + self.go_on(begin)
            text = text[:text.rindex(".")]  # the last word may be cut off
            self.assertGreater(len(words(text)), 20, text)
            self.assertEqual(set(words(text)) - known, set(), text)

    def test_answers_in_its_chat_format(self):
        r = self.good("chat", "-m", MODEL, "--temp", 0, stdin=b"What is a young cow called?\n")
        self.assertIn("A young cow is called a calf.", r.text)

    def ids(self, lines):
        """Those of each line; the newline is a token of its own."""
        text = "".join(line + "\n" for line in lines).encode()
        ids = self.good("tokenize", "-m", MODEL, "--no-bos", stdin=text).text.split()
        newline, out = ids[-1], [[]]
        for i in ids:
            if i == newline:
                out.append([])
            else:
                out[-1].append(i)
        self.assertEqual(len(out), len(lines) + 1)
        return out[:-1]

    def right_answers(self, model):
        """How many questions are answered, token for token, when the most probable one is taken each time."""
        queries = self.ids([q["query"] for q in self.questions])
        answers = self.ids([q["choices"][q["gold"]] for q in self.questions])
        r = self.good("logprobs", "-m", model, "--ids", "-", "--top", 0, "--greedy", max(map(len, answers)), stdin="".join(" ".join(q) + "\n" for q in queries).encode())
        greedy = [json.loads(line)["greedy"] for line in r.text.splitlines()]
        return sum(list(map(str, g[:len(a)])) == a for g, a in zip(greedy, answers, strict=True))

    def test_knows_the_village(self):
        """And forgets with fewer bits."""
        self.assertEqual(len(self.questions), 60)
        n = self.right_answers(MODEL)
        self.assertGreaterEqual(n, 30)
        self.assertLess(self.right_answers(self.quantized("Q2_K")), n)


if __name__ == "__main__":
    unittest.main()
