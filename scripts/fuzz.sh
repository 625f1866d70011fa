#!/bin/sh
# fuzz.sh [SECONDS [TARGET...]]: builds the fuzz targets with libFuzzer and runs each for SECONDS (60; default: all targets), two at a
# time; one line each. Fails when any input fails.
#
# build/fuzz/corpus/TARGET  inputs found here, the start of the next run, beside the kept ones in tests/fuzz/corpus/TARGET
# build/fuzz/found          inputs that fail. One goes into tests/fuzz/corpus/TARGET, under a name that says what it shows, before the fix.
# build/fuzz/log/TARGET     what libFuzzer said
set -u
cd "$(dirname "$0")/.."
build=build/fuzz
found=$build/found

# The value of a line of libFuzzer's final statistics.
stat_of() {
    sed -n "s/^stat::$2: *//p" "$build/log/$1" | tail -n 1
}

# What broke, where the input is, how to see it again.
failure_print() {
    echo "FAILED $1"
    grep -a -m 3 -E 'sorex: bug: |runtime error: |ERROR: |SUMMARY: ' "$build/log/$1" | sed 's/^/         /'
    saved=$(sed -n "s|^.*Test unit written to ||p" "$build/log/$1" | tail -n 1)
    if [ -n "$saved" ]; then
        echo "         input: $saved"
        echo "         again: $build/tests/fuzz/fuzz_$1 $saved"
    else
        tail -n 3 "$build/log/$1" | sed 's/^/         /'
    fi
    echo "         log:   $build/log/$1"
}

target_run() {
    mkdir -p "$build/corpus/$1"
    dictionary=tests/fuzz/dictionary/$1
    [ -e "$dictionary" ] && dictionary=-dict=$dictionary || dictionary=
    # Wasmtime's threads keep memory, so a search for leaks would follow every input; there is one at the end in any case.
    [ "$1" = indexer ] && leaks=-detect_leaks=0 || leaks=
    if ! "$build/tests/fuzz/fuzz_$1" -max_total_time="$2" -timeout=30 -max_len=65536 -rss_limit_mb=4096 -print_final_stats=1 \
        $dictionary $leaks -artifact_prefix="$found/$1-" "$build/corpus/$1" "tests/fuzz/corpus/$1" >"$build/log/$1" 2>&1; then
        text=$(failure_print "$1") # at once: another target may print at the same time
        printf '%s\n' "$text"
        return 1
    fi
    coverage=$(sed -n 's/.*DONE *cov: \([0-9]*\).*/\1/p' "$build/log/$1")
    printf 'ok     %-10s %9s runs %7s/s  coverage %5s  new inputs %4s\n' "$1" "$(stat_of "$1" number_of_executed_units)" \
        "$(stat_of "$1" average_exec_per_sec)" "$coverage" "$(stat_of "$1" new_units_added)"
}

# xargs below calls this script again for each target.
if [ "${1:-}" = --one ]; then
    target_run "$3" "$2"
    exit $?
fi

seconds=${1:-60}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- $(cd tests/fuzz/corpus && echo *)
jobs=${JOBS:-$(nproc)}
targets=
for name in "$@"; do targets="$targets fuzz_${name}_target"; done
mkdir -p "$build/log" "$found"
if ! { cmake --preset fuzz && cmake --build --preset fuzz -j "$jobs" --target $targets; } >"$build/log/build" 2>&1; then
    tail -n 40 "$build/log/build"
    exit 1
fi
[ "$jobs" -gt 2 ] && jobs=2
printf '%s\n' "$@" | xargs -n 1 -P "$jobs" "$0" --one "$seconds"
