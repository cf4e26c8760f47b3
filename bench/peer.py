"""The peer of side-by-side: llama.cpp, fetched and built into a folder that git ignores.

Its source lies in the Python package llama-cpp-python, so pip fetches it, from wherever pip is set up to.
"""
import glob
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
import tempfile

VERSION = "0.3.36"  # of llama-cpp-python
SHA256 = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e"
FOLDER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "peer")
PROGRAMS = ["llama-bench", "llama-batched-bench"]
FLAGS = ["-DCMAKE_BUILD_TYPE=Release", "-DBUILD_SHARED_LIBS=OFF", "-DLLAMA_CURL=OFF", "-DLLAMA_BUILD_TESTS=OFF", "-DGGML_NATIVE=ON"]


def has_programs(folder):
    return all(os.access(os.path.join(folder, p), os.X_OK) for p in PROGRAMS)


def must_run(command):
    """Output goes to stderr; stdout is for results."""
    print(" ", shlex.join(command), file=sys.stderr)
    if subprocess.run(command, stdout=sys.stderr).returncode != 0:
        sys.exit(f"side-by-side: {command[0]} failed")


def sha256_of(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        for part in iter(lambda: f.read(1 << 20), b""):
            h.update(part)
    return h.hexdigest()


class NotFetched(SystemExit):
    """pip has not got it: mostly there is no network."""


def fetch(folder):
    """The source folder, fetched if it is not there. It appears by one rename: nobody ever sees half of it."""
    source = os.path.join(folder, f"llama.cpp-{VERSION}")
    if os.path.isdir(source):
        return source
    os.makedirs(folder, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as tmp:
        try:
            must_run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps", "--no-cache-dir",
                      "--no-binary", "llama-cpp-python", "--dest", tmp, f"llama-cpp-python=={VERSION}"])
        except SystemExit as e:
            raise NotFetched(e.code) from None
        (archive,) = glob.glob(os.path.join(tmp, "*.tar.gz"))
        if sha256_of(archive) != SHA256:
            sys.exit(f"side-by-side: {os.path.basename(archive)} is not what it should be: its SHA-256 is not {SHA256}")
        inside = f"llama_cpp_python-{VERSION}/vendor/llama.cpp"
        with tarfile.open(archive) as tar:
            tar.extractall(tmp, [m for m in tar.getmembers() if m.name.startswith(inside + "/")])
        os.rename(os.path.join(tmp, inside), source)
    return source


def build(flags="", folder=FOLDER):
    """The folder of the programs, built if they are not there. Each set of flags has its own."""
    more = shlex.split(flags)
    name = "build-" + hashlib.sha256(" ".join(more).encode()).hexdigest()[:8] if more else "build"
    out = os.path.join(folder, name, "bin")
    if has_programs(out):
        return out
    missing = [p for p in ("cmake", "make", "c++") if not shutil.which(p)]
    if missing:
        sys.exit(f"side-by-side: to build llama.cpp, install {' and '.join(missing)} (Debian: cmake make g++)")
    print("side-by-side: building llama.cpp, which takes some minutes, once", file=sys.stderr)
    must_run(["cmake", "-S", fetch(folder), "-B", os.path.dirname(out), *FLAGS, *more])
    must_run(["cmake", "--build", os.path.dirname(out), "-j", str(os.cpu_count()), "--target", *PROGRAMS])
    return out
