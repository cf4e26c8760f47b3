"""slm perplexity from outside: against the definition, written once more here over `slm logprobs`, and SmolLM2 against llama.cpp."""
import json
import math
import os
import re
import unittest

import terminal
import test_smollm2
from program import ROOT, SANITIZED, Case, levels, slm
from tiny_model import N_CTX, N_VOCAB, B, U

KEYS = ["perplexity", "standard_error", "nll_per_token", "bits_per_byte", "n_tokens", "n_scored", "n_windows", "window", "stride",
        "seconds", "tokens_per_second"]
NUMBERS = KEYS[:6]
TEXT = "".join(f"{i}: the {'quick brown fox and that dog'[i % 23:]}\n" for i in range(15))[:-1]
BOS = 1


def halves(tokens, bos, size):
    """[(tokens of a window, its first scored position)] as llama-perplexity has them: the tokens of the text with BOS in front, cut
    into windows; BOS then takes the place of each window's first token."""
    if bos is not None:
        tokens = [bos, *tokens]
    out = []
    for begin in range(0, len(tokens) - size + 1, size):
        window = tokens[begin : begin + size]
        if bos is not None:
            window[0] = bos
        out.append((window, size // 2 + 1))
    return out


def strides(tokens, bos, size, stride):
    """Every token once, in a window that ends where the next `stride` of them end."""
    front = [] if bos is None else [bos]
    room = size - len(front)
    out, done = [(front + tokens[:room], 1)], room
    while done < len(tokens):
        more = min(stride, len(tokens) - done)
        begin = done + stride - room
        out.append((front + tokens[begin : done + more], len(front) + done - begin))
        done += more
    return out


class Perplexity(Case):
    def setUp(self):
        self.with_bos = self.make("bos.gguf", {"tokenizer.ggml.add_bos_token": B(1)})

    def measure(self, text, *args, model=None):
        r = self.good("perplexity", "-m", model or self.model, "-f", "-", "--json", *args,
                      stdin=text if isinstance(text, bytes) else text.encode())
        self.assertEqual(r.text.count("\n"), 1)
        got = json.loads(r.text)
        self.assertEqual(list(got), KEYS)
        return got

    def tokens(self, text, model):
        return [int(i) for i in self.good("tokenize", "-m", model, "--no-bos", stdin=text.encode()).text.split()]

    def expected(self, text, windows, model, *args):
        """By the distributions behind every token of every window, each window alone."""
        ids = "".join(" ".join(map(str, w)) + "\n" for w, _ in windows)
        r = self.good("logprobs", "-m", model, "--ids", "-", "--top", N_VOCAB, *args, stdin=ids.encode())
        names = dict(re.findall(r'(?m)^(\d+)\t(".*")$', self.good("tokenize", "-m", model, "--no-bos", "--text", stdin=text.encode()).text))
        nll, n_bytes = [], 0
        for line, (window, first) in zip(r.text.splitlines(), windows, strict=True):
            top = json.loads(line)["top"]
            for at in range(first, len(window)):
                nll.append(-dict(top[at - 1])[window[at]])
                n_bytes += len(json.loads(names[str(window[at])]))  # ASCII
        n = len(nll)
        mean = math.fsum(nll) / n
        deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in nll) / (n - 1)) if n > 1 else math.nan
        return {"perplexity": math.exp(mean), "standard_error": math.exp(mean) * deviation / math.sqrt(n) if n > 1 else None,
                "nll_per_token": mean, "bits_per_byte": mean * n / math.log(2) / n_bytes, "n_scored": n, "n_windows": len(windows)}

    def check(self, text, model, size, stride=None, *args):
        bos = BOS if model == self.with_bos else None
        tokens = self.tokens(text, model)
        windows = halves(tokens, bos, size) if stride is None else strides(tokens, bos, size, stride)
        want = self.expected(text, windows, model, *args)
        got = self.measure(text, "-c", size, *(["--stride", stride] if stride else []), *args, model=model)
        self.assertEqual((got["n_tokens"], got["window"], got["stride"]), (len(tokens), size, stride))
        for key, value in want.items():
            if value is None:
                self.assertIsNone(got[key], key)
            else:
                self.assertAlmostEqual(got[key] / value, 1, delta=1e-7, msg=(key, size, stride))
        return got


class Numbers(Perplexity):
    def test_halves(self):
        for model in (self.model, self.with_bos):
            for size in (4, 5, 31, 64, 200):
                got = self.check(TEXT, model, size)
                self.assertEqual(got["n_scored"], got["n_windows"] * (size - size // 2 - 1))

    def test_strides(self):
        for model in (self.model, self.with_bos):
            for size, stride in ((4, 1), (4, 3), (32, 7), (64, 63), (65, 32), (200, 199), (5000, 3)):
                got = self.check(TEXT, model, size, stride)
                self.assertEqual(got["n_scored"], got["n_tokens"] - (model == self.model))  # all that have something before them

    def test_modes(self):
        """Of arithmetic, with either kind of windows."""
        results = {self.check(TEXT, self.with_bos, 64, stride, *mode)["nll_per_token"]
                   for stride in (None, 16) for mode in ([], ["--reference", "--kv", "f32"], ["--kv", "q8_0"])}
        self.assertEqual(len(results), 6)

    def test_one_window_and_one_token_more(self):
        text = "qxz19 QXZ" * 3  # a token each byte
        for model, n in ((self.model, len(text)), (self.with_bos, len(text) + 1)):
            for size, n_windows in ((n, 1), (n - 1, 1), (n // 2, 2), (n // 2 + 1, 1)):
                self.assertEqual(self.check(text, model, size)["n_windows"], n_windows)
            for size, n_windows in ((n, 1), (n + 1, 1), (n - 1, 2), (n - 3, 2), (n - 4, 3)):
                self.assertEqual(self.check(text, model, size, 3)["n_windows"], n_windows)
            self.assertIn("too short", self.fails("perplexity", "-m", model, "-f", "-", "-c", n + 1, stdin=text.encode()).message)

    def test_one_token(self):
        """It has no standard error."""
        for args in (["-c", 4], ["--stride", 3]):
            for model, text in ((self.model, "qxzq" if args[0] == "-c" else "qx"), (self.with_bos, "qxz" if args[0] == "-c" else "q")):
                got = self.measure(text, *args, model=model)
                self.assertEqual((got["n_scored"], got["standard_error"]), (1, None))
                r = self.good("perplexity", "-m", model, "-f", "-", *args, stdin=text.encode())
                self.assertNotIn("+/-", r.text)

    def test_last_newline(self):
        want = self.measure("qxz 19", "--stride", 7)
        self.assertEqual([self.measure("qxz 19\n", "--stride", 7)[k] for k in NUMBERS], [want[k] for k in NUMBERS])
        self.assertEqual(self.measure("qxz 19\n\n", "--stride", 7)["n_tokens"], 7)

    def test_any_bytes(self):
        self.assertEqual(self.measure(b"\xff\xfe\xc3(\0\r\n\xf0", "-c", 4)["n_windows"] > 0, True)

    def test_special_tokens_are_text(self):
        """Unless they are asked for. A user-defined one, of which this model has none, is a token always."""
        text = "a<|im_end|>b"
        self.assertEqual(self.measure(text, "--stride", 5)["n_tokens"], 12)
        self.assertEqual(self.measure(text, "--stride", 2, "-c", 4, "--parse-special")["n_tokens"], 3)

    def test_same_digits(self):
        """However it is computed, and whatever windows were computed at the same time."""
        text = TEXT * (2 if SANITIZED else 8)
        for windows in (["-c", 64], ["-c", 33, "--stride", 9]):
            wanted = {k: v for k, v in self.measure(text, *windows).items() if k not in ("seconds", "tokens_per_second")}
            for level, threads in [(level, 1) for level in levels()] + [(levels()[-1], 3), (levels()[0], 7)]:
                got = self.measure(text, *windows, "--cpu", level, "-t", threads)
                self.assertEqual({k: got[k] for k in wanted}, wanted, (windows, level, threads))

    def test_plain(self):
        r = self.good("perplexity", "-m", self.model, "-f", "-", "-c", 64, "--stride", 16, stdin=TEXT.encode())
        got = self.measure(TEXT, "-c", 64, "--stride", 16)
        lines = r.text.splitlines()
        self.assertEqual(lines[0], f"perplexity     {got['perplexity']:.4f} +/- {got['standard_error']:.4f}")
        self.assertRegex(lines[1], rf"\Anll per token  {got['nll_per_token']:.5f} \+/- \d\.\d{{5}}\Z")
        self.assertEqual(lines[2], f"bits per byte  {got['bits_per_byte']:.4f}")
        self.assertEqual(lines[3], f"scored         {got['n_scored']} of {got['n_tokens']} tokens, in {got['n_windows']} windows of 64, 16 apart")
        self.assertRegex(lines[4], r"\Aspeed          [\d.]+ tokens/s, \d+ in [\d.]+ s\Z")
        self.assertEqual(len(lines), 5)

    def test_longer_than_trained(self):
        """A remark, and a figure."""
        short = self.make("short.gguf", {"llama.context_length": U(40)})
        r = slm("perplexity", "-m", short, "-f", "-", "-c", 64, "--json", stdin=TEXT.encode())
        self.assertEqual((r.code, r.message), (0, "slm: 64 tokens: the model was trained for 40\n"))
        self.assertEqual(json.loads(r.text)["perplexity"], self.measure(TEXT, "-c", 64)["perplexity"])
        self.assertLess(64, N_CTX)


class Faults(Perplexity):
    def test_usage(self):
        m = ["-m", self.model, "-f", "-"]
        for args, word in (([], "-m MODEL"), (["-m", self.model], "-f TEXT"), (m + ["x"], "unexpected"), (m + ["-c", 3], "whole number"),
                           (m + ["-c", 0], "whole number"), (m + ["--stride", 0], "whole number"), (m + ["--stride", 512], "512 tokens"),
                           (m + ["-c", 8, "--stride", 9], "8 tokens"), (m + ["--cpu", "mmx"], "has: c")):
            r = slm("perplexity", *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertIn(word, r.message, args)

    def message(self, *args, **more):
        return self.fails("perplexity", "-m", self.model, *args, **more).message

    def test_texts(self):
        self.assertIn("No such file", self.message("-f", self.path("none")))
        self.assertIn("directory", self.message("-f", self.folder.name))
        self.assertIn("/proc/self/mem", self.message("-f", "/proc/self/mem"))
        for data in ("", "\n"):
            path = self.file("text", data)
            for more in ([], ["--stride", 4]):
                self.assertIn(f"{path}: no text in it", self.message("-f", path, *more))
        self.assertIn("standard input: too short, 3 tokens, and a window has 512", self.message("-f", "-", stdin=b"qxz"))
        self.assertIn("nothing before it", self.message("-f", "-", "--stride", 9, stdin=b"q"))

    def test_models(self):
        text = self.file("text", TEXT)
        for path in (self.path("none"), self.folder.name, self.file("no", "model"), self.make("vocab.gguf", weights=False)):
            self.fails("perplexity", "-m", path, "-f", text)
        self.assertIn("cannot open", self.message("-f", text, "-c", 8, "--lora", self.path("none")))


class Progress(terminal.Case, Perplexity):
    def test_bar_and_interrupt(self):
        text = self.file("long", TEXT * 2000)
        self.run_on_terminal(["perplexity", "-m", self.model, "-f", text, "-c", 256, "--cpu", "c"])
        self.expect(b"computing [")
        self.expect(b"%")
        os.write(self.fd, b"\x03")
        self.assertEqual(self.end(how=None), 130)


@unittest.skipIf(SANITIZED, "the model takes minutes under sanitizers")
class SmolLM2(test_smollm2.Case):
    """GOLDEN is what llama.cpp (as in llama-cpp-python 0.3.36) gives for tests/data/long_text.txt and the same weights in f32:

        llama-quantize --allow-requantize SmolLM2-135M-Instruct.Q4_1.gguf f32.gguf F32
        llama-perplexity -m f32.gguf -f tests/data/long_text.txt -c WINDOW -fa off -ctk f32 -ctv f32
    """

    GOLDEN = {128: (41.9280, 5.25862), 512: (33.7001, 4.02741)}  # window: (perplexity, standard error)

    def measure(self, *args):
        r = self.good("perplexity", "-m", test_smollm2.MODEL, "-f", os.path.join(ROOT, "tests", "data", "long_text.txt"), "--json", *args)
        return json.loads(r.text)

    def test_llama_cpp(self):
        for window, (perplexity, error) in self.GOLDEN.items():
            got = self.measure("-c", window, "--reference", "--kv", "f32")
            self.assertAlmostEqual(got["perplexity"] / perplexity, 1, delta=1e-3)
            self.assertAlmostEqual(got["standard_error"] / error, 1, delta=1e-3)
            usual = self.measure("-c", window)
            self.assertNotEqual(usual["perplexity"], got["perplexity"])
            self.assertAlmostEqual(usual["perplexity"] / perplexity, 1, delta=0.02)  # activations in 8 bits

    def test_same_digits(self):
        """With more rows of logits than are held at a time."""
        one, three = (self.measure("-c", 500, "--stride", 300, "-t", t) for t in (1, 3))
        self.assertEqual([one[k] for k in NUMBERS], [three[k] for k in NUMBERS])


if __name__ == "__main__":
    unittest.main()
