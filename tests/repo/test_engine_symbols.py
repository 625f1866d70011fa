"""The engine's objects, as the linker sees them, ask for no clock, randomness, environment, locale or thread.

usage: test_engine_symbols.py NM LIBRARY..."""
import re
import subprocess
import sys

import sources

DENIED = re.compile(
    r"(time|clock|clock_\w+|gettimeofday|timespec_get|localtime\w*|mktime|strftime"
    r"|s?rand|rand_r|s?random\w*|[delmn]rand48|getrandom|getentropy|arc4random\w*|RAND_\w+"
    r"|(secure_)?getenv|setenv|setlocale|newlocale|uselocale|getpid|gettid|gethostname|uname|sysconf"
    r"|pthread_create|thrd_create|fork|system|popen|socket|connect|open(64)?|fopen(64)?|sleep|usleep|nanosleep)")

# (object, symbol): why.
ALLOWED = {
    ("call.c.o", "clock_ns"): "what a call cost, for `try`, progress and benchmarks; it goes into no result",
}


def denied_of(listing):
    """(object, symbol) of nm -u -A or nm -u of an archive."""
    found, member = [], "?"
    for line in listing.splitlines():
        words = line.split()
        if len(words) == 1 and words[0].endswith(":"):
            member = words[0][:-1]
        elif len(words) == 2 and words[0] == "U" and DENIED.fullmatch(words[1].split("@")[0]):
            found.append((member, words[1]))
    return found


def main():
    assert denied_of("a.o:\n                 U time\n                 U memcpy\n") == [("a.o", "time")]
    assert denied_of("b.o:\n                 U clock_gettime@GLIBC_2.17\n") == [("b.o", "clock_gettime@GLIBC_2.17")]
    assert denied_of("c.o:\n                 U block_time\n                 U strerror_r\n") == []
    nm, libraries = sys.argv[1], sys.argv[2:]
    problems, used = [], set()
    for library in libraries:
        listing = subprocess.run([nm, "-u", library], check=True, capture_output=True, text=True).stdout
        for found in denied_of(listing):
            used.add(found)
            if found not in ALLOWED:
                problems.append(f"{library}: {found[0]} uses {found[1]}")
    problems += [f"{member} does not use {symbol} any more: take the exception away" for member, symbol in set(ALLOWED) - used]
    sources.finish("engine symbols", problems, len(libraries))


main()
