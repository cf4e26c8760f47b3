"""Published vocabularies: ids as llama.cpp has them. tests/get-peer-data.sh fetches the files; without network these tests are skipped.

tests/data/tok/peer.txt holds hashes of the ids of random texts (support/texts.c), made by llama.cpp itself:
`make differential ARGS=--write`. The cases (.inp, .out) are llama.cpp's own.
"""
import functools
import os
import subprocess
import unittest

from program import ROOT, TIMEOUT, slm

O = os.path.join(ROOT, os.environ.get("O", "build"))
GOLDEN = os.path.join(ROOT, "tests/data/tok/peer.txt")
MARK = "\n__ggml_vocab_test__\n"


def golden():
    """{name: [(special, seed, hashes)]}"""
    found = {}
    with open(GOLDEN) as f:
        for line in f:
            name, special, seed, *hashes = line.split()
            found.setdefault(name, []).append((int(special), seed, hashes))
    return found


@functools.cache
def get_folder():
    return subprocess.run([os.path.join(ROOT, "tests", "get-peer-data.sh")], capture_output=True, text=True, timeout=TIMEOUT)


class Vocabularies(unittest.TestCase):
    def setUp(self):
        r = get_folder()
        if r.returncode == 77:
            self.skipTest("the vocabularies could not be fetched: " + r.stderr)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.folder = r.stdout.strip()

    def path(self, name):
        return os.path.join(self.folder, f"ggml-vocab-{name}.gguf")

    def test_random_texts(self):
        vocabularies = golden()
        self.assertGreaterEqual(len(vocabularies), 18)
        for name, lines in vocabularies.items():
            with self.subTest(name):
                self.assertEqual([special for special, _, _ in lines], [0, 1])
                seed, n = lines[0][1], len(lines[0][2])
                r = subprocess.run([os.path.join(O, "tests", "token_hashes"), self.path(name), str(n), seed], capture_output=True, text=True,
                                   timeout=TIMEOUT)
                self.assertEqual((r.returncode, r.stderr), (0, ""))
                ours = [line.split() for line in r.stdout.splitlines()]
                for special, _, hashes in lines:
                    wrong = [i for i, (a, b) in enumerate(zip(ours[special], hashes)) if a != b]
                    self.assertEqual((len(ours[special]), wrong), (len(hashes), []), f"special {special}")

    def test_cases_of_llama_cpp(self):
        """All by the library, some by the program as well, which opens the file for each."""
        n = 0
        for name in golden():
            if not os.path.exists(self.path(name) + ".inp"):
                continue
            with open(self.path(name) + ".inp", "rb") as f:
                data = f.read()
                texts = data.decode().split(MARK)
            with open(self.path(name) + ".out") as f:
                lines = f.read().splitlines()
            with self.subTest(name):
                self.assertIn(len(texts), (len(lines), len(lines) + 1))
                r = subprocess.run([os.path.join(O, "tests", "token_hashes"), self.path(name), MARK], input=data, capture_output=True, timeout=TIMEOUT)
                self.assertEqual((r.returncode, r.stderr), (0, b""))
                ours = r.stdout.decode().split("\n")
                for text, line, got in zip(texts, lines, ours, strict=False):
                    self.assertEqual(got.split(), line.split(), text)
                    n += 1
                for text, line in list(zip(texts, lines))[::12]:
                    r = slm("tokenize", "-m", self.path(name), "--no-bos", stdin=text.encode())
                    self.assertEqual((r.code, r.text.split()), (0, line.split()), text)
        self.assertGreater(n, 600)

    def test_encoders_are_refused(self):
        r = slm("tokenize", "-m", self.path("bert-bge"), stdin=b"x")
        self.assertNotEqual(r.code, 0)
        self.assertIn('tokenizer.ggml.model is "bert"', r.message)


if __name__ == "__main__":
    unittest.main()
