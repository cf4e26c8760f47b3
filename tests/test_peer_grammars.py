"""The grammars that llama.cpp comes with are read as they are, and fit what their authors mean; what its own tests of grammars and schemas
accept and refuse is accepted and refused. tests/get-peer-data.sh fetches both; without network these tests are skipped."""
import glob
import json
import os
import re
import subprocess
import unittest

from program import ROOT, TIMEOUT
from schema_case import FREE, Driver

# by hand: texts that fit, and such as do not (some are only begun)
TEXTS = {
    "arithmetic": (["a+b=3\n", "(1 +x) *2 = 7\nx_1=(y)\n"], ["a+b=3", "1+=2\n", "a=b+c\n", ""]),
    "c": (["", "int main(){return 0;}", "int f(float x){while(x<3){g (x);}}char g(){/* * */// x\n}"], ["int main(){return 0}", "main(){}", "int"]),
    "chess": (["1. e4 e5\n2. Nf3 Nc6\n", "1. O-O exd8=Q+\n10. Bb5 a6#\n"], ["1. e4 e5\n", "1. e9 e5\n2. a4 a5\n", "2. e4 e5\n3. a4 a5\n"]),
    "english": (["Hello world!", "[x]\\y\n-z"], ["", "a  b", "caf\u00e9", " a"]),
    "japanese": (["\u3053\u3093\u306b\u3061\u306f \u4e16\u754c\u3002", "\u30ab"], ["", "a", "\u30ab  \u30ab"]),
    "json": (['{"a": 1}', '{"a": [1, -2.5e3, "x\\n\\u00e9\u00e9"], "b": {"c": null}}', "{}"],
             ["[1]", "{a: 1}", '{"a": 01}', '{"a": 1,}', '{"a": "\n"}', '{"a": "\\x"}', '{"a"']),
    "json_arr": (['[\n1,\n"a"]', "[\n]", "[\n{},\n[[]]]"], ["[1]", "[\n1,]", "{}"]),
    "list": (["- a\n- b \u00e9\n"], ["", "- \n", "* a\n", "- a", "- a\u2028\n", "- a\u0085\n"]),
}

WORDS = re.compile(r'R"(?P<mark>[^("]*"*)\((?P<raw>.*?)\)(?P=mark)"|"(?P<plain>(?:\\.|[^"\\])*)"|\btoken\((?P<id>\d+)\)|//[^\n]*|(?P<word>\w+|[^\s\w])', re.S)


def words_of(source):
    """C++ as a list of (is a string, bytes); `token(7)` is a string too: the byte ff and the number in 4 bytes, as the peer has it."""
    for m in WORDS.finditer(source):
        if m["raw"] is not None:
            yield True, m["raw"].encode()
        elif m["plain"] is not None:
            yield True, m["plain"].encode().decode("unicode_escape").encode("latin-1")
        elif m["id"]:
            yield True, b"\xff" + int(m["id"]).to_bytes(4, "big")
        elif m["word"]:
            yield False, m["word"].encode()


def arguments(words, at):
    """Of the call whose "(" is word number `at`: strings, and lists of strings; what else there is, is passed over."""
    found, text, inside = [], None, None
    for is_string, word in words[at + 1:]:
        if is_string:
            text = (text or b"") + word
        elif word in b",})":
            if text is not None:
                (found if inside is None else inside).append(text)
            text = None
            if word == b"}":
                found.append(inside)
                inside = None
            elif word == b")":
                return found
        elif word == b"{":
            inside = []
    raise AssertionError("a call without an end")


class PeerGrammars(unittest.TestCase):
    def setUp(self):
        r = subprocess.run([os.path.join(ROOT, "tests", "get-peer-data.sh")], capture_output=True, text=True, timeout=TIMEOUT)
        if r.returncode == 77:
            self.skipTest("the grammars could not be fetched: " + r.stderr)
        self.assertEqual(r.returncode, 0, r.stderr)
        self.folder = os.path.join(r.stdout.strip(), "..")
        self.driver = Driver()
        self.addCleanup(self.driver.close)

    def gbnf(self, grammar):
        return self.driver.ask(f"gbnf {len(grammar)}", grammar).strip()

    def fits(self, text):
        return self.driver.ask(f"fits {len(text)}", text) == "1"

    def calls(self, file, name):
        with open(os.path.join(self.folder, "tests", file), encoding="utf-8") as f:
            words = list(words_of(f.read()))
        for i, word in enumerate(words):
            if word == (False, name.encode()) and words[i + 1] == (False, b"(") and words[i + 2][0]:
                yield arguments(words, i + 1)

    def test_texts(self):
        paths = sorted(glob.glob(os.path.join(self.folder, "grammars", "*.gbnf")))
        self.assertEqual([os.path.basename(p)[:-5] for p in paths], sorted(TEXTS))
        for path in paths:
            name = os.path.basename(path)[:-5]
            with self.subTest(name), open(path, "rb") as f:
                self.assertEqual(self.gbnf(f.read()), "SLM_OK")
                for want, texts in zip((True, False), TEXTS[name]):
                    for text in map(str.encode, texts):
                        self.assertEqual(self.fits(text), want, text)

    def test_cases_of_the_peer(self):
        n = 0
        for name, grammar, good, bad in self.calls("test-grammar-integration.cpp", "test_grammar"):
            with self.subTest(name):
                self.assertEqual(self.gbnf(grammar), "SLM_OK")
                n += len(good) + len(bad)
                self.assertEqual([t for t in good if not self.fits(t)], [])
                self.assertEqual([t for t in bad if self.fits(t)], [])
        self.assertGreater(n, 130)

    def test_grammars_that_the_peer_parses(self):
        """It has no counts above 2,000."""
        parsed = [a[0] for a in self.calls("test-grammar-parser.cpp", "verify_parsing")]
        failing = [a[0] for a in self.calls("test-grammar-parser.cpp", "verify_failure")]
        self.assertGreater(len(parsed), 10)
        self.assertGreater(len(failing), 5)
        for grammar in parsed:
            self.assertEqual(self.gbnf(grammar), "SLM_OK", grammar)
        for grammar in failing:
            self.assertEqual(self.gbnf(grammar) == "SLM_OK", re.search(rb"\{[\d,]*5000", grammar) is not None, grammar)

    def test_schemas_of_the_peer(self):
        """Spaces are free, as it has them. What the schemas ask beyond draft 2020-12 or what is supported is taken out."""
        n = 0
        for name, schema, good, bad in self.calls("test-grammar-integration.cpp", "test_schema"):
            with self.subTest(name, schema=schema):
                status, message = self.driver.schema(schema, spacing=FREE)
                if b"uniqueItems" in schema:
                    self.assertEqual(message, 'schema, #/properties/tags/uniqueItems: "uniqueItems" is not supported')
                    schema = json.loads(schema)
                    del schema["properties"]["tags"]["uniqueItems"]
                elif message.startswith("schema, #/items: expected a schema"):
                    schema = json.loads(schema)
                    schema = {"prefixItems": schema["items"], "minItems": len(schema["items"])}
                if status != "SLM_OK":
                    self.assertEqual(self.driver.schema(schema, spacing=FREE)[0], "SLM_OK")
                n += len(good) + len(bad)
                self.assertEqual([t for t in good if not self.driver.accepts(t)], [])
                # integers have 18 digits here, 16 there
                self.assertEqual([t for t in bad if self.driver.accepts(t) and t != b"12345678900000000"], [])
        self.assertGreater(n, 240)


if __name__ == "__main__":
    unittest.main()
