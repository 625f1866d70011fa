#!/usr/bin/env python3
"""PostgreSQL's own regression suite (15, from Debian's source package) through the embedded PostgreSQL and through a native server, with
psql, script by script in the order of its schedule. Every difference must have a reason: a rule in reasons.py, or an entry in
differences.txt, which names the statement and our answer. Both sides must come to each script's end, and no backend may break.

    test_regress.py            a sample: the schedule's beginning
    test_regress.py --all      all of it, and that no entry is left over
    test_regress.py --write    all of it; rewrites differences.txt (new entries get the reason `?`) and docs/postgresql-differences.md
"""
import collections, hashlib, os, pathlib, re, shutil, sys, threading

sys.path.insert(0, str(pathlib.Path(os.environ["SOREX_SOURCE_DIR"]) / "tests" / "e2e"))
from harness import SOURCE, check, scratch, skip  # noqa: E402

from blocks import Script, script_text  # noqa: E402
from reasons import REASONS, reason_of  # noqa: E402
from servers import Embedded, Native  # noqa: E402

SUITE = SOURCE / "build" / "deps" / "pg-regress"
LIST = pathlib.Path(__file__).with_name("differences.txt")
DOCUMENT = SOURCE / "docs" / "postgresql-differences.md"
SAMPLE_END = "create_function_c"  # the sample ends before it
SECONDS = 300
# What pg_regress sets, so that psql leaves out what depends on a build; and SQLSTATEs with every message.
VARIABLES = ("HIDE_TABLEAM=on", "HIDE_TOAST_COMPRESSION=on", "VERBOSITY=verbose")

Difference = collections.namedtuple("Difference", "script digest reason statement native ours")


def schedule():
    lines = (SUITE / "parallel_schedule").read_text().splitlines()
    return [name for line in lines if line.startswith("test:") for name in line.split()[1:]]


def digest(statement, ours):
    text = re.sub(r"\d{4,}", "N", "\n".join([statement, *ours]))  # object ids and transactions depend on all that was before
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:10]


def listed():
    """(script, digest) -> reason"""
    rows = (line.split(None, 3) for line in LIST.read_text().splitlines() if line and not line.startswith("#"))
    return {(row[1], row[2]): row[0] for row in rows}


class Play:
    def __init__(self, root):
        self.root = root
        self.native = Native(root, SUITE / "data")
        self.embedded = Embedded(root, SUITE / "data")
        self.statements = 0

    def close(self):
        self.native.close()
        self.embedded.close()

    def _output(self, server, script, outputs):
        out = server.dir / "out"
        check(server.psql(script, "-a", "-q", out=out, seconds=SECONDS, variables=VARIABLES),
              f"{script.stem} took longer than {SECONDS} s on {server.dir.name}")
        outputs[server] = out.read_text(errors="surrogateescape").replace(str(server.files), "FILES")

    def script(self, name):
        """The differences of one script."""
        text = script_text(SUITE / "sql" / f"{name}.sql")
        path = self.root / f"{name}.sql"
        path.write_text(text, errors="surrogateescape")
        outputs = {}
        workers = [threading.Thread(target=self._output, args=(server, path, outputs)) for server in (self.native, self.embedded)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        check(len(outputs) == 2, f"{name}: one side did not end")
        script = Script(text)
        native, native_whole = script.results(outputs[self.native])
        ours, ours_whole = script.results(outputs[self.embedded])
        check(native_whole and ours_whole, f"{name} was not played to its end:\n{outputs[self.embedded][-500:]}")
        check(not self.embedded.said(), f"{name}: {self.embedded.said()}")
        self.statements += script.statements()
        for at in sorted(native.keys() | ours.keys()):
            pair = native.get(at, []), ours.get(at, [])
            if pair[0] != pair[1]:
                statement = script.statement(at)
                yield Difference(name, digest(statement, pair[1]), reason_of(name, statement, *pair), statement, *pair)


def excerpt(statement):
    return " ".join(statement.split()).encode("ascii", "replace").decode()[-100:]


def document(counts, scripts, statements):
    lines = ["# Where the embedded PostgreSQL differs from a native one", "",
             f"PostgreSQL's own regression suite, {scripts} scripts with about {statements // 1000 * 1000:,} statements, is played with psql "
             "through the",
             "embedded PostgreSQL (18, PGlite) and through a native server of version 15, and what psql prints is compared, SQLSTATEs included",
             "(`tests/pg/regress`; a sample in `make check`, all of it in `make torture`). These are the reasons of all differences, with the number of",
             "statements; a difference without a reason fails the test. No statement breaks a backend.", "",
             "| reason | statements | |", "|---|---|---|"]
    for key, (title, text) in REASONS.items():
        lines.append(f"| {title} | {counts[key]} | {text} |")
    return "\n".join(lines) + "\n"


def counted(text):
    """Without the numbers, which another minor version of the native server changes."""
    return re.sub(r"\| \d+ \|", "| |", text)


def entries(found):
    known = listed() if LIST.exists() else {}
    lines = ["# reason, script, digest of statement and our answer, end of the statement. Written by test_regress.py --write; the reasons",
             "# (reasons.py) are given by hand."]
    for d in found:
        if d.reason is None:
            lines.append(f"{known.get((d.script, d.digest), '?')} {d.script} {d.digest} {excerpt(d.statement)}")
    return "\n".join(lines) + "\n"


def main():
    mode = sys.argv[1] if len(sys.argv) > 1 else ""
    if not (SUITE / "parallel_schedule").exists():
        skip("the regression suite is not there: `make test-deps` fetches it from an archive with source packages")
    if shutil.which("psql") is None:
        skip("there is no psql")
    names = schedule()
    if not mode:
        names = names[:names.index(SAMPLE_END)]
    found, known = [], listed() if LIST.exists() else {}
    with scratch() as root:
        play = Play(root)
        try:
            for name in names:
                found += play.script(name)
        finally:
            play.close()
    if mode == "--write":
        LIST.write_text(entries(found))
        known = listed()
    counts = collections.Counter(d.reason or known.get((d.script, d.digest), "?") for d in found)
    unexplained = [d for d in found if (d.reason or known.get((d.script, d.digest))) not in REASONS]
    for d in unexplained[:40]:
        print(f"--- {d.script}: {d.statement}\nnative:", *d.native, "ours:", *d.ours, sep="\n    ")
    check(not unexplained, f"{len(unexplained)} differences without a reason")
    text = document(counts, len(names), play.statements)
    if mode == "--write":
        DOCUMENT.write_text(text)
    elif mode:
        check(counted(DOCUMENT.read_text()) == counted(text), "docs/postgresql-differences.md is not what test_regress.py --write makes")
    left = set(known) - {(d.script, d.digest) for d in found} if mode else set()
    check(not left, f"entries of differences.txt without a difference: {sorted(left)[:20]}")
    print(f"{len(names)} scripts, {play.statements} statements, {len(found)} differences with a reason: {dict(counts)}")


if __name__ == "__main__":
    main()
