"""SIGKILL while the embedded database is opened, runs statements and is written to the store, with rollbacks in between: half of the kills at
random moments, half aimed at what was hit least. Each time the rows are those of a run that nobody disturbed, at the height that they are
of, and at earlier ones. 300 kills in the long job. Every write of the store: tests/sink/test_sink_database.c."""
import collections
import test_kill
from fault import *

KILLS = 300 if LONG else 8
EACH = 20 if LONG else 1
HISTORY = 300
LAST = 3000
test_kill.PHASES = {"open": "saved_open", "statement": "fiber.c", "write": "saved_commit"}


def rows(*words):
    said = sorex("sql", *words, "--csv", "--tuples-only", "-c", "select key, balance from balances").stdout
    return dict(line.split(",") for line in said.splitlines())


def compare(plain, file, height, what):
    wanted = {key: str(row["balance"]) for (_, key), row in engine_rows([plain], height).items()}
    equal(rows(file, "--at", height), wanted, f"rows of height {height} {what}")


def test_killed_at_any_moment(root, stack):
    plain = sub(root, "plain")
    sorex("run", pipeline(plain), "--until", LAST)
    plain = plain / "pipeline.json"
    file = pipeline(root, history=str(HISTORY), group_ms=5, group_max="64 KiB", sinks=[{"type": "database"}])
    sorex("run", file, "--until", 300)
    began = time.monotonic()
    sorex("run", file, "--until", 300)  # there is nothing to do
    start = time.monotonic() - began
    hits, kills, top = collections.Counter(), 0, 300
    while kills < KILLS or any(hits[phase] < EACH for phase in test_kill.PHASES):
        check(kills < 6 * KILLS, f"not everything was hit: {dict(hits)}")
        aim = min(test_kill.PHASES, key=lambda phase: (hits[phase], random.random())) if random.random() < 0.5 else None
        if random.random() < 0.3:
            sorex("run", file, "--until", top)
            sorex("rollback", file, "--to", top - random.randrange(1, 100))
        else:
            top = min(LAST, top + random.randrange(20, 200))
        if test_kill.killed(["run", file, "--until", top], root / "log", 1.5 * start, hits, aim):
            kills += 1
            if kills % 5 == 0:
                sorex("run", file, "--until", top)
                compare(plain, file, top, f"after {kills} kills")
                compare(plain, file, top - random.randrange(1, 150), f"after {kills} kills, the tip being {top}")
    sorex("run", file, "--until", LAST)
    compare(plain, file, LAST, f"after {kills} kills")
    print(f"{kills} kills; the process was in {dict(sorted(hits.items()))}", flush=True)


if __name__ == "__main__":
    main(test_killed_at_any_moment)
