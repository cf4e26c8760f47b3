"""The grammars that llama.cpp comes with are read as they are, and fit what their authors mean. tests/get-peer-data.sh fetches them; without
network these tests are skipped."""
import glob
import os
import subprocess
import unittest

from program import ROOT, TIMEOUT
from schema_case import Driver

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


class PeerGrammars(unittest.TestCase):
    def test_texts(self):
        r = subprocess.run([os.path.join(ROOT, "tests", "get-peer-data.sh")], capture_output=True, text=True, timeout=TIMEOUT)
        if r.returncode == 77:
            self.skipTest("the grammars could not be fetched: " + r.stderr)
        self.assertEqual(r.returncode, 0, r.stderr)
        paths = sorted(glob.glob(os.path.join(r.stdout.strip(), "..", "grammars", "*.gbnf")))
        self.assertEqual([os.path.basename(p)[:-5] for p in paths], sorted(TEXTS))
        driver = Driver()
        self.addCleanup(driver.close)
        for path in paths:
            name = os.path.basename(path)[:-5]
            with self.subTest(name), open(path, "rb") as f:
                grammar = f.read()
                self.assertEqual(driver.ask(f"gbnf {len(grammar)}", grammar).strip(), "SLM_OK")
                for want, texts in zip("10", TEXTS[name]):
                    for text in map(str.encode, texts):
                        self.assertEqual(driver.ask(f"fits {len(text)}", text), want, text)


if __name__ == "__main__":
    unittest.main()
