"""Schemas as people write them (tests/data/schemas.json, made for this test): what they say fits, fits; what they say fails, does not; and what
is generated is valid, from the grammar's definition and through the masks of a vocabulary. $SCHEMA_GENERATE is the number of texts of each kind
for each schema (default: 50; `make schemas`: 1000)."""
import json
import os
import re
import unittest

from program import ROOT
from schema_case import COMPACT, FREE, PYTHON, Case, dump, validator

GENERATE = int(os.environ.get("SCHEMA_GENERATE", 50))

with open(os.path.join(ROOT, "tests", "data", "schemas.json"), encoding="utf-8") as f:
    SCHEMAS = json.load(f)


class Examples(Case):
    def test_there_are_enough(self):
        self.assertGreaterEqual(len(SCHEMAS), 60)
        self.assertEqual(len({s["name"] for s in SCHEMAS}), len(SCHEMAS))

    def test_what_fits(self):
        for s in SCHEMAS:
            v = validator(s["schema"])
            for spacing in (PYTHON, COMPACT, FREE):
                self.good(s["schema"], spacing=spacing)
                for value in s["fits"]:
                    self.assertTrue(v.is_valid(value), (s["name"], value))
                    self.assertTrue(self.driver.accepts(dump(value, spacing)), (s["name"], value))
                for value in s["fails"]:
                    self.assertFalse(self.driver.accepts(dump(value, spacing)), (s["name"], value))

    def test_generated_texts_are_valid(self):
        for s in SCHEMAS:
            for opened in (False, True):
                self.good(s["schema"], opened=opened)
                for text in self.check_generated(s["schema"], GENERATE, wanted=300):
                    if opened is False and len(text) < 300:
                        self.assertTrue(self.driver.accepts(text), (s["name"], text))
                self.assertGreater(len(self.check_generated(s["schema"], GENERATE, wanted=300, how="write")), 0.95 * GENERATE, s["name"])


class Documentation(Case):
    """docs/json-schema.md: each schema in it compiles and fits the text below it, or gives the error below it."""

    def test_examples(self):
        with open(os.path.join(ROOT, "docs", "json-schema.md"), encoding="utf-8") as f:
            text = f.read()
        pairs = re.findall(r"```json schema\n(.*?)```\n+(?:[^`]*?\n)??```(text|error)\n(.*?)\n```", text, flags=re.S)
        self.assertGreaterEqual(len(pairs), 8)
        self.assertEqual(len(pairs), text.count("```json schema"))
        for schema, kind, wanted in pairs:
            status, message = self.driver.schema(schema.encode())
            if kind == "error":
                self.assertEqual(f"{status}: {message}", wanted)
                continue
            self.assertEqual(status, "SLM_OK", message)
            for line in wanted.split("\n"):
                self.assertTrue(self.driver.accepts(line), (schema, line))
                self.assertTrue(validator(json.loads(schema)).is_valid(json.loads(line)), line)

    def test_grammar(self):
        """docs/structured-output.md: its grammar fits what it says."""
        with open(os.path.join(ROOT, "docs", "structured-output.md"), encoding="utf-8") as f:
            grammar = "".join(re.findall(r"^    ((?:#|\w+ +::=).*\n)", f.read(), flags=re.M)).encode()
        self.assertEqual(grammar.count(b"::="), 4)  # and answer.gbnf
        grammar = grammar[:grammar.rindex(b"root")]
        self.assertEqual(self.driver.ask(f"gbnf {len(grammar)}", grammar).strip(), "SLM_OK")
        for text, fits in (('{"name": "Zo\u00eb \\"B\\"","age":7}', True), ('{"name": "", "age": 7}', False), ('{"name": "B", "age": 07}', False)):
            self.assertEqual(self.driver.ask(f"fits {len(text.encode())}", text.encode()), str(int(fits)), text)


if __name__ == "__main__":
    unittest.main()
