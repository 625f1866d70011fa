"""What is installed can be used by a project that knows nothing of this tree: with find_package and with pkg-config, from C and C++.

usage: test_consumer.py CMAKE BUILD_DIR CC CXX NM"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

import sources

CONSUMER = os.path.join(os.path.dirname(os.path.abspath(__file__)), "consumer")
WANTED = "sorex corrupt\nfiltered, version 1\norc has 7\n"


def run(*command, env=None):
    """Standard output; the test ends when the command fails."""
    result = subprocess.run(command, capture_output=True, text=True, env=env)
    if result.returncode != 0:
        print("$", *command)
        print(result.stdout[-4000:], result.stderr[-4000:])
        sys.exit(f"exit code {result.returncode}")
    return result.stdout


def foreign_exports(nm, library):
    """What the library exports and no public header declares."""
    names = [line.split()[-1].split("@")[0] for line in run(nm, "-D", "--defined-only", library).splitlines()]
    assert "sorex_error_set" in names, "nm sees no sorex_error_set: is this the library?"
    public = set(re.findall(r"\w+", " ".join(sources.read(path) for path in sources.files("include"))))
    return [name for name in names if name not in public]


def main():
    cmake, build_dir, cc, cxx, nm = sys.argv[1:]
    problems, folder = [], tempfile.mkdtemp(prefix="sorex-consumer-")
    try:
        first, prefix = os.path.join(folder, "first"), os.path.join(folder, "prefix")
        run(cmake, "--install", build_dir, "--prefix", first)
        os.rename(first, prefix)  # an installed tree can be moved
        libdir = next(os.path.join(where, "..") for where, _, names in os.walk(prefix) if "sorex.pc" in names)
        libdir = os.path.normpath(libdir)

        cache = os.path.join(build_dir, "postgres-cache")  # of compiled code, as the unit tests have it
        build = os.path.join(folder, "build")
        run(cmake, "-S", CONSUMER, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_C_COMPILER={cc}",
            f"-DCMAKE_CXX_COMPILER={cxx}")
        run(cmake, "--build", build)
        for program in ("consumer_c", "consumer_cxx"):
            output = run(os.path.join(build, program), cache)
            if output != WANTED:
                problems.append(f"{program} (find_package) printed {output!r}")

        env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(libdir, "pkgconfig"), LD_LIBRARY_PATH=libdir)
        flags = run("pkg-config", "--cflags", "--libs", "sorex", env=env).split()
        for compiler, source in ((cc, "consumer.c"), (cxx, "consumer.cpp")):
            program = os.path.join(folder, "consumer")
            run(compiler, "-Wall", "-Werror", os.path.join(CONSUMER, source), "-o", program, *flags)
            output = run(program, cache, env=env)
            if output != WANTED:
                problems.append(f"{source} (pkg-config) printed {output!r}")

        problems += [f"libsorex exports {name}" for name in foreign_exports(nm, os.path.join(libdir, "libsorex.so"))]
        program = os.path.join(prefix, "bin", "sorex")
        version = run("pkg-config", "--modversion", "sorex", env=env).strip()
        if os.path.exists(os.path.join(sources.ROOT, "src/cli/CMakeLists.txt")) and version not in run(program, "--version"):
            problems.append(f"the installed program is not version {version}")
    finally:
        shutil.rmtree(folder)
    sources.finish("consumer", problems, 5)


main()
