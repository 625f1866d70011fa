"""docs/reference.md is what `sorex reference` prints.

usage: test_reference.py SOREX"""
import subprocess
import sys

import sources


def main():
    printed = subprocess.run([sys.argv[1], "reference"], check=True, capture_output=True, text=True).stdout
    kept = sources.read("docs/reference.md")
    problems = [] if printed == kept else ["docs/reference.md is old: sorex reference > docs/reference.md"]
    sources.finish("reference", problems, printed.count("\n"))


main()
