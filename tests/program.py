"""The program under test, from outside. $SLM is the binary, $O the build folder."""
import os
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import tiny_model  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
O = os.path.abspath(os.environ.get("O", os.path.join(ROOT, "build")))
SLM = os.path.abspath(os.environ.get("SLM", os.path.join(O, "slm")))
SANITIZED = bool(os.environ.get("SAN"))  # a factor of ten in time, and memory of its own
TIMEOUT = 600  # seconds: sanitizers are slow, and a test must end
COMMANDS = ["run", "chat", "complete", "extract", "tokenize", "logprobs", "perplexity", "embed", "inspect", "quantize", "imatrix", "compare", "bench"]


class Result:
    def __init__(self, done):
        self.code, self.out, self.err = done.returncode, done.stdout, done.stderr

    @property
    def text(self):
        return self.out.decode()

    @property
    def message(self):
        return self.err.decode(errors="replace")


def slm(*args, stdin=b"", **more):
    more.setdefault("stdout", subprocess.PIPE)
    more.setdefault("stderr", subprocess.PIPE)
    return Result(subprocess.run([SLM, *map(str, args)], input=stdin, timeout=TIMEOUT, **more))


def levels():
    """What --cpu takes on this machine."""
    return slm("--version").text.split(":")[1].split()


class Case(unittest.TestCase):
    """A temporary folder, a tiny model in it, and what all failures look like."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.model = cls.make("tiny.gguf")

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    @classmethod
    def path(cls, name):
        return os.path.join(cls.folder.name, name)

    @classmethod
    def make(cls, name, changed=None, weights=True):
        return tiny_model.write(cls.path(name), changed, weights)

    @classmethod
    def file(cls, name, data):
        with open(cls.path(name), "wb") as f:
            f.write(data.encode() if isinstance(data, str) else data)
        return cls.path(name)

    def good(self, *args, **more):
        r = slm(*args, **more)
        self.assertEqual((r.code, r.message), (0, ""), args)
        return r

    def fails(self, *args, **more):
        """Exit code 1, one line on stderr, nothing on stdout."""
        r = slm(*args, **more)
        self.assertEqual((r.code, r.out), (1, b""), (args, r.message))
        self.assertRegex(r.message, r"\Aslm: [^\n]+\n\Z", args)
        return r
