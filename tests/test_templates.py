"""Chat templates of real models and random ones: the same text as jinja2 set up as transformers does, or an error in both.

Needs `pip install jinja2`. The real templates are the peer's (tests/get-peer-data.sh, fetched once), those of its vocabularies, and those of the
models in models/.
"""
import glob
import json
import os
import subprocess
import sys
import unittest

from program import O, ROOT, SANITIZED, slm
import tiny_model

try:
    import jinja2  # noqa: F401

    import jinja_oracle
    from conversations import CONVERSATIONS
    import random_templates
except ImportError as e:
    print(f"no Python package {e.name}: nothing is compared with it", file=sys.stderr)
    sys.exit(77)

N_RANDOM = 600 if SANITIZED else 4000
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}


def variables_of(conversation):
    return {**TOKENS, "tools": None, "documents": None, "add_generation_prompt": True, **conversation}


def template_of(path):
    """The chat templates in a GGUF file, by key."""
    out = {}
    r = slm("inspect", path, "--json")
    if r.code:
        return out
    for key in json.loads(r.out)["keys"]:
        if key["name"].startswith("tokenizer.chat_template") and isinstance(key.get("value"), str):
            out[key["name"]] = key["value"]
    return out


class Templates(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.library = jinja_oracle.Library(O, os.path.join(ROOT, "tests", "data", "tok", "smollm.gguf"))

    @classmethod
    def tearDownClass(cls):
        assert cls.library.close() == 0

    def compare(self, name, template, variables):
        want, got = jinja_oracle.oracle(template, variables), self.library.render(template, variables)
        if not jinja_oracle.same(want, got):
            self.fail(f"{name}\n  jinja2  {want!r:.1500}\n  library {got!r:.1500}")
        return want[1] is None

    def all_conversations(self, name, template):
        rendered = [self.compare(f"{name}: {c}", template, variables_of(v)) for c, v in CONVERSATIONS.items()]
        return sum(rendered)

    def test_templates_of_models(self):
        paths = sorted(glob.glob(os.path.join(ROOT, "models", "*.gguf")))
        found = {f"{os.path.basename(p)} {k}": t for p in paths for k, t in template_of(p).items()}
        found["tiny"] = tiny_model.CHATML
        for name, template in found.items():
            self.all_conversations(name, template)

    def test_templates_of_the_peer(self):
        r = subprocess.run([os.path.join(ROOT, "tests", "get-peer-data.sh")], capture_output=True, text=True)
        if r.returncode == 77:
            self.skipTest("the templates could not be fetched")
        self.assertEqual(r.returncode, 0, r.stderr)
        folder = r.stdout.strip()
        paths = sorted(glob.glob(os.path.join(folder, "templates", "*.jinja")))
        self.assertGreater(len(paths), 60)
        rendered = 0
        for p in paths:
            with open(p, encoding="utf-8", newline="") as f:
                rendered += self.all_conversations(os.path.basename(p), f.read())
        for p in sorted(glob.glob(os.path.join(folder, "ggml-vocab-*.gguf"))):
            for key, template in template_of(p).items():
                if "{" in template:
                    rendered += self.all_conversations(f"{os.path.basename(p)} {key}", template)
        self.assertGreater(rendered, 2400)

    def test_random_templates(self):
        rendered = left_out = 0
        for seed in range(N_RANDOM):
            template, variables = random_templates.case(seed)
            want, got = jinja_oracle.oracle(template, variables, jinja_oracle.EAGER), self.library.render(template, variables)
            rendered += want[1] is None and got[1] is None
            if jinja_oracle.same(want, got):
                continue
            if not random_templates.expected_to_differ(template, want, got):
                self.fail(f"seed {seed}: {template!r}\n  jinja2  {want!r:.1500}\n  library {got!r:.1500}")
            left_out += 1
        print(f"{N_RANDOM} random templates: both rendered {rendered}, {left_out} left out", file=sys.stderr)
        self.assertGreater(rendered, N_RANDOM * 3 // 8)
        self.assertLess(left_out, N_RANDOM // 100)


if __name__ == "__main__":
    unittest.main()
