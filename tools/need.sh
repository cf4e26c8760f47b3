#!/bin/sh
# need.sh demo|check|arm|fuzz: see that what the target wants is there; install it with apt where that is allowed,
# otherwise say what to install.
# shellcheck disable=SC2016  # the tests are for the inner shell
packages=
want() { # want COMMAND-THAT-TESTS-IT DEBIAN-PACKAGE
    sh -c "$1" >/dev/null 2>&1 || packages="$packages $2"
}
want '${CC:-cc} --version' gcc
want 'echo "#include <stdio.h>" | ${CC:-cc} -E -' libc6-dev
want 'python3 --version' python3
case $1 in
demo | check) # the program's
    want 'echo "#include <jansson.h>" | ${CC:-cc} -E -' libjansson-dev
    want 'echo "#include <histedit.h>" | ${CC:-cc} -E -' libedit-dev
    ;;
esac
case $1 in
demo) want 'python3 -m pip --version' python3-pip ;;
check)
    want 'python3 -m pip --version' python3-pip
    want 'pkg-config --version' pkg-config
    want 'echo "#include <check.h>" | ${CC:-cc} -E -' check
    case $(uname -m) in
    x86_64) want 'echo "#include <simde/x86/avx512.h>" | ${CC:-cc} -E -' libsimde-dev ;;
    esac
    ;;
arm)
    want 'aarch64-linux-gnu-gcc --version' gcc-aarch64-linux-gnu
    want 'echo "#include <stdio.h>" | aarch64-linux-gnu-gcc -E -' libc6-dev-arm64-cross
    want 'qemu-aarch64 --version' qemu-user
    ;;
fuzz)
    want 'clang --version' clang
    want 'echo "int LLVMFuzzerTestOneInput(const void *d, long n){return d==0&&n;}" | clang -x c -fsanitize=fuzzer - -o /dev/null' \
        libclang-rt-14-dev
    ;;
*)
    echo "usage: need.sh demo|check|arm|fuzz" >&2
    exit 2
    ;;
esac
[ -z "$packages" ] && exit 0
if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
    echo "installing:$packages"
    # shellcheck disable=SC2086
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $packages; } >/dev/null && exit 0
fi
case $1 in
arm) echo "To run the tests on ARM64 too, install:$packages" >&2 ;;
*) echo "To go on, install:$packages" >&2 ;;
esac
command -v apt-get >/dev/null && echo "    sudo apt-get install$packages" >&2
exit 1
