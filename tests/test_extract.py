"""slm extract from outside, with a model of a few kilobytes whose answers are noise that fits the schema: one result for each document, in order,
the same bytes whatever is done at a time, how often it is killed, and where it goes on."""
import json
import os
import random
import re
import signal
import subprocess
import time
import unittest

import terminal
from program import SLM, TIMEOUT, Case, slm

SCHEMA = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 6},
        "age": {"type": "integer", "minimum": 0, "maximum": 120},
        "sex": {"enum": ["female", "male"]},
        "tags": {"type": "array", "items": {"type": "boolean"}, "maxItems": 2},
        "a/b~": {"type": "null"},
    },
    "required": ["name", "age", "sex", "tags", "a/b~"],
    "additionalProperties": False,
}
FORM = "Read this: {{text}} -> "


def read(path):
    with open(path, "rb") as f:
        return f.read()


def leaves(value, path=""):
    """JSON pointers of what is no array or object."""
    if isinstance(value, dict):
        for k, v in value.items():
            yield from leaves(v, path + "/" + k.replace("~", "~0").replace("/", "~1"))
    elif isinstance(value, list):
        for i, v in enumerate(value):
            yield from leaves(v, f"{path}/{i}")
    else:
        yield path


class Extract(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.schema = cls.file("schema.json", json.dumps(SCHEMA))
        rnd = random.Random(3)
        cls.documents = [{"id": f"d{i}", "text": "".join(rnd.choices("abcd the and in", k=rnd.randrange(1, 150)))} for i in range(23)]
        cls.input = cls.file("in.jsonl", "".join(json.dumps(d) + "\n" for d in cls.documents))

    def command(self, out, *args, **more):
        source = more.pop("input", self.input)
        return ["extract", "-m", self.model, "--schema", more.pop("schema", self.schema), "--raw", "--prompt", FORM, "-o", out, *args, source]

    def extract(self, *args, **more):
        """The bytes of the output."""
        out = self.path("out.jsonl")
        if os.path.exists(out):
            os.remove(out)
        self.good(*self.command(out, *args, **more))
        return read(out)

    def lines(self, *args, **more):
        return [json.loads(line) for line in self.extract(*args, **more).splitlines()]

    def results_of(self, text, *args, errors=False):
        """Of an input that is written here."""
        out = self.path("out.jsonl")
        if os.path.exists(out):
            os.remove(out)
        r = slm(*self.command(out, *args, input=self.file("other.jsonl", text)))
        self.assertEqual((r.code, r.out), (0, b""), r.message)
        self.assertEqual("have no result" in r.message, errors, r.message)
        with open(out) as f:
            return [json.loads(line) for line in f]

    def check(self, output):
        self.assertEqual(list(output), SCHEMA["required"])
        self.assertTrue(1 <= len(output["name"]) <= 6)
        self.assertTrue(0 <= output["age"] <= 120)
        self.assertIn(output["sex"], ["female", "male"])
        self.assertTrue(len(output["tags"]) <= 2 and all(isinstance(t, bool) for t in output["tags"]))
        self.assertIsNone(output["a/b~"])


class Results(Extract):
    def test_each_document_has_its_result_in_order(self):
        lines = self.lines()
        self.assertEqual([line["id"] for line in lines], [d["id"] for d in self.documents])
        for line in lines:
            self.assertEqual(list(line), ["id", "output"])
            self.check(line["output"])
        self.assertGreater(len({json.dumps(line["output"]) for line in lines}), 5)  # the text matters

    def test_the_same_bytes_whatever_is_done_at_a_time(self):
        first = self.extract()
        for args in (["--parallel", 1], ["--parallel", 3, "-t", 1], ["--parallel", 64, "-t", 3], ["--logprobs"]):
            other = self.extract(*args)
            if "--logprobs" in args:
                other = b"".join(json.dumps({k: v for k, v in json.loads(x).items() if k != "confidence"}).encode() + b"\n"
                                 for x in other.splitlines())
                self.assertEqual([json.loads(x) for x in other.splitlines()], [json.loads(x) for x in first.splitlines()])
            else:
                self.assertEqual(other, first)

    def test_a_document_alone_is_the_same(self):
        lines = self.lines()
        for i in (0, 7, 22):
            self.assertEqual(self.results_of(json.dumps(self.documents[i])), [lines[i]])

    def test_confidence(self):
        for line in self.lines("--logprobs"):
            self.assertEqual(list(line["confidence"]), list(leaves(line["output"])))
            self.assertTrue(all(0 <= p <= 1.0001 for p in line["confidence"].values()))
            self.assertEqual(line["confidence"]["/a~1b~0"], 1)  # there is no choice
            self.assertLess(line["confidence"]["/name"], 0.9)  # noise

    def test_ids_and_forms_of_documents(self):
        text = '"just a text"\n\n{"text": "two"}\n  \n{"id": 7, "text": "three", "other": [1]}\r\n{"id": null, "text": "four"}'
        lines = self.results_of(text)
        self.assertEqual([line["id"] for line in lines], [1, 3, 7, 6])
        for line in lines:
            self.check(line["output"])
        self.assertEqual(self.results_of(""), [])

    def test_members_in_the_prompt(self):
        """A form with other members, or filled in by hand, asks the same."""
        out = [self.path("a"), self.path("b"), self.path("c")]
        document = {"a": "x{{y}}", "n": 12, "list": [1, {"k": "v"}], "text": 'x{{y}} 12 [1, {"k": "v"}] ' + json.dumps(SCHEMA)}
        source = self.file("members.jsonl", json.dumps(document))
        for path, form in zip(out, ["{{a}} {{ n }} {{list}} {{schema}}", "{{text}}", "{{text}}!"]):
            self.good("extract", "-m", self.model, "--schema", self.schema, "--raw", "--prompt", form, "-o", path, source)
        results = [read(path) for path in out]
        self.assertEqual(results[0], results[1])
        self.assertNotEqual(results[0], results[2])

    def test_standard_input(self):
        first = self.extract()
        out = self.path("out.jsonl")
        os.remove(out)
        with open(self.input, "rb") as f:
            self.good(*self.command(out)[:-1], stdin=f.read())
        self.assertEqual(read(out), first)


class Errors(Extract):
    def test_documents_without_a_result(self):
        text = '{"id": "a", "text": "x"}\nnot json\n{"id": "b", "other": 1}\n[1]\n{"id": "c", "text": "' + "x" * 3000 + '"}\n{"id": "d", "text": "y"}\n'
        lines = self.results_of(text, errors=True)
        self.assertEqual([line["id"] for line in lines], ["a", 2, "b", 4, "c", "d"])
        for i, why in ((1, "no JSON"), (2, 'no member "text"'), (3, "neither an object nor a string"), (4, "no room")):
            self.assertIn(why, lines[i]["error"])
            self.assertNotIn("output", lines[i])
        for i in (0, 5):
            self.check(lines[i]["output"])

    def test_a_line_that_is_too_long(self):
        huge = '"one"\n"' + "x" * (17 << 20) + '"\n"three"\n"' + "y" * (40 << 20) + '"'
        lines = self.results_of(huge, errors=True)
        self.assertEqual([line["id"] for line in lines], [1, 2, 3, 4])
        self.assertEqual([line.get("error") for line in lines], [None, "the line is too long"] * 2)

    def test_what_must_come_has_no_room(self):
        schema = self.file("const.json", json.dumps({"const": "x" * 600}))
        for args in (["-c", "256", "--parallel", "1"], ["-c", "1024", "--parallel", "4"]):
            out = self.path("const-out.jsonl")
            r = slm(*self.command(out, "--restart", *args, schema=schema))
            self.assertEqual(r.code, 0, r.message)
            self.assertEqual([("room" in json.loads(line)["error"]) for line in read(out).splitlines()], [True] * len(self.documents))

    def test_results_that_do_not_end(self):
        schema = self.file("long.json", json.dumps({"type": "string", "minLength": 500}))
        out = self.path("long.jsonl")
        r = slm(*self.command(out, "-n", 20, schema=schema))
        self.assertEqual(r.code, 0)
        self.assertIn(f"{len(self.documents)} documents have no result", r.message)
        with open(out) as f:
            for line in f:
                self.assertIn("-n reached", json.loads(line)["error"])

    def test_what_cannot_be_used(self):
        out = self.path("never.jsonl")
        bad = self.file("bad.json", '{"type": "object", "nosuch": 1}')
        self.assertIn("nosuch", self.fails(*self.command(out, schema=bad)).message)
        self.assertIn("line 1", self.fails(*self.command(out, schema=self.file("worse.json", '{"type": '))).message)
        self.fails(*self.command(out, schema=self.path("missing.json")))
        self.fails(*self.command(out, input=self.path("missing.jsonl")))
        self.assertFalse(os.path.exists(out))
        self.fails(*self.command(os.path.join(self.path("no"), "such", "folder")))

    def test_usage(self):
        for args in (["-m", self.model], ["-m", self.model, "--schema", self.schema], ["--schema", self.schema, "-o", "x"],
                     ["-m", self.model, "--schema", self.schema, "-o", "x", "--parallel", "0"],
                     ["-m", self.model, "--schema", self.schema, "-o", "x", "--raw", "--system", "y"]):
            self.assertEqual(slm("extract", *args).code, 2, args)


class GoingOn(Extract):
    def test_from_any_place(self):
        """Killed between two lines, or in one: half a line goes, whole ones stay."""
        whole = self.extract()
        lines = whole.splitlines(keepends=True)
        out = self.path("on.jsonl")
        for cut in (0, 1, len(lines[0]) - 1, len(lines[0]), len(lines[0]) + 5, len(whole) // 2, len(whole) - 1, len(whole)):
            with open(out, "wb") as f:
                f.write(whole[:cut])
            self.good(*self.command(out))
            self.assertEqual(read(out), whole, cut)

    def test_killed_again_and_again(self):
        whole = self.extract()
        out = self.path("killed.jsonl")
        rnd = random.Random(1)
        n_killed = 0
        for i in range(40):
            p = subprocess.Popen([SLM, *map(str, self.command(out, "--parallel", 3))])
            end = time.monotonic() + TIMEOUT
            size = os.path.getsize(out) if os.path.exists(out) else 0
            wanted = size + rnd.randrange(1, 400)
            while p.poll() is None and (os.path.getsize(out) if os.path.exists(out) else 0) < wanted:
                self.assertLess(time.monotonic(), end)
                time.sleep(0.0005)
            if p.poll() is not None:
                break
            p.send_signal(signal.SIGKILL)
            n_killed += p.wait() == -signal.SIGKILL
        self.assertGreaterEqual(n_killed, 2)
        self.good(*self.command(out))
        self.assertEqual(read(out), whole)

    def test_interrupted(self):
        whole = self.extract()
        out = self.path("interrupted.jsonl")
        p = subprocess.Popen([SLM, *map(str, self.command(out)[:-1])], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdin.write(read(self.input))
        p.stdin.flush()  # and is not closed: it waits for more, with all results of what there was
        end = time.monotonic() + TIMEOUT
        while not os.path.exists(out) or read(out) != whole:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.002)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(TIMEOUT), 130)
        p.stdin.close()
        p.stderr.close()
        with open(out, "r+b") as f:
            f.truncate(len(whole) // 2)
        self.good(*self.command(out))
        self.assertEqual(read(out), whole)

    def test_results_that_are_hard_to_read(self):
        """Integers of any length, U+0000, huge exponents: what was written is found again, whatever a reader of JSON says."""
        schema = self.file("hard.json", json.dumps({"enum": [123456789012345678901234567890]}).replace("]", ', "\\u0000", 1e999]'))
        source = self.file("hard.jsonl", '{"id": "a\\u0000b", "text": "x"}\n{"serial": 12345678901234567890123, "id": "n", "text": "y"}\n"z"\n')
        out = self.path("hard-out.jsonl")
        self.good(*self.command(out, schema=schema, input=source))
        whole = read(out)
        self.assertEqual([line.split(b", ")[0] for line in whole.splitlines()], [b'{"id": "a\\u0000b"', b'{"id": "n"', b'{"id": 3'])
        self.good(*self.command(out, schema=schema, input=source))
        self.assertEqual(read(out), whole)

    def test_files_that_are_not_its_own_stay_as_they_are(self):
        same = self.file("same.jsonl", '"one"\n"two"')
        for more in ([], ["--restart"]):
            self.assertIn("is the input", self.fails(*self.command(same, *more, input=same)).message)
            self.assertEqual(read(same), b'"one"\n"two"')
        foreign = self.file("foreign.txt", "some notes\nwithout an end")
        self.fails(*self.command(foreign))
        self.assertEqual(read(foreign), b"some notes\nwithout an end")

    def test_one_program_at_a_time(self):
        out = self.path("locked.jsonl")
        p = subprocess.Popen([SLM, *map(str, self.command(out)[:-1])], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
        p.stdin.write(b'"x"\n')
        p.stdin.flush()
        while not os.path.exists(out) or not read(out):
            time.sleep(0.002)
        self.assertIn("by another program", self.fails(*self.command(out)).message)
        p.stdin.close()
        self.assertEqual(p.wait(TIMEOUT), 0)

    def test_a_full_disk(self):
        self.assertIn("cannot write to /dev/full", self.fails(*self.command("/dev/full")).message)

    def test_output_of_another_input(self):
        self.extract()
        other = self.file("another.jsonl", '{"id": "x", "text": "y"}\n' * 30)
        out = self.path("out.jsonl")
        before = read(out)
        self.assertIn("another input", self.fails(*self.command(out, input=other)).message)
        few = self.file("few.jsonl", json.dumps(self.documents[0]))
        self.assertIn("more than there are documents", self.fails(*self.command(out, input=few)).message)
        self.assertEqual(read(out), before)
        self.good(*self.command(out, "--restart", input=few))
        self.assertEqual(read(out), before[:before.index(b"\n") + 1])


class Progress(Extract, terminal.Case):
    """The line on stderr, where that is a terminal: drawn over and over, left with a newline."""

    LINE = re.compile(rb"\r(\d+)(?: of (\d+))? documents, (\d+) an hour(?:, (\d+) s to go)?\x1b\[K")

    def lines_of(self, command):
        """The numbers of all lines; the last one is what stays."""
        self.run_on_terminal(command)
        self.assertEqual(self.end(how=b""), 0)
        while self.read(0.2):
            pass
        text = self.seen
        self.assertEqual(re.sub(self.LINE, b"", text), b"\r\n", text)  # and nothing else
        return [tuple(int(n) if n else None for n in m.groups()) for m in self.LINE.finditer(text)]

    def test_of_a_file(self):
        out = self.path("progress.jsonl")
        lines = self.lines_of(self.command(out, "--parallel", 2))
        self.assertEqual(read(out), self.extract())
        n = len(self.documents)
        written = [line[0] for line in lines]
        self.assertEqual(written, sorted(written))
        self.assertEqual({line[1] for line in lines}, {n})
        self.assertEqual((lines[-1][0], lines[-1][3]), (n, None))
        for done, _, speed, left in lines[:-1]:
            if 0 < done < n:
                self.assertGreater(speed, 0)
                self.assertIsNotNone(left)

    def test_goes_on(self):
        """Documents of an earlier run count, but not for the speed."""
        out = self.path("progress-on.jsonl")
        whole = self.extract()
        with open(out, "wb") as f:
            f.write(b"".join(whole.splitlines(keepends=True)[:-1]))
        last = self.lines_of(self.command(out))[-1]
        self.assertEqual(last[:2], (len(self.documents),) * 2)

    def test_none_elsewhere(self):
        self.assertEqual(self.good(*self.command(self.path("silent.jsonl"))).err, b"")


if __name__ == "__main__":
    unittest.main()
