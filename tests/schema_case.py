"""What tests of JSON Schema share: the driver (tests/schema_driver.c), and Python's validator with the regular expressions of the standard."""
import json
import os
import re
import subprocess
import unittest

from program import O, ROOT

try:
    import jsonschema
    from jsonschema import Draft202012Validator as Plain
except ImportError:
    jsonschema = None

PYTHON, COMPACT, FREE = range(3)


class Driver:
    def __init__(self):
        self.process = subprocess.Popen([os.path.join(O, "tests", "schema_driver")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        if self.process.wait() != 0:
            raise AssertionError("the driver failed")

    def ask(self, line, data=b""):
        self.process.stdin.write(line.encode() + b"\n" + data)
        self.process.stdin.flush()
        return self.process.stdout.readline().decode().rstrip("\n")

    def schema(self, schema, opened=False, spacing=PYTHON):
        """Status and message."""
        data = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
        status, _, message = self.ask(f"schema {int(opened)} {spacing} {len(data)}", data).partition(" ")
        return status, message

    def accepts(self, text):
        """By the definition of the grammar and by the engine, which must agree."""
        data = text if isinstance(text, bytes) else text.encode()
        definition, engine = self.ask(f"accepts {len(data)}", data).split()
        if definition != engine:
            raise AssertionError(f"the engine says {engine}, the grammar {definition}: {text!r}")
        return engine == "1"

    def generate(self, count, seed=1, wanted=200, how="generate"):
        """Random texts of the grammar's definition, or ("write") as a vocabulary writes them by its masks: None if it did not come to an end."""
        self.process.stdin.write(f"{how} {seed} {count} {wanted}\n".encode())
        self.process.stdin.flush()
        texts = []
        for _ in range(count):
            n = int(self.process.stdout.readline())
            texts.append(self.process.stdout.read(n) if n >= 0 else None)
            self.process.stdout.read(1)
        return texts


def dump(value, spacing=PYTHON):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":") if spacing == COMPACT else None)


# ---- Regular expressions of ECMA-262 in Python's words

CLASSES = {"d": "0-9", "w": "A-Za-z0-9_", "s": "\\t-\\r \\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000\\ufeff"}
# the same turned around, for \D and so on inside of classes
OTHERS = {"D": "\\x00-/:-\\U0010ffff", "W": "\\x00-/:-@\\[-\\^`{-\\U0010ffff",
          "S": "\\x00-\\x08\\x0e-\\x1f!-\\u009f\\u00a1-\\u167f\\u1681-\\u1fff\\u200b-\\u2027\\u202a-\\u202e\\u2030-\\u205e\\u2060-\\u2fff"
               "\\u3001-\\ufefe\\uff00-\\U0010ffff"}


def translate(pattern):
    out, inside, at = [], False, 0
    while at < len(pattern):
        c = pattern[at]
        at += 1
        if c == "\\":
            e = pattern[at]
            at += 1
            ranges = CLASSES.get(e) or OTHERS.get(e)
            if ranges:
                out.append(ranges if inside else f"[{ranges}]")
            elif e == "c":
                out.append("\\x%02x" % (ord(pattern[at]) & 31))
                at += 1
            elif e == "u" and pattern[at] == "{":
                end = pattern.index("}", at)
                out.append(re.escape(chr(int(pattern[at + 1:end], 16))))
                at = end + 1
            elif e == "0":
                out.append("\\x00")
            elif e in "tnvfrxub":
                out.append("\\" + e)
            else:
                out.append(re.escape(e))
        elif inside:
            if c == "]":
                inside = False
            out.append("\\[" if c == "[" else "\\" + c if c in "&~|" else c)
        elif c == "[":
            if pattern.startswith("^]", at):
                out.append("[\\x00-\\U0010ffff]")
                at += 2
            elif pattern.startswith("]", at):
                out.append("(?!)")
                at += 1
            else:
                inside = True
                out.append("[")
                if pattern.startswith("^", at):
                    out.append("^")
                    at += 1
        elif c == "$":
            out.append("\\Z")
        elif c == ".":
            out.append("[^\\n\\r\\u2028\\u2029]")
        elif c == "(" and re.match(r"\?<\w", pattern[at:]):
            out.append("(?P")
            at += 1
        else:
            out.append(c)
    return "".join(out)


def pattern_of_the_standard(validator, pattern, value, schema):
    if validator.is_type(value, "string") and not re.search(translate(pattern), value):
        yield jsonschema.ValidationError(f"{value!r} does not fit {pattern!r}")


# Python's validator takes a format for good if the package that it checks it with is not there.
FORMATS = ("date", "time", "date-time", "uuid", "email", "ipv4")


Validator = jsonschema and jsonschema.validators.extend(Plain, {"pattern": pattern_of_the_standard})


def validator(schema):
    return Validator(schema, format_checker=Plain.FORMAT_CHECKER)


def read(text):
    """JSON as UTF-8; NaN and infinite numbers, which Python's reader takes, are none."""
    def no(name):
        raise ValueError(name)
    return json.loads(text.decode(), parse_constant=no)


@unittest.skipUnless(jsonschema, "no Python package jsonschema: nothing to compare with")
class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        missing = [f for f in FORMATS if f not in Plain.FORMAT_CHECKER.checkers]
        if missing:
            raise AssertionError(f"jsonschema does not check {', '.join(missing)}: pip install rfc3339-validator")
        cls.driver = Driver()

    @classmethod
    def tearDownClass(cls):
        cls.driver.close()

    def good(self, schema, **more):
        status, message = self.driver.schema(schema, **more)
        self.assertEqual(status, "SLM_OK", (schema, message))

    def check_generated(self, schema, count, seed=1, wanted=200, how="generate"):
        """All texts of the schema at hand are valid. Returns those that came to an end (of the definition, all do)."""
        v = validator(schema)
        texts = [t for t in self.driver.generate(count, seed, wanted, how) if t is not None]
        for text in texts:
            try:
                value = read(text)
            except ValueError as e:
                self.fail(f"{e}: {text!r} of {schema}")
            error = jsonschema.exceptions.best_match(v.iter_errors(value))
            self.assertIsNone(error, f"{text!r} of {json.dumps(schema)}: {error and error.message}")
        if how == "generate":
            self.assertEqual(len(texts), count)
        return texts
