#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]]: builds the fuzz targets with libFuzzer and runs each (default: all, 60 seconds). New inputs go to
# build/fuzz/corpus/TARGET, what fails to build/fuzz/found: put the failing input into tests/fuzz/corpus before the fix.
set -u
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- $(cd tests/fuzz/corpus && echo *)
targets=
for name in "$@"; do targets="$targets fuzz_${name}_target"; done
cmake --preset fuzz >/dev/null && cmake --build --preset fuzz -j "${JOBS:-$(nproc)}" --target $targets || exit 1
mkdir -p build/fuzz/found
failed=0
for name in "$@"; do
    mkdir -p "build/fuzz/corpus/$name"
    if build/fuzz/tests/fuzz/fuzz_$name -max_total_time="$seconds" -timeout=20 -max_len=65536 -rss_limit_mb=4096 \
        -artifact_prefix="build/fuzz/found/$name-" "build/fuzz/corpus/$name" "tests/fuzz/corpus/$name" >"build/fuzz/$name.log" 2>&1; then
        echo "ok     $name: $(grep -a '^Done' "build/fuzz/$name.log")"
    else
        echo "FAILED $name: build/fuzz/$name.log, build/fuzz/found/$name-*"
        failed=1
    fi
done
exit $failed
