#!/bin/sh
# run.sh NAME SECONDS: let libFuzzer invent inputs for tests/fuzz/fuzz_NAME.c, beginning with tests/fuzz/corpus/NAME.
#
# What it learns stays in build-fuzz/corpus/NAME and is used the next time. KEEP=1 adds to the committed corpus what
# reaches code that the corpus does not. A find is in build-fuzz/find-NAME-*: replay it with
#     build-fuzz/fuzz_NAME build-fuzz/find-NAME-...
# and put it into the corpus with the fix, so that `make check` replays it for ever.
#
# A run is 5 s and 512 MB at most; leaks, undefined behaviour and abort() are finds too.
set -eu
cd "$(dirname "$0")/../.."
name=$1 seconds=$2
sanitizers=address,undefined
seeds=tests/fuzz/corpus/$name
learned=build-fuzz/corpus/$name
fuzzer=build-fuzz/fuzz_$name

"${MAKE:-make}" --no-print-directory -s CC=clang O=build-fuzz SAN=$sanitizers,fuzzer-no-link build-fuzz/libslm.a
libs="-lm -pthread"
pkg-config --exists openblas 2>/dev/null && libs="$libs $(pkg-config --libs openblas)"
# shellcheck disable=SC2086
clang -std=c11 -O1 -g -D_GNU_SOURCE -fsanitize=fuzzer,$sanitizers -fno-sanitize-recover=all \
    -o "$fuzzer" "tests/fuzz/fuzz_$name.c" build-fuzz/libslm.a $libs

mkdir -p "$learned"
dictionary=
[ -e "tests/fuzz/$name.dict" ] && dictionary=-dict=tests/fuzz/$name.dict
# shellcheck disable=SC2086
"$fuzzer" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -max_len=65536 -use_value_profile=1 \
    -print_final_stats=1 -artifact_prefix="build-fuzz/find-$name-" $dictionary \
    "$learned" "$seeds" >"build-fuzz/$name.log" 2>&1 || {
    tail -n 60 "build-fuzz/$name.log"
    echo "FIND: $name, see build-fuzz/find-$name-* and build-fuzz/$name.log" >&2
    exit 1
}
if [ "${KEEP:-0}" = 1 ]; then
    "$fuzzer" -merge=1 "$seeds" "$learned" >>"build-fuzz/$name.log" 2>&1
fi
printf 'fuzz %-10s %s runs in %s s, nothing found\n' "$name" \
    "$(sed -n 's/^stat::number_of_executed_units: //p' "build-fuzz/$name.log")" "$seconds"
