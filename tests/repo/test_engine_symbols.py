"""What the engine's objects ask of anybody else, as the linker sees it: nothing but what is written down here, each with its reason.

The engine is what decides bytes: state, changes, commitments, records. A symbol that it uses and does not define itself must be in
ALLOWED, for the object that uses it. So a clock, randomness, the environment, a locale, a thread's name or a sort that is not stable
fails this test until somebody says why it is harmless. The adapters of the same rooms (files, logs, clocks, threads) are no part of the
engine: what they define has to be allowed like any other symbol.

usage: test_engine_symbols.py NM COMPILER CONFIG LIBRARY..."""
import pathlib
import re
import subprocess
import sys
import tempfile

import sources

# Rooms that are engine, but for the adapters named behind them.
ENGINE = {
    "base": "clock log file signals",
    "json": "",
    "change": "",
    "guest": "",
    "wasm": "cache fiber linear linear_base linear_image watchdog",
    "pg": "api api_result api_statement database database_digest place protocol protocol_write result saved saved_record value value_array value_number value_time",
    "store": "lockfile",
    "pipeline": "api chain_blocks config_json deriver flow flow_batch flow_open flow_status fold kept_database outlet past pipeline progress pool query run runners section settings settings_table status stream",
}
# Rooms that are adapters, but for these.
ENGINE_TOO = {"source": "block", "sink": "feed"}

# Objects ("room/" or "room/name"), symbols (a last * stands for any end), why they are harmless there.
ALLOWED = [
    # the C library: functions of their arguments
    ("base/ json/ change/ guest/ pg/ wasm/ store/ pipeline/ source/ sink/", "memcpy memmove memset memcmp strlen",
     "bytes, functions of their arguments"),
    ("json/ guest/ pg/ wasm/", "memchr", "bytes, functions of their arguments"),
    ("json/ change/ guest/ pg/ wasm/ store/ pipeline/ base/error", "strchr strcmp strncmp strnlen strcspn strstr strrchr",
     "constants, names and paths compared byte by byte: no locale"),
    # memory: when there is none, an error; addresses are never compared, hashed or stored
    ("base/ json/ change/ guest/ pg/ wasm/ store/ pipeline/ source/ sink/", "malloc calloc realloc free strdup",
     "memory; no address is compared, hashed or stored"),
    ("json/", "_Znwm* _Znam* _ZdlPv* _ZdaPv* _ZSt7nothrow", "memory for simdjson; no address is compared, hashed or stored"),
    # texts
    ("base/bytes base/error guest/reducer_statement wasm/inspect_space wasm/machine", "vsnprintf", "integers and strings: formats with floats or pointers are refused below"),
    ("base/error change/ guest/ json/writer pg/cluster pipeline/filters pipeline/program pipeline/replay store/ wasm/board wasm/rewrite wasm/skeleton wasm/trap", "snprintf",
     "integers and strings: formats with floats or pointers are refused below"),
    ("base/error", "strerror_r", "text of a failed system call, in an error; no locale is ever set"),
    # the end of the process: what was not committed did not happen
    ("base/check", "abort fprintf stderr", "a bug: the text, then the end"),
    ("base/", "__assert_fail", "a bug: the text, then the end"),
    ("store/db", "_exit", "a crash, made by a test at a chosen write"),
    # sorting: with keys that are distinct, so that an unstable sort has one result
    ("store/group store/disk pipeline/memory_state wasm/machine_code", "qsort",
     "the keys of one hash table, or the names of one module's exports: no two are equal"),
    # hashes
    ("base/sha256", "SHA256_Final SHA256_Init SHA256_Update",
     "SHA-256, the same from every OpenSSL"),
    # numbers
    ("json/double", "_ZSt10from_charsPKcS0_RdSt12chars_format _ZSt8to_charsPcS_*",
     "correctly rounded, shortest text; no locale, no rounding mode but the default"),
    # simdjson
    ("json/json", "_ZN8simdjson25get_active_implementationEv _ZN8simdjson8internal11error_codesE",
     "chosen by the machine: every implementation finds the same structure, which the tests in tests/json compare with a reader in C"),
    ("json/json", "_ZN8simdjson8internal10from_chars*", "named by inline code of the header; numbers are kept as text"),
    # clocks, threads, files: of adapters, or for when and where, never what
    ("guest/call pipeline/step store/flush store/writer", "clock_ns clock_ms",
     "what a call cost, for `try`, progress and benchmarks; when a group is written: commitments do not know groups"),
    ("store/outbox", "clock_gettime pthread_cond_timedwait", "how long a reader waits for the next record"),
    ("guest/ pipeline/filters pipeline/replay pipeline/step store/store wasm/trap", "log_line log_enabled", "says what happened"),
    ("guest/call wasm/sandbox", "watchdog_begin watchdog_end", "reports a guest that runs long, or ends the call: never another result"),
    ("guest/filter", "watchdog_begin watchdog_end", "the timeout of contract 3, whose output is in no commitment"),
    ("guest/filter_host pipeline/stages", "pthread_mutex_lock pthread_mutex_unlock pthread_mutex_init pthread_mutex_destroy", "counters that threads share"),
    ("wasm/machine_code", "bsearch", "the names of one module's exports: no two are equal"),
    ("wasm/machine", "fiber_* linear_*", "a stack; memory, whose content is that of its images, however the system keeps it"),
    ("wasm/machine", "__tls_get_addr", "which memory a module gets that this thread makes"),
    ("wasm/machine_library", "linear_memory", "memory, whose content is that of its images, however the system keeps it"),
    ("wasm/machine_code wasm/program", "cache_load cache_save", "machine code by module, engine and settings, or it is made again"),
    ("store/ wasm/engine", "pthread_mutex_lock pthread_mutex_unlock pthread_mutex_init pthread_mutex_destroy",
     "readers on other threads; there is one writer, and it goes by heights"),
    ("store/flush store/outbox store/store", "pthread_cond_init pthread_cond_destroy pthread_cond_wait pthread_cond_broadcast "
     "pthread_condattr_init pthread_condattr_destroy pthread_condattr_setclock",
     "waiting for a group to be written, or for the next record"),
    ("store/flush", "pthread_create pthread_join", "writes a group that is complete, while the next one is made"),
    ("store/entries store/writer", "pthread_self pthread_equal", "checks that the one writer is the one that writes"),
    ("store/store", "getrandom", "the store's id, made once; it is in no commitment"),
    ("store/store", "__errno_location", "why a system call failed, in an error"),
    ("store/store store/db pipeline/program", "access", "is there a store already; is there a copy of the module already"),
    ("store/store pipeline/program", "file_mkdirs file_read file_replace", "the data directory; modules, which are known by their hash"),
    ("pipeline/stages", "file_read", "modules"),
    ("pipeline/filters", "file_read config_json config_is_null", "modules and their configuration, both in the identity"),
    ("store/store pipeline/replay", "lockfile_take lockfile_release", "one writer at a time, and none beside a replay"),
    ("pg/cluster pg/tree", "strspn", "paths and commands, byte by byte: no locale"),
    ("pg/syscall_system", "gmtime_r timegm", "UTC, functions of their arguments"),
    ("pg/syscall_net", "inet_pton", "a numeric address, a function of its argument"),
    ("pg/instance", "pthread_mutex_lock pthread_mutex_unlock pthread_mutex_init pthread_mutex_destroy", "interrupts come from other threads"),
    ("pg/postgres", "pthread_mutex_lock pthread_mutex_unlock pthread_mutex_init pthread_mutex_destroy",
     "the list of libraries that instances on any thread have loaded; code by the hash of its bytes"),
    ("pg/library pg/syscall_file", "log_line log_enabled", "says what happened"),
    ("pg/image pg/snapshot_codec", "linear_*", "memory, whose content is that of its images, however the system keeps it"),
    ("pg/image", "ZSTD_*", "how an image is packed; its hash is of what is inside"),
    ("guest/reducer guest/reducer_apply guest/reducer_host guest/reducer_session guest/reducer_statement guest/reducer_trace",
     "database_* protocol_* result_* results_* value_*",
     "the embedded PostgreSQL, whose answers are a function of its image, its statements, its clock and its seed"),
    ("guest/reducer_host", "floor", "exact, of a double"),
    # the engines, each from its one room
    ("wasm/", "wasm_* wasmtime_* sorex_wasmtime_*", "Wasmtime, with the settings of wasm/engine.c"),
    ("store/db", "rocksdb_*", "the ordered map; which file holds a key decides nothing"),
    # put in by the compiler
    ("base/ json/ change/ guest/ pg/ wasm/ store/ pipeline/ source/ sink/",
     "__stack_chk_fail _GLOBAL_OFFSET_TABLE_ __gxx_personality_v0 _Unwind_Resume __asan_* __ubsan_* __tsan_* __sanitizer_*",
     "put in by the compiler"),
    ("json/", "_ZTVN10__cxxabiv1*", "put in by UndefinedBehaviorSanitizer"),
]
# These come and go with the compiler and its options: not using one is no reason to take it off the list.
VOLATILE = re.compile(r"mem\w+|str\w+|_\w+\*?")
# What the C library's headers and the optimiser make of a name.
RENAMED = {"bcmp": "memcmp", "__strdup": "strdup", "__xpg_strerror_r": "strerror_r"}
CHECKED = re.compile(r"__(\w+)_chk")
LITERAL = re.compile(r'"(?:[^"\\\n]|\\.)*"')
CONVERSION = re.compile(r"%%|%[-+#0']*(?:\*|\d+)?(?:\.(?:\*|\d+)?)?(?:hh|h|ll|l|L|j|z|t)?([a-zA-Z])")
# Those whose text depends on the machine, the locale or the C library: floats and pointers.
REFUSED = "aefgpAEFGn"


def is_engine(place):
    room, name = place.split("/")
    if room in ENGINE:
        return name not in ENGINE[room].split()
    return name in ENGINE_TOO.get(room, "").split()


def plain(symbol):
    symbol = symbol.split("@")[0]
    checked = CHECKED.fullmatch(symbol)
    return RENAMED.get(symbol, checked.group(1) if checked and symbol != "__stack_chk" else symbol)


def symbols_of(room, listing):
    """(place, symbol, defined) of every global symbol in what nm says of a library."""
    place = None
    for line in listing.splitlines():
        words = line.split()
        if len(words) == 1 and line.endswith(":"):
            place = room + "/" + re.sub(r"\.(c|cpp)\.o:$", "", line)
        elif len(words) == 2 and words[0] in "Uvw":
            yield place, plain(words[1]), False
        elif len(words) == 3 and words[1].isupper():
            yield place, words[2], True


def rule_of(place, symbol):
    """The index of the rule that allows it, and the word of its list."""
    for index, (objects, names, _) in enumerate(ALLOWED):
        if not any(place.startswith(o) if o.endswith("/") else place == o for o in objects.split()):
            continue
        for name in names.split():
            if name == symbol or (name.endswith("*") and symbol.startswith(name[:-1])):
                return index, name
    return None


def problems_of(symbols):
    """What is used and not allowed, and the words of ALLOWED that nobody needs."""
    symbols = list(symbols)
    own = {symbol for place, symbol, defined in symbols if defined and is_engine(place)}
    found, used = [], set()
    for place, symbol, defined in symbols:
        if defined or symbol in own or not is_engine(place):
            continue
        rule = rule_of(place, symbol)
        if rule is None:
            found.append(f"{place} uses {symbol}: no rule allows it there")
        else:
            used.add(rule)
    unused = [name for index, (_, names, _) in enumerate(ALLOWED) for name in names.split()
              if (index, name) not in used and not VOLATILE.fullmatch(name)]
    return found, unused


def formats_of(text):
    """(line, conversion) of every one that is refused."""
    return [(text.count("\n", 0, literal.start()) + 1, conversion.group(0)) for literal in LITERAL.finditer(text)
            for conversion in CONVERSION.finditer(literal.group(0)) if (conversion.group(1) or "s") in REFUSED]


def self_test(nm, compiler):
    def found(room, listing, *more):
        return problems_of([*symbols_of(room, listing), *more])[0]
    assert found("guest", "call.c.o:\n                 U time\n                 U memcpy\n") == ["guest/call uses time: no rule allows it there"]
    assert found("store", "record.c.o:\n                 U clock_gettime@GLIBC_2.17\n") == [
        "store/record uses clock_gettime: no rule allows it there"]
    assert found("base", "clock.c.o:\n                 U clock_gettime\n") == []  # an adapter
    assert found("change", "change.c.o:\n U clock_ns\n", ("base/clock", "clock_ns", True)) == ["change/change uses clock_ns: no rule allows it there"]
    assert found("change", "change.c.o:\n U bytes_equal\n", ("base/bytes", "bytes_equal", True)) == []
    assert found("change", "change.c.o:\n U qsort\n U EVP_sha256\n U rocksdb_get\n U wasm_engine_new\n U printf\n") == [
        f"change/change uses {s}: no rule allows it there" for s in ("qsort", "EVP_sha256", "rocksdb_get", "wasm_engine_new", "printf")]
    assert found("store", "group.c.o:\n U qsort\n U __memcpy_chk\n U bcmp\n") == []
    assert found("pipeline", "newcomer.c.o:\n U getenv\n") == ["pipeline/newcomer uses getenv: no rule allows it there"]
    assert found("pipeline", "settings.c.o:\n U getenv\n") == []
    assert "qsort" in problems_of([])[1]
    assert "qsort" not in problems_of([("store/group", "qsort", False)])[1]
    assert [line for line, _ in formats_of('f("%d %s %.*s %%f %zu %5llu %08x");\ng("x %f");\nh("%-5.2g");k("%p");l("%La");')] == [2, 3, 3, 3]
    with tempfile.TemporaryDirectory() as folder:  # the same through a real compiler and a real nm
        source, out = pathlib.Path(folder, "planted.c"), pathlib.Path(folder, "planted.c.o")
        source.write_text("long time(long *); int rand(void);\nlong planted(void) { return time(0) + rand(); }\n")
        subprocess.run([compiler, "-c", source, "-o", out], check=True)
        listing = subprocess.run([nm, out], check=True, capture_output=True, text=True).stdout
        assert sorted(found("guest", "planted.c.o:\n" + listing)) == [
            f"guest/planted uses {s}: no rule allows it there" for s in ("rand", "time")], listing


def main():
    nm, compiler, config, libraries = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
    self_test(nm, compiler)
    symbols, problems = [], []
    for library in libraries:
        room = re.search(r"libroom_(\w+)\.a$", library).group(1)
        listing = subprocess.run([nm, library], check=True, capture_output=True, text=True).stdout
        symbols += symbols_of(room, listing)
    found, unused = problems_of(symbols)
    problems += sorted(set(found))
    if config == "Debug":  # an optimiser takes calls away
        problems += [f"nothing uses {name} any more: take it off the list" for name in unused]
    places = {place for place, _, _ in symbols if is_engine(place)}
    known = {place for place, _, _ in symbols}
    problems += [f"no object {room}/{name}: take it off the list" for rooms in (ENGINE, ENGINE_TOO) for room, names in rooms.items()
                 for name in names.split() if f"{room}/{name}" not in known]
    for path in sources.files("src"):
        place = re.sub(r"^src/|\.(c|cpp|h)$", "", path)
        if place.count("/") == 1 and is_engine(place):
            problems += [f"{path}:{line}: the text of {text} depends on more than its argument" for line, text in formats_of(sources.read(path))]
    sources.finish("engine symbols", problems, len(places))


main()
