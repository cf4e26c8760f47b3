#!/bin/bash
# Run every test program under $O and every tests/test_*.py, $JOBS at a time (default: one per processor), and add up what they
# say. Called by `make check`. run.sh arm: only $ARM_TESTS, under $O/arm. Called by `make check-arm`.
#
# Under sanitizers ($SAN) tests of scripts are left out: the program that those call has tests of its own.
#
# A program exits with 77 if something that it cannot make itself was missing (a model without network): that is
# skipped, loudly. The last line is "N passed, N failed, N skipped".
cd "$(dirname "$0")/.." || exit 1
: "${O:=build}" "${SAN:=}" "${JOBS:=$(nproc)}"
export CK_TIMEOUT_MULTIPLIER=$JOBS # of Check: what shares a processor takes longer
started=0
results=$(mktemp -d) || exit 1
trap 'rm -rf "$results"' EXIT

# start NAME COMMAND...: when fewer than JOBS are running
start() {
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n; done
    started=$((started + 1))
    run $started "$@" &
}

number() { # the number after "$1" in the log, summed over its lines
    sed -n "s/.*$1\([0-9][0-9]*\).*/\1/p" "$log" | awk '{n += $1} END {print n + 0}'
}

# run NUMBER NAME COMMAND...: its counts go to a file of the number
run() {
    local log=$results/$1.log counts=$results/$1.counts name=$2 begin code took n bad skip mark
    shift 2
    begin=$(date +%s)
    "$@" >"$log" 2>&1
    code=$?
    took=$(($(date +%s) - begin))
    if grep -q '^[0-9]*%: Checks: ' "$log"; then # Check
        n=$(number 'Checks: ')
        bad=$(($(number 'Failures: ') + $(number 'Errors: ')))
        skip=0
    elif grep -q '^Ran [0-9]* test' "$log"; then # unittest
        n=$(sed -n 's/^Ran \([0-9]*\) test.*/\1/p' "$log")
        bad=$(($(number 'failures=') + $(number 'errors=')))
        skip=$(number 'skipped=')
    else
        n=1 bad=0 skip=0
        [ $code -eq 77 ] && skip=1
    fi
    # a program that dies, or fails without a count, has failed once
    [ $code -ne 0 ] && [ $code -ne 77 ] && [ $bad -eq 0 ] && bad=1 n=$((n > 0 ? n : 1))
    # one that ran nothing has not passed
    [ $n -eq 0 ] && bad=$((bad + 1)) n=$bad
    echo $((n - bad - skip)) $bad $skip >"$counts"
    mark=ok
    [ $skip -gt 0 ] && mark=SKIPPED
    [ $bad -gt 0 ] && mark=FAILED
    printf '%-8s %-32s %6d tests %4d s\n' "$mark" "$name" "$n" "$took"
    [ $mark = ok ] || sed 's/^/    /' "$log"
}

# on_arm PROGRAM: under an emulator of ARM64; of the golden hashes those that it has time for
on_arm() {
    if [ -x "$1" ] && command -v qemu-aarch64 >/dev/null; then
        case $1 in *kernels) WANTED_LEVEL=neoni8mm qemu-aarch64 "$1" ;; *) CK_RUN_CASE=golden qemu-aarch64 "$1" ;; esac
    else
        echo "not built, or no qemu-aarch64: see tools/need.sh arm"
        return 77
    fi
}

summary() {
    wait
    local passed failed skipped finished
    read -r passed failed skipped finished <<<"$(cat "$results"/*.counts |
        awk '{p += $1; f += $2; s += $3} END {print p + 0, f + 0, s + 0, NR}')"
    # what left no counts has failed
    failed=$((failed + started - finished))
    [ "$skipped" -eq 0 ] || echo "SKIPPED: $skipped tests did not run, see above"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
}

for name in $ARM_TESTS; do
    start "$name on ARM64" on_arm "$O/arm/tests/$name"
done
if [ "${1:-}" = arm ]; then
    summary
    exit
fi
# some of these take longest: first, so that no processor waits at the end
for t in tests/test_*.py; do
    [ -e "$t" ] || continue
    case $SAN:$t in ?*:*/test_get_model.py | ?*:*/test_side_by_side.py) continue ;; esac
    SLM=$O/slm O=$O start "$(basename "$t")" python3 "$t"
done
for t in tests/test_*.c; do
    name=$(basename "$t" .c)
    start "$name" "$O/tests/$name"
done
case $(uname -m) in
x86_64) [ -n "$SAN" ] || start test_kernels_emulated "$O/tests/test_kernels_emulated" ;;
esac
for f in tests/fuzz/fuzz_*.c; do
    [ -e "$f" ] || continue
    name=$(basename "$f" .c)
    start "$name" "$O/tests/fuzz/replay_${name#fuzz_}" "tests/fuzz/corpus/${name#fuzz_}"
done

summary
