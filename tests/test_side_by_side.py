"""bench/side-by-side on programs that claim any speed: what it makes of their figures. No network, nothing is measured."""
import glob
import importlib.util
import json
import os
import re
import subprocess
import sys
import tarfile
import unittest
import xml.etree.ElementTree as xml
from unittest import mock

from program import ROOT, SLM, TIMEOUT, Case, levels
import tiny_model

sys.path.insert(0, os.path.join(ROOT, "bench"))
import peer  # noqa: E402
import report  # noqa: E402

# What all fakes begin with: how often each was called for the same work, and a log of who was called.
FAKE = f"""#!{sys.executable}
import json, os, sys
HERE = os.path.dirname(os.path.abspath(__file__))
args = sys.argv[1:]
def value(flag): return int(args[args.index(flag) + 1])
def turn(who, values):
    with open(os.path.join(HERE, "log"), "a+") as f:
        f.write(json.dumps([who, *args]) + "\\n")
        f.seek(0)
        n = [json.loads(line) for line in f].count([who, *args]) - 1
    return values[n % len(values)]
"""
OURS = FAKE + f"""
if args[0] != "bench" or "--json" not in args:
    os.execv({SLM!r}, ["slm", *args])
speed = turn("ours", [100, 300, 200])
print(json.dumps([{{"n_prompt": value("-p"), "cpu": "c", "tokens_per_second": speed, "runs": [speed] * value("-r"), "limit_share": speed / 400}}]))
"""
PEER = FAKE + """
print(json.dumps([{"build_commit": "abc1234", "samples_ts": [turn("peer", [10, 40, 20])] * value("-r")}]))
"""
BATCHED = FAKE + """
print("loading\\n" + json.dumps({"speed_pp": 1, "speed_tg": turn("batched", [300, 500, 400])}) + "\\n")
"""
SGEMM = FAKE + """
tokens = int(args[2].split("x")[2])
print(json.dumps({"openblas": "OpenBLAS 9.9", "seconds": [tokens / turn("sgemm", [90, 50, 20])] * int(args[1])}))
"""
BROKEN = FAKE + "sys.exit('llama_model_load: no such architecture')"


class SideBySide(Case):
    def setUp(self):
        for old in glob.glob(self.path("*.md")) + glob.glob(self.path("*.svg")) + glob.glob(self.path("log")):
            os.remove(old)
        for name, code in (("slm", OURS), ("llama-bench", PEER), ("llama-batched-bench", BATCHED), ("sgemm", SGEMM)):
            self.program(name, code)

    def program(self, name, code):
        os.chmod(self.file(name, code), 0o755)

    def run_it(self, *args, models=None):
        return subprocess.run([os.path.join(ROOT, "bench", "side-by-side"), "--slm", self.path("slm"), "--peer", self.folder.name,
                               "--results", self.folder.name, "--name", "trial", "-t", "1", *map(str, args), *(models or [self.model])],
                              capture_output=True, text=True, timeout=TIMEOUT)

    def results(self, *args, **more):
        """The Markdown and the SVG, which must be well-formed."""
        done = self.run_it(*args, **more)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.split(), [self.path("trial.md"), self.path("trial.svg")])
        with open(self.path("trial.md")) as f:
            return f.read(), xml.parse(self.path("trial.svg")).getroot()

    def rows(self, text):
        """The cells of each row of the table, by the first."""
        lines = [[c.strip() for c in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]
        return {cells[0]: cells[1:] for cells in lines}

    def log(self):
        with open(self.path("log")) as f:
            return [json.loads(line) for line in f]

    def test_medians_and_ratios(self):
        text, _ = self.results("-p", "8,16", "-n", 4, "-d", 32, "-b", 2, "--rounds", 3)
        rows = self.rows(text)
        ours, ten = "200.0 (100.0 to 300.0)", ["20.0 (10.0 to 40.0)", "10.00", "50%", "5%"]
        for work in ("prompt 8", "prompt 16", "generate 4", "generate 4 at depth 32"):
            self.assertEqual(rows[work], [ours, *ten])
        self.assertEqual(rows["generate 4, 2 sequences"], [ours, "400.0 (300.0 to 500.0)", "0.50", "50%", "100%"])
        self.assertEqual(rows["llama.cpp"], ["built elsewhere, of commit abc1234 as it says"])
        self.assertEqual(rows["threads"], ["1"])
        self.assertIn("llama, 0.", text)
        self.assertNotIn("OpenBLAS", text)
        self.assertIn("(trial.svg)", text)

    def test_openblas(self):
        text, _ = self.results("-p", 8, "-n", 4, "-d", 32, "-b", 2, "--rounds", 3, "--sgemm", self.path("sgemm"))
        rows = self.rows(text)
        for work in ("prompt 8", "generate 4", "generate 4, 2 sequences"):
            self.assertEqual(rows[work][-2:], ["50.0 (20.0 to 90.0)", "4.00"])
        self.assertEqual(rows["generate 4 at depth 32"][-2:], ["-", "-"])
        self.assertEqual(rows["OpenBLAS"], ["OpenBLAS 9.9"])
        text, _ = self.results("-p", 8, "--rounds", 1, "--sgemm", self.path("sgemm"), "--no-openblas")
        self.assertNotIn("OpenBLAS", text)

    def test_products(self):
        """Every matrix with all tokens, but of a prompt the output with one."""
        self.results("-p", 8, "-n", 4, "-d", 32, "-b", 2, "--rounds", 1, "--sgemm", self.path("sgemm"))
        for tokens, (_, threads, runs, *products) in zip((8, 1, 2), (e for e in self.log() if e[0] == "sgemm"), strict=True):
            want = [f"{t[1][1]}x{t[1][0]}x{tokens}" for t in tiny_model.tensors()
                    if len(t[1]) == 2 and t[0] not in ("token_embd.weight", "output.weight")]
            want.append(f"{tiny_model.N_VOCAB}x{tiny_model.N_EMBD}x{1 if tokens == 8 else tokens}")
            self.assertEqual((threads, runs, products), ("1", "1", want))

    def test_turns(self):
        """They alternate, at the same work."""
        self.results("-p", "8,16", "-n", 4, "-d", 32, "-b", 2, "--rounds", 2, "-r", 3, "--cpu", "c")
        log = self.log()
        self.assertEqual([e[0] for e in log], ["ours", "peer"] * 4 + ["ours", "batched"] + ["ours", "peer"] * 4 + ["ours", "batched"])
        value = lambda e, flag: e[e.index(flag) + 1]
        for a, b in zip(log[::2], log[1::2]):
            self.assertEqual(value(a, "--cpu"), "c")
            for flag in ("-m", "-t") + (("-p", "-n", "-d", "-r") if b[0] == "peer" else ()):
                self.assertEqual(value(a, flag), value(b, flag))
            if b[0] == "batched":
                self.assertEqual([value(b, f) for f in ("-npp", "-ntg", "-npl")], [value(a, f) for f in ("-d", "-n", "-b")])

    def test_chart(self):
        other = self.make('a<b>&"c.gguf')
        text, root = self.results("-p", 8, "-n", 4, "-d", 32, "-b", 2, "--rounds", 3, models=[self.model, other])
        rects = [e for e in root if e.tag.endswith("rect")]
        bars = [float(e.get("width")) for e in rects if e.get("x") == str(report.LEFT)]
        self.assertEqual(len(bars), 8)
        one = float(next(e for e in root if e.tag.endswith("line")).get("x1")) - report.LEFT
        for got, want in zip(bars, [10, 10, 10, 0.5] * 2):
            self.assertAlmostEqual(got / one, want, delta=0.02)
        words = [e.text for e in root if e.tag.endswith("text")]
        self.assertIn(os.path.basename(other), words)
        self.assertIn("generate 4, 2 sequences", words)
        self.assertEqual(words.count("10.00"), 6)
        for e in rects:
            self.assertLessEqual(float(e.get("x", 0)) + float(e.get("width")), float(root.get("width")))
        self.assertEqual(text.count("\n## "), 3)

    def test_real_program(self):
        """Ours as it is; of its figures only the form is known."""
        done = self.run_it("--slm", SLM, "-p", 8, "-n", 2, "-d", 8, "-b", 2, "--rounds", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(self.path("trial.md")) as f:
            rows = self.rows(f.read())
        for work in ("prompt 8", "generate 2", "generate 2 at depth 8", "generate 2, 2 sequences"):
            self.assertRegex(rows[work][0], r"\A[\d.]+ \([\d.]+ to [\d.]+\)\Z")
        self.assertRegex(rows["limits"][0], r"\Amemory read [\d.]+ GB/s")
        self.assertTrue(rows["instruction sets"][0].endswith(f"libslm used {levels()[-1]}"))

    def test_failures(self):
        self.program("llama-bench", BROKEN)
        for args, words in (
            (["--rounds", 1], "no such architecture"),
            (["--peer", "/nowhere"], "llama-batched-bench"),
            (["--slm", "/nowhere/slm"], "/nowhere/slm"),
        ):
            done = self.run_it(*args)
            self.assertEqual((done.returncode, done.stdout), (1, ""))
            self.assertIn(words, done.stderr)
            self.assertNotIn("Traceback", done.stderr)
        done = self.run_it(models=[self.path("missing.gguf")])
        self.assertEqual(done.returncode, 1)
        self.assertIn("missing.gguf", done.stderr)
        for args in (["-p", "0"], ["-d", "x"], ["-b", ""], ["--rounds", "0"]):
            self.assertEqual(self.run_it(*args).returncode, 2, args)
        self.assertEqual(glob.glob(self.path("*.md")), [])


class Peer(Case):
    """Fetching and building, with commands that only pretend."""

    def command(self, command):
        if "download" in command:
            inside = f"llama_cpp_python-{peer.VERSION}"
            archive = os.path.join(command[command.index("--dest") + 1], inside + ".tar.gz")
            with tarfile.open(archive, "w:gz") as tar:
                for name in ("setup.py", "vendor/llama.cpp/CMakeLists.txt"):
                    tar.add(self.model, f"{inside}/{name}")
            self.sum = peer.sha256_of(archive)
            if self.good_sum:
                peer.SHA256 = self.sum
        if "-B" in command:
            self.assertTrue(os.path.exists(os.path.join(command[command.index("-S") + 1], "CMakeLists.txt")))
        if "--build" in command:
            out = os.path.join(command[command.index("--build") + 1], "bin")
            os.makedirs(out)
            for p in peer.PROGRAMS:
                open(os.path.join(out, p), "w").close()
                os.chmod(os.path.join(out, p), 0o755)
        self.commands.append(command)

    def setUp(self):
        self.commands, self.good_sum = [], True
        for what in (mock.patch.object(peer, "must_run", self.command), mock.patch.object(peer, "SHA256", peer.SHA256),
                     mock.patch.object(peer.shutil, "which", lambda p: p), mock.patch("sys.stderr")):
            what.start()
            self.addCleanup(what.stop)

    def test_once(self):
        folder = self.path("peer")
        out = peer.build(folder=folder)
        self.assertTrue(peer.has_programs(out))
        self.assertEqual(len(self.commands), 3)
        self.assertEqual(peer.build(folder=folder), out)
        self.assertEqual(len(self.commands), 3)
        other = peer.build("-DGGML_NATIVE=OFF -DA='x y'", folder)
        self.assertNotEqual(other, out)
        self.assertEqual(self.commands[3][-2:], ["-DGGML_NATIVE=OFF", "-DA=x y"])
        self.assertEqual(len(self.commands), 5)  # built, but not fetched again
        self.assertEqual(sorted(os.listdir(folder))[-1:], [f"llama.cpp-{peer.VERSION}"])

    def test_wrong_file(self):
        self.good_sum = False
        folder = self.path("wrong")
        with self.assertRaises(SystemExit) as e:
            peer.build(folder=folder)
        self.assertIn("SHA-256", str(e.exception))
        self.assertEqual(os.listdir(folder), [])

    def test_not_fetched(self):
        """Tells a test that needs the source whether there is nothing to test with, or something wrong."""
        folder = self.path("unfetched")
        with mock.patch.object(peer, "must_run", mock.Mock(side_effect=SystemExit("pip failed"))), self.assertRaises(peer.NotFetched) as e:
            peer.fetch(folder)
        self.assertEqual(e.exception.code, "pip failed")
        self.good_sum = False
        with self.assertRaises(SystemExit) as e:
            peer.fetch(folder)
        self.assertNotIsInstance(e.exception, peer.NotFetched)
        self.assertEqual(os.listdir(folder), [])

    def test_nothing_to_build_with(self):
        with mock.patch.object(peer.shutil, "which", lambda p: None), self.assertRaises(SystemExit) as e:
            peer.build(folder=self.path("none"))
        self.assertIn("cmake", str(e.exception))


@unittest.skipUnless(importlib.util.find_spec("gguf"), "the Python package gguf is not installed")
class Synth(Case):
    def write(self, *args):
        path = self.path("synth.gguf")
        done = subprocess.run([sys.executable, "-B", os.path.join(ROOT, "bench", "synth.py"), *args[:2], path, *map(str, args[2:])],
                              capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        facts = json.loads(self.good("inspect", path, "--json", "--tensors").text)
        self.assertIsNone(facts["not_runnable"])
        ids = self.good("tokenize", "-m", path, stdin=b"a b").text
        got = json.loads(self.good("logprobs", "-m", path, "--ids", "-", "--top", 5, stdin=ids.encode()).text)
        self.assertTrue(all(-20 < p < 0 for step in got["top"] for _, p in step))  # neither NaN nor anything wild
        return facts, ids

    def types(self, facts):
        return {t["name"]: t["type"] for t in facts["tensors"]}

    def test_shape(self):
        facts, ids = self.write("smollm2-135m", "Q4_0", "--layers", 1, "--vocab-size", 300)
        self.assertEqual([facts[k] for k in ("n_layer", "n_embd", "n_ff", "n_head", "n_head_kv", "n_vocab")], [1, 576, 1536, 9, 3, 300])
        self.assertEqual(self.types(facts)["blk.0.attn_v.weight"], "Q4_0")
        self.assertRegex(ids, r"\A(\d+ )+\d+\n\Z")

    def test_mixture(self):
        facts, _ = self.write("llama3.2-1b", "Q4_K_M", "--layers", 1, "--vocab-size", 300)
        types = self.types(facts)
        self.assertEqual({types["token_embd.weight"], types["blk.0.attn_v.weight"]}, {"Q6_K"})
        self.assertEqual(types["blk.0.attn_q.weight"], "Q4_K")

    def test_rows_that_are_too_short(self):
        types = self.types(self.write("qwen2.5-0.5b", "Q4_K", "--layers", 1, "--vocab-size", 300)[0])
        self.assertEqual((types["blk.0.ffn_up.weight"], types["blk.0.ffn_down.weight"]), ("Q5_0", "Q4_K"))
        self.assertEqual(types["blk.0.attn_q.bias"], "F32")

    def test_vocabulary_of_a_file(self):
        facts, ids = self.write("smollm2-135m", "Q8_0", "--layers", 1, "--vocab-size", 300, "--vocab", self.model)
        self.assertEqual(facts["n_vocab"], 300)
        self.assertEqual(ids, self.good("tokenize", "-m", self.model, stdin=b"a b").text)


if __name__ == "__main__":
    unittest.main()
