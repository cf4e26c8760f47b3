#!/bin/sh
# get-peer-data.sh: see that the peer's source (llama.cpp, as bench/side-by-side fetches it) is there, and print the folder
# of what tests use of it: vocabularies (ggml-vocab-*.gguf) and chat templates (templates/*.jinja) of real models. Its grammars are
# in ../grammars.
#
# Exit code 77: it could not be fetched (no network). 1: what was fetched is not what it should be, or anything else.
cd "$(dirname "$0")/../bench" || exit 1
"${PYTHON:-python3}" - <<'END'
import os, sys, peer
try:
    print(os.path.join(peer.fetch(peer.FOLDER), "models"))
except peer.NotFetched as e:
    print(e.code, file=sys.stderr)
    sys.exit(77)
END
