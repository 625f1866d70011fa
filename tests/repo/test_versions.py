"""A version that is written in several places is the same in all.

usage: test_versions.py PROJECT_VERSION"""
import os
import re
import sys

import sources


def found(path, pattern):
    if not os.path.exists(os.path.join(sources.ROOT, path)):
        return f"no {path}"
    match = re.search(pattern, sources.read(path), re.M)
    return match.group(1) if match else f"nothing in {path}"


def main():
    version = sys.argv[1]
    major, minor, patch = version.split(".")
    wasmtime = found("cmake/Wasmtime.cmake", r'^set\(SOREX_WASMTIME_VERSION ([\d.]+)\)')
    expected = [
        ("include/sorex/version.h", r'^#define SOREX_VERSION "([\d.]+)"', version),
        ("include/sorex/version.h", r"^#define SOREX_VERSION_MAJOR (\d+)", major),
        ("include/sorex/version.h", r"^#define SOREX_VERSION_MINOR (\d+)", minor),
        ("include/sorex/version.h", r"^#define SOREX_VERSION_PATCH (\d+)", patch),
        ("CHANGELOG.md", r"^## ([\d.]+)", version),
        ("deps/wasmtime/Cargo.toml", r'^version = "=([\d.]+)"', wasmtime),
        ("deps/wasmtime/Cargo.lock", r'^name = "wasmtime"\nversion = "([\d.]+)"', wasmtime),
        ("scripts/install-deps.sh", r"^wasmtime_version=([\d.]+)", wasmtime),
        ("docs/adr/0016-wasm-runtime.md", r"Wasmtime ([\d]+\.[\d]+\.[\d]+)", wasmtime),
    ]
    problems = [f"{path}: {found(path, pattern)}, wanted {wanted}" for path, pattern, wanted in expected
                if found(path, pattern) != wanted]
    sources.finish("versions", problems, len(expected))


main()
