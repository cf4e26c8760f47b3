"""The sampling options of `slm run`, and the example of docs/sampling.md, on a model of a few kilobytes."""
import json
import math
import os
import re
import subprocess
import unittest

from program import O, ROOT, TIMEOUT, Case, slm
import tiny_model

CC = os.environ.get("CC", "cc")
SAN = os.environ.get("SAN")
FREE = ("--temp", 1, "--top-k", 0, "--top-p", 1, "--min-p", 0)


class Options(Case):
    def run_slm(self, *args):
        return self.good("run", "-m", self.model, "--raw", "-p", "xyz", "-n", 40, "--seed", 3, *args)

    def text(self, *args):
        return self.run_slm(*args).out

    def logprobs(self, *args):
        return [json.loads(line) for line in self.run_slm(*args, "--logprobs", 3).text.splitlines()]

    def test_each_option_does_something(self):
        plain = self.text(*FREE)
        self.assertEqual(plain, self.text(*FREE))
        for args in (
            ("--dynatemp-range", 0.9), ("--dynatemp-range", 0.9, "--dynatemp-exp", 3), ("--typical", 0.3), ("--top-nsigma", 1),
            ("--xtc-probability", 1, "--xtc-threshold", 0.003), ("--mirostat", 2, "--mirostat-ent", 2),
            ("--mirostat", 2, "--mirostat-ent", 2, "--mirostat-lr", 0.9), ("--presence-penalty", 5), ("--frequency-penalty", 5),
            ("--repeat-penalty", 9, "--repeat-last-n", -1), ("--dry-multiplier", 9, "--dry-allowed-length", 1), ("--top-k", 3),
            ("--top-p", 0.2), ("--min-p", 0.5), ("--temp", 0.3), ("--logit-bias", "100+9"),
        ):
            self.assertNotEqual(self.text(*FREE, *args), plain, args)
        for args in (
            ("--typical", 1), ("--top-nsigma", -1), ("--xtc-probability", 0), ("--mirostat", 0, "--mirostat-ent", 1), ("--dynatemp-exp", 4),
            ("--dry-multiplier", 0, "--dry-base", 9), ("--logit-bias", "100+0"), ("--stop", "never in it"), ("--min-tokens", 0),
            ("--samplers", "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature"),
        ):
            self.assertEqual(self.text(*FREE, *args), plain, args)

    def test_dry(self):
        """With temperature 0 this model soon repeats itself; DRY keeps it from that, unless what is repeated has a breaker."""
        repeats = tiny_model.write(self.path("repeats.gguf"), layers=False)
        args = ("run", "-m", repeats, "--raw", "-p", "x", "-n", 120, "--temp", 0, "--logprobs", 0)
        def longest(*more):
            ids = [json.loads(line)["token"] for line in self.good(*args, *more).text.splitlines()]
            return max(k for i in range(1, len(ids)) for j in range(i) for k in range(len(ids) - i + 1) if ids[j:j + k] == ids[i:i + k])
        self.assertGreater(longest(), 50)
        self.assertLess(longest("--dry-multiplier", 50, "--dry-sequence-breaker", "none"), 10)
        self.assertGreater(longest("--dry-multiplier", 50, "--dry-sequence-breaker", "none", "--dry-penalty-last-n", 0), 50)

    def test_order(self):
        self.assertEqual(self.text("--temp", 0, "--samplers", "top_k"), self.text("--temp", 1, "--samplers", "top_k"))
        self.assertNotEqual(self.text("--temp", 0), self.text("--temp", 0, "--samplers", "top_k"))
        r = slm("run", "-m", self.model, "-p", "x", "--samplers", "top_k;hot")
        self.assertEqual((r.code, r.out), (1, b""))
        self.assertIn('"hot"', r.message)

    def test_ban(self):
        """A model that writes three letters only."""
        letters = [x for c in "abc" for x in ("--logit-bias", f"{tiny_model.tokens().index(c)}+99")]
        plain = self.text(*FREE, *letters)
        for word in (b"ab", b"c", b"bac", b"aa"):
            if word in plain:
                banned = self.text(*FREE, *letters, "--ban", word.decode())
                self.assertNotIn(word, banned)
                self.assertEqual(len(banned), len(plain))
        self.assertEqual(set(self.text(*FREE, *letters, "--ban", "b", "--ban", "c")[:-1]), set(b"a"))
        ids = [t["token"] for t in self.logprobs("--temp", 0)]
        self.assertNotIn(ids[0], [t["token"] for t in self.logprobs("--temp", 0, "--logit-bias", f"{ids[0]}-inf")])

    def test_stop(self):
        """One byte over and over."""
        a = ("--temp", 0, "--logit-bias", f"{tiny_model.tokens().index('a')}+99")
        self.assertEqual(self.text(*a, "-n", 10), b"aaaaaaaaaa\n")
        r = slm("run", "-m", self.model, "--raw", "-p", "x", *a, "--stop", "aaaa", "--stop", "zz", "--stats")
        self.assertEqual((r.code, r.out), (0, b"\n"))
        self.assertIn("answer 4 tokens", r.message)
        self.assertIn("--stop met", r.message)
        for lookup in (0, 8):
            self.assertEqual(self.text(*a, "--stop", "aab", "--stop", "ab", "-n", 7, "--lookup", lookup), b"aaaaaaa\n")

    def test_bias_of_no_token(self):
        n = len(tiny_model.tokens())
        self.assertIn(f"token {n}, expected 0 to {n - 1}", self.fails("run", "-m", self.model, "-p", "x", "--logit-bias", f"{n}+1").message)
        self.good("run", "-m", self.model, "-p", "x", "-n", 1, "--logit-bias", f"{n - 1}+1")

    def test_min_tokens(self):
        end = tiny_model.SPECIAL.index("<|im_end|>")
        bias = ("--temp", 0, "--logit-bias", f"{end}+99")
        self.assertEqual(len(self.logprobs(*bias)), 1)
        self.assertEqual(len(self.logprobs(*bias, "--min-tokens", 7)), 8)

    def test_logprobs(self):
        lines = self.logprobs("--temp", 0)
        self.assertEqual(len(lines), 40)
        for t in lines:
            self.assertEqual(sorted(t), ["logprob", "text", "token", "top"])
            self.assertEqual(len(t["top"]), 3)
            self.assertEqual((t["token"], t["logprob"]), (t["top"][0]["token"], t["top"][0]["logprob"]))
            self.assertTrue(all(a["logprob"] >= b["logprob"] for a, b in zip(t["top"], t["top"][1:])))
        first = self.good("run", "-m", self.model, "--raw", "-p", "xyz", "-n", 1, "--logprobs", 10**5).text
        self.assertAlmostEqual(sum(math.exp(t["logprob"]) for t in json.loads(first)["top"]), 1, places=6)

    def test_usage(self):
        for args, word in (
            (("--logit-bias", "x+1"), "token id"), (("--logit-bias", "5"), "token id"), (("--logit-bias", "5+nan"), "token id"),
            (("--logit-bias", "5+inf"), "token id"), (("--logit-bias", "5--1"), "token id"), (("--logit-bias", "99999999999+1"), "token id"),
            (("--ban", ""), "empty"), (("--stop", ""), "empty"), (("--mirostat", 1), "version 2"), (("--mirostat", 3), "whole number"),
            (("--typical", 2), "number"), (("--xtc-threshold", "nan"), "number"), (("--dry-base", 0.5), "number"),
            (("--repeat-last-n", -2), "whole number"), (("--logprobs", 1, "--draft", "x"), "exclude"),
        ):
            r = slm("run", "-m", self.model, *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertIn(word, r.message, args)


MAIN = r"""
#include <stdio.h>
#include <string.h>
static void put(const char *text, size_t n) { fwrite(text, 1, n, stdout); }
int main(int argc, char **argv) {
    slm_error err = {SLM_OK, ""};
    slm_model *model;
    slm_context *ctx;
    slm_model_info info = {.size = sizeof info};
    slm_token ids[64];
    size_t n;
    slm_context_params params = slm_context_defaults();
    params.n_ctx = 512;
    if (argc != 3 || slm_model_open(argv[1], NULL, &model, &err) || slm_model_get_info(model, &info) ||
        slm_context_create(model, &params, &ctx, &err) ||
        slm_tokenize(model, argv[2], strlen(argv[2]), 0, ids, 64, &n, &err) || slm_decode_tokens(ctx, ids, (int32_t)n, &err) ||
        answer(ctx, model, info.n_vocab, put, &err))
        return fprintf(stderr, "%s\n", err.message), 1;
    slm_context_free(ctx);
    slm_model_close(model);
    return 0;
}
"""


class Example(Case):
    """The function of docs/sampling.md, as a user would compile it."""

    def test_it_answers_as_the_program_does(self):
        with open(os.path.join(ROOT, "docs", "sampling.md"), encoding="utf-8") as f:
            code = re.search(r"^```c\n(.*?)^```$", f.read(), flags=re.M | re.S)[1]
        source, program = self.path("example.c"), self.path("example")
        with open(source, "w", encoding="utf-8") as f:
            f.write(code + MAIN)
        flags = [f"-fsanitize={SAN}"] if SAN else []
        subprocess.run([*CC.split(), "-std=c11", "-Wall", "-Wextra", "-Werror", *flags, "-I", os.path.join(ROOT, "include"), "-o", program,
                        source, os.path.join(O, "libslm.a"), "-lm", "-pthread"], check=True, timeout=TIMEOUT)
        r = subprocess.run([program, self.model, "xyz"], capture_output=True, check=True, timeout=TIMEOUT)
        want = self.good("run", "-m", self.model, "--raw", "-p", "xyz", "-n", 200, "--temp", .8, "--top-k", 40, "--top-p", 1, "--min-p", .05,
                         "--dry-multiplier", .8, "--ban", " delve", "--seed", 1, "--stop", "\\n\\n", "--stop", "User:").out
        self.assertGreater(len(r.stdout), 100)
        self.assertEqual(r.stdout[:150], want[:150])


if __name__ == "__main__":
    unittest.main()
