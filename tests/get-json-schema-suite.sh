#!/bin/sh
# get-json-schema-suite.sh: see that the official tests of JSON Schema are there, and print their folder (tests/draft2020-12 and so on are
# in it). The source of the Python package jsonschema has a copy, so pip fetches it, from wherever pip is set up to.
#
# Exit code 77: it could not be fetched (no network).
cd "$(dirname "$0")/.." || exit 1
"${PYTHON:-python3}" - <<'END'
import glob, hashlib, os, subprocess, sys, tarfile, tempfile

VERSION = "4.26.0"
SHA256 = "0c26707e2efad8aa1bfc5b7ce170f3fccc2e4918ff85989ba9ffa9facb2be326"
folder = os.path.join("models", f"json-schema-suite-{VERSION}")
if not os.path.isdir(folder):
    os.makedirs("models", exist_ok=True)
    # beside it, so that the last step is a rename and nobody ever sees half of it
    with tempfile.TemporaryDirectory(dir="models") as tmp:
        done = subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
                               "--no-cache-dir", "--no-binary", "jsonschema", "--dest", tmp, f"jsonschema=={VERSION}"],
                              capture_output=True, text=True)
        archives = glob.glob(os.path.join(tmp, "*.tar.gz"))
        if done.returncode or len(archives) != 1:
            print(done.stderr.strip()[-300:], file=sys.stderr)
            sys.exit(77)
        with open(archives[0], "rb") as f:
            if hashlib.sha256(f.read()).hexdigest() != SHA256:
                sys.exit(f"{os.path.basename(archives[0])} is not what it should be: its SHA-256 is not {SHA256}")
        inside = f"jsonschema-{VERSION}/json"
        with tarfile.open(archives[0]) as tar:
            tar.extractall(tmp, [m for m in tar.getmembers() if m.name.startswith(inside + "/")])
        os.rename(os.path.join(tmp, inside), folder)
print(os.path.abspath(folder))
END
