"""SIGKILL while starting, indexing, writing groups, pruning, undoing, and while a file and PostgreSQL (rows and log) take what came of it:
half of the kills at random moments, half aimed at what was hit least. Each time it is looked up what the process was doing, and
everything must have been hit. On the way and at the end state, commitments, rows, log and file are those of a run that nobody disturbed.
1,000 kills in the long job. Kills before each single system call: test_others.py, test_deep.py; with a real node: tests/e2e/test_node.py."""
import collections
from fault import *

KILLS = 1000 if LONG else 40
EACH = 20 if LONG else 1
CHECK_EVERY = 50 if LONG else 15
HISTORY = 300
LAST = 14131
LOOKS = 60
# What is on the stack of some thread: a function, or a static one of a source file.
PHASES = {"start": "store_open", "index": "step_execute", "write": "group_write", "prune": "prune.c", "undo": "store_undo_to",
          "file": "file_apply", "postgres": "postgres_apply"}


def phases(pid):
    names = on_stacks(pid)
    return {phase for phase, name in PHASES.items() if name in names}


def killed(words, log, most, hits, aim=None):
    """Runs and kills at a random moment, or at the first of some where it does what is aimed at; True when it was in time."""
    with open(log, "ab") as output:
        process = subprocess.Popen([SOREX, *map(str, words)], stdout=output, stderr=output)
        for look in range(LOOKS):
            try:
                process.wait(timeout=random.uniform(0.001, 0.01) if aim and look else random.uniform(0.01, most))
                break
            except subprocess.TimeoutExpired:
                pass
            if not stopped(process):
                break
            doing = phases(process.pid)
            if aim is None or aim in doing or look + 1 == LOOKS:
                process.kill()
                process.wait()
                hits.update(doing or {"else"})
                return True
            process.send_signal(signal.SIGCONT)
    check(process.returncode in (0, 6), f"{words[0]} ended with {process.returncode}: {log.read_text(errors='replace')[-1500:]}")
    return False


def undisturbed(root):
    """A run that nobody disturbs; every height of it can be asked for."""
    plain = sub(root, "plain")
    sorex("run", pipeline(plain), "--until", LAST)
    return plain / "pipeline.json"


def compare(root, pg, plain, file, height, what):
    for program in ("utxo", "balances"):
        equal(state_hash([file], program), state_hash([plain], program, height), f"{program} {what}")
    rows = engine_rows([plain], height)
    equal(engine_rows([file]), rows, "rows in the engine " + what)
    equal(fold_changes((root / "changes.jsonl").read_text()), rows, "fold of the file " + what)
    equal(dict(pg.sql("select key, balance from balances")), {key: str(row["balance"]) for (_, key), row in rows.items()}, "rows in PostgreSQL " + what)
    lines = (root / "changes.jsonl").read_text().count("\n")
    equal(pg.sql("select count(*), count(distinct (sequence, ordinal)) from sorex_changes"), [[str(lines)] * 2], "rows of the log " + what)


def test_killed_at_any_moment(root, stack):
    pg = Postgres(root)
    stack.callback(pg.close)
    plain = undisturbed(root)
    began = time.monotonic()
    sorex("run", plain, "--until", LAST)  # there is nothing to do
    start = time.monotonic() - began  # what a run takes at least, on this machine as busy as it is
    file = pipeline(root, history=str(HISTORY), group_ms=5, group_max="128 KiB",
                    sinks=[{"type": "postgres", "name": "pg", "url": pg.url()}, {"type": "postgres", "name": "log", "url": pg.url(), "mode": "log"},
                           {"type": "file", "path": str(root / "changes.jsonl")}])
    log = root / "log"
    hits, kills, aimed, top, due = collections.Counter(), 0, 0, 500, CHECK_EVERY
    while kills < KILLS or any(hits[phase] < EACH for phase in PHASES):
        check(kills < 3 * KILLS, f"not everything was hit: {dict(hits)}")
        aim = min(PHASES, key=lambda phase: (hits[phase], random.random())) if random.random() < 0.5 else None
        state = status(file)
        tip = state["heights"]["durable"] if state else None
        if tip == top and kills >= due:
            compare(root, pg, plain, file, top, f"after {kills} kills")
            print(f"{kills} kills so far: {dict(sorted(hits.items()))}", flush=True)
            due += CHECK_EVERY
        if aim == "undo" or (aim is None and random.random() < 0.25):
            if tip is None or tip < top:  # so that there is something to undo
                sorex("run", file, "--until", top)
            words = ["rollback", file, "--to", top - random.randrange(1, HISTORY)]
        else:
            if tip == top and top < LAST:
                top = min(LAST, top + random.randrange(50, 1200))
            elif tip == top:  # so that there is something to index
                sorex("rollback", file, "--to", top - random.randrange(1, HISTORY))
            words = ["run", file, "--until", top]
        if killed(words, log, start + (0.15 if words[0] == "rollback" else 0.3), hits, aim):
            kills += 1
            aimed += aim is not None
    sorex("run", file, "--until", LAST)
    compare(root, pg, plain, file, LAST, f"after {kills} kills")
    print(f"{kills} kills, {aimed} of them aimed; the process was in {dict(sorted(hits.items()))}", flush=True)


if __name__ == "__main__":
    main(test_killed_at_any_moment)
