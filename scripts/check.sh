#!/bin/sh
# check.sh PRESET...: builds and tests each preset (tsan: what has threads), then runs every fuzz target for SOREX_FUZZ_SECONDS (30; 0:
# none); the summaries come last. Fails when anything failed.
set -u
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
fuzz_seconds=${SOREX_FUZZ_SECONDS:-30}
logs=build/check
mkdir -p "$logs"

for preset in "$@"; do
    echo "== build $preset"
    cmake --preset "$preset" >"$logs/$preset-configure.log" 2>&1 || { cat "$logs/$preset-configure.log"; exit 1; }
    cmake --build --preset "$preset" -j "$jobs" || exit 1
done

# Few at a time: some tests run servers and kill them, and a busy machine should not look like a hanging one. One more than there are
# processors, as those with a broker mostly wait.
[ "$jobs" -gt 2 ] && parallel=3 || parallel=$((jobs + 1))
failed=0
for preset in "$@"; do
    echo "== test $preset"
    rm -f "build/$preset"/reports/*
    # A pipe would hide ctest's exit status: it goes into a file.
    { ctest --preset "$preset" -j "$parallel"; echo $? >"$logs/$preset.status"; } 2>&1 | tee "$logs/$preset.log"
    [ "$(cat "$logs/$preset.status")" = 0 ] || failed=1
    # A sanitizer may have spoken in a process that a test killed: nobody saw how that one ended.
    scripts/reports.sh "$preset" || failed=1
done

if [ "$fuzz_seconds" != 0 ]; then
    echo "== fuzz, $fuzz_seconds s each"
    { scripts/fuzz.sh "$fuzz_seconds"; echo $? >"$logs/fuzz.status"; } 2>&1 | tee "$logs/fuzz.log"
    [ "$(cat "$logs/fuzz.status")" = 0 ] || failed=1
else
    echo "== fuzz: not run (SOREX_FUZZ_SECONDS=0)" | tee "$logs/fuzz.log"
fi

for preset in "$@"; do
    echo
    echo "== $preset"
    sed -n '/tests passed,/,$p' "$logs/$preset.log"
done
echo
echo "== fuzz"
cat "$logs/fuzz.log"
exit $failed
