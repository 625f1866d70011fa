"""Every relative link in a Markdown file, and every page under docs/ that a source file names, is there."""
import os
import re

import sources

LINK = re.compile(r"\]\(([^)\s]+)\)")
PAGE = re.compile(r"\b(docs/[\w./-]+\.md)\b")


def links_of(path, text):
    """(line, path relative to the repository) of every link that leads to a file."""
    code = re.sub(r"```.*?```", lambda m: re.sub(r"[^\n]", " ", m.group(0)), text, flags=re.S)
    found = []
    for match in LINK.finditer(code):
        target = match.group(1).split("#")[0]
        if target == "" or re.match(r"[a-z]+:", target):
            continue
        line = code.count("\n", 0, match.start()) + 1
        found.append((line, os.path.normpath(os.path.join(os.path.dirname(path), target))))
    return found


def pages_of(text):
    return [(text.count("\n", 0, m.start()) + 1, m.group(1)) for m in PAGE.finditer(text)]


def main():
    assert links_of("docs/a.md", "x\n[b](../README.md#top) [c](https://x.org/y) [d](#e)") == [(2, "README.md")]
    assert links_of("a.md", "```\n[b](nothing.md)\n```\n") == []
    assert pages_of("/* docs/formats/store.md. */\n// docs/x.md\n") == [(1, "docs/formats/store.md"), (2, "docs/x.md")]
    problems, checked = [], 0

    def check(path, found):
        nonlocal checked
        for line, target in found:
            checked += 1
            if not os.path.exists(os.path.join(sources.ROOT, target)):
                problems.append(f"{path}:{line}: no {target}")

    top = sorted(name for name in os.listdir(sources.ROOT) if name.endswith(".md"))
    for path in top + [p for folder in ("docs", "src", "tests", "bench", "guests", "examples") for p in sources.files(folder, (".md",))]:
        check(path, links_of(path, sources.read(path)))
    for folder in ("src", "include", "guests", "tests"):
        for path in sources.files(folder):
            check(path, pages_of(sources.read(path)))
    sources.finish("links", problems, checked)


main()
