"""slm compare from outside: every figure once more from what the models compute (tests/rows_driver.c), by the definitions in docs/quantization.md."""
import array
import json
import math
import os
import resource
import subprocess
import unittest

import terminal
import tiny_model
from program import O, ROOT, SANITIZED, SLM, TIMEOUT, Case, levels, slm
from tiny_model import N_EMBD, N_LAYER, N_VOCAB, A, B

DRIVER = os.path.join(O, "tests", "rows_driver")
TEXT = "".join(f"{i}: the {'quick (brown) fox and that dog'[i % 23:]}\n\n" for i in range(24))[:-2]
WINDOW = 64
KINDS = ["word, begin", "word, inside", "number", "punctuation", "white space", "other"]


def kind_of(text):
    """Of a token of the tiny vocabulary, bytes and merges."""
    rest = text.lstrip(b" \t\n\v\f\r")
    if not rest:
        return "white space"
    first = rest[:1]
    if first.isdigit():
        return "number"
    if first.isalpha():
        return "word, begin" if rest != text else "word, inside"
    return "punctuation" if b"!" <= first <= b"~" else "other"


def mean_of(values):
    """Mean and its standard error."""
    n, mean = len(values), math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)


def quantile(values, q):
    values = sorted(values)
    at = q * (len(values) - 1)
    i = int(at)
    return values[i] + (at - i) * (values[min(i + 1, len(values) - 1)] - values[i])


class Rows:
    """Log-probabilities of each token of a window, states behind layers, and greedy tokens behind it."""

    def __init__(self, model, mode, kv, lines, n_more=0):
        stdin = "".join(" ".join(map(str, line)) + "\n" for line in lines).encode()
        out = subprocess.run([DRIVER, model, mode, kv, str(n_more)], input=stdin, stdout=subprocess.PIPE, timeout=TIMEOUT, check=True).stdout
        floats, at = array.array("f"), 0
        self.logprobs, self.states, self.more = [], [], []
        for line in lines:
            width = N_VOCAB + N_LAYER * N_EMBD
            floats = array.array("f", out[at : at + 4 * width * len(line)])
            at += 4 * width * len(line)
            rows = [floats[i * width : i * width + N_VOCAB] for i in range(len(line))]
            self.logprobs.append([self.normalised(row) for row in rows])
            self.states.append([floats[i * width + N_VOCAB : (i + 1) * width] for i in range(len(line))])
            self.more.append([t for t in array.array("i", out[at : at + 4 * n_more]) if t >= 0])
            at += 4 * n_more
        assert at == len(out)

    @staticmethod
    def normalised(row):
        top = max(row)
        total = top + math.log(math.fsum(math.exp(x - top) for x in row))
        return [x - total for x in row]


class Compare(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.exact = cls.path("exact.gguf")
        cls.small = cls.path("small.gguf")
        for out, kind in ((cls.exact, "F32"), (cls.small, "Q4_0")):
            r = slm("quantize", cls.model, out, kind, "--requantize")
            assert r.code == 0, r.message
        cls.other = tiny_model.write(cls.path("other.gguf"), seed=2)
        cls.text = cls.file("text.txt", TEXT)

    def compare(self, *models, reference=None, text=None, speed=False, args=()):
        report = self.path("report.json")
        r = self.good("compare", "--reference", reference or self.exact, "-f", text or self.text, "-c", WINDOW, "--json", report,
                      *([] if speed else ["--no-speed"]), *args, *models)
        with open(report, encoding="utf-8") as f:
            got = json.load(f)
        os.remove(report)
        got["stdout"] = r.text
        return got

    def tokens(self, text, model=None):
        return [int(i) for i in self.good("tokenize", "-m", model or self.exact, "--no-bos", stdin=text.encode()).text.split()]

    def near(self, got, want, what, relative=1e-5, absolute=2e-7):
        self.assertLessEqual(abs(got - want), absolute + relative * abs(want), (what, got, want))

    def estimate(self, got, values, what):
        mean, error = mean_of(values)
        self.near(got["value"], mean, what)
        self.near(got["error"], error, what)


class Figures(Compare):
    def windows(self, text=TEXT):
        ids = self.tokens(text)
        return [ids[i : i + WINDOW] for i in range(0, len(ids) - WINDOW + 1, WINDOW)]

    def names(self):
        """The bytes of each token of the tiny vocabulary."""
        back = {c: b for b, c in enumerate(tiny_model.byte_characters())}
        return [bytes(back[c] for c in t) if i >= len(tiny_model.SPECIAL) else b"" for i, t in enumerate(tiny_model.tokens())]

    def check_candidate(self, got, ref, own, windows):
        first = WINDOW // 2 + 1
        at = [(w, i) for w in range(len(windows)) for i in range(first, WINDOW)]
        kl, change, dp, same, nll = [], [], [], [], []
        for w, i in at:
            p, q, token = ref.logprobs[w][i - 1], own.logprobs[w][i - 1], windows[w][i]
            kl.append(math.fsum(math.exp(a) * (a - b) for a, b in zip(p, q)))
            nll.append(-q[token])
            change.append(p[token] - q[token])
            dp.append(math.exp(q[token]) - math.exp(p[token]))
            same.append(float(p.index(max(p)) == q.index(max(q))))
        self.estimate(got["kl"]["mean"], kl, "kl")
        for name, q in (("median", 0.5), ("p90", 0.9), ("p99", 0.99), ("p999", 0.999), ("max", 1)):
            self.near(got["kl"][name], quantile(kl, q), name)
        self.estimate(got["dp_mean"], dp, "dp")
        square, error = mean_of([d * d for d in dp])
        self.near(got["dp_rms"]["value"], math.sqrt(square), "rms")
        self.near(got["dp_rms"]["error"], error / 2 / math.sqrt(square), "rms error")
        self.estimate(got["agreement"], same, "agreement")
        mean, error = mean_of(nll)
        self.near(got["perplexity"]["value"], math.exp(mean), "perplexity")
        self.near(got["perplexity"]["error"], math.exp(mean) * error, "perplexity error")
        mean, error = mean_of(change)
        self.near(got["ppl_ratio"]["value"], math.exp(mean), "ratio")
        self.near(got["ppl_ratio"]["error"], math.exp(mean) * error, "ratio error")
        self.check_groups(got, at, windows, kl, same)
        self.check_layers(got, ref, own)

    def check_groups(self, got, at, windows, kl, same):
        names = self.names()
        of_position = [[k for k, (_, i) in enumerate(at) if int(begin) <= i <= int(end)]
                       for begin, end in (g["label"].split("-") for g in got["positions"])]
        of_kind = [[k for k, (w, i) in enumerate(at) if kind_of(names[windows[w][i]]) == kind] for kind in KINDS]
        self.assertEqual(len(of_position), 8)
        self.assertEqual([g["label"] for g in got["kinds"]], KINDS)
        for groups, members in ((got["positions"], of_position), (got["kinds"], of_kind)):
            self.assertEqual(sum(map(len, members)), len(at))
            for g, which in zip(groups, members, strict=True):
                self.assertEqual(g["n"], len(which), g["label"])
                if which:
                    self.near(g["kl"], math.fsum(kl[k] for k in which) / len(which), g["label"])
                    self.near(g["agreement"], math.fsum(same[k] for k in which) / len(which), g["label"])

    def check_layers(self, got, ref, own):
        for layer in range(N_LAYER):
            errors = []
            for a, b in zip(ref.states, own.states):
                for x, y in zip(a[:-1], b[:-1]):  # the last token of a window is not computed
                    x, y = (s[layer * N_EMBD : (layer + 1) * N_EMBD] for s in (x, y))
                    errors.append(math.fsum((q - p) ** 2 for p, q in zip(x, y)) / math.fsum(p * p for p in x))
            self.near(got["layer_error"][layer], math.sqrt(math.fsum(errors) / len(errors)), f"layer {layer}", 1e-5, 1e-9)

    def test_all_figures(self):
        windows = self.windows()
        got = self.compare(self.model, self.small, self.other)
        n = len(windows) * (WINDOW - WINDOW // 2 - 1)
        self.assertGreater(len(windows), 5)
        self.assertEqual((got["n_tokens"], got["n_windows"], got["window"], got["n_scored"], got["n_layer"]),
                         (len(self.tokens(TEXT)), len(windows), WINDOW, n, N_LAYER))
        ref = Rows(self.exact, "reference", "f32", windows)
        nll = [-ref.logprobs[w][i - 1][windows[w][i]] for w in range(len(windows)) for i in range(WINDOW // 2 + 1, WINDOW)]
        mean, error = mean_of(nll)
        self.near(got["reference"]["perplexity"]["value"], math.exp(mean), "perplexity")
        self.near(got["reference"]["perplexity"]["error"], math.exp(mean) * error, "perplexity error")
        for candidate, path in zip(got["candidates"], (self.model, self.small, self.other), strict=True):
            self.assertEqual(candidate["path"], path)
            self.check_candidate(candidate, ref, Rows(path, "default", "f16", windows), windows)
        kl = [c["kl"]["mean"]["value"] for c in got["candidates"]]
        self.assertLess(kl[0], kl[1])
        self.assertLess(kl[1], kl[2])

    def test_reference_is_exact_whatever_it_is_stored_in(self):
        r = slm("compare", "--reference", self.small, "-f", self.text, "-c", WINDOW, "--no-speed", self.exact, "--json", self.path("q.json"))
        self.assertEqual(r.code, 0)
        self.assertRegex(r.message, r"\Aslm: \S+small.gguf is quantized: [^\n]+\n\Z")
        with open(self.path("q.json"), encoding="utf-8") as f:
            got = json.load(f)
        windows = self.windows()
        self.check_candidate(got["candidates"][0], Rows(self.small, "reference", "f32", windows), Rows(self.exact, "default", "f16", windows), windows)

    def test_a_file_and_itself(self):
        got = self.compare(self.exact, args=["--kv", "f32"])["candidates"][0]
        self.assertEqual((got["kl"]["mean"], got["kl"]["max"]), ({"value": 0, "error": 0}, 0))
        self.assertEqual((got["agreement"]["value"], got["dp_rms"]["value"], got["ppl_ratio"]["value"]), (1, 0, 1))
        self.assertEqual(got["layer_error"], [0] * N_LAYER)
        for d in got["departures"]:
            self.assertEqual(d["n_shared"], d["n_tokens"])
            self.assertEqual((d["reference"], d["candidate"]), ("", ""))

    def test_windows(self):
        got = self.compare(self.small, args=["--windows", 2])
        self.assertEqual((got["n_windows"], got["n_scored"]), (2, 2 * 31))
        self.assertEqual(self.compare(self.small, args=["--windows", 1000])["n_windows"], len(self.windows()))
        with_bos = {"tokenizer.ggml.add_bos_token": B(1)}
        a, b = self.make("a.gguf", with_bos), tiny_model.write(self.path("b.gguf"), with_bos, seed=3)
        r = slm("compare", "--reference", a, "-f", self.text, "-c", WINDOW, "--no-speed", b, "--json", self.path("bos.json"))
        self.assertEqual(r.code, 0, r.message)
        with open(self.path("bos.json"), encoding="utf-8") as f:
            got = json.load(f)
        ids = [1, *self.tokens(TEXT)]
        windows = [[1, *ids[i + 1 : i + WINDOW]] for i in range(0, len(ids) - WINDOW + 1, WINDOW)]
        self.check_candidate(got["candidates"][0], Rows(a, "reference", "f32", windows), Rows(b, "default", "f16", windows), windows)

    def test_same_figures(self):
        """However they are computed."""
        def figures(*args):
            got = self.compare(self.model, self.small, args=args)
            return [{k: v for k, v in s.items() if k not in ("load_seconds", "memory_bytes")} for s in (got["reference"], *got["candidates"])]

        wanted = figures()
        for level in levels():
            for threads in (1, 3):
                self.assertEqual(figures("--cpu", level, "-t", threads), wanted, (level, threads))

    def test_departures(self):
        windows = self.windows()[:4]
        prompts = [w[: WINDOW // 2] for w in windows]
        got = self.compare(self.small, self.model)
        ref = Rows(self.exact, "reference", "f32", prompts, 64).more
        self.assertTrue(any(d["n_shared"] < d["n_tokens"] for candidate in got["candidates"] for d in candidate["departures"]))
        for candidate, path in zip(got["candidates"], (self.small, self.model)):
            own = Rows(path, "default", "f16", prompts, 64).more
            self.assertEqual(len(candidate["departures"]), 4)
            for d, a, b, prompt in zip(candidate["departures"], ref, own, prompts):
                shared = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
                self.assertEqual((d["n_shared"], d["n_tokens"]), (shared, len(a)))
                names = self.names()
                for text, ids in ((d["prompt"], prompt), (d["shared"], a[:shared]), (d["reference"], a[shared : shared + 12]),
                                  (d["candidate"], b[shared : shared + 12] if shared < len(a) else [])):
                    want = b"".join(names[t] for t in ids).replace(b"\0", b" ").decode(errors="replace")
                    self.assertEqual(text.rstrip("\ufffd"), want.rstrip("\ufffd"))


class Files(Compare):
    def test_what_is_known_of_a_file(self):
        got = self.compare(self.model, self.small, speed=True)
        for s, path, kind in zip((got["reference"], *got["candidates"]), (self.exact, self.model, self.small), ("F32", "mixed", "Q4_0")):
            self.assertEqual((s["path"], s["type"], s["file_bytes"]), (path, kind, os.path.getsize(path)))
            inspected = json.loads(self.good("inspect", "--json", path).text)
            self.assertAlmostEqual(s["bits_per_weight"], 8 * s["tensor_bytes"] / s["n_params"])
            self.assertEqual((s["n_params"], s["tensor_bytes"]), (inspected["n_params"], inspected["tensor_bytes"]))
            self.assertGreater(s["memory_bytes"], 1000)
            self.assertTrue(0 < s["load_seconds"] < 60)
            self.assertGreater(s["prefill"], 0)
            self.assertGreater(s["decode"], 0)
            self.assertTrue(s["decode_share"] is None or s["decode_share"] > 0, s["decode_share"])  # the caches hold such models
        self.assertGreater(got["read_bandwidth"], 1e8)

    def test_run(self):
        got = self.compare(self.small, args=["--windows", 1])
        self.assertRegex(got["date"], r"\A\d{4}-\d\d-\d\d \d\d:\d\d UTC\Z")
        self.assertRegex(got["command"], r"\Aslm compare --reference \S+exact.gguf -f \S+ -c 64 --json \S+ --no-speed --windows 1 \S+small.gguf\Z")
        self.assertRegex(got["machine"], r", \d+ threads?, .* GiB of memory, ")
        self.assertEqual(got["program"].split()[0], "slm")
        strange = self.path("it's a $mall one.gguf")
        with open(self.small, "rb") as f, open(strange, "wb") as g:
            g.write(f.read())
        got = self.compare(strange, args=["--windows", 1])
        shown = subprocess.run(["sh", "-c", "printf '%s\\n' " + got["command"][len("slm compare "):]], capture_output=True, text=True, check=True)
        self.assertEqual(shown.stdout.split("\n")[-2], strange)

    def test_reports(self):
        paths = {kind: self.path("out." + kind) for kind in ("json", "markdown", "html")}
        r = self.good("compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--no-speed", self.small, self.model,
                      *(x for kind, path in paths.items() for x in ("--" + kind, path)))
        for word in ("KL divergence", "99.9%", "same first choice", "perplexity change", "Error of states", "Greedy answers", "word, begin", "33-36"):
            self.assertIn(word, r.text)
        self.assertLess(max(map(len, r.text.replace(self.folder.name, "").splitlines())), 130)
        for kind, begin in (("json", "{"), ("markdown", "#"), ("html", "<!doctype html>")):
            with open(paths[kind], encoding="utf-8") as f:
                self.assertTrue(f.read().lower().startswith(begin), kind)

    @unittest.skipIf(SANITIZED, "a sanitizer has memory of its own")
    def test_memory_does_not_grow_with_the_text(self):
        peaks = []
        for name, n in (("short.txt", 3), ("long.txt", 30)):
            text = self.file(name, TEXT * n)
            child = subprocess.Popen([SLM, "compare", "--reference", self.exact, "-f", text, "--no-speed", self.small, self.model],
                                     stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(child.returncode, 0)
            peaks.append(usage.ru_maxrss)
        self.assertLess(peaks[1] - peaks[0], 3000)  # KiB


class Tasks(Compare):
    QUESTIONS = [
        {"query": "the quick", "choices": [" brown fox", " the the", "er"], "gold": 0},
        {"query": "and 1 2 3", "choices": [" 4", " the", "4 5 6 7"], "gold": 2, "id": "ignored"},
        {"query": "x an", "choices": ["d that", " in", "other", "\u00e9t\u00e9"], "gold": 1},
        *({"query": f"what is {i}?", "choices": [f" the {i}", f" a thing {i * i}", " in"], "gold": i % 3} for i in range(17)),
    ]

    def right(self, model, mode, kv, questions):
        """Of each question, by its definition: the choice with the largest mean log-probability per byte of its text."""
        out = []
        for q in questions:
            lists = [self.tokens(q["query"] + c) for c in q["choices"]]
            front = self.tokens(q["query"])
            common = min(len(front), *(next((i for i, (a, b) in enumerate(zip(front, ids)) if a != b), min(len(front), len(ids))) for ids in lists))
            rows = Rows(model, mode, kv, lists)
            scores = [math.fsum(rows.logprobs[k][i - 1][ids[i]] for i in range(common, len(ids))) / len(c.encode())
                      for k, (ids, c) in enumerate(zip(lists, q["choices"]))]
            out.append(scores.index(max(scores)) == q["gold"])
        return out

    def write(self, name, questions):
        return self.file(name, "".join(json.dumps(q) + "\n" for q in questions))

    def test_by_hand(self):
        paths = [self.write("first.jsonl", self.QUESTIONS), self.write("second.jsonl", self.QUESTIONS[:5])]
        got = self.compare(self.small, self.other, args=["--task", paths[0], "--task", paths[1], "--windows", 1])
        self.assertEqual([(t["name"], t["n_questions"]) for t in got["tasks"]], [("first.jsonl", 20), ("second.jsonl", 5)])
        self.near(got["tasks"][0]["guess"], (19 / 3 + 1 / 4) / 20, "guess")
        for t, questions in enumerate((self.QUESTIONS, self.QUESTIONS[:5])):
            ref = self.right(self.exact, "reference", "f32", questions)
            reference = got["reference"]["tasks"][t]
            self.assertEqual((reference["n_right"], reference["difference"], reference["low"]), (sum(ref), {"value": 0, "error": 0}, 0))
            self.estimate(reference["accuracy"], [float(r) for r in ref], "accuracy")
            for candidate, path in zip(got["candidates"], (self.small, self.other)):
                own = self.right(path, "default", "f16", questions)
                f = candidate["tasks"][t]
                self.assertEqual(f["n_right"], sum(own))
                self.estimate(f["accuracy"], [float(r) for r in own], "accuracy")
                self.estimate(f["difference"], [float(a) - float(b) for a, b in zip(own, ref)], "difference")
                # Agresti and Min 2005
                n = len(ref) + 2
                b, c = (0.5 + sum(x and not y for x, y in zip(*pair)) for pair in ((own, ref), (ref, own)))
                half = 1.959964 * math.sqrt(b + c - (b - c) ** 2 / n) / n
                self.near(f["low"], (b - c) / n - half, "low")
                self.near(f["high"], (b - c) / n + half, "high")

    def test_more_logits_than_are_held(self):
        """Choices whose tokens are computed in several batches; the figures are those of questions apart."""
        long = [{"query": "x", "choices": ["the " * 300, "fox " * 301, "dog " * 299], "gold": k} for k in range(3)]
        got = self.compare(self.small, args=["--task", self.write("long.jsonl", long), "--windows", 1])
        self.assertEqual(got["reference"]["tasks"][0]["n_right"], 1)  # one of the three is the most probable, however they are asked
        self.assertEqual(got["candidates"][0]["tasks"][0]["n_right"], 1)

    def test_fewer_choices_than_before(self):
        """What the choices of a question leave behind is no part of the next one: figures are those of questions apart."""
        choices = ["the " * 10, "fox " * 11, "dog " * 9, "and " * 8]
        questions = [{"query": "quick brown " * 12, "choices": choices, "gold": 0}, {"query": "brown quick " * 12, "choices": choices[:3], "gold": 1},
                     {"query": "brown that " * 12, "choices": choices[:2], "gold": 1}, {"query": "that dog " * 12, "choices": choices, "gold": 3}]
        ref, own = self.right(self.exact, "reference", "f32", questions), self.right(self.small, "default", "f16", questions)
        got = self.compare(self.small, args=["--task", self.write("fewer.jsonl", questions), "--windows", 1])
        self.assertEqual((got["reference"]["tasks"][0]["n_right"], got["candidates"][0]["tasks"][0]["n_right"]), (sum(ref), sum(own)))

    def test_bad_lines(self):
        good = '{"query": "a", "choices": ["b", "c"], "gold": 1}'
        for line, word in (("nonsense", "no JSON"), ("[]", "no object"), ("3", "no JSON"), ('{"choices": ["a", "b"], "gold": 0}', '"query"'),
                           ('{"query": 3, "choices": ["a", "b"], "gold": 0}', '"query"'), ('{"query": "a", "gold": 0}', '"choices"'),
                           ('{"query": "a", "choices": "b", "gold": 0}', '"choices"'), ('{"query": "a", "choices": ["b"], "gold": 0}', "1 choices"),
                           ('{"query": "a", "choices": [], "gold": 0}', "0 choices"),
                           (json.dumps({"query": "a", "choices": ["b"] * 65, "gold": 0}), "65 choices"),
                           ('{"query": "a", "choices": ["b", ""], "gold": 0}', "choice 1"), ('{"query": "a", "choices": ["b", 7], "gold": 0}', "choice 1"),
                           ('{"query": "a", "choices": ["b", "c"]}', '"gold"'), ('{"query": "a", "choices": ["b", "c"], "gold": "1"}', '"gold"'),
                           ('{"query": "a", "choices": ["b", "c"], "gold": 2}', '"gold" is 2'), ('{"query": "a", "choices": ["b", "c"], "gold": -1}', "-1"),
                           ('{"query": "a", "choices": ["b", "c"], "gold": 99999999999999999999}', "no JSON"),
                           ('{"query": "a", "query": "b", "choices": ["b", "c"], "gold": 0}', "no JSON"),
                           ('{"query": "", "choices": ["b", "c"], "gold": 0}', "no token before"), ("\udcff".encode("utf-8", "surrogateescape"), "no JSON"),
                           (json.dumps({"query": "x" * 20000, "choices": ["b", "c"], "gold": 0}), "20000 tokens, expected 16384"),
                           (json.dumps({"query": "x", "choices": ["b", "x" * 20000], "gold": 0}), "20001 tokens, expected 16384"),
                           (json.dumps({"query": "x" * 300, "choices": ["x" * 300] * 60, "gold": 0}), "18300 tokens, expected 16384"),
                           (json.dumps({"query": "x" * 8_000_000, "choices": ["b"] * 64, "gold": 0}), "more than 1048576 bytes"),
                           (json.dumps({"query": "x" * 1_000_000, "choices": ["b", "b" * 100_000], "gold": 0}), "query and choice 1 have more than 1048576 bytes"),
                           ("[" * 100000, "no JSON")):
            data = line if isinstance(line, bytes) else line.encode()
            path = self.file("bad.jsonl", good.encode() + b"\n\n" + data + b"\n" + good.encode())
            r = self.fails("compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--task", path, self.small)
            self.assertIn("bad.jsonl, line 3: ", r.message)
            self.assertIn(word, r.message)

    def test_bad_files(self):
        def message(path):
            return self.fails("compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--task", path, self.small).message

        self.assertIn("none.jsonl", message(self.path("none.jsonl")))
        self.assertIn("no questions", message(self.file("empty.jsonl", "\n\n")))
        self.assertIn("line 1", message(self.small))


class Village(Compare):
    """A model that knows something (tests/village): what is true of real ones."""

    TYPES = ["Q8_0", "Q6_K", "Q4_K_M", "Q3_K_M", "Q2_K"]
    FOLDER = os.path.join(ROOT, "tests", "village")

    def test_a_late_departure(self):
        """What a candidate writes by itself goes beyond the 64 tokens of the prompt and the 64 that are compared."""
        exact, small, report = (self.path(name) for name in ("late.gguf", "late_small.gguf", "late.json"))
        model = os.path.join(self.FOLDER, "village.gguf")
        for path, kind in ((exact, "F32"), (small, "Q8_0")):
            self.good("quantize", model, path, kind, "--requantize")
        with open(os.path.join(self.FOLDER, "heldout.txt"), encoding="utf-8") as f:
            text = self.file("late.txt", f.read()[6370:9370])
        self.good("compare", "--reference", exact, "-f", text, "-c", 256, "--windows", 1, "--no-speed", "--json", report, small)
        with open(report, encoding="utf-8") as f:
            d, = json.load(f)["candidates"][0]["departures"]
        self.assertTrue(54 <= d["n_shared"] < d["n_tokens"], d)
        self.assertGreater(len(d["candidate"]), len(d["reference"]))  # the reference has only what is left of the 64

    @unittest.skipIf(SANITIZED, "only its figures are new")
    def test_fewer_bits_cost_more(self):
        exact = self.path("village.gguf")
        self.good("quantize", os.path.join(self.FOLDER, "village.gguf"), exact, "F32", "--requantize")
        files = [self.path(kind + ".gguf") for kind in self.TYPES]
        for path, kind in zip(files, self.TYPES):
            self.good("quantize", exact, path, kind)
        report = self.path("village.json")
        self.good("compare", "--reference", exact, "-f", os.path.join(self.FOLDER, "heldout.txt"), "-c", 256, "--windows", 6, "--no-speed", "--task",
                  os.path.join(self.FOLDER, "questions.jsonl"), "--json", report, *files)
        with open(report, encoding="utf-8") as f:
            got = json.load(f)
        candidates = got["candidates"]
        self.assertEqual([c["type"] for c in candidates], self.TYPES)
        for worse in (lambda c: c["kl"]["mean"]["value"], lambda c: c["kl"]["p99"], lambda c: 1 - c["agreement"]["value"],
                      lambda c: c["dp_rms"]["value"], lambda c: c["layer_error"][3], lambda c: -c["bits_per_weight"]):
            values = [worse(c) for c in candidates]
            self.assertEqual(values, sorted(values))
        self.assertLess(candidates[0]["kl"]["mean"]["value"], 0.005)
        self.assertGreater(candidates[-1]["kl"]["mean"]["value"], 0.1)
        self.assertGreater(candidates[-1]["ppl_ratio"]["value"], 1.3)
        self.assertAlmostEqual(got["reference"]["perplexity"]["value"], 1.52, delta=0.15)  # 1.5225 over all of the text
        right = [s["tasks"][0]["n_right"] for s in (got["reference"], *candidates)]
        self.assertGreater(right[0], 40)  # of 60; guessing gives 15
        self.assertAlmostEqual(right[1], right[0], delta=2)
        self.assertLess(right[-1], right[0] - 3)

    @unittest.skipIf(SANITIZED, "the search, nearly all of it, is done in test_mix.py, too")
    def test_an_automatic_mixture_has_no_name_of_a_fixed_one(self):
        """Whatever general.file_type says; nor has a file of which half was chosen by hand."""
        exact, fixed, mixed, chosen, report = (self.path(name) for name in ("e.gguf", "fixed.gguf", "mixed.gguf", "chosen.gguf", "types.json"))
        text = os.path.join(self.FOLDER, "heldout.txt")
        self.good("quantize", os.path.join(self.FOLDER, "village.gguf"), exact, "F32", "--requantize")
        with open(text, encoding="utf-8") as f:
            short = self.file("short.txt", f.read()[:3000])
        self.good("quantize", exact, fixed, "Q5_K_M")
        self.good("quantize", exact, mixed, "--bits", 4.8, "-f", short)
        self.good("quantize", exact, chosen, "Q5_K_M", "--tensor", "*ffn*=Q4_K")
        self.good("compare", "--reference", exact, "-f", text, "-c", 64, "--windows", 1, "--no-speed", "--json", report, fixed, mixed, chosen)
        with open(report, encoding="utf-8") as f:
            self.assertEqual([c["type"] for c in json.load(f)["candidates"]], ["Q5_K_M", "mixed", "mixed"])


class Errors(Compare):
    def message(self, *args, **more):
        return self.fails("compare", *args, "--no-speed", **more).message

    def test_usage(self):
        for args, word in (([], "--reference"), (["--reference", self.exact], "no MODEL"), (["--reference", self.exact, "-c", 3, self.small], "-c"),
                           (["--reference", self.exact, "--cpu", "mmx", self.small], "mmx"), (["--reference", self.exact, "--kv", "q4", self.small], "--kv"),
                           (["--reference", self.exact, *["--task", "x"] * 9, self.small], "9 files"),
                           (["--reference", self.exact, *[self.small] * 33], "unexpected")):
            r = slm("compare", *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertIn(word, r.message)

    def test_vocabularies(self):
        tokens = tiny_model.tokens()
        swapped = self.make("swapped.gguf", {"tokenizer.ggml.tokens": A(tiny_model.STRING, tokens[:100] + [tokens[101], tokens[100]] + tokens[102:])})
        merges = self.make("merges.gguf", {"tokenizer.ggml.merges": A(tiny_model.STRING, tiny_model.MERGES[:1] + tiny_model.MERGES[2:])})
        bos = self.make("bos2.gguf", {"tokenizer.ggml.add_bos_token": B(1)})
        for path, word in ((swapped, "vocabulary"), (merges, "tokenizer"), (bos, "tokenizer")):
            message = self.message("--reference", self.exact, "-f", self.text, "-c", WINDOW, self.small, path)
            self.assertIn(path, message)
            self.assertIn(f"another {word}", message)

    def test_files(self):
        good = ["--reference", self.exact, "-f", self.text, "-c", WINDOW]
        for path in (self.path("none"), self.folder.name, self.file("no", "model"), self.make("vocab.gguf", weights=False)):
            for args in ([*good, self.small, path], ["--reference", path, "-f", self.text, self.small]):
                self.assertIn(path, self.message(*args))
        self.assertIn("none.txt", self.message("--reference", self.exact, "-f", self.path("none.txt"), self.small))
        self.assertIn("too short", self.message(*good, self.small, "-f", self.file("one", "a")))
        self.assertIn("no text", self.message(*good, self.small, "-f", self.file("nothing", "")))
        self.assertIn("too short", self.message("--reference", self.exact, self.small, stdin=b"a few words"))

    def test_reports_overwrite_nothing(self):
        good = ["--reference", self.exact, "-f", self.text, "-c", WINDOW, self.small]
        def small():
            with open(self.small, "rb") as f:
                return f.read()

        before = small()
        for path in (self.small, self.exact, self.text):
            self.assertIn("itself", self.message(*good, "--json", path))
        link = self.path("link.gguf")
        os.symlink(self.small, link)
        self.assertIn("is the model itself", self.message(*good, "--html", link))
        for other in ("same", "./same", "../" + os.path.basename(self.folder.name) + "/same"):
            self.assertIn("is the JSON report itself", self.message(*good, "--html", self.path(other), "--json", self.path("same")))
        self.assertIn("nowhere", self.message(*good, "--json", self.path("nowhere/x.json")))
        self.assertIn("Is a directory", self.message(*good, "--json", self.folder.name))
        os.symlink(self.path("behind"), self.path("dangling"))
        self.assertIn("No such file", self.message(*good, "--json", self.path("dangling")))
        self.assertEqual(small(), before)
        self.assertFalse(os.path.exists(self.path("same")))
        self.message("--reference", self.exact, "-f", self.path("none.txt"), self.small, "--json", self.path("left.json"))
        self.assertFalse(os.path.exists(self.path("left.json")))

    def test_full_disk(self):
        r = slm("compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--no-speed", self.small, "--json", "/dev/full")
        self.assertEqual(r.code, 1)
        self.assertIn("/dev/full", r.message)
        r = slm("compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--no-speed", self.small, "--json", "/dev/null", "--html", "/dev/null")
        self.assertEqual((r.code, r.message), (0, ""))  # there is nothing to be lost in a device

    def test_special_tokens_are_text(self):
        """Unless they are asked for: 12 bytes each, or one token."""
        text = self.file("chat.txt", "<|im_start|>" * 70)
        for args, n in (([], 12 * 70), (["--parse-special"], 70)):
            report = self.path("special.json")
            self.good("compare", "--reference", self.exact, "-f", text, "-c", WINDOW, "--no-speed", self.small, "--json", report, *args)
            with open(report, encoding="utf-8") as f:
                self.assertEqual(json.load(f)["n_tokens"], n)

    def test_report_that_is_replaced(self):
        """It keeps its permissions, and links to it their place; one that may not be written stays."""
        os.mkdir(self.path("reports"))
        old, link = self.path("reports/old.json"), self.path("reports/link.json")
        with open(old, "w", encoding="utf-8") as f:
            f.write("old")
        os.chmod(old, 0o606)
        os.symlink("old.json", link)
        run = ["compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--no-speed", self.small, "--json", link]
        self.assertEqual(slm(*run).code, 0)
        with open(old, encoding="utf-8") as f:
            json.load(f)
        self.assertEqual(os.stat(old).st_mode & 0o777, 0o606)
        self.assertTrue(os.path.islink(link))
        self.assertEqual(sorted(os.listdir(self.path("reports"))), ["link.json", "old.json"])
        new = self.path("reports/new.json")
        self.assertEqual(slm(*run[:-1], new, preexec_fn=lambda: os.umask(0o027)).code, 0)
        self.assertEqual(os.stat(new).st_mode & 0o777, 0o640)
        if os.geteuid() != 0:  # who may all
            os.chmod(new, 0o400)
            self.assertIn("cannot write", self.message(*run[1:-1], new))

    def test_reports_that_can_be_written_are(self):
        """Also behind one that cannot, and of that nothing is left but what there was before."""
        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # bytes; enough for all but the page

        paths = {kind: self.path("some." + kind) for kind in ("json", "html", "markdown")}
        reports = [x for kind, path in paths.items() for x in ("--" + kind, path)]
        with open(paths["html"], "w", encoding="utf-8") as f:
            f.write("old")
        before = set(os.listdir(self.folder.name))
        r = slm("compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--no-speed", self.small, *reports, preexec_fn=limited,
                restore_signals=False)  # Python ignores SIGXFSZ
        self.assertEqual(r.code, 1)
        self.assertIn(paths["html"], r.message)
        with open(paths["html"], encoding="utf-8") as f:
            self.assertEqual(f.read(), "old")
        self.assertEqual(set(os.listdir(self.folder.name)) - before, {"some.json", "some.markdown"})
        for kind in ("json", "markdown"):
            self.assertGreater(os.path.getsize(paths[kind]), 1000)
        for other in ("json", "markdown"):
            page = self.path(other + ".html")
            r = slm("compare", "--reference", self.exact, "-f", self.text, "-c", WINDOW, "--no-speed", self.small, "--" + other, "/dev/full", "--html", page)
            self.assertEqual(r.code, 1)
            with open(page, encoding="utf-8") as f:
                self.assertTrue(f.read().rstrip().endswith("</html>"))


class Progress(terminal.Case, Compare):
    def test_bar_and_interrupt(self):
        text = self.file("long", TEXT * 2000)
        new, old = self.path("interrupted.json"), self.file("old.md", "kept")
        self.run_on_terminal(["compare", "--reference", self.exact, "-f", text, self.small, "--cpu", "c", "--json", new, "--markdown", old])
        self.expect(b"comparing [")
        self.expect(b"%")
        os.write(self.fd, b"\x03")
        self.assertEqual(self.end(how=None), 130)
        self.assertFalse(os.path.exists(new))
        with open(old, encoding="utf-8") as f:
            self.assertEqual(f.read(), "kept")
        self.assertNotIn(b"KL divergence", self.seen)


if __name__ == "__main__":
    unittest.main()
