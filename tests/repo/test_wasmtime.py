"""What cmake/Wasmtime.cmake says of a Wasmtime that is missing, stock or of another version; and that it takes the right one.

usage: test_wasmtime.py CMAKE CC VERSION"""
import os
import pathlib
import subprocess
import sys
import tempfile

import sources

PROJECT = """cmake_minimum_required(VERSION 3.25)
project(probe C)
find_package(Threads REQUIRED)
include(%s/cmake/Wasmtime.cmake)
get_target_property(_location wasmtime IMPORTED_LOCATION)
message(STATUS "taken: ${_location}")
"""


def prefix_make(folder, cc, name, version, functions):
    """A prefix with headers of that version and a library that has these functions."""
    (folder / "include" / "wasmtime").mkdir(parents=True)
    (folder / "lib").mkdir()
    (folder / "include" / "wasmtime" / "conf.h").write_text("")
    (folder / "include" / "wasmtime.h").write_text(f'#define WASMTIME_VERSION "{version}"\n')
    source = folder / "library.c"
    source.write_text("".join(f"void {function}(void) {{}}\n" for function in functions))
    subprocess.run([cc, "-c", source, "-o", folder / "library.o"], check=True)
    subprocess.run(["ar", "rcs", folder / "lib" / name, folder / "library.o"], check=True)
    return folder


def configure(cmake, cc, folder, prefix):
    """Exit code and output, white space folded: CMake breaks its lines."""
    done = subprocess.run([cmake, "-S", folder, "-B", folder / "build", f"-DCMAKE_C_COMPILER={cc}", f"-DCMAKE_PREFIX_PATH={prefix}",
                           "-DSOREX_WASMTIME_DIR=/nonexistent", "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF"], capture_output=True, text=True)
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def main():
    cmake, cc, version = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="sorex-wasmtime-") as temporary:
        root = pathlib.Path(temporary)
        hook = "sorex_wasmtime_store_limits"
        stock = prefix_make(root / "stock", cc, "libwasmtime.a", version, ["wasm_engine_new"])
        other = prefix_make(root / "other", cc, "libsorex_wasmtime.a", "1.2.3", [hook])
        right = prefix_make(root / "right", cc, "libsorex_wasmtime.a", version, [hook])
        project = root / "project"
        project.mkdir()
        (project / "CMakeLists.txt").write_text(PROJECT % os.path.abspath(sources.ROOT))
        for prefix, parts in ((root, ("neither built nor installed", "make deps")),
                              (stock, ("libwasmtime.a is Wasmtime's stock library", hook, "memory.grow", "make deps", "CMAKE_PREFIX_PATH")),
                              (other, (f"Wasmtime {version} wanted", "1.2.3", "make deps"))):
            code, text = configure(cmake, cc, project, prefix)
            assert code != 0 and all(part in text for part in parts), f"{prefix}: {text[-1500:]}"
        # In the same build directory, as after a failed attempt.
        code, text = configure(cmake, cc, project, right)
        assert code == 0 and f"taken: {right}/lib/libsorex_wasmtime.a" in text, text[-1500:]


if __name__ == "__main__":
    main()
