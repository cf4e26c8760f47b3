"""slm complete from outside: the tokens of filling in the middle, by key or by their texts, and nothing but the middle on stdout."""
import json
import unittest

from program import Case, slm
import tiny_model
from tiny_model import A, I32, S, STRING, U

NAMES = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
ARGS = ["--temp", "0", "-n", "9"]


def with_tokens(texts, keys=None):
    """The tiny model's keys with its first three one-letter tokens of bytes above 0xF0 (never in a text) called so."""
    names = tiny_model.tokens()
    kinds = [3] * len(tiny_model.SPECIAL) + [1] * (len(names) - len(tiny_model.SPECIAL))
    ids = [len(tiny_model.SPECIAL) + b for b in (0xF5, 0xF6, 0xF7)]
    for i, text in zip(ids, texts):
        names[i], kinds[i] = text, 3
    changed = {"tokenizer.ggml.tokens": A(STRING, names), "tokenizer.ggml.token_type": A(I32, kinds)}
    for key, i in zip(keys or [], ids):
        changed["tokenizer.ggml." + key] = U(i)
    return changed, ids


class Complete(Case):
    def complete(self, model, prefix, suffix, *args):
        return self.good("complete", "-m", model, "--prefix", self.file("before", prefix), "--suffix", self.file("behind", suffix),
                         *ARGS, *args).out

    def tokens(self, model, text):
        return [int(i) for i in self.good("tokenize", "-m", model, stdin=text.encode()).text.split()]

    def test_the_middle_is_what_the_tokens_ask_for(self):
        """The most probable tokens behind these ids, by `slm logprobs`."""
        ways = [(NAMES, None), (["<x1>", "<x2>", "<x3>"], ["fim_pre_token_id", "fim_suf_token_id", "fim_mid_token_id"]),
                (["<x1>", "<x2>", "<x3>"], ["prefix_token_id", "suffix_token_id", "middle_token_id"])]
        outputs = set()
        for texts, keys in ways:
            changed, (pre, suf, mid) = with_tokens(texts, keys)
            model = self.make("fim.gguf", changed)
            ids = [pre, *self.tokens(model, "int x"), suf, *self.tokens(model, "; <|im_end|>"), mid]
            r = self.good("logprobs", "-m", model, "--ids", self.file("ids", " ".join(map(str, ids))), "--greedy", 9, "--top", 0)
            want = b"".join(map(bytes_of, json.loads(r.text)["greedy"]))
            self.assertEqual(self.complete(model, "int x", "; <|im_end|>"), want.decode(errors="replace").encode())
            outputs.add(want)
        self.assertEqual(len(outputs), 1)

    def test_standard_input_and_no_suffix(self):
        model = self.make("fim.gguf", with_tokens(NAMES)[0])
        out = self.complete(model, "abc", "")
        self.assertEqual(self.good("complete", "-m", model, *ARGS, stdin=b"abc").out, out)
        self.assertEqual(self.good("complete", "-m", model, "--prefix", "-", *ARGS, "--lookup", "0", stdin=b"abc").out, out)

    def test_models_without_such_tokens(self):
        self.assertIn("fim_pre_token_id", self.fails("complete", "-m", self.model, stdin=b"x").message)
        model = self.make("half.gguf", with_tokens(NAMES[:2])[0])
        self.assertIn("fim_mid_token_id", self.fails("complete", "-m", model, stdin=b"x").message)

    def test_usage_and_files(self):
        self.assertEqual(slm("complete").code, 2)
        self.fails("complete", "-m", self.model, "--prefix", self.path("missing"))


def bytes_of(token):
    table = {c: b for b, c in enumerate(tiny_model.byte_characters())}
    return bytes(table[c] for c in tiny_model.tokens()[token])


if __name__ == "__main__":
    unittest.main()
