"""The official tests of JSON Schema, draft 2020-12 (tests/get-json-schema-suite.sh fetches them).

Each schema becomes a grammar, or an error that names what is not supported. No grammar fits a text of an invalid instance; each fits
the instances that are valid, written as json.dumps() writes them, but for those in EXCEPTIONS; and what is generated is valid, from the
grammar's definition and through the masks of a vocabulary. $SCHEMA_GENERATE is the number of texts of each kind for each schema (default: 50;
`make schemas`: 1000)."""
import glob
import json
import os
import subprocess
import sys
import unittest
from collections import Counter

import schema_case
from program import ROOT
from schema_case import Case, dump

GENERATE = int(os.environ.get("SCHEMA_GENERATE", 50))

# Valid instances that are not in the form that is generated, by (group, test).
EXCEPTIONS = {
    "properties come in the order of the schema": {
        ("allOf", "allOf"), ("allOf with base schema", "valid"),
        ("const with object", "same object with different property order is valid"),
    },
    "numbers of enum and const are written as the schema has them": {
        ("const with 0 does not match other zero-like types", "float zero is valid"),
        ("const with 1 does not match true", "float one is valid"),
        ("const with -2.0 matches integer and float types", "integer -2 is valid"),
        ("float and integers are equal up to 64-bit representation limits", "float is valid"),
        ("enum with 0 does not match false", "float zero is valid"), ("enum with [0] does not match [false]", "[0.0] is valid"),
        ("enum with 1 does not match true", "float one is valid"), ("enum with [1] does not match [true]", "[1.0] is valid"),
    },
    "integers have neither fraction nor exponent": {
        ("integer type matches integers", "a float with zero fractional part is an integer"),
        ("all integers are multiples of 0.5, if overflow is handled", "valid if optional overflow handling is implemented"),
    },
    "numbers without limits have 18 digits at most": {
        ("integer", "a bignum is an integer"), ("integer", "a negative bignum is an integer"),
        ("number", "a bignum is a number"), ("number", "a negative bignum is a number"),
    },
    "formats are asserted": {
        ("email format", "invalid email string is only an annotation by default"),
        ("ipv4 format", "invalid ipv4 string is only an annotation by default"),
        ("date format", "invalid date string is only an annotation by default"),
        ("date-time format", "invalid date-time string is only an annotation by default"),
        ("time format", "invalid time string is only an annotation by default"),
        ("uuid format", "invalid uuid string is only an annotation by default"),
    },
    "no leap seconds": {
        ("validation of date-time strings", "a valid date-time with a leap second, UTC"),
        ("validation of date-time strings", "a valid date-time with a leap second, with minus offset"),
        ("validation of time strings", "a valid time string with leap second, Zulu"),
        ("validation of time strings", "valid leap second, zero time-offset"),
        ("validation of time strings", "valid leap second, positive time-offset"),
        ("validation of time strings", "valid leap second, large positive time-offset"),
        ("validation of time strings", "valid leap second, negative time-offset"),
        ("validation of time strings", "valid leap second, large negative time-offset"),
    },
    "T and Z are capitals": {
        ("validation of date-time strings", "case-insensitive T and Z"),
        ("validation of time strings", "a valid time string with case-insensitive Z"),
    },
    "addresses are dot-atoms at domain names": {
        ("validation of e-mail addresses", "a quoted string with a space in the local part is valid"),
        ("validation of e-mail addresses", "a quoted string with a double dot in the local part is valid"),
        ("validation of e-mail addresses", "a quoted string with a @ in the local part is valid"),
        ("validation of e-mail addresses", "an IPv4-address-literal after the @ is valid"),
        ("validation of e-mail addresses", "an IPv6-address-literal after the @ is valid"),
    },
}
ALLOWED = {case for cases in EXCEPTIONS.values() for case in cases}

# Groups whose schema becomes a grammar, of all that there are in the files of what is claimed. The others use another keyword or another
# document as well, or nothing satisfies them; alternatives of oneOf overlap.
CLAIMED = {
    "additionalProperties": (5, 9), "allOf": (10, 12), "anchor": (1, 4), "anyOf": (7, 8), "boolean_schema": (1, 2), "const": (15, 15),
    "default": (3, 3), "defs": (0, 1), "enum": (14, 14), "exclusiveMaximum": (1, 1), "exclusiveMinimum": (1, 1), "items": (10, 10),
    "maxItems": (2, 2), "maxLength": (2, 2), "maxProperties": (3, 3), "maximum": (2, 2), "minItems": (2, 2), "minLength": (2, 2),
    "minProperties": (2, 2), "minimum": (2, 2), "multipleOf": (2, 5), "oneOf": (2, 11), "pattern": (2, 2), "prefixItems": (4, 4),
    "properties": (5, 6), "ref": (22, 35), "required": (5, 5), "type": (11, 11),
}


def fetch():
    done = subprocess.run(["sh", os.path.join(ROOT, "tests", "get-json-schema-suite.sh")], stdout=subprocess.PIPE, text=True)
    if done.returncode == 77:
        sys.exit(77)
    done.check_returncode()
    return os.path.join(done.stdout.strip(), "tests", "draft2020-12")


class Suite(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.files = {}
        for path in glob.glob(os.path.join(FOLDER, "**", "*.json"), recursive=True):
            with open(path, encoding="utf-8") as f:
                cls.files[os.path.relpath(path, FOLDER)[:-len(".json")]] = json.load(f)

    def groups(self, opened):
        for name, groups in sorted(self.files.items()):
            for group in groups:
                yield name, group, *self.driver.schema(group["schema"], opened)

    def test_all_files_are_there(self):
        self.assertGreater(sum(map(len, self.files.values())), 400)
        self.assertGreater(sum(len(g["tests"]) for groups in self.files.values() for g in groups), 1900)

    def test_errors_say_what(self):
        refused = 0
        for name, group, status, message in self.groups(True):
            if status == "SLM_OK":
                continue
            refused += 1
            self.assertRegex(message, r"^schema, #", group["schema"])
            if status in ("SLM_ERR_FORMAT", "SLM_ERR_RANGE"):  # nothing satisfies it
                self.assertFalse(any(t["valid"] for t in group["tests"]), (name, group["description"], message))
            else:
                self.assertEqual(status, "SLM_ERR_UNSUPPORTED", message)
        self.assertGreater(refused, 200)

    def test_what_is_claimed(self):
        good, all_groups = Counter(), Counter()
        for name, _, status, _ in self.groups(True):
            all_groups[name] += 1
            good[name] += status == "SLM_OK"
        self.assertEqual({name: (good[name], all_groups[name]) for name in CLAIMED}, CLAIMED)

    def test_invalid_instances_are_refused(self):
        refused = 0
        for opened in (False, True):
            for name, group, status, _ in self.groups(opened):
                for t in group["tests"] if status == "SLM_OK" else ():
                    if t["valid"]:
                        continue
                    refused += 1
                    for spacing in (schema_case.PYTHON, schema_case.COMPACT):
                        self.assertFalse(self.driver.accepts(dump(t["data"], spacing)), (name, group["schema"], t))
        self.assertGreater(refused, 600)

    def test_valid_instances_fit(self):
        fits, used = 0, set()
        for name, group, status, _ in self.groups(True):
            for t in group["tests"] if status == "SLM_OK" else ():
                if not t["valid"]:
                    continue
                if self.driver.accepts(dump(t["data"])):
                    fits += 1
                    continue
                case = (group["description"], t["description"].split(" is valid: ")[0])
                used.add(case)
                self.assertIn(case, ALLOWED, (name, group["schema"], t["data"]))
        self.assertEqual(ALLOWED - used, set())
        self.assertGreater(fits, 350)

    def test_generated_texts_are_valid(self):
        schemas = written = 0
        for opened in (False, True):
            for _, group, status, _ in self.groups(opened):
                if status == "SLM_OK":
                    schemas += 1
                    self.check_generated(group["schema"], GENERATE, wanted=150)
                    written += len(self.check_generated(group["schema"], GENERATE, wanted=150, how="write"))
        self.assertGreater(schemas, 300)
        self.assertGreater(written, 0.95 * GENERATE * schemas)  # chance alone rarely comes to the end of "\\wcole"


if __name__ == "__main__":
    if schema_case.jsonschema is None:
        sys.exit(77)
    FOLDER = fetch()
    unittest.main()
