#!/bin/sh
# demo.sh SLM PROMPT: get the model if it is not there, ask it, show the answer as it comes and the speed.
[ $# -eq 2 ] || {
    echo "usage: demo.sh SLM PROMPT" >&2
    exit 2
}
model=$("$(dirname "$0")/get-model.sh") || {
    echo "No model, no demo. Any GGUF file of the llama architecture does: $1 run -m MODEL -p PROMPT" >&2
    exit 1
}
printf '> %s\n\n' "$2"
# A seed: everybody sees the same answer, on every machine. The penalty keeps so small a model from circling.
exec "$1" run -m "$model" --stats -n 400 --temp 0.5 --repeat-penalty 1.1 --seed 1 -p "$2"
