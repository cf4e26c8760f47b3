"""slm bench from outside. What it measures depends on the machine; what it says about it does not."""
import itertools
import json
import os
import pty
import re
import signal
import statistics
import subprocess
import threading
import unittest
from unittest import mock

from program import SLM, TIMEOUT, Case, levels, slm
import tiny_model
from tiny_model import N_CTX, U

FIELDS = ["n_prompt", "n_gen", "n_depth", "n_batch", "n_threads", "cpu", "kv", "tokens_per_second", "runs", "limit_share"]
HEAD = ["work", "depth", "batch", "threads", "cpu", "tokens/s", "min", "max", "of limit"]


def combinations(prompts, gens, depths, batches, threads, cpus):
    """What the program is to measure, in its order: (prompt, gen, depth, batch, threads, cpu)."""
    for cpu, t, d in itertools.product(cpus, threads, depths):
        for p in prompts:
            yield p, 0, d, 1, t, cpu
        for n, b in itertools.product(gens, batches):
            yield 0, n, d, b, t, cpu


def comma(values):
    return ",".join(map(str, values))


class Bench(Case):
    def json(self, *args, model=None):
        return json.loads(self.good("bench", "-m", model or self.model, "--json", *args).text)

    def table(self, *args):
        """The lines above the table, and its rows."""
        head, body = self.good("bench", "-m", self.model, *args).text.split("\n\n")
        first, *rows = body.splitlines()
        self.assertEqual(re.split(r"  +", first)[0:1] + first.split()[1:], HEAD[:-1] + ["of", "limit"])
        self.assertEqual({len(row) for row in rows}, {len(first)})
        return head.splitlines(), [row.split() for row in rows]


class Json(Bench):
    def test_every_combination(self):
        lists = [3, 70], [2, 5], [0, 65], [1, 3], [1, 2], levels()
        flags = "-p", "-n", "-d", "-b", "-t", "--cpu"
        done = self.json("-r", 1, *(x for flag, values in zip(flags, lists) for x in (flag, comma(values))))
        self.assertEqual([tuple(e[f] for f in FIELDS[:6]) for e in done], list(combinations(*lists)))

    def test_fields(self):
        for r in (1, 2, 3, 6):
            for e in self.json("-p", 9, "-n", 4, "-r", r):
                self.assertEqual(list(e), FIELDS)
                self.assertEqual(len(e["runs"]), r)
                self.assertTrue(all(v > 0 for v in e["runs"]))
                self.assertAlmostEqual(e["tokens_per_second"] / statistics.median(e["runs"]), 1, places=6)
                self.assertEqual(e["kv"], "f16")
                if e["n_gen"]:
                    self.assertGreater(e["limit_share"], 0)

    def test_defaults(self):
        prompt, gen = self.json()
        self.assertEqual([prompt[f] for f in FIELDS[:4]], [512, 0, 0, 1])
        self.assertEqual([gen[f] for f in FIELDS[:4]], [0, 128, 0, 1])
        stats = slm("run", "-m", self.model, "-p", "x", "-n", 1, "--stats").message
        for e in (prompt, gen):
            self.assertEqual(len(e["runs"]), 5)
            self.assertRegex(stats, rf"; {e['n_threads']} threads?, {e['cpu']}\n")

    def test_one_kind_left_out(self):
        self.assertEqual([e["n_gen"] for e in self.json("-p", 0, "-n", "3,4", "-r", 1)], [3, 4])
        self.assertEqual([e["n_prompt"] for e in self.json("-p", "3,0,4", "-n", 0, "-b", "1,2", "-r", 1)], [3, 4])

    def test_cache(self):
        for e in self.json("-p", 5, "-n", 5, "-r", 1, "--kv", "f32"):
            self.assertEqual(e["kv"], "f32")

    def test_more_sequences_than_tokens_at_a_time(self):
        (e,) = self.json("-p", 0, "-n", 2, "-b", 300, "-r", 1, "-d", 1)
        self.assertEqual(e["n_batch"], 300)

    def costs(self, *args, model=None):
        """What a token takes of the limit, up to a factor: the machine's rate."""
        return [e["limit_share"] and e["limit_share"] / e["tokens_per_second"]
                for e in self.json("-r", 1, "-t", 1, *args, model=model)]

    def check_costs(self, tensors, model):
        """Bytes that a generated token takes, and operations that one of a prompt takes, by the tensors of the file."""
        output = [t for t in tensors if t[0] == "output.weight"] or [t for t in tensors if t[0] == "token_embd.weight"]
        others = [t for t in tensors if t[0] not in ("output.weight", "token_embd.weight")]
        step = sum(len(data) for *_, data in others + output)
        position = 2 * 2 * 2 * 16 * 2  # keys and values of two layers and two heads of 16, two bytes each
        want = [step / b + position * (d + (n + 1) / 2) for d in (0, 200) for n in (1, 9) for b in (1, 4)]
        got = self.costs("-p", 0, "-n", "1,9", "-d", "0,200", "-b", "1,4", model=model)
        for w, g in zip(want, got, strict=True):
            self.assertAlmostEqual(g / got[0] / (w / want[0]), 1, places=2)
        size = lambda t: t[1][0] * t[1][1]
        layers = sum(size(t) for t in others if len(t[1]) == 2)
        want = [layers + size(output[0]) / p for p in (1, 2, 100)]
        got = self.costs("-p", "1,2,100", "-n", 0, model=model)
        if levels() == ["c"]:
            return  # the processor may have no instruction for it
        for w, g in zip(want, got, strict=True):
            self.assertAlmostEqual(g / got[0] / (w / want[0]), 1, places=6)

    def test_share(self):
        self.check_costs(tiny_model.tensors(), self.model)

    def test_share_of_tied_output(self):
        tensors = [t for t in tiny_model.tensors() if t[0] != "output.weight"]
        with mock.patch.object(tiny_model, "tensors", lambda seed: tensors):
            model = self.make("tied.gguf")
        self.check_costs(tensors, model)


class Table(Bench):
    def test_a_row_each(self):
        lists = [3, 70], [2], [0, 65], [1, 3], [1, 2]
        cpu = levels()[-1]
        head, rows = self.table("-r", 2, *(x for flag, values in zip(("-p", "-n", "-d", "-b", "-t"), lists)
                                           for x in (flag, comma(values))))
        want = [["prompt" if p else "generate", *map(str, (p or n, d, b, t)), c]
                for p, n, d, b, t, c in combinations(*lists, [cpu])]
        self.assertEqual([row[:6] for row in rows], want)
        for row in rows:
            median, low, high = map(float, row[6:9])
            self.assertLessEqual(low, median)
            self.assertLessEqual(median, high)
            self.assertRegex(row[9], r"\A([\d.]+%|-)\Z")
        self.assertRegex(head[0], rf"\A{re.escape(self.model)}: llama, [\d.]+ million weights, [\d.]+ MiB; KV cache f16\Z")
        for line, n in zip(head[1:], ("1 thread", "2 threads"), strict=True):
            self.assertRegex(line, rf"\Alimit of {n}: memory read [\d.]+ GB/s(, int8 [\d.]+ TOPS \(.+\))?\Z")

    def test_measures_what_it_needs(self):
        head, rows = self.table("-p", 0, "-n", 2, "-r", 1, "-t", "2,2")
        self.assertEqual((len(head), len(rows)), (2, 2))
        self.assertRegex(head[1], r"\Alimit of 2 threads: memory read [\d.]+ GB/s\Z")
        head, _ = self.table("-p", 2, "-n", 0, "-r", 1, "--kv", "f32")
        self.assertNotIn("memory", " ".join(head[1:]))
        self.assertTrue(head[0].endswith("KV cache f32"))


class Wrong(Bench):
    def test_usage(self):
        m = self.model
        for args, word in (
            ([], "-m MODEL"),
            (["-m", m, "-p", ""], "-p"), (["-m", m, "-p", "1,"], "-p 1,"), (["-m", m, "-n", ",1"], "-n ,1"),
            (["-m", m, "-n", "1,,2"], "-n 1,,2"), (["-m", m, "-d", "-1"], "-d -1"), (["-m", m, "-d", "1 2"], "-d 1 2"),
            (["-m", m, "-b", "0"], "-b 0"), (["-m", m, "-b", "1,x"], "-b 1,x"), (["-m", m, "-b", "1.5"], "-b 1.5"),
            (["-m", m, "-t", "513"], "-t 513"), (["-m", m, "-p", "9" * 30], "-p 999"), (["-m", m, "-n", "+1"], "-n +1"),
            (["-m", m, "-p", comma(range(1, 34))], "-p 1,2"), (["-m", m, "--cpu", comma(["c"] * 33)], "--cpu c,c"),
            (["-m", m, "-r", "0"], "-r 0"), (["-m", m, "-r", "1,2"], "-r 1,2"), (["-m", m, "--kv", "f8"], "--kv f8"),
            (["-m", m, "--cpu", "c,mmx"], "--cpu mmx"), (["-m", m, "--cpu", "c,"], "--cpu "), (["-m", m, "--cpu", ""], "--cpu "),
            (["-m", m, "-p", "0", "-n", "0,0"], "-p 0 -n 0: nothing to measure"), (["-m", m, "x"], "unexpected"),
            (["-m", m, "--reference"], "unknown option"),
        ):
            r = slm("bench", *args)
            self.assertEqual((r.code, r.out), (2, b""), args)
            self.assertRegex(r.message, r"\Aslm: [^\n]+\nTry 'slm bench --help'\.\n\Z", args)
            self.assertIn(word, r.message, args)

    def test_no_model(self):
        for path in (self.path("missing.gguf"), self.folder.name, self.file("empty", ""), self.make("vocab.gguf", weights=False)):
            for more in ([], ["--json"]):
                self.fails("bench", "-m", path, *more)

    def test_too_large(self):
        """Found before anything is measured."""
        for args in (["-d", 1 << 27], ["-b", 65536, "-n", 65536], ["-n", 1 << 27, "-b", 2, "-r", 1]):
            self.fails("bench", "-m", self.model, "-p", 2, *args)

    def test_output_cannot_be_written(self):
        for more in ([], ["--json"]):
            with open("/dev/full", "w") as full:
                r = slm("bench", "-m", self.model, "-p", 2, "-n", 2, "-r", 1, *more, stdout=full)
            self.assertEqual(r.code, 1)
            self.assertRegex(r.message, r"\Aslm: [^\n]+\n\Z")

    def test_longer_than_trained(self):
        model = self.make("short.gguf", {"llama.context_length": U(64)})
        for args, n in ((["-p", 60, "-d", "0,10"], 70), (["-p", 0, "-n", 65], 65)):
            r = slm("bench", "-m", model, "-n", 2, "-r", 1, "--json", *args)
            self.assertEqual(r.code, 0)
            self.assertGreater(len(json.loads(r.text)), 0)
            self.assertEqual(r.message, f"slm: {n} positions: the model was trained for 64\n")
        self.good("bench", "-m", model, "-p", 60, "-d", 4, "-n", 60, "-r", 1)


class Interrupt(Bench):
    """One quick row, then one that takes longer than anybody waits."""

    def start(self, *args, **more):
        model = self.make("long.gguf", {"llama.context_length": U(1 << 20)})
        p = subprocess.Popen([SLM, "bench", "-m", model, "-p", "0", "-n", "2,1000000", "-r", "1", *args],
                             stdout=subprocess.PIPE, **more)
        killer = threading.Timer(TIMEOUT, p.kill)  # reading knows no timeout
        killer.start()
        self.addCleanup(killer.cancel)
        return p

    def stop(self, p):
        p.send_signal(signal.SIGINT)
        rest, err = p.communicate(timeout=TIMEOUT)
        self.assertEqual((p.returncode, err or b""), (130, b""))
        return rest.decode()

    def test_json(self):
        p = self.start("--json", stderr=subprocess.PIPE)
        done = p.stdout.readline() + p.stdout.readline()
        (row,) = json.loads(done.decode() + self.stop(p))
        self.assertEqual(row["n_gen"], 2)

    def test_table(self):
        p = self.start(stderr=subprocess.PIPE)
        line = b"-"
        while line and not line.startswith(b"generate 2 "):
            line = p.stdout.readline()
        self.assertTrue(line)
        self.assertEqual(self.stop(p), "")

    def test_progress(self):
        """On a terminal only: in all other tests stderr is a pipe, and nothing is in it."""
        ours, theirs = pty.openpty()
        p = self.start("--json", stderr=theirs)
        os.close(theirs)
        shown = b""
        while b"%" not in shown:
            shown += os.read(ours, 1000)
        self.assertRegex(shown.decode(), r"\Agenerate|\rgenerate 1000000, depth 0, batch 1 \[[# ]{30}\] +\d+%")
        self.stop(p)
        os.close(ours)


if __name__ == "__main__":
    unittest.main()
