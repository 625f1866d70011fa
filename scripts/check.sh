#!/bin/sh
# check.sh PRESET...: builds and tests each preset (tsan: what has threads), then runs every fuzz target for SOREX_FUZZ_SECONDS (10; 0:
# none); the summaries come last, after them what failed, with what it said. Fails when anything failed.
set -u
cd "$(dirname "$0")/.."
jobs=${JOBS:-$(nproc)}
fuzz_seconds=${SOREX_FUZZ_SECONDS:-10}
logs=build/check
mkdir -p "$logs"

for preset in "$@"; do
    echo "== build $preset"
    cmake --preset "$preset" >"$logs/$preset-configure.log" 2>&1 || { cat "$logs/$preset-configure.log"; exit 1; }
    cmake --build --preset "$preset" -j "$jobs" || exit 1
done

# What each failed run of a test said, in short: lines that look like the cause, then the last ones. The whole is further up and in
# build/check.
failures_print() {
    awk -v preset="$1" '
        function flush(i) {
            if (name == "") return
            owner[++runs] = name; ended[runs] = how
            for (i = 1; i <= causes; i++) said[runs] = said[runs] "    " cause[i] "\n"
            for (i = lines > 5 ? lines - 4 : 1; i <= lines; i++) said[runs] = said[runs] "    " line[i % 5] "\n"
            name = ""
        }
        /^ *([0-9]+\/[0-9]+ )?Test +#[0-9]+: / {
            flush()
            this = $1 == "Test" ? $3 : $4
            passed[this] = !/\*\*\*/
            if (!passed[this] && !/\*\*\*(Skipped|Not Run)/) {
                name = this; how = $0; sub(/.*\*\*\*/, " ", how); causes = lines = 0
            }
            next
        }
        /^ +Start +[0-9]+: / { flush(); next }
        /^[0-9]+% tests passed,/ { exit }
        name != "" && !/^$/ {
            text = substr($0, 1, 200)
            if (causes < 4 && text ~ /ERROR|Error:|error:|FAIL:|SUMMARY|sorex: bug/) cause[++causes] = text
            else line[++lines % 5] = text
        }
        END {
            flush()
            for (i = 1; i <= runs; i++)
                printf "%s %s:%s%s\n%s", preset, owner[i], ended[i], passed[owner[i]] ? ", passed when it was run again" : "", said[i]
        }' "$logs/$1.log"
}

# Few at a time: some tests run servers and kill them, and a busy machine should not look like a hanging one. One more than there are
# processors, as those with a broker mostly wait. A test that fails is run once more: it has a bug or shows one, and the last lines say what
# it said, but one busy minute does not spoil the result of an hour. What a sanitizer reported counts whatever came later.
[ "$jobs" -gt 2 ] && parallel=3 || parallel=$((jobs + 1))
failed=0
for preset in "$@"; do
    echo "== test $preset"
    rm -f "build/$preset"/reports/*
    # A pipe would hide ctest's exit status: it goes into a file.
    { ctest --preset "$preset" -j "$parallel" --repeat until-pass:2; echo $? >"$logs/$preset.status"; } 2>&1 | tee "$logs/$preset.log"
    [ "$(cat "$logs/$preset.status")" = 0 ] || failed=1
    # A sanitizer may have spoken in a process that a test killed: nobody saw how that one ended.
    scripts/reports.sh "$preset" >"$logs/$preset.reports" || failed=1
    cat "$logs/$preset.reports"
    # UndefinedBehaviorSanitizer speaks to standard error only.
    grep -q ': runtime error: ' "$logs/$preset.log" && failed=1
done

if [ "$fuzz_seconds" != 0 ]; then
    echo "== fuzz, $fuzz_seconds s each"
    { scripts/fuzz.sh "$fuzz_seconds"; echo $? >"$logs/fuzz.status"; } 2>&1 | tee "$logs/fuzz.log"
    [ "$(cat "$logs/fuzz.status")" = 0 ] || failed=1
else
    echo "== fuzz: not run (SOREX_FUZZ_SECONDS=0)" | tee "$logs/fuzz.log"
fi

echo
echo "== fuzz"
cat "$logs/fuzz.log"
for preset in "$@"; do
    echo
    echo "== $preset"
    sed -n '/tests passed,/,$ { /^Label Time Summary/,/^$/d; p }' "$logs/$preset.log"
    tail -n 1 "$logs/$preset.reports"
done
# What a reader of the last lines needs: what failed, and why.
for preset in "$@"; do
    failures_print "$preset"
    grep -h 'SUMMARY' "$logs/$preset.reports"
done
grep -A 5 '^FAILED' "$logs/fuzz.log"
exit $failed
