"""slm run where the context ends and where a prompt is kept: --keep and --cache, from outside."""
import os
import re
import unittest

import tiny_model
from program import Case, slm
from tiny_model import U


class Keep(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.repeats = tiny_model.write(cls.path("repeats.gguf"), layers=False)

    def run_past(self, *args, model=None, n=400):
        r = slm("run", "-m", model or self.model, "--raw", "-p", "xyzxyz", "--temp", 0, "-c", 100, "-n", n, "--stats", *args)
        self.assertEqual(r.code, 0, r.message)
        return r

    def test_goes_on_past_the_context(self):
        short = self.run_past()
        self.assertIn("answer 95 tokens", short.message)
        for keep in (0, 4, 50, 98):
            r = self.run_past("--keep", keep)
            self.assertIn("answer 400 tokens", r.message)
            self.assertIn("-n reached", r.message)
            # what came before the context was full is as it was; the last newline is not the model's
            self.assertTrue(r.out.startswith(short.out.rstrip(b"\n")[:80]))

    def test_drafts_do_not_change_the_text(self):
        drafted = 0
        for model in (self.model, self.repeats):
            for keep in (0, 5):
                plain = self.run_past("--keep", keep, "--lookup", 0, model=model)
                for drafts in (["--lookup", 8], ["--draft", self.repeats], ["--lookup", 64]):
                    r = self.run_past("--keep", keep, *drafts, model=model)
                    self.assertEqual(r.out, plain.out, (model, keep, drafts))
                    found = re.search(r"(\d+) of \d+ drafted accepted", r.message)
                    drafted += int(found[1]) if found else 0
        self.assertGreater(drafted, 500)

    def test_layers_with_a_window(self):
        """What is removed may leave less than the window behind it."""
        model = self.make("window.gguf", {"llama.attention.sliding_window": U(60)})
        for keep in (0, 30, 60, 90):
            plain = self.run_past("--keep", keep, "--lookup", 0, model=model)
            self.assertIn("answer 400 tokens", plain.message)
            self.assertEqual(self.run_past("--keep", keep, model=model).out, plain.out)

    def test_all_of_it_stays(self):
        r = self.run_past("--keep", 99)
        self.assertIn("tokens that stay", r.message)
        self.assertIn("answer 95 tokens", r.message)


class Cache(Case):
    TEXT = "qjzkvqzjkqv" * 10  # no merges: a token for each byte; longer than a page of the cache

    def setUp(self):
        self.cache = self.path("cache")
        if os.path.exists(self.cache):
            os.unlink(self.cache)

    def answer(self, prompt, *args):
        r = slm("run", "-m", self.model, "--raw", "-p", prompt, "--temp", 0, "-n", 30, "--stats", *args)
        self.assertEqual(r.code, 0, r.message)
        return r

    def cached(self, prompt):
        """Answer with the cache: the same text as without. Returns how many tokens came from it."""
        r = self.answer(prompt, "--cache", self.cache)
        self.assertEqual(r.out, self.answer(prompt).out)
        found = re.search(r"\((\d+) from --cache\)", r.message)
        return int(found[1]) if found else 0

    def test_what_was_computed_is_used(self):
        n = len(self.TEXT)
        self.assertEqual(self.cached(self.TEXT), 0)
        self.assertEqual(os.stat(self.cache).st_mode & 0o777, 0o600)
        self.assertEqual(self.cached(self.TEXT), n - 1)
        self.assertEqual(self.cached(self.TEXT + "zq"), n)
        self.assertEqual(self.cached(self.TEXT[:50] + "QZ"), 50)
        self.assertEqual(self.cached(self.TEXT), 50)
        self.assertEqual(self.cached("ZQ"), 0)
        self.assertEqual(os.listdir(self.folder.name).count("cache"), 1)
        self.assertEqual([f for f in os.listdir(self.folder.name) if f.startswith("cache.")], [])

    def test_fault_70_files_that_are_not_used(self):
        self.cached(self.TEXT)
        with open(self.cache, "rb") as f:
            good = f.read()
        for bad in (b"", good[:-1], good[:100], good[:500] + bytes([good[500] ^ 1]) + good[501:], b"x" * 1000):
            self.file("cache", bad)
            r = self.answer(self.TEXT, "--cache", self.cache)
            self.assertIn("is not used", r.message)
            self.assertEqual(r.out, self.answer(self.TEXT).out)
            with open(self.cache, "rb") as f:
                self.assertEqual(f.read(), good)  # computed again, and kept
        other = slm("run", "-m", self.model, "--raw", "-p", self.TEXT, "-n", 3, "--kv", "q8_0", "--cache", self.cache)
        self.assertIn("another kv_type", other.message)

    def test_fault_86_no_regular_file(self):
        link = self.path("link")
        os.symlink(self.file("target", "x"), link)
        for path in (self.folder.name, link, "/dev/null"):
            kept = os.lstat(path).st_mode
            r = self.answer("qz", "--cache", path)
            self.assertIn("is not used", r.message)
            self.assertIn("no regular file", r.message)
            self.assertEqual(os.lstat(path).st_mode, kept)

    def test_fault_87_cannot_be_written(self):
        r = self.answer("qz", "--cache", self.path("no/such/folder"))
        self.assertIn("the prompt is not kept", r.message)
        self.assertEqual(r.out, self.answer("qz").out)


if __name__ == "__main__":
    unittest.main()
