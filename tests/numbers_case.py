"""A real model against exact arithmetic of another program (make_golden.py), and against itself on every level: what the tests of
the models share."""
import json, math, os, subprocess, sys, tempfile, unittest

from program import SANITIZED

HERE = os.path.dirname(os.path.abspath(__file__))
SLM = os.environ.get("SLM", "build/slm")
LAST = 120  # positions of a long text that are in the golden file

def slm(*args, stdin=""):
    r = subprocess.run([SLM, *args], input=stdin, capture_output=True, text=True)
    if r.returncode != 0:
        raise AssertionError(f"slm {' '.join(args)}: {r.returncode}: {r.stderr}")
    return r.stdout


def levels(model):
    r = subprocess.run([SLM, "logprobs", "-m", model, "--ids", os.devnull, "--cpu", "?"], capture_output=True, text=True)
    return r.stderr.split("this machine has:")[1].split("\n")[0].split()


class Numbers:
    """name: of the golden file. get: options of get-model.sh. tokenize: of slm tokenize. hashes: FNV-1a of all logits of the texts, `slm
    logprobs --hash`, made with --cpu c and one thread; every other row of the test below must give the same, on every machine
    (docs/numerics.md). divergence: to be below. close: a margin of logits that the default mode may miss. greedy, greedy_of_reference: tokens
    that agree at least, of all texts. n_reference: tokens of a text that reference mode has time for; n_plain: texts that plain C has, and sanitizers."""

    @classmethod
    def setUpClass(cls):
        r = subprocess.run(["tools/get-model.sh", *cls.get], stdout=subprocess.PIPE, text=True)
        code, cls.model = r.returncode, r.stdout.strip()
        if code == 77:
            raise unittest.SkipTest("the model could not be had: no network")
        if code != 0:
            raise AssertionError("tools/get-model.sh failed")
        with open(os.path.join(HERE, "data", cls.name + "_golden.json")) as f:
            cls.golden = json.load(f)

    def logprobs(self, *args, n=None):
        ids = "".join(" ".join(map(str, case["tokens"])) + "\n" for case in self.golden[:n])
        args = ["logprobs", "-m", self.model, "--ids", "-", "--last", LAST, *args]
        return [json.loads(line) for line in slm(*map(str, args), stdin=ids).splitlines()]

    def measured(self, *args):
        """Mean KL divergence from the exact distribution over its 40 most probable tokens, and what those leave as one."""
        total = n = 0
        texts = self.n_plain if SANITIZED else None
        for got, case in zip(self.logprobs("--top", "2000", *args, n=texts), self.golden):
            self.assertEqual(len(got["top"]), len(case["top"]))
            for q_list, p_list in zip(got["top"], case["top"]):
                q = dict(map(tuple, q_list))
                p_rest = q_rest = 1
                for token, lp in p_list:
                    self.assertIn(token, q)
                    total += math.exp(lp) * (lp - q[token])
                    p_rest -= math.exp(lp)
                    q_rest -= math.exp(q[token])
                if p_rest > 1e-3:
                    total += p_rest * math.log(p_rest / q_rest)
                n += 1
        return total / n

    def test_ids_of_the_texts(self):
        for case in self.golden:
            with tempfile.NamedTemporaryFile("w") as f:
                f.write(case["text"])
                f.flush()
                self.assertEqual([int(x) for x in slm("tokenize", "-m", self.model, *self.tokenize, f.name).split()], case["tokens"])

    def test_divergence_from_exact_logits(self):
        self.assertLess(self.measured(), self.divergence)

    @unittest.skipIf(SANITIZED, "reference mode under sanitizers takes minutes")
    def test_divergence_of_reference_mode(self):
        self.assertLess(self.measured("--reference", "--kv", "f32"), 1e-5)

    def agree(self, got, greedy, close):
        """Equal up to the first token whose margin over the second is below `close`; returns how many that were."""
        self.assertEqual(len(got), len(greedy))
        for i, (mine, (token, margin)) in enumerate(zip(got, greedy)):
            if mine != token:
                self.assertLess(margin, close, f"token {i}: {mine}, expected {token}")
                return i
        return len(greedy)

    def test_greedy_until_the_first_close_call(self):
        tokens, texts = (4, self.n_plain) if SANITIZED else (48, None)
        got = self.logprobs("--top", "0", "--greedy", tokens, n=texts)
        n = [self.agree(g["greedy"], c["greedy"][:tokens], self.close) for g, c in zip(got, self.golden)]
        if not SANITIZED:
            self.assertGreaterEqual(sum(n), self.greedy, n)

    @unittest.skipIf(SANITIZED, "reference mode under sanitizers takes minutes")
    def test_greedy_of_reference_mode(self):
        got = self.logprobs("--top", "0", "--greedy", self.n_reference, "--reference", "--kv", "f32")
        n = [self.agree(g["greedy"], c["greedy"][:self.n_reference], 0.01) for g, c in zip(got, self.golden)]
        self.assertGreaterEqual(sum(n), self.greedy_of_reference, n)

    def test_fault_92_golden_hash_on_every_level_and_thread_count(self):
        """The highest level with one thread and three (under sanitizers three), the others with two; each with each is what small models have (test_forward.c)."""
        *others, best = levels(self.model)
        if SANITIZED and "c" in others:
            others.remove("c")
        rows = [("--cpu", level, "-t", "2") for level in others]
        rows += [("--cpu", best, "-t", t) for t in (["3"] if SANITIZED else ["1", "3"])]
        for row in rows:
            n = self.n_plain if SANITIZED or row[1] == "c" else len(self.golden)
            got = [g["logits_hash"] for g in self.logprobs("--top", "0", "--hash", *row, n=n)]
            self.assertEqual(got, self.hashes[:n], row)
