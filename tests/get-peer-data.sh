#!/bin/sh
# get-peer-data.sh: see that the peer's source (llama.cpp, as bench/side-by-side fetches it) is there, and print the folder
# of what tests use of it: vocabularies (ggml-vocab-*.gguf) and chat templates (templates/*.jinja) of real models.
#
# Exit code 77: it could not be fetched (no network).
cd "$(dirname "$0")/../bench" || exit 1
"${PYTHON:-python3}" - <<'END' || exit 77
import os, peer
print(os.path.join(peer.fetch(peer.FOLDER), "models"))
END
