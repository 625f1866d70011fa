"""Calls that make a run differ from the next one, or a copy overrun its target, and the files that may make them nevertheless."""
import re

import sources

CLOCK = "a clock: what a guest, a commitment or the store sees must not depend on it (base/clock.h is for adapters)"
RANDOM = "randomness: a run would differ from the next"
PLACE = "the environment: only settings read it"
LOCALE = "depends on the locale or on the C library"
BOUNDS = "does not know how long its target is, or what it read"
SHARED = "returns memory that threads share"
LIMITS = "ends or blocks the process without anybody deciding it"

BANNED = {
    "time": CLOCK, "clock": CLOCK, "gettimeofday": CLOCK, "clock_gettime": CLOCK, "clock_getres": CLOCK, "timespec_get": CLOCK,
    "ftime": CLOCK, "localtime": CLOCK, "localtime_r": CLOCK, "mktime": CLOCK, "gmtime": SHARED, "ctime": SHARED, "asctime": SHARED,
    "rand": RANDOM, "rand_r": RANDOM, "srand": RANDOM, "random": RANDOM, "srandom": RANDOM, "drand48": RANDOM, "lrand48": RANDOM,
    "mrand48": RANDOM, "getrandom": RANDOM, "getentropy": RANDOM, "arc4random": RANDOM, "RAND_bytes": RANDOM,
    "getenv": PLACE, "secure_getenv": PLACE, "setenv": PLACE, "putenv": PLACE,
    "setlocale": LOCALE, "newlocale": LOCALE, "uselocale": LOCALE, "strcoll": LOCALE, "strtod": LOCALE, "strtof": LOCALE,
    "atof": LOCALE,
    "sprintf": BOUNDS, "vsprintf": BOUNDS, "strcpy": BOUNDS, "stpcpy": BOUNDS, "strcat": BOUNDS, "strncpy": BOUNDS, "strncat": BOUNDS,
    "gets": BOUNDS, "scanf": BOUNDS, "atoi": BOUNDS, "atol": BOUNDS, "atoll": BOUNDS, "alloca": BOUNDS, "mktemp": BOUNDS,
    "tmpnam": BOUNDS, "tempnam": BOUNDS,
    "strerror": SHARED, "strtok": SHARED, "readdir_r": SHARED,
    "system": LIMITS, "popen": LIMITS, "sleep": LIMITS, "usleep": LIMITS, "longjmp": LIMITS, "setjmp": LIMITS,
}

# (file, call): why. Deadlines of condition variables are times by nature; what they wait for does not depend on them.
ALLOWED = {
    ("src/base/clock.c", "clock_gettime"): "the clock of adapters",
    ("src/base/log.c", "clock_gettime"): "the time in front of a log line",
    ("src/base/file.c", "strcpy"): "a constant of one character behind a checked length",
    ("src/cli/home.c", "getenv"): "where this user has a cache and a history: XDG_*, HOME",
    ("src/cli/line.c", "setlocale"): "what the bytes of a terminal's keys mean: always UTF-8, in the one shell that has keys",
    ("src/pipeline/flow.c", "clock_gettime"): "deadline of a condition variable",
    ("src/pipeline/outlet.c", "clock_gettime"): "deadline of a condition variable",
    ("src/pg/place.c", "getenv"): "where PostgreSQL's files are",
    ("src/pipeline/section.c", "getenv"): "settings come from the environment too",
    ("src/serve/postgres_connection.c", "getrandom"): "the secret of a connection, by which its client cancels",
    ("src/sink/kafka_stream.c", "getrandom"): "name of a process for the brokers, its own",
    ("src/sink/runner.c", "clock_gettime"): "deadline of a condition variable",
    ("src/source/blockfiles.c", "clock_gettime"): "is a block file still being written: its age",
    ("src/source/memory.c", "clock_gettime"): "deadline of a condition variable",
    ("src/store/outbox.c", "clock_gettime"): "deadline of a condition variable",
    ("src/store/store.c", "getrandom"): "the store's id, made once; it is in no commitment",
    ("src/wasm/watchdog.c", "clock_gettime"): "deadline of a condition variable",
}

CALL = re.compile(r"(?<![\w.>])(" + "|".join(sorted(BANNED)) + r")\s*\(")


def calls_of(text):
    """(line, name) of every banned call."""
    code = sources.code_of(text)
    return [(code.count("\n", 0, m.start()) + 1, m.group(1)) for m in CALL.finditer(code)]


def self_test():
    assert calls_of("x = time(NULL);") == [(1, "time")]
    assert calls_of("\n\n  strcpy (a, b);") == [(3, "strcpy")]
    assert calls_of("(void)rand();") == [(1, "rand")]
    assert calls_of("return !getenv(name);") == [(1, "getenv")]
    assert calls_of("/* time( */ // rand(\n\"sprintf(\" 'x';") == []
    assert calls_of('a("\\"", time(0));') == [(1, "time")]
    assert calls_of("block_time(x); entry->time(x); e.time(x); snprintf(a, b); strerror_r(a, b, c); uint64_t time;") == []


def main():
    self_test()
    problems, checked, used = [], 0, set()
    for path in sources.files("src"):
        checked += 1
        for line, name in calls_of(sources.read(path)):
            if (path, name) in ALLOWED:
                used.add((path, name))
            else:
                problems.append(f"{path}:{line}: {name}: {BANNED[name]}")
    for path, name in sorted(set(ALLOWED) - used):
        problems.append(f"tests/repo/test_banned_calls.py: {path} does not call {name} any more: take the exception away")
    sources.finish("banned calls", problems, checked)


main()
