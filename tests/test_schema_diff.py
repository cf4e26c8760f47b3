"""Numbers, lengths, regular expressions and formats of JSON Schema against Python: which texts fit, case by case."""
import datetime
import ipaddress
import json
import os
import random
import re
import unittest
import uuid
from decimal import Decimal

from schema_case import COMPACT, FREE, Case, dump, translate

CASES = int(os.environ.get("SCHEMA_CASES", 200))


class Integers(Case):
    def fits(self, text):
        return self.driver.accepts(str(text))

    def test_every_small_range(self):
        for low in range(-13, 14):
            for high in range(low, 14):
                self.good({"type": "integer", "minimum": low, "maximum": high})
                fitting = [i for i in range(-120, 121) if self.fits(i)]
                self.assertEqual(fitting, list(range(low, high + 1)))
                for text in ("-0", "00", "01", "-01", "+1", "1.0", "1e0", " 1", "1 ", "", "-"):
                    self.assertFalse(self.fits(text), (low, high, text))

    def test_ranges_of_all_sizes(self):
        r = random.Random(1)
        for _ in range(CASES):
            a, b = (r.choice([-1, 1]) * r.randrange(10 ** r.choice([1, 2, 3, 5, 9, 18, 19, 25, 60])) for _ in "ab")
            low, high = min(a, b), max(a, b)
            exclusive_low, exclusive_high = r.random() < .3 and low < high, r.random() < .3 and low + 1 < high
            schema = {"type": "integer", "exclusiveMinimum" if exclusive_low else "minimum": low,
                      "exclusiveMaximum" if exclusive_high else "maximum": high}
            if low + exclusive_low > high - exclusive_high:
                continue
            self.good(schema)
            values = {low, high, low - 1, high + 1, low + 1, high - 1, 0, -low, -high, low // 10, high * 10, low * 10, (low + high) // 2}
            for edge in (low, high):
                for digits in range(1, len(str(abs(edge))) + 1):
                    values |= {10 ** digits, 10 ** digits - 1, -10 ** digits, edge + 10 ** digits, edge - 10 ** digits,
                               edge // 10 ** digits * 10 ** digits, edge // 10 ** digits * 10 ** digits - 1}
            values |= {r.randint(low, high) for _ in range(10)}
            for v in values:
                self.assertEqual(self.fits(v), low + exclusive_low <= v <= high - exclusive_high, (schema, v))

    def test_limits_that_are_no_integers(self):
        for low, high, first, last in (("-1.5", "1.5", -1, 1), ("-0.5", "0.5", 0, 0), ("1e1", "1.25e1", 10, 12), ("99.5e-1", "10", 10, 10),
                                       ("-1e-300", "1E-300", 0, 0), ("-20.0", "-1.00e1", -20, -10)):
            self.good(f'{{"type": "integer", "minimum": {low}, "maximum": {high}}}'.encode())
            self.assertEqual([i for i in range(-150, 151) if self.fits(i)], list(range(first, last + 1)))

    def test_one_limit(self):
        """The other side ends after 18 digits, or those of the limit."""
        for schema, fitting, others in (
            ({"minimum": 7}, [7, 10, 10 ** 18 - 1], [6, 0, -7, 10 ** 18]),
            ({"maximum": 7}, [7, 0, -1, -10 ** 18 + 1], [8, 10, -10 ** 18]),
            ({"minimum": 10 ** 20}, [10 ** 20, 10 ** 21 - 1], [10 ** 20 - 1, 10 ** 21]),
            ({"exclusiveMaximum": -10 ** 20}, [-10 ** 20 - 1, -10 ** 21 + 1], [-10 ** 20, -10 ** 21, 0]),
            ({}, [0, -1, 10 ** 18 - 1, -10 ** 18 + 1], [10 ** 18, -10 ** 18]),
        ):
            self.good({"type": "integer", **schema})
            self.assertTrue(all(map(self.fits, fitting)), schema)
            self.assertFalse(any(map(self.fits, others)), schema)

    def test_multiples(self):
        r = random.Random(2)
        for _ in range(CASES // 10):
            m, a, b = r.choice([1, 2, 3, 5, 7, 10, 12, 25, 60, 100, 128, 999, 1000]), r.randrange(-3000, 3000), r.randrange(0, 3000)
            low, high = a, a + b + m
            self.good({"type": "integer", "minimum": low, "maximum": high, "multipleOf": m})
            self.assertEqual([i for i in range(low - 150, high + 151) if self.fits(i)],
                             [i for i in range(low, high + 1) if i % m == 0], (m, low, high))
        self.good({"type": "number", "multipleOf": 12})
        for _ in range(CASES):
            v = r.randrange(-10 ** r.randrange(1, 18), 10 ** 18)
            self.assertEqual(self.fits(v), v % 12 == 0, v)

    def test_multiples_of_fractions_that_are_integers(self):
        for m, wanted in (("0.5", 1), ("1.5", 3), ("2.50", 5), ("0.75", 3), ("1e1", 10)):
            self.good(f'{{"type": "integer", "multipleOf": {m}}}'.encode())
            self.assertEqual([i for i in range(-50, 51) if self.fits(i)], [i for i in range(-50, 51) if i % wanted == 0], m)


class Decimals(Case):
    def test_limits(self):
        """Against decimal arithmetic, and against doubles: both see the same."""
        r = random.Random(3)
        done = 0
        for _ in range(CASES):
            places = r.randrange(5)
            a, b = (Decimal(r.choice([-1, 1]) * r.randrange(10 ** r.randrange(1, 7))).scaleb(-places) for _ in "ab")
            low, high = min(a, b), max(a, b)
            words = (r.choice(["minimum", "exclusiveMinimum"]), r.choice(["maximum", "exclusiveMaximum"]))
            one = r.random()
            low, high = (None if one < .1 else low), (None if one > .9 else high)
            if low == high and "exclusive" in words[0] + words[1]:
                continue
            parts = [f'"{w}": {v:f}' for w, v in zip(words, (low, high)) if v is not None]
            self.good(f'{{"type": "number", {", ".join(parts)}}}'.encode())
            done += 1

            def valid(v, of=Decimal):
                above = low is None or (of(v) > of(low) if "exclusive" in words[0] else of(v) >= of(low))
                return above and (high is None or (of(v) < of(high) if "exclusive" in words[1] else of(v) <= of(high)))

            for edge in filter(lambda e: e is not None, (low, high, Decimal(0))):
                for step in ("0", "1", "-1", "0.1", "-0.1", "0.0001", "-0.0001", "0.000003", "-0.000003", "10", "-10"):
                    v = edge + Decimal(step)
                    for text in {f"{v:f}", f"{v:.0f}", f"{v:.1f}", f"{v:.6f}"}:
                        if text.startswith("-") and Decimal(text) == 0:
                            continue  # -0 is never written
                        self.assertEqual(self.driver.accepts(text), valid(text), (parts, text))
            for text in self.driver.generate(20, done):
                self.assertTrue(valid(text.decode()) and valid(text.decode(), float), (parts, text))
        self.assertGreater(done, CASES // 2)

    def test_form(self):
        self.good({"type": "number"})
        form = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,17})?([eE][+-]?[0-9]{1,2})?")
        r = random.Random(4)
        for _ in range(CASES):
            text = "".join(r.choices("0123456789.eE+-", weights=[4] + [2] * 9 + [4, 2, 1, 1, 2], k=r.randrange(1, 8)))
            self.assertEqual(self.driver.accepts(text), bool(form.fullmatch(text)), text)


class Strings(Case):
    ALPHABET = 'ab"\\/\n\t\x00\x1f\x7fé€😀\ud7ff\ue000\U0010ffff'

    def test_lengths_count_code_points(self):
        r = random.Random(5)
        for _ in range(CASES // 20):
            low = r.randrange(6)
            high = r.choice([low, low + 1, low + r.randrange(200), None])
            self.good({"type": "string", "minLength": low, **({} if high is None else {"maxLength": high})})
            for n in {0, low - 1, low, low + 1, high or 9, (high or 9) + 1} - {-1}:
                value = "".join(r.choices(self.ALPHABET, k=n))
                for text in (dump(value), json.dumps(value), json.dumps(value).replace("\\u", "\\u").replace("/", "\\/")):
                    self.assertEqual(self.driver.accepts(text), low <= n and (high is None or n <= high), (low, high, text))

    def test_no_other_strings(self):
        self.good({"type": "string"})
        for text in ('"\n"', '"\x00"', '"\x1f"', '"', '"""', '"\\"', '"\\x"', '"\\u12"', '"\\u12G4"', '"\\ud800"', '"\\ud800a"',
                     '"\\udc00"', '"\\ud800\\ud800"', '"\\udc00\\ud800"', '"\\U0000"', "'a'", 'a', '""a'):
            self.assertFalse(self.driver.accepts(text), text)
        for text in (b'"\xff"', b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"'):
            self.assertFalse(self.driver.accepts(text), text)
        for text in ('"\\ud800\\udc00"', '"\\uDBFF\\uDFFF"', '"\\ud7FF\\ue000"', '"\x7f"', '"\\/"'):
            self.assertTrue(self.driver.accepts(text), text)


class Patterns(Case):
    """Random expressions of the subset, and values near to what they fit."""

    ATOMS = ["a", "b", "c", "ab", "[abc]", "[^a]", "[a-c]", ".", "\\d", "\\w", "\\s", "\\D", "\\W", "\\S", "[\\d-]", "[^\\w]", "é", "[à-ÿ]",
             "😀", "\\.", "\\/", "\\\\", "\"", "\\n", "\\x41", "\\u00e9", "[^\\s\\d]", "1", "-", "\\u{1F600}", "[\\]\\-^]"]
    ENDLESS = ["*", "+", "{2,}", "*?", "+?"]
    BOUNDED = ["", "", "", "", "", "", "?", "{2}", "{1,3}", "{0,2}", "{0}", "??"]

    def expression(self, r, depth=2, endless=True):
        """Endless counts are never inside of each other: Python tries all ways to share the text among them."""
        parts = []
        for _ in range(r.randrange(1, 4)):
            count = r.choice(self.ENDLESS if endless and r.random() < .35 else self.BOUNDED)
            atom = r.choice(self.ATOMS)
            if depth and r.random() < .3:
                inside = self.expression(r, depth - 1, endless and count not in self.ENDLESS)
                atom = r.choice(["(", "(?:", "(?<n%d>" % r.randrange(10 ** 9)]) + inside + ")"
            parts.append(f"(?:{atom}){count}" if atom == "ab" else atom + count)
        text = "".join(parts)
        return text + "|" + self.expression(r, depth - 1, endless) if depth and r.random() < .2 else text

    def anchored(self, r):
        text = self.expression(r)
        kind = r.randrange(6)
        if kind == 0:
            return f"^(?:{text})$"
        if kind == 1:
            return "^" + text
        if kind == 2:
            return text + "$"
        if kind == 3:
            return f"(^|,){text}(,|$)"
        return f"^{text}$" if kind == 4 else text

    def values(self, r, n):
        letters = "aaabbbcc1-., \n\té😀\"\\/A_\u2028\xa0d\x1f\x7f"
        return {"".join(r.choices(letters, k=r.randrange(8))) for _ in range(n)}

    def check(self, patterns, r, schema):
        fit = 0
        programs = [re.compile(translate(p)) for p in patterns]
        low, high = schema.get("minLength", 0), schema.get("maxLength", 10 ** 9)
        values = self.values(r, 40)
        for text in self.driver.generate(15, r.randrange(1000), 40):
            value = json.loads(text)
            self.assertTrue(all(p.search(value) for p in programs) and low <= len(value) <= high, (schema, value))
            for _ in range(2):  # and what is near
                at = r.randrange(len(value) + 1)
                values.add(value[:at] + r.choice(["", "a", "1", "\n", "é", ","]) + value[at + r.randrange(2):])
        for value in values:
            if any("\ud800" <= c <= "\udfff" for c in value):
                continue
            wanted = all(p.search(value) for p in programs) and low <= len(value) <= high
            fit += wanted
            self.assertEqual(self.driver.accepts(dump(value)), wanted, (schema, value))
        return fit

    def test_one(self):
        r = random.Random(6)
        fit = 0
        for _ in range(CASES):
            pattern = self.anchored(r)
            schema = {"type": "string", "pattern": pattern}
            status, message = self.driver.schema(schema)
            if status != "SLM_OK":
                self.assertIn("no text fits", message, pattern)
                continue
            fit += self.check([pattern], r, schema)
        self.assertGreater(fit, CASES * 5)

    def test_with_lengths_and_others(self):
        r = random.Random(7)
        fit = done = limited = 0
        for _ in range(CASES):
            low = r.randrange(5)
            patterns = [self.anchored(r) for _ in range(r.choice([1, 1, 2, 3]))]
            schema = {"type": "string", "minLength": low, "maxLength": low + r.randrange(6), "allOf": [{"pattern": p} for p in patterns]}
            status, message = self.driver.schema(schema)
            if status == "SLM_ERR_LIMIT":  # three expressions may have more than 5,000 states
                self.assertIn("states together", message)
                limited += 1
                continue
            if status != "SLM_OK":
                self.assertIn(status, ("SLM_ERR_FORMAT", "SLM_ERR_RANGE"), (schema, message))
                for value in self.values(r, 60):  # then indeed nothing does
                    self.assertFalse(all(re.search(translate(p), value) for p in patterns)
                                     and low <= len(value) <= schema["maxLength"], (schema, value))
                continue
            done += 1
            fit += self.check(patterns, r, schema)
        self.assertGreater(done, CASES // 3)
        self.assertLessEqual(limited, 1 + CASES // 100)
        self.assertGreater(fit, CASES)

    def test_keys(self):
        """Additional properties have any name but those that are declared."""
        r = random.Random(8)
        for _ in range(CASES // 10):
            names = sorted({"".join(r.choices("abé😀\"\\", k=r.randrange(5))) for _ in range(r.randrange(1, 12))})
            self.good({"type": "object", "properties": {n: False for n in names}, "additionalProperties": {"const": 1}})
            for _ in range(40):
                key = "".join(r.choices("abcé😀", k=r.randrange(6)))
                self.assertEqual(self.driver.accepts(dump({key: 1})), key not in names, (names, key))
            for key in names:
                self.assertFalse(self.driver.accepts(dump({key: 1})))


class Formats(Case):
    def fits(self, value):
        return self.driver.accepts(dump(value))

    def test_dates(self):
        self.good({"type": "string", "format": "date"})

        def valid(text):
            try:
                return bool(re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text)) and bool(datetime.date.fromisoformat(text))
            except ValueError:
                return False

        years = [1, 4, 100, 400, 1600, 1700, 1900, 1999, 2000, 2020, 2022, 2023, 2024, 2100, 2400, 9996, 9999]
        for year in years + random.Random(9).sample(range(1, 10000), CASES // 100):
            for month in range(0, 14):
                for day in (0, 1, 9, 10, 28, 29, 30, 31, 32):
                    text = f"{year:04}-{month:02}-{day:02}"
                    self.assertEqual(self.fits(text), valid(text), text)
        for text in ("0000-01-01", "2023-1-01", "2023-01-1", "20230101", "2023-01-01 ", "٢٠٢٣-01-01", "12023-01-01", "2023/01/01"):
            self.assertFalse(self.fits(text), text)
        for text in self.driver.generate(CASES, 3):
            self.assertTrue(valid(json.loads(text)), text)

    def test_every_leap_day(self):
        self.good({"type": "string", "format": "date"})
        for year in range(1, 10000, 1 if CASES >= 1000 else 7):
            leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
            self.assertEqual(self.fits(f"{year:04}-02-29"), leap, year)

    def test_times(self):
        self.good({"type": "string", "format": "date-time"})
        for text in self.driver.generate(CASES, 4):
            value = json.loads(text)
            self.assertRegex(value, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$")
            short = re.sub(r"(\.\d{6})\d+", r"\1", value).replace("Z", "+00:00")
            datetime.datetime.fromisoformat(re.sub(r"\.(\d+)", lambda m: "." + m[1].ljust(6, "0"), short))
        for time in ("00:00:00Z", "23:59:59.999999999Z", "12:30:00+23:59", "12:30:00-00:00"):
            self.assertTrue(self.fits("2024-02-29T" + time), time)
        for time in ("24:00:00Z", "23:60:00Z", "23:59:60Z", "12:30Z", "12:30:00", "12:30:00+24:00", "12:30:00+1:00", "12:30:00.Z", "12:30:00z"):
            self.assertFalse(self.fits("2024-02-29T" + time), time)
        self.assertFalse(self.fits("2023-02-29T00:00:00Z"))
        self.assertFalse(self.fits("2024-02-29t00:00:00Z"))
        self.good({"type": "string", "format": "time"})
        self.assertTrue(self.fits("23:59:59Z"))
        self.assertFalse(self.fits("23:59:60Z"))

    def test_uuids(self):
        self.good({"type": "string", "format": "uuid"})
        for text in self.driver.generate(CASES, 5):
            value = json.loads(text)
            self.assertEqual(str(uuid.UUID(value)), value.lower())
        self.assertFalse(self.fits(uuid.UUID(int=1).hex))
        self.assertTrue(self.fits(str(uuid.UUID(int=1))))

    def test_addresses(self):
        self.good({"type": "string", "format": "email"})
        for text in self.driver.generate(CASES, 6, 300):
            value = json.loads(text)
            self.assertLessEqual(len(value), 254)
            self.assertRegex(value, r"^[\w!#$%&'*+/=?^`{|}~-]+(\.[\w!#$%&'*+/=?^`{|}~-]+)*@([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+"
                                    r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$")
            self.assertLessEqual(len(value.split("@")[0]), 64)
        for value in ("a@b.c", "first.last@example.com", "x+tag@sub.example.co.uk", "o'neil@my-site.org"):
            self.assertTrue(self.fits(value), value)
        for value in ("a", "a@b", "@b.c", "a@", ".a@b.c", "a.@b.c", "a..b@c.d", "a@-b.c", "a@b-.c", "a@b..c", "a b@c.d", "a@b.c.", "é@b.c"):
            self.assertFalse(self.fits(value), value)

    def test_addresses_of_limited_length(self):
        for most in (6, 30, 64, 100, 128, 246, 247, 254, 320):
            self.good({"type": "string", "format": "email", "maxLength": most})
            for text in self.driver.generate(60, most, 400):
                value = json.loads(text)
                self.assertLessEqual(len(value), most)
                self.assertLessEqual(len(value.split("@")[0]), 64)
                self.assertRegex(value, r"^[^@.]+(\.[^@.]+)*@[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?\.[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?$")
            self.assertTrue(self.fits("a@b.ch"))
            self.assertEqual(self.fits("first.last@my-example.org"), most >= 25)
        for value in ("a@-b.c", "a@b-.c", "a@b..c", ".a@b.c", "a@b"):
            self.assertFalse(self.fits(value), value)

    def test_ipv4(self):
        self.good({"type": "string", "format": "ipv4"})
        for text in self.driver.generate(CASES, 7):
            ipaddress.IPv4Address(json.loads(text))
        for n in range(0, 300):
            self.assertEqual(self.fits(f"10.{n}.0.255"), n < 256, n)
        for value in ("1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4 "):
            self.assertFalse(self.fits(value), value)

    def test_with_others(self):
        self.good({"type": "string", "format": "date", "pattern": "^20[0-9]{2}-", "maxLength": 10})
        for text in self.driver.generate(200, 8):
            self.assertTrue(2000 <= datetime.date.fromisoformat(json.loads(text)).year < 2100, text)
        self.assertTrue(self.fits("2096-02-29"))
        self.assertFalse(self.fits("1996-02-29"))


class Spacing(Case):
    SCHEMA = {"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}, "b": {"type": "object"}},
              "required": ["a"], "additionalProperties": {"type": "boolean"}}
    VALUES = [{"a": []}, {"a": [1]}, {"a": [1, 2, 3], "b": {}}, {"a": [], "b": {"x": {"y": [None]}}, "more": True}]

    def test_compact(self):
        self.good(self.SCHEMA, spacing=COMPACT)
        for value in self.VALUES:
            self.assertTrue(self.driver.accepts(dump(value, COMPACT)), value)
            self.assertEqual(self.driver.accepts(dump(value)), dump(value) == dump(value, COMPACT), value)

    def test_free(self):
        self.good(self.SCHEMA, spacing=FREE)
        for value in self.VALUES:
            for indent in (None, 0, 1, 4, "\t"):
                self.assertTrue(self.driver.accepts(json.dumps(value, indent=indent)), (value, indent))
            self.assertTrue(self.driver.accepts(dump(value, COMPACT)), value)
            self.assertTrue(self.driver.accepts(dump(value, COMPACT).replace(":", "\r\n :\t")), value)
        for text in ('{"a":1}', '{"a" []}', '{"a":[1 2]}', '{"a":[1,]}', '{"a":[],}', ' {"a":[]}', '{"a":[]} '):
            self.assertFalse(self.driver.accepts(text), text)
        self.check_generated(self.SCHEMA, 300)


if __name__ == "__main__":
    unittest.main()
