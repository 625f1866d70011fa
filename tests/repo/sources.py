"""The sources of the repository as the tests in this folder see them: files, includes, code without comments and strings."""
import os
import re
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
NOT_CODE = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def files(folder, suffixes=(".c", ".h", ".cpp", ".cc", ".hpp")):
    """Paths relative to the repository, sorted."""
    found = []
    for directory, _, names in os.walk(os.path.join(ROOT, folder)):
        for name in names:
            if name.endswith(suffixes) and not name.startswith("."):
                found.append(os.path.relpath(os.path.join(directory, name), ROOT))
    return sorted(found)


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def code_of(text):
    """The text without comments and the insides of literals; lines keep their numbers."""
    def blank(match):
        token = match.group(0)
        return re.sub(r"[^\n]", " ", token) if token[0] == "/" else token[0] + token[0] + "\n" * token.count("\n")
    return NOT_CODE.sub(blank, text)


def includes_of(text):
    """(line, '<' or '"', name) of every #include."""
    return [(text.count("\n", 0, m.start()) + 1, m.group(1), m.group(2)) for m in INCLUDE.finditer(text)]


def finish(name, problems, checked):
    """Ends the test: a rule that looked at nothing has not passed."""
    for problem in problems:
        print(problem)
    if checked == 0:
        print(f"{name}: nothing to check: wrong folder?")
        sys.exit(1)
    print(f"{name}: {checked} checked, {len(problems)} problems")
    sys.exit(1 if problems else 0)
