"""Every header compiles alone, first in its file: the public ones as C17 and C++17, pedantic; those of the rooms as C17.

usage: test_headers.py CC CXX INCLUDE_DIR..."""
import concurrent.futures
import os
import subprocess
import sys
import tempfile

import sources

WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def compiles(compiler, language, standard, flags, header):
    """The compiler's complaints, or None."""
    command = [compiler, "-x", language, f"-std={standard}", "-fsyntax-only", *WARNINGS, *flags, "-"]
    unit = f'#include "{os.path.join(sources.ROOT, header)}"\ntypedef int not_an_empty_unit;\n'
    run = subprocess.run(command, input=unit, capture_output=True, text=True, cwd=sources.ROOT)
    return None if run.returncode == 0 else f"{header} ({language}):\n{run.stderr}"


def self_test(cc):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "broken.h")
        with open(path, "w", encoding="utf-8") as file:
            file.write("struct a { uint32_t b; };\n")
        assert compiles(cc, "c", "c17", [], path) is not None, "a header that needs <stdint.h> compiled without it"
        with open(path, "w", encoding="utf-8") as file:
            file.write("#include <stdint.h>\nstruct a { uint32_t b; };\n")
        assert compiles(cc, "c", "c17", [], path) is None


def main():
    cc, cxx, system = sys.argv[1], sys.argv[2], [flag for folder in sys.argv[3:] for flag in ("-isystem", folder)]
    self_test(cc)
    jobs = []
    for header in sources.files("include", (".h",)):
        jobs.append((cc, "c", "c17", ["-I", "include"], header))
        jobs.append((cxx, "c++", "c++17", ["-I", "include"], header))
    for header in sources.files("src", (".h",)):
        jobs.append((cc, "c", "c17", ["-D_GNU_SOURCE", "-I", "src", "-I", "include", *system], header))
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        problems = [problem for problem in pool.map(lambda job: compiles(*job), jobs) if problem is not None]
    sources.finish("headers", problems, len(jobs))


main()
