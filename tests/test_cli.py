"""slm from outside, on models of a few kilobytes."""
import fcntl
import json
import math
import os
import re
import subprocess
import unittest

from program import COMMANDS, O, ROOT, SLM, TIMEOUT, Case, levels, slm
import tiny_model
from tiny_model import A, B, F, F32, N_VOCAB, S, STRING, U


def ids_of(text):
    """A byte-level vocabulary without merges in the way: one token a byte."""
    return [len(tiny_model.SPECIAL) + b for b in (text.encode() if isinstance(text, str) else text)]


def token(text):
    return tiny_model.tokens().index(text)


def text_of(ids):
    """What `slm run` writes for these ids."""
    table = {c: b for b, c in enumerate(tiny_model.byte_characters())}
    data = b"".join(bytes(table[c] for c in tiny_model.tokens()[i]) for i in ids)
    text = data.decode(errors="replace").encode()
    return text if text.endswith(b"\n") else text + b"\n"


class Help(Case):
    def test_overview(self):
        for args in (["help"], ["--help"], ["-h"]):
            r = self.good(*args)
            for c in COMMANDS:
                self.assertIn(f"\n  {c} ", r.text)

    def test_no_arguments(self):
        r = slm()
        self.assertEqual((r.code, r.out), (2, b""))
        self.assertIn("Usage: slm", r.message)

    def test_version(self):
        self.assertRegex(self.good("--version").text, r"\Aslm \d+\.\d+\.\d+, this machine has: c( \w+)*\n\Z")

    def test_subcommands(self):
        for c in COMMANDS:
            r = self.good(c, "--help")
            self.assertTrue(r.text.startswith(f"Usage: slm {c} "))
            self.assertEqual(r.out, self.good("help", c).out)
            self.assertEqual(r.out, self.good(c, "-h").out)

    def test_compute_options(self):
        for c in ("run", "chat", "extract", "logprobs", "perplexity", "embed"):
            for option in ("-t N", "-c N", "--cpu LEVEL", "--kv TYPE", "--reference"):
                self.assertIn(f"\n  {option} ", self.good(c, "--help").text)

    def test_every_option_is_documented(self):
        with open(os.path.join(ROOT, "docs", "cli.md")) as f:
            sections = re.split(r"^## slm (\w+)$", f.read(), flags=re.M)[1:]
        sections = dict(zip(sections[::2], sections[1::2]))
        self.assertEqual(sorted(sections), sorted(COMMANDS))
        for c in COMMANDS:
            shown = re.findall(r"^  (--?[\w-]+)", self.good(c, "--help").text, flags=re.M)
            documented = re.findall(r"^\| `(--?[\w-]+)", sections[c], flags=re.M)
            self.assertGreater(len(shown), 3)
            self.assertEqual(sorted(shown), sorted(documented), c)


class Usage(Case):
    def test_errors(self):
        m = self.model
        for args, word in (
            (["run"], "-m MODEL"),
            (["run", "-m"], "wants a value"),
            (["run", "-m", m, "-n", "x"], "whole number"),
            (["run", "-m", m, "-n", ""], "whole number"),
            (["run", "-m", m, "-n", "-1"], "whole number"),
            (["run", "-m", m, "-n", "99999999999"], "whole number"),
            (["run", "-m", m, "-t", "100000"], "whole number"),
            (["run", "-m", m, "--temp", "nan"], "number"),
            (["run", "-m", m, "--temp", "-1"], "number"),
            (["run", "-m", m, "--top-p", "1.5"], "number"),
            (["run", "-m", m, "--min-p=x"], "number"),
            (["run", "-m", m, "--repeat-penalty", "0"], "number"),
            (["run", "-m", m, "--seed", "-1"], "2^64-1"),
            (["run", "-m", m, "--seed", "18446744073709551616"], "2^64-1"),
            (["run", "-m", m, "--raw=1"], "takes no value"),
            (["run", "-m", m, "--no-such"], "unknown option"),
            (["run", "-m", m, "word"], "unexpected"),
            (["run", "-m", m, "--", "-p"], "unexpected"),
            (["run", "-m", m, "-p", "a", "-f", "b"], "exclude"),
            (["run", "-m", m, "--raw", "--system", "x"], "--raw"),
            (["run", "-m", m, "--lookup", "65"], "whole number"),
            (["run", "-m", m, "--draft"], "wants a value"),
            (["run", "-m", m, "--cpu", "mmx"], "this machine has: c"),
            (["run", "-m", m, "--kv", "f8"], "f16, f32 or q8_0"),
            (["tokenize"], "-m MODEL"),
            (["tokenize", "-m", m, "a", "b"], "unexpected"),
            (["tokenize", "-m", m, "--system", "x"], "--chat"),
            (["tokenize", "-m", m, "--json"], "--chat"),
            (["tokenize", "-m", m, "--render"], "--chat"),
            (["tokenize", "-m", m, "--chat", "--json", "--system", "x"], "--json"),
            (["tokenize", "-m", m, "--chat", "--special"], "--special"),
            (["tokenize", "-m", m, "--chat", "--no-bos"], "--no-bos"),
            (["logprobs", "-m", m], "--ids"),
            (["logprobs", "--ids", "-"], "-m MODEL"),
            (["logprobs", "-m", m, "--ids", "-", "--top", "-1"], "whole number"),
            (["inspect"], "MODEL"),
            (["inspect", m, m], "unexpected"),
            (["inspect", m, "--elements", "1.5"], "whole number"),
        ):
            r = slm(*args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertRegex(r.message, rf"\Aslm: [^\n]+\nTry 'slm {args[0]} --help'\.\n\Z", args)
            self.assertIn(word, r.message, args)

    def test_unknown_subcommand(self):
        for args in (["walk"], ["help", "walk"], ["--walk"], [""]):
            r = slm(*args)
            self.assertEqual((r.code, r.out), (2, b""))
            self.assertIn("unknown subcommand", r.message)

    def test_two_ways_to_write_a_value(self):
        a = self.good("run", "-m", self.model, "-p", "hi", "--seed=7", "--temp=1", "-n", "9")
        b = self.good("run", "-m", self.model, "-p", "hi", "--seed", "7", "--temp", "1", "-n", "9")
        self.assertEqual(a.out, b.out)


class Broken(Case):
    """Whatever the file is, each subcommand ends with 1 and one line."""

    def commands(self, path):
        yield ["run", "-m", path, "-p", "x", "-n", "1"]
        yield ["tokenize", "-m", path]
        yield ["logprobs", "-m", path, "--ids", self.ids]
        yield ["perplexity", "-m", path, "-f", self.ids, "-c", "4"]
        yield ["embed", "-m", path, "x"]
        yield ["inspect", path]
        yield ["inspect", path, "--json"]

    def setUp(self):
        self.ids = self.file("ids", "3 4\n")

    def all_fail(self, path):
        for args in self.commands(path):
            self.fails(*args)

    def test_no_file(self):
        self.all_fail(self.path("missing.gguf"))

    def test_folder(self):
        self.all_fail(self.folder.name)

    def test_no_model(self):
        self.all_fail("/dev/null")
        self.all_fail(self.file("empty", ""))
        self.all_fail(self.file("text", "No model at all.\n" * 100))
        self.all_fail(self.file("magic", b"GGUF" + b"\xff" * 1000))

    def test_unreadable(self):
        self.all_fail("/proc/self/mem")  # opens, and cannot be read
        self.fails("tokenize", "-m", self.model, "/proc/self/mem")
        self.fails("run", "-m", self.model, "-f", "/proc/self/mem")

    def test_cut_off(self):
        whole = tiny_model.build()
        for i in range(40):
            self.all_fail(self.file("cut", whole[: len(whole) * i // 40]))
        self.all_fail(self.file("cut", whole[:-1]))

    def test_fault_85_cut_off_while_it_runs(self):
        """Between its first output and the rest, which the pipe has no room for until the file is cut."""
        for length, more in ((0, []), (0, ["--lookup", "0"]), (0, ["--reference"]), (20000, []), (-1, [])):
            path = self.make("shrinking.gguf")
            args = [SLM, "run", "-m", path, "-p", "x", "--raw", "--seed", "1", "-n", "0", *more]
            with subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
                fcntl.fcntl(p.stdout, fcntl.F_SETPIPE_SZ, 4096)
                self.assertEqual(len(os.read(p.stdout.fileno(), 1)), 1)
                os.truncate(path, length % os.path.getsize(path))
                _, err = p.communicate(timeout=TIMEOUT)
            self.assertEqual(p.returncode, 1, err)
            self.assertRegex(err.decode(), r"\A\n?slm: [^\n]+ cut short [^\n]+SLM_ERR_CHANGED[^\n]*\n\Z")

    def test_message_names_file(self):
        path = self.path("missing.gguf")
        self.assertIn(path, self.fails("inspect", path).message)

    def test_no_prompt_file(self):
        self.fails("run", "-m", self.model, "-f", self.path("none"))
        self.fails("run", "-m", self.model, "-f", self.folder.name)
        self.fails("tokenize", "-m", self.model, self.path("none"))
        self.fails("tokenize", "-m", self.model, self.folder.name)
        self.fails("logprobs", "-m", self.model, "--ids", self.path("none"))

    def test_weights_missing(self):
        path = self.make("vocab.gguf", weights=False)
        self.fails("run", "-m", path, "-p", "x")
        self.fails("logprobs", "-m", path, "--ids", self.ids)
        self.fails("embed", "-m", path, "x")


class Tokenize(Case):
    def ids(self, data, *args, model=None):
        r = self.good("tokenize", "-m", model or self.model, *args, stdin=data)
        self.assertTrue(r.text.endswith("\n"))
        self.assertEqual(r.text.count("\n"), 1)
        return [int(i) for i in r.text.split()]

    def test_bytes_as_they_are(self):
        self.assertEqual(self.ids(b"xyz\n"), ids_of("xyz\n"))
        self.assertEqual(self.ids(b"xyz"), ids_of("xyz"))
        self.assertEqual(self.ids(b"x\0y\r\n\n"), ids_of("x\0y\r\n\n"))
        self.assertEqual(self.ids(b""), [])
        self.assertEqual(self.ids("äß€😀".encode()), ids_of("äß€😀"))

    def test_merges(self):
        self.assertEqual(self.ids(b"the"), [token("the")])
        self.assertEqual(self.ids(b"the the"), [token("the"), token("Ġthe")])

    def test_invalid_utf8(self):
        self.assertGreater(len(self.ids(b"\xff\xfe\xc3(")), 0)

    def test_file_and_streams(self):
        path = self.file("text", "some text\n")
        a = self.good("tokenize", "-m", self.model, path)
        self.assertEqual(a.out, self.good("tokenize", "-m", self.model, "-", stdin=b"some text\n").out)
        self.assertEqual(a.out, self.good("tokenize", "-m", self.model, stdin=b"some text\n").out)
        dashed = self.file("-dash", "some text\n")
        r = slm("tokenize", "-m", self.model, "--", "-dash", cwd=os.path.dirname(dashed))
        self.assertEqual((r.code, r.out), (0, a.out))

    def test_special(self):
        text = b"<|im_start|>x<|im_end|>"
        self.assertEqual(self.ids(text, "--special"), [1, *ids_of("x"), 2])
        self.assertNotIn(1, self.ids(text))
        self.assertNotIn(2, self.ids(text))

    def test_bos(self):
        model = self.make("bos.gguf", {"tokenizer.ggml.add_bos_token": B(1)})
        self.assertEqual(self.ids(b"x", model=model), [1, *ids_of("x")])
        self.assertEqual(self.ids(b"x", "--no-bos", model=model), ids_of("x"))
        self.assertEqual(self.ids(b"x"), ids_of("x"))

    def test_vocabulary_is_enough(self):
        model = self.make("vocab.gguf", {"general.architecture": S("no-such-thing")}, weights=False)
        self.assertEqual(self.ids(b"the", model=model), [token("the")])

    def test_text(self):
        r = self.good("tokenize", "-m", self.model, "--text", "--special", stdin=b"the\n\x1b\"n<|im_end|>")
        want = [(token("the"), '"the"'), (13, '"\\n"'), (30, '"\\x1b"'), (37, '"\\""'), (113, '"n"'), (2, '"<|im_end|>"')]
        self.assertEqual(r.text, "".join(f"{i}\t{t}\n" for i, t in want))

    def test_long(self):
        data = b"q" * 3_000_000
        self.assertEqual(self.ids(data), ids_of(data))


class Logprobs(Case):
    def lines(self, text, *args, model=None):
        r = self.good("logprobs", "-m", model or self.model, "--ids", "-", *args, stdin=text.encode())
        lines = r.text.split("\n")
        self.assertEqual(lines.pop(), "")
        return [json.loads(line) for line in lines]

    def one(self, ids, *args, **more):
        (line,) = self.lines(" ".join(map(str, ids)), *args, **more)
        return line

    def test_shape(self):
        line = self.one([3, 4, 5])
        self.assertEqual(list(line), ["tokens", "top"])
        self.assertEqual(line["tokens"], [3, 4, 5])
        self.assertEqual([len(l) for l in line["top"]], [10] * 3)
        self.assertEqual(list(self.one([3], "--top", 0, "--greedy", 2, "--hash")), ["tokens", "greedy", "logits_hash"])

    def test_distribution(self):
        for line in self.lines("5 6 7\n100 3\n", "--top", 10**9):
            for top in line["top"]:
                self.assertEqual(sorted(i for i, _ in top), list(range(N_VOCAB)))
                self.assertAlmostEqual(math.fsum(math.exp(p) for _, p in top), 1, places=7)
                self.assertEqual(top, sorted(top, key=lambda e: (-e[1], e[0])))

    def test_ties_by_lower_id(self):
        # the rows of the special tokens are zero, so their logits are equal
        for top in self.one([9, 8, 7, 6], "--top", N_VOCAB)["top"]:
            order = [i for i, _ in top]
            at = order.index(0)
            self.assertEqual(order[at : at + 3], [0, 1, 2])
            # a list that ends among them holds the lower ones
            cut = self.one([9, 8, 7, 6], "--top", at + 2)["top"]
            self.assertIn([0, 1], [[i for i, _ in t[-2:]] for t in cut])

    def test_top_is_a_prefix(self):
        whole = self.one([50, 60, 70], "--top", N_VOCAB)["top"]
        for k in (1, 2, 3, 10, N_VOCAB - 1):
            self.assertEqual(self.one([50, 60, 70], "--top", k)["top"], [t[:k] for t in whole])

    def test_greedy(self):
        ids, n = [40, 41, 42], 12
        greedy = self.one(ids, "--greedy", n)["greedy"]
        self.assertEqual(len(greedy), n)
        top = self.one(ids + greedy, "--top", 1)["top"]
        self.assertEqual(greedy, [t[0][0] for t in top[len(ids) - 1 : -1]])

    def test_greedy_alone(self):
        a = self.one([40, 41, 42], "--greedy", 5, "--top", 0)["greedy"]
        self.assertEqual(a, self.one([40, 41, 42], "--greedy", 5)["greedy"])

    def test_lines_do_not_touch(self):
        ids = [[3, 9, 27], list(range(3, 200)), [8], [3, 9, 27]]
        together = self.lines("\n".join(" ".join(map(str, i)) for i in ids) + "\n", "--hash", "--greedy", 3)
        self.assertEqual(together, [self.one(i, "--hash", "--greedy", 3) for i in ids])
        self.assertEqual(together[0], together[3])

    def test_prefix_does_not_see_the_rest(self):
        ids = [3 + (7 * i) % 250 for i in range(150)]
        whole = self.one(ids, "--top", 5)["top"]
        for n in (1, 2, 63, 64, 65, 128, 129):
            self.assertEqual(self.one(ids[:n], "--top", 5)["top"], whole[:n])

    def test_how_lines_may_look(self):
        want = self.lines("3 4\n5\n")
        for text in ("3 4\n5", "3 4\r\n5\r\n", "  3\t4  \n5 \n", "03 0004\n5\n"):
            self.assertEqual(self.lines(text), want)
        path = self.file("ids", "3 4\n5\n")
        r = self.good("logprobs", "-m", self.model, "--ids", path)
        self.assertEqual([json.loads(l) for l in r.text.splitlines()], want)

    def test_bad_lines(self):
        for text, where in (
            ("3 4\n\n5\n", "line 2: no token ids"),
            ("3 4\n  \n", "line 2: no token ids"),
            ("3\n3 x\n", "line 2: word 2"),
            ("3 4.5\n", "line 1: word 2"),
            ("-1\n", "line 1: word 1"),
            ("3,4\n", "line 1: word 1"),
            ("3 \0 4\n", "line 1: word 2"),
            (f"3\n4\n{N_VOCAB}\n", "line 3: word 1"),
            ("99999999999999999999999999\n", "line 1: word 1"),
            ("", "no token sequence"),
        ):
            r = self.fails("logprobs", "-m", self.model, "--ids", "-", stdin=text.encode())
            self.assertIn(where, r.message)
            self.assertIn("standard input", r.message)

    def test_too_long(self):
        n = tiny_model.N_CTX
        def fails(lengths, *args):
            text = "".join("3 " * l + "\n" for l in lengths)
            return self.fails("logprobs", "-m", self.model, "--ids", "-", *args, stdin=text.encode()).message
        self.assertIn("line 2", fails([5, n + 1]))
        self.assertIn("line 1", fails([n], "--greedy", 2))
        self.assertIn("line 1", fails([9], "-c", 8))
        self.assertEqual(len(self.lines("3 " * n, "--top", 1, "--greedy", 1)[0]["top"]), n)
        self.assertEqual(len(self.lines("3 " * (n + 1), "-c", n + 1, "--top", 1)[0]["top"]), n + 1)

    def test_other_arithmetic(self):
        """f32 cache and exact mode: other bits, nearly the same numbers."""
        ids = [3 + (5 * i) % 250 for i in range(80)]
        usual = self.one(ids, "--hash", "--top", N_VOCAB)
        for args in (["--kv", "f32"], ["--reference"], ["--reference", "--kv", "f32"]):
            other = self.one(ids, "--hash", "--top", N_VOCAB, *args)
            self.assertNotEqual(other["logits_hash"], usual["logits_hash"])
            for a, b in zip(usual["top"], other["top"]):
                b = dict(b)
                kl = math.fsum(math.exp(p) * (p - b[i]) for i, p in a)
                self.assertLess(kl, 0.02)
        self.assertEqual(self.one(ids, "--hash", "--top", 0, "--kv", "f16")["logits_hash"], usual["logits_hash"])


class SameBits(Case):
    """Every instruction set that this machine has, any number of threads."""

    def outputs(self, text, *args):
        for level in levels():
            for threads in (1, 2, 3, 8):
                yield self.good("logprobs", "-m", self.model, "--ids", "-", "--cpu", level, "-t", threads, *args,
                                stdin=text.encode()).out

    def test_levels(self):
        self.assertEqual(levels()[0], "c")

    def test_logits(self):
        text = "3\n" + " ".join(str(3 + (11 * i) % 260) for i in range(201)) + "\n5 6 7 8 9\n"
        for mode in ([], ["--reference"]):
            first, *rest = self.outputs(text, "--hash", "--greedy", 5, *mode)
            hashes = [json.loads(line)["logits_hash"] for line in first.splitlines()]
            self.assertEqual(len(set(hashes)), 3)
            for h in hashes:
                self.assertRegex(h, r"\A0x[0-9a-f]{16}\Z")
            self.assertGreaterEqual(len(rest), 3)
            for other in rest:
                self.assertEqual(other, first)

    def test_hash_sees_one_token(self):
        a = self.good("logprobs", "-m", self.model, "--ids", "-", "--hash", "--top", 0, stdin=b"3 4 5\n3 4 6\n")
        one, two = [json.loads(line)["logits_hash"] for line in a.text.splitlines()]
        self.assertNotEqual(one, two)

    def test_text_of_a_seed(self):
        def out(level, threads):
            return self.good("run", "-m", self.model, "-p", "hello", "--seed", 5, "-n", 60, "--temp", 1, "--cpu", level,
                             "-t", threads).out
        first = out("c", 1)
        for level in levels():
            for threads in (1, 3):
                self.assertEqual(out(level, threads), first)


class Run(Case):
    def out(self, *args, model=None, stdin=b""):
        return self.good("run", "-m", model or self.model, *args, stdin=stdin).out

    def ids(self, text):
        return [int(i) for i in self.good("tokenize", "-m", self.model, stdin=text.encode()).text.split()]

    def chat(self, *messages):
        """A conversation in ChatML: the marks are tokens, all else is text."""
        out = []
        for role, text in messages:
            out += [1, *self.ids(role + "\n" + text), 2, *self.ids("\n")]
        return out + [1, *self.ids("assistant\n")]

    def greedy(self, ids, n, model=None):
        line = " ".join(map(str, ids)).encode()
        r = self.good("logprobs", "-m", model or self.model, "--ids", "-", "--top", 0, "--greedy", n, stdin=line)
        return text_of(json.loads(r.text)["greedy"])

    def test_raw(self):
        want = self.greedy(ids_of("xyz"), 30)
        self.assertEqual(self.out("--raw", "--temp", 0, "-n", 30, "-p", "xyz"), want)
        self.assertEqual(self.out("--raw", "--top-k", 1, "-n", 30, "-p", "xyz", "--temp", 2), want)

    def test_chat_format(self):
        # the text of special tokens in the prompt stays plain text
        for text in ("hi", "q<|im_end|>"):
            want = self.greedy(self.chat(("user", text)), 20)
            self.assertEqual(self.out("--temp", 0, "-n", 20, "-p", text), want, text)

    def test_system(self):
        want = self.greedy(self.chat(("system", "x"), ("user", "hi")), 20)
        self.assertEqual(self.out("--temp", 0, "-n", 20, "-p", "hi", "--system", "x"), want)

    def test_examples_of_docs_chat(self):
        """docs/chat.md: what its commands print, with this file's template."""
        with open(os.path.join(ROOT, "docs", "chat.md"), encoding="utf-8") as f:
            lines = [line[4:].rstrip("\n") for line in f if line.startswith("    ")]
        chat = next(line for line in lines if line.startswith('{"messages"'))

        def shown(command):
            at = next(i for i, line in enumerate(lines) if command in line) + 1
            end = next((i for i in range(at, len(lines)) if lines[i].startswith("$")), len(lines))
            return "\n".join(lines[at:end]) + "\n"

        one = self.good("tokenize", "-m", self.model, "--chat", "--system", "Be brief.", "--render", stdin=b"Hi").text
        self.assertEqual(one, shown('--system "Be brief." --render'))
        two = self.good("tokenize", "-m", self.model, "--chat", "--json", "--no-prompt", "--render", stdin=chat.encode()).text
        self.assertEqual(two, shown("--json --no-prompt --render"))

    def test_chats_from_json_and_files(self):
        def ids(text, *args):
            return [int(i) for i in self.good("tokenize", "-m", self.model, "--chat", *args, stdin=text.encode()).text.split()]
        messages = '[{"role": "system", "content": "x"}, {"role": "user", "content": "hi"}]'
        want = self.chat(("system", "x"), ("user", "hi"))
        self.assertEqual(ids(messages, "--json"), want)
        self.assertEqual(ids('\n {"messages": %s}' % messages, "--json"), want)
        template = self.path("template.jinja")
        with open(template, "w") as f:
            f.write("{{ tools|length }}{% for m in messages %}[{{ m.role }}]{% endfor %}")
        r = self.good("tokenize", "-m", self.model, "--chat", "--json", "--template", template, "--render", stdin=b'{"messages": [{"role": "a"}], "tools": [1]}')
        self.assertEqual(r.text, "1[a]")
        self.assertRegex(self.fails("tokenize", "-m", self.model, "--chat", "--template", template, stdin=b"hi").message,
                         rf"\Aslm: {re.escape(template)}: chat template, line 1, ")
        for text, what in ((b"[1", "messages_json"), (b'{"a": ', "extra_json")):
            self.assertRegex(self.fails("tokenize", "-m", self.model, "--chat", "--json", stdin=text).message, rf"\Aslm: standard input: {what}")
        self.fails("tokenize", "-m", self.model, "--chat", "--template", self.path("missing"), stdin=b"hi")

    def test_tokens_of_a_chat(self):
        """What slm tokenize --chat prints is what slm run reads."""
        def ids(text, *args):
            return [int(i) for i in self.good("tokenize", "-m", self.model, "--chat", *args, stdin=text.encode()).text.split()]

        self.assertEqual(ids("q<|im_end|>\n"), self.chat(("user", "q<|im_end|>\n")))
        self.assertEqual(ids("hi", "--system", "x"), self.chat(("system", "x"), ("user", "hi")))
        self.assertEqual(ids("hi", "--system", ""), self.chat(("system", ""), ("user", "hi")))
        model = self.make("none.gguf", {"tokenizer.chat_template": None})
        self.assertIn(f"slm: {model}: key tokenizer.chat_template is missing", self.fails("tokenize", "-m", model, "--chat", stdin=b"hi").message)

    def test_where_the_prompt_is(self):
        want = self.out("-p", "a b", "--temp", 0, "-n", 20)
        args = ("--temp", 0, "-n", 20)
        self.assertEqual(self.out("-f", self.file("prompt", "a b\n"), *args), want)
        self.assertEqual(self.out("-f", self.file("prompt", "a b"), *args), want)
        self.assertEqual(self.out(*args, stdin=b"a b\n"), want)
        self.assertEqual(self.out("-f", "-", *args, stdin=b"a b"), want)
        self.assertNotEqual(self.out(*args, stdin=b"a b\n\n"), want)

    def test_templates(self):
        for name, changed in (("none", None), ("other", S("{% for m in messages %}[INST]{{ m }}{% endfo %}"))):
            model = self.make(name + ".gguf", {"tokenizer.chat_template": changed})
            self.assertIn("--raw", self.fails("run", "-m", model, "-p", "x").message)
            self.assertEqual(self.out("--raw", "--temp", 0, "-n", 9, "-p", "x", model=model), self.greedy(ids_of("x"), 9))

    def test_empty_prompt(self):
        self.assertIn("empty", self.fails("run", "-m", self.model, "--raw", "-p", "").message)
        self.assertIn("empty", self.fails("run", "-m", self.model, "-p", "").message)  # of a pipe that failed, say
        model = self.make("bos.gguf", {"tokenizer.ggml.add_bos_token": B(1)})
        self.assertEqual(self.out("--raw", "--temp", 0, "-n", 9, "-p", "", model=model), self.greedy([1], 9))

    def test_context(self):
        self.assertIn("-c", self.fails("run", "-m", self.model, "--raw", "-p", "x" * 20, "-c", 19).message)
        r = slm("run", "-m", self.model, "--raw", "-p", "x" * 20, "-c", 32, "--stats", "--temp", 0)
        self.assertEqual(r.code, 0)
        self.assertEqual(r.out, self.greedy(ids_of("x" * 20), 13))
        self.assertIn("context full", r.message)
        long = "x" * (tiny_model.N_CTX + 10)
        self.assertIn("-c", self.fails("run", "-m", self.model, "--raw", "-f", self.file("long", long)).message)

    def test_ends_where_the_model_ends(self):
        # every token but <|im_end|> has output zero or less
        data = bytearray(tiny_model.build())
        at = len(data) - N_VOCAB * 64 * 4
        data[at:] = bytes(N_VOCAB * 64 * 4)
        model = self.file("silent.gguf", bytes(data))
        r = slm("run", "-m", model, "--raw", "-p", "x", "--stats", "--temp", 0)
        # all logits are equal: the lowest id, which ends
        self.assertEqual((r.code, r.out), (0, b"\n"))
        self.assertIn("answer 0 tokens; the model ended", r.message)

    def test_stats(self):
        r = slm("run", "-m", self.model, "-p", "hi", "-n", 5, "--stats", "--seed", 3, "-t", 2, "--cpu", "c")
        self.assertEqual(r.code, 0)
        self.assertRegex(r.message, r"\Aprompt \d+ tokens, [\d.]+ tokens/s; answer 5 tokens, [\d.]+ tokens/s; -n reached; "
                                    r"seed 3; 2 threads, c\n\Z")
        one = slm("run", "-m", self.model, "-p", "hi", "-n", 1, "--stats")
        self.assertIn("answer 1 token; -n reached", one.message)

    def test_sampling(self):
        def text(*args):
            return self.out("--raw", "-p", "xyz", "-n", 40, *args)
        self.assertEqual(text("--seed", 1, "--temp", 3), text("--seed", 1, "--temp", 3))
        different = {text("--seed", s, "--temp", 3, "--top-k", 0, "--top-p", 1, "--min-p", 0) for s in range(5)}
        self.assertEqual(len(different), 5)
        greedy = text("--temp", 0)
        self.assertEqual(text("--seed", 1, "--temp", 1, "--top-p", 0), greedy)
        self.assertEqual(text("--seed", 1, "--temp", 1, "--min-p", 1), greedy)
        self.assertNotEqual(text("--temp", 0, "--repeat-penalty", 50), greedy)
        self.assertEqual(text("--temp", 0, "--repeat-penalty", 50, "--repeat-last-n", 0), greedy)

    def test_drafts_do_not_change_the_text(self):
        repeats = tiny_model.write(self.path("repeats.gguf"), layers=False)
        accepted = 0
        for sampling in (["--temp", 0], ["--temp", 0, "--repeat-penalty", 1.2], ["--temp", 0.1, "--seed", 9],
                         ["--seed", 4, "--temp", 2, "--repeat-penalty", 1.1]):
            for model, prompt in ((repeats, ["-p", "hi"]), (repeats, ["-p", "one two one two", "--raw"]), (self.model, ["-p", "hi"])):
                args = ["-m", model, *sampling, *prompt, "-n", 150]
                plain = self.good("run", *args, "--lookup", 0).out
                for drafts in ([], ["--lookup", 8], ["--lookup", 1], ["--lookup", 64], ["--draft", self.model],
                               ["--draft", repeats, "--lookup", 0]):
                    r = slm("run", *args, *drafts, "--stats")
                    self.assertEqual((r.code, r.out), (0, plain), (args, drafts))
                    found = re.search(r" tokens/s(?:, (\d+) of (\d+) drafted accepted)?; -n reached", r.message)
                    self.assertTrue(found, r.message)
                    self.assertLessEqual(int(found[1] or 0), int(found[2] or 0))
                    accepted += int(found[1] or 0)
        self.assertGreater(accepted, 500)

    def test_drafts_at_the_end_of_the_context(self):
        def run(*args):
            r = slm("run", "-m", self.model, "--raw", "-p", "xyxyxy", "--temp", 0, "-c", 100, "--stats", *args)
            self.assertEqual(r.code, 0, r.message)
            self.assertIn("answer 95 tokens", r.message)
            self.assertIn("context full", r.message)
            return r.out
        self.assertEqual(run(), run("--lookup", 0))
        self.assertEqual(run("--draft", self.model), run("--lookup", 0))

    def test_draft_model_of_another_vocabulary(self):
        tokens = tiny_model.tokens()
        tokens[-1] = "other"
        model = self.make("other-words.gguf", {"tokenizer.ggml.tokens": A(STRING, tokens), "tokenizer.ggml.merges": A(STRING, [])})
        r = self.fails("run", "-m", self.model, "-p", "x", "--draft", model)
        self.assertIn(model, r.message)
        self.assertIn("token 265", r.message)
        self.fails("run", "-m", self.model, "-p", "x", "--draft", self.path("missing.gguf"))

    def test_always_utf8(self):
        for seed in range(4):
            self.out("--raw", "-p", "x", "-n", 200, "--temp", 5, "--top-k", 0, "--seed", seed).decode()

    def test_streams_token_by_token(self):
        model = self.make("long.gguf", {"llama.context_length": U(1 << 20)})
        p = subprocess.Popen([SLM, "run", "-m", model, "--raw", "-p", "xyz", "--temp", "1", "-c", "200000"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(len(p.stdout.read(10)), 10)  # long before it ends
        self.assertIsNone(p.poll())
        p.kill()
        p.communicate()


class Inspect(Case):
    def json(self, path, *args):
        r = self.good("inspect", path, "--json", *args)
        self.assertEqual(r.text.count("\n"), 1)
        return json.loads(r.text)

    def key(self, info, name):
        (key,) = [k for k in info["keys"] if k["name"] == name]
        return key

    def test_json(self):
        info = self.json(self.model)
        tensors = tiny_model.tensors()
        for name, value in (
            ("file", self.model), ("file_bytes", os.path.getsize(self.model)), ("gguf_version", 3), ("architecture", "llama"),
            ("not_runnable", None), ("n_vocab", N_VOCAB), ("n_layer", 2), ("n_embd", 64), ("n_ff", 128), ("n_head", 4),
            ("n_head_kv", 2), ("n_ctx_train", tiny_model.N_CTX), ("n_tensors", len(tensors)),
            ("n_params", sum(math.prod(dims) for _, dims, _, _ in tensors)),
            ("tensor_bytes", sum(len(data) for *_, data in tensors)),
        ):
            self.assertEqual(info[name], value, name)
        self.assertNotIn("tensors", info)
        self.assertEqual([k["name"] for k in info["keys"]], list(tiny_model.keys()))
        self.assertEqual(self.key(info, "general.name"), {"name": "general.name", "type": "string", "value": "tiny"})
        self.assertEqual(self.key(info, "llama.block_count"), {"name": "llama.block_count", "type": "u32", "value": 2})
        self.assertEqual(self.key(info, "tokenizer.chat_template")["value"], tiny_model.CHATML)
        self.assertIs(self.key(info, "tokenizer.ggml.add_bos_token")["value"], False)
        self.assertEqual(self.key(info, "llama.attention.layer_norm_rms_epsilon")["value"], 1e-05)

    def test_arrays(self):
        name = "tokenizer.ggml.tokens"
        want = {"name": name, "type": "array", "element_type": "string", "n": N_VOCAB, "first": tiny_model.tokens()[:4]}
        self.assertEqual(self.key(self.json(self.model), name), want)
        for n in (0, 1, N_VOCAB, N_VOCAB + 5):
            key = self.key(self.json(self.model, "--elements", n), name)
            self.assertEqual(key["first"], tiny_model.tokens()[:n])
        types = self.key(self.json(self.model, "--elements", 5), "tokenizer.ggml.token_type")
        self.assertEqual((types["element_type"], types["first"]), ("i32", [3, 3, 3, 1, 1]))

    def test_types(self):
        info = self.json(self.model)
        types = {t["type"]: t for t in info["types"]}
        self.assertEqual(sorted(types), ["F32", "Q4_0", "Q8_0"])
        self.assertEqual([types[t]["bits_per_weight"] for t in ("F32", "Q4_0", "Q8_0")], [32, 4.5, 8.5])
        self.assertEqual(sum(t["n_tensors"] for t in types.values()), info["n_tensors"])
        self.assertEqual(sum(t["n_params"] for t in types.values()), info["n_params"])
        self.assertEqual(sum(t["bytes"] for t in types.values()), info["tensor_bytes"])

    def test_tensors(self):
        names = {0: "F32", 2: "Q4_0", 8: "Q8_0"}
        want = [{"name": n, "type": names[t], "shape": d, "bytes": len(data)} for n, d, t, data in tiny_model.tensors()]
        self.assertEqual(self.json(self.model, "--tensors")["tensors"], want)
        text = self.good("inspect", self.model, "--tensors").text
        for t in want:
            self.assertRegex(text, rf"(?m)^{re.escape(t['name'])} +{t['type']} +{t['bytes']}  "
                                   rf"{' x '.join(map(str, t['shape']))}$")

    def test_text(self):
        text = self.good("inspect", self.model).text
        self.assertIn(f"{os.path.getsize(self.model)} bytes", text)
        self.assertRegex(text, r"(?m)^architecture  llama$")
        self.assertRegex(text, r"(?m)^trained for   4096 positions$")
        self.assertRegex(text, r'(?m)^general\.name +string +"tiny"$')
        self.assertRegex(text, rf'(?m)^tokenizer\.ggml\.tokens +string\[{N_VOCAB}\] +"<\|endoftext\|>", "<\|im_start\|>", ')

    def test_context_memory(self):
        a, b = self.json(self.model, "-c", 512)["context"], self.json(self.model, "-c", 4096)["context"]
        self.assertEqual((a["n_ctx"], b["n_ctx"], a["kv"]), (512, 4096, "f16"))
        # two layers, two heads of 16 keys and 16 values, two bytes each; the token; and the tables of pages
        self.assertAlmostEqual(a["bytes_per_position"], 2 * 2 * 2 * 16 * 2 + 4, delta=1)
        self.assertAlmostEqual(b["bytes"] - a["bytes"], 3584 * a["bytes_per_position"], delta=3584)
        wide = self.json(self.model, "-c", 512, "--kv", "f32")["context"]
        self.assertEqual(wide["kv"], "f32")
        self.assertAlmostEqual(wide["bytes_per_position"], 2 * a["bytes_per_position"] - 4, delta=2)
        self.assertGreater(self.json(self.model, "-c", 512, "-t", 8)["context"]["bytes"],
                           self.json(self.model, "-c", 512, "-t", 1)["context"]["bytes"])

    def test_cannot_run(self):
        for name, changed, weights, word in (
            ("vocab.gguf", {}, False, "missing"),
            ("arch.gguf", {"general.architecture": S("other")}, True, "other"),
            ("shape.gguf", {"llama.feed_forward_length": U(96)}, True, "shape"),
        ):
            path = self.make(name, changed, weights)
            info = self.json(path)
            self.assertIn(word, info["not_runnable"])
            self.assertNotIn("context", info)
            self.assertEqual(info["n_vocab"], N_VOCAB)
            self.assertRegex(self.good("inspect", path).text, rf"(?m)^not runnable  .*{word}")

    def test_hostile_bytes(self):
        """Nothing of a file reaches the terminal as a control character, in any view."""
        # ESC, BEL, CSI of the C1 set, a mark that turns the text, DEL, invalid UTF-8, a surrogate
        evil = b"\x1b[31m\x07\xc2\x9b2J\xe2\x80\xae\x7f\xff\xed\xa0\x80\r\n\"\\"
        changed = {
            "evil" + evil[:-4].decode("utf-8", "ignore"): S(evil),
            "evil.array": A(STRING, [evil, b"", evil * 20]),
            "evil.long": S(evil * 500),
            "evil.nan": F(math.nan), "evil.inf": F(-math.inf), "evil.numbers": A(F32, [math.inf, 1e30, -0.0]),
            "general.name": S(evil),
            "tokenizer.chat_template": S(evil),
        }
        path = self.make("evil.gguf", changed)
        data = tiny_model.build(changed).replace(b"token_embd.weight", b"token_embd\x1b[31mgh")
        views = [self.make("evil.gguf", changed), self.file("evil-tensor.gguf", data),
                 self.make("evil-arch.gguf", {"general.architecture": S(b"\x1b[31m\xc2\x9b")}, False)]
        for path in views:
            for args in ([], ["--json"], ["--tensors"], ["--json", "--tensors", "--elements", "9"]):
                r = self.good("inspect", path, *args)
                shown = r.text  # valid UTF-8, or this raises
                bad = [c for c in shown if c != "\n" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or c == "\u202e")]
                self.assertEqual(bad, [], (path, args))
        info = json.loads(self.good("inspect", views[0], "--json", "--elements", "3").text)
        self.assertEqual(self.key(info, "evil.nan")["value"], "nan")
        self.assertEqual(self.key(info, "evil.inf")["value"], "-inf")
        self.assertEqual(self.key(info, "evil.numbers")["first"], ["inf", 1e30, 0])
        self.assertTrue(self.key(info, "general.name")["value"].startswith("\x1b[31m\x07\x9b2J\u202e\x7f\ufffd"))
        self.assertTrue(self.key(info, "general.name")["value"].endswith("\r\n\"\\"))
        self.assertEqual(self.key(info, "evil.long")["value"], self.key(info, "general.name")["value"] * 500)

    def test_escapes(self):
        path = self.make("escapes.gguf", {"general.name": S(b'ntr\n\t\r\\"\x01\xff\xc3\xa4')})
        text = self.good("inspect", path).text
        self.assertIn('"ntr\\n\\t\\r\\\\\\"\\x01\\xffä"', text)


class Example(Case):
    """docs/example.c"""

    def example(self, *args, **more):
        return subprocess.run([os.path.join(O, "tests", "example"), *args], stdout=more.get("stdout", subprocess.PIPE),
                              stderr=subprocess.PIPE, timeout=TIMEOUT)

    def test_answer(self):
        r = self.example(self.model, "xyz")
        self.assertEqual((r.returncode, r.stderr), (0, b""))
        want = self.good("run", "-m", self.model, "--raw", "-p", "xyz", "--temp", 0, "-n", 64).out
        self.assertEqual(r.stdout.rstrip(b"\n"), want.rstrip(b"\n"))
        self.assertTrue(r.stdout.endswith(b"\n"))

    def test_errors(self):
        for args, code in (([], 2), ([self.model], 2), ([self.path("none"), "x"], 1), ([self.model, ""], 1),
                           ([self.file("text", "x"), "x"], 1)):
            r = self.example(*args)
            self.assertEqual((r.returncode, r.stdout), (code, b""), args)
            self.assertEqual(r.stderr.count(b"\n"), 1, args)
        with open("/dev/full", "w") as full:
            self.assertEqual(self.example(self.model, "x", stdout=full).returncode, 1)


class GrammarExample(Case):
    """docs/example_grammar.c"""

    def example(self, *args):
        return subprocess.run([os.path.join(O, "tests", "example_grammar"), *args], capture_output=True, timeout=TIMEOUT)

    def test_answer_fits(self):
        # a model of random weights: without the grammar nothing of this would come
        for gbnf, pattern in (
            ('root ::= "a" [b-d]{3,20} "e"', rb"a[b-d]{3,20}e"),
            ('root ::= "[" item ("," item){0,3} "]"\nitem ::= "yes" | "no"', rb"\[(yes|no)(,(yes|no)){0,3}\]"),
        ):
            r = self.example(self.model, gbnf, "xyz")
            self.assertEqual((r.returncode, r.stderr), (0, b""))
            self.assertIsNotNone(re.fullmatch(pattern, r.stdout), r.stdout)

    def test_errors(self):
        for args, code, word in (([], 2, b"usage"), ([self.path("none"), 'root ::= "a"', "x"], 1, b"none"),
                                 ([self.model, "root ::= x", "x"], 1, b"1:10: "), ([self.model, "root ::= <none>", "x"], 1, b"<none>")):
            r = self.example(*args)
            self.assertEqual((r.returncode, r.stdout), (code, b""), args)
            self.assertIn(word, r.stderr)


class Adapters(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.a = cls.file("a.gguf", tiny_model.build_adapter(1))
        cls.b = cls.file("b:2", tiny_model.build_adapter(2, 40, ("attn", "ffn")))
        cls.ids = cls.file("adapter-ids", "3 70 80 90 100 5 6 7\n")

    def lora(self, *files):
        return [word for f in files for word in ("--lora", f)]

    def hash(self, *files, more=()):
        args = ["logprobs", "-m", self.model, "--ids", self.ids, "--top", "0", "--hash", *self.lora(*files), *more]
        return json.loads(self.good(*args).text)["logits_hash"]

    def test_scales_and_lists(self):
        a, b = self.a, self.b
        none = self.hash()
        self.assertEqual(self.hash(f"{a}:0"), none)
        self.assertEqual(self.hash(f"{a}:0", f"{b}:0e3"), none)
        self.assertEqual(self.hash(a), self.hash(f"{a}:1.0"))
        self.assertEqual(self.hash(a, f"{b}:-2.5"), self.hash(f"{a}:1", f"{b}:-25e-1"))
        # the file is named b:2, which needs a scale behind it
        self.assertIn("cannot open", self.fails("logprobs", "-m", self.model, "--ids", self.ids, *self.lora(b)).message)
        different = [none, self.hash(a), self.hash(f"{a}:2"), self.hash(f"{b}:1"), self.hash(a, f"{b}:1"), self.hash(a, a)]
        self.assertEqual(len(set(different)), len(different))

    def test_bits(self):
        files = (self.a, f"{self.b}:0.5")
        want = self.hash(*files)
        for cpu in levels():
            for threads in (1, 3):
                self.assertEqual(self.hash(*files, more=["--cpu", cpu, "-t", threads]), want)
        self.assertNotEqual(self.hash(*files, more=["--reference"]), want)

    def test_run(self):
        lora = self.lora(self.a, f"{self.b}:0.5")
        line = " ".join(map(str, ids_of("hello"))).encode()
        r = self.good("logprobs", "-m", self.model, "--ids", "-", "--top", 0, "--greedy", 20, *lora, stdin=line)
        run = ["run", "-m", self.model, "--raw", "-p", "hello", "-n", 20, "--temp", 0]
        self.assertEqual(self.good(*run, *lora).out, text_of(json.loads(r.text)["greedy"]))
        self.assertNotEqual(self.good(*run).out, self.good(*run, *lora).out)

    def test_bench(self):
        args = ["bench", "-m", self.model, "-p", 8, "-n", 4, "-r", 1, "--json", *self.lora(self.a)]
        self.assertEqual(len(json.loads(self.good(*args).text)), 2)

    def test_failures(self):
        run = ["run", "-m", self.model, "-p", "x"]
        for spec, word in (
            (self.path("none.gguf"), "none.gguf"),
            (self.a + ":", "cannot open"),
            (self.a + ":1x", "cannot open"),
            (self.a + ":nan", "scale nan"),
            (self.a + ":1e39", "scale inf"),
            (self.model, "general.type"),
            (self.file("cut.gguf", tiny_model.build_adapter()[:-1]), "SLM_ERR_TRUNCATED"),
        ):
            self.assertIn(word, self.fails(*run, "--lora", spec).message, spec)
        r = slm(*run, *self.lora(*[self.a] * 33))
        self.assertEqual((r.code, r.out), (2, b""))
        self.assertIn("--lora: more than 32", r.message)

    def test_inspect(self):
        info = json.loads(self.good("inspect", self.a, "--json", "--tensors").text)
        self.assertEqual((info["architecture"], info["n_vocab"]), ("llama", 0))
        self.assertIn("tokenizer.ggml.tokens", info["not_runnable"])
        self.assertEqual({k["name"]: k["value"] for k in info["keys"]}["adapter.lora.alpha"], 8)
        self.assertEqual(len(info["tensors"]), 2 * (3 * tiny_model.N_LAYER + 1))  # attn_output is an output.weight, too
        self.assertRegex(self.good("inspect", self.a, "--tensors").text, r"(?m)^blk\.0\.attn_q\.weight\.lora_a +F32 ")


if __name__ == "__main__":
    unittest.main()
