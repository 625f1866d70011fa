"""Who may include whom: rooms include lower rooms, siblings only along the arrows named here; a library has one room."""
import os
import re

import sources

# A room may include the rooms of the lines above its own.
LAYERS = [
    ["base"],
    ["json", "config", "kafka", "wasm", "store"],
    ["guest", "change", "pg"],
    ["source", "chain", "sink", "derive"],
    ["pipeline"],
    ["serve", "sim"],
    ["cli"],
]

# Arrows between siblings, with their reason.
SIBLINGS = {
    ("chain", "source"): "chain follows a source",
    ("guest", "change"): "contract 3 takes and gives events",
    ("derive", "source"): "a log of messages is read as the source of lines reads",
    ("guest", "pg"): "contract 4 folds messages into a database",
}

# Third-party headers, by how their names begin, and the one room that may include them.
LIBRARIES = {
    "wasm.h": "wasm", "wasmtime.h": "wasm", "wasmtime/": "wasm", "wasi.h": "wasm",
    "rocksdb/": "store",
    "simdjson": "json",
    "yaml.h": "config",
    "curl/": "source",
    "libpq-fe.h": "sink", "postgres_ext.h": "sink",
    "openssl/": "base",
    "zstd": "pg",
    "sanitizer/": "wasm",
    "librdkafka/": "kafka",
    "microhttpd.h": "serve",
    "histedit.h": "cli",
}

# The C library, POSIX and Linux: any room.
SYSTEM = re.compile(
    r"(assert|ctype|dirent|dlfcn|errno|fcntl|float|inttypes|limits|link|locale|math|netdb|poll|pthread|setjmp|signal|stdalign|stdarg|stdatomic|stdbool"
    r"|stddef|stdint|stdio|stdlib|stdnoreturn|string|strings|termios|threads|time|unistd|endian|ftw|getopt|libgen|malloc|sched"
    r"|(sys|netinet|arpa|linux)/[a-z_]+)\.h"
    # C++, in the shim over simdjson
    r"|algorithm|array|cinttypes|charconv|cmath|cstddef|cstdint|cstdio|cstdlib|cstring|limits|memory|new|string|string_view|system_error|type_traits|utility|vector"
)

# Names of files that collect what belongs to no noun.
DUMPING_GROUND = re.compile(r"(^|_)(util|utils|helper|helpers|common|misc|manager|handler|factory|stuff)(_|$)")


def level_of(room):
    for level, rooms in enumerate(LAYERS):
        if room in rooms:
            return level
    return None


def may_include(room, other):
    return room == other or (room, other) in SIBLINGS or level_of(other) < level_of(room)


def problems_of(path, text, exists):
    room = path.split("/")[1]
    problems = []

    def report(line, what):
        problems.append(f"{path}:{line}: {what}")

    if level_of(room) is None:
        return [f"{path}: no such room: src/{room} (add it to a layer in tests/repo/test_includes.py)"]
    if DUMPING_GROUND.search(os.path.splitext(os.path.basename(path))[0]):
        report(1, "a file is named for its noun")
    for line, kind, name in sources.includes_of(text):
        owner = next((owner for start, owner in LIBRARIES.items() if name.startswith(start)), None)
        if owner is not None:
            if owner != room:
                report(line, f"{name} belongs to src/{owner}")
        elif kind == "<":
            if not SYSTEM.fullmatch(name):
                report(line, f"<{name}> belongs to no room (add its library to tests/repo/test_includes.py)")
        elif name.startswith("sorex/"):
            if not exists(f"include/{name}"):
                report(line, f"no include/{name}")
        elif not exists(f"src/{name}") or "/" not in name:
            report(line, f'no src/{name} (own headers are included as "room/name.h")')
        elif not may_include(room, name.split("/")[0]):
            report(line, f"{room} may not include {name.split('/')[0]} ({name})")
    return problems


def public_problems_of(path, text):
    """A public header includes the C library and public headers: nothing of ours, nobody else's."""
    return [f"{path}:{line}: a public header may not include {name}" for line, kind, name in sources.includes_of(text)
            if not (name.startswith("sorex/") if kind == '"' else name in ("stdbool.h", "stddef.h", "stdint.h"))]


def room_problems_of(path, text):
    """The ROOMS of sorex_room() go along the same arrows."""
    room = path.split("/")[1]
    call = re.search(r"sorex_room\(\s*(\w+)([^)]*)\)", text)
    if call is None:
        return []
    rooms = re.search(r"\bROOMS\b((?:\s+[a-z]+)*)", call.group(2))
    return [f"{path}: {room} may not depend on {other}" for other in (rooms.group(1).split() if rooms else [])
            if level_of(other) is None or not may_include(room, other)]


def self_test():
    there = lambda path: True
    assert problems_of("src/store/a.c", '#include "guest/host.h"\n', there)
    assert problems_of("src/store/a.c", '#include "json/json.h"\n', there)
    assert problems_of("src/source/a.c", '#include "chain/chain.h"\n', there)
    assert problems_of("src/base/a.c", "# include <wasmtime.h>\n", there)
    assert problems_of("src/wasm/a.c", "#include <rocksdb/c.h>\n", there)
    assert problems_of("src/base/a.c", "#include <glib.h>\n", there)
    assert problems_of("src/base/a.c", '#include "bytes.h"\n', there)
    assert problems_of("src/base/a.c", '#include "base/none.h"\n', lambda path: False)
    assert problems_of("src/base/string_util.c", "", there)
    assert problems_of("src/newroom/a.c", "", there)
    assert not problems_of("src/chain/a.c", '#include "source/source.h"\n#include <stdio.h>\n#include "base/check.h"\n', there)
    assert public_problems_of("include/sorex/a.h", '#include "base/bytes.h"\n')
    assert public_problems_of("include/sorex/a.h", "#include <yaml.h>\n")
    assert not public_problems_of("include/sorex/a.h", '#include "sorex/status.h"\n#include <stdint.h>\n')
    assert room_problems_of("src/json/CMakeLists.txt", "sorex_room(json\n  SOURCES a.c\n  ROOMS base store\n  LIBS X)")
    assert not room_problems_of("src/json/CMakeLists.txt", "sorex_room(json\n  SOURCES a.c\n  ROOMS base\n  LIBS X)")


def main():
    self_test()
    exists = lambda path: os.path.exists(os.path.join(sources.ROOT, path))
    problems, checked = [], 0
    for path in sources.files("src"):
        problems += problems_of(path, sources.read(path), exists)
        checked += 1
    for path in sources.files("include"):
        problems += public_problems_of(path, sources.read(path))
        checked += 1
    for path in sources.files("src", ("CMakeLists.txt",)):
        if path.count("/") == 2:
            problems += room_problems_of(path, sources.read(path))
    sources.finish("includes", problems, checked)


main()
