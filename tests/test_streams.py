"""slm among other programs: broken pipes, full disks, Ctrl-C, terminals."""
import os
import pty
import select
import signal
import subprocess
import time
import unittest

from program import SLM, TIMEOUT, Case, slm
from tiny_model import N_VOCAB, U


class Streams(Case):
    def commands(self):
        yield ["run", "-m", self.model, "-p", "x", "-n", "3"]
        yield ["tokenize", "-m", self.model, self.file("text", "abc")]
        yield ["logprobs", "-m", self.model, "--ids", self.file("ids", "3 4\n")]
        yield ["perplexity", "-m", self.model, "-f", self.file("text", "abc"), "--stride", "1"]
        yield ["embed", "-m", self.model, "x"]
        yield ["embed", "-m", self.model, "--similarity", "x"]
        yield ["inspect", self.model]
        yield ["inspect", self.model, "--json", "--tensors"]
        yield ["help"]
        yield ["run", "--help"]
        yield ["--version"]

    def sh(self, script, *args):
        return subprocess.run(["sh", "-c", script, "sh", SLM, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=TIMEOUT)

    def test_full_disk(self):
        for args in self.commands():
            r = self.sh('exec "$@" >/dev/full', *args)
            self.assertEqual((r.returncode, r.stderr.decode()), (1, "slm: cannot write the output: No space left on device\n"), args)

    def test_closed_stdout(self):
        for args in self.commands():
            r = self.sh('exec "$@" >&-', *args)
            self.assertEqual((r.returncode, r.stderr.decode()), (1, "slm: cannot write the output: Bad file descriptor\n"), args)

    def test_closed_stderr(self):
        r = self.sh('exec "$@" 2>&-', "inspect", self.path("missing"))
        self.assertEqual((r.returncode, r.stdout), (1, b""))

    def test_closed_stdin(self):
        for args in (["tokenize", "-m", self.model], ["run", "-m", self.model], ["logprobs", "-m", self.model, "--ids", "-"],
                     ["perplexity", "-m", self.model, "-f", "-"], ["embed", "-m", self.model]):
            r = self.sh('exec "$@" <&-', *args)
            self.assertEqual((r.returncode, r.stdout), (1, b""), args)
            self.assertIn(b"standard input: Bad file descriptor", r.stderr)

    def test_nobody_reads(self):
        """SIGPIPE ends the program as it does any other, without a word."""
        model = self.make("long.gguf", {"llama.context_length": U(1 << 20)})
        ids = self.file("many", "3 4 5 6\n" * 5000)
        for args in (["run", "-m", model, "--raw", "-p", "x", "-c", "100000"],
                     ["logprobs", "-m", model, "--ids", ids, "--top", str(N_VOCAB)]):
            p = subprocess.Popen([SLM, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            self.assertEqual(len(p.stdout.read(1)), 1)
            p.stdout.close()
            self.assertEqual(p.stderr.read(), b"")
            p.stderr.close()
            self.assertEqual(p.wait(TIMEOUT), -signal.SIGPIPE)

    def test_nobody_reads_and_sigpipe_is_ignored(self):
        reader, writer = os.pipe()
        os.close(reader)
        p = subprocess.run(["sh", "-c", 'trap "" PIPE; exec "$@"', "sh", SLM, "inspect", self.model], stdout=writer,
                           stderr=subprocess.PIPE, timeout=TIMEOUT)
        os.close(writer)
        self.assertEqual((p.returncode, p.stderr), (1, b"slm: cannot write the output: Broken pipe\n"))

    def test_head(self):
        r = self.sh('"$@" | head -n 1', "inspect", self.model)
        self.assertEqual((r.returncode, r.stdout.count(b"\n"), r.stderr), (0, 1, b""))


class Interrupt(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.long = cls.make("long.gguf", {"llama.context_length": U(1 << 20)})

    def start(self, *args, **more):
        more = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **more}
        return subprocess.Popen([SLM, *args], **more)

    def test_while_it_answers(self):
        # unbuffered: communicate() knows nothing of what a buffer has read beyond the 20 bytes
        p = self.start("run", "-m", self.long, "--raw", "-p", "x", "-c", "200000", "--temp", "0", bufsize=0)
        first = b""
        while len(first) < 20:
            first += p.stdout.read(20)
        p.send_signal(signal.SIGINT)
        out, err = p.communicate(timeout=TIMEOUT)
        self.assertEqual((p.returncode, err), (130, b""))
        text = first + out
        self.assertTrue(text.endswith(b"\n"))
        # and what came until then is the beginning of the answer
        want = slm("run", "-m", self.long, "--raw", "-p", "x", "-c", "200000", "--temp", "0", "-n", "15").out[:-1]
        self.assertEqual(text[: min(len(text), len(want)) - 4], want[: min(len(text), len(want)) - 4])

    def prompt_at_work(self, **more):
        """A prompt that takes minutes; returns once it is being read, so the signal finds its handler."""
        p = self.start("run", "-m", self.long, "--raw", stdin=subprocess.PIPE, **more)
        p.stdin.write(b"x" * 1_000_000)
        p.stdin.close()
        p.stdin = None
        return p

    def test_while_it_reads_the_prompt(self):
        p = self.prompt_at_work()
        time.sleep(0.5)
        p.send_signal(signal.SIGINT)
        begin = time.monotonic()
        out, err = p.communicate(timeout=TIMEOUT)
        self.assertEqual((p.returncode, out, err), (130, b"", b""))
        self.assertLess(time.monotonic() - begin, 60)

    def test_while_it_waits_for_a_prompt(self):
        p = self.start("run", "-m", self.model, "--raw", stdin=subprocess.PIPE)
        p.stdin.write(b"x" * 200_000)  # more than a pipe holds: it is reading now
        p.stdin.flush()
        time.sleep(0.2)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(TIMEOUT), 130)  # with the pipe still open
        self.assertEqual(p.communicate(), (b"", b""))

    def test_logprobs(self):
        ids = self.file("ids", "3 " * 500_000 + "\n")
        p = self.start("logprobs", "-m", self.long, "--ids", ids, "--top", "1")
        self.assertEqual(len(p.stdout.read(1)), 1)
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=TIMEOUT)
        self.assertEqual(p.returncode, 130)


class Terminal(Case):
    """A bar on a terminal; a line on the speed at the end."""

    def on_terminal(self, *args, stop_at, seconds=60):
        master, slave = pty.openpty()
        p = subprocess.Popen([SLM, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        seen, end = b"", time.monotonic() + seconds
        while stop_at not in seen and time.monotonic() < end:
            if select.select([master], [], [], 0.2)[0]:
                try:
                    seen += os.read(master, 4096)
                except OSError:  # the other side is closed
                    break
        if p.poll() is None and stop_at not in seen:
            p.kill()
        return p, master, seen

    def test_bar(self):
        model = self.make("long.gguf", {"llama.context_length": U(1 << 20)})
        p, master, seen = self.on_terminal("run", "-m", model, "--raw", "-f", self.file("prompt", "x" * 900_000),
                                           stop_at=b"%")
        p.send_signal(signal.SIGINT)
        p.communicate(timeout=TIMEOUT)
        os.close(master)
        self.assertRegex(seen, rb"\rreading the prompt \[#* *\] +\d+%")
        self.assertEqual(p.returncode, 130)

    def test_speed(self):
        p, master, seen = self.on_terminal("run", "-m", self.model, "-p", "x", "-n", "3", stop_at=b"thread")
        p.communicate(timeout=TIMEOUT)
        os.close(master)
        self.assertIn(b"tokens/s", seen)
        self.assertEqual(p.returncode, 0)


if __name__ == "__main__":
    unittest.main()
