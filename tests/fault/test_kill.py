"""SIGKILL at random moments of indexing, undoing and pruning, with a file and PostgreSQL (rows and log) behind it: afterwards state,
commitments, rows, log and file are those of a run that nobody disturbed. 1,000 kills in the long job. Kills before each single system call:
test_others.py; with a real node that reorganises: tests/e2e/test_node.py."""
from fault import *

KILLS = 1000 if LONG else 40
HISTORY = 300
LAST = 14131


def killed(words, log, most):
    """Runs and kills at a random moment; True when it was in time."""
    with open(log, "ab") as output:
        process = subprocess.Popen([SOREX, *map(str, words)], stdout=output, stderr=output)
        try:
            process.wait(timeout=random.uniform(0.01, most))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return True
    check(process.returncode in (0, 6), f"{words[0]} ended with {process.returncode}: {log.read_text(errors='replace')[-1500:]}")
    return False


def test_killed_at_any_moment(root, stack):
    pg = Postgres(root)
    stack.callback(pg.close)
    plain = sub(root, "plain")
    sorex("run", pipeline(plain), "--until", LAST)
    want = {**result(plain), "rows": engine_rows([plain / "pipeline.json"])}
    file = pipeline(root, history=str(HISTORY), group_ms=5, group_max="128 KiB",
                    sinks=[{"type": "postgres", "name": "pg", "url": pg.url()}, {"type": "postgres", "name": "log", "url": pg.url(), "mode": "log"},
                           {"type": "file", "path": str(root / "changes.jsonl")}])
    log = root / "log"
    kills, undoing, top = 0, 0, 500
    while kills < KILLS:
        if random.random() < 0.25:  # a run to its end, so that there is something to undo however slow the build is
            sorex("run", file, "--until", top)
        elif killed(["run", file, "--until", top], log, 0.3):
            kills += 1
            continue
        if top < LAST and random.random() < 0.5:
            top = min(LAST, top + random.randrange(50, 1200))
            continue
        if killed(["rollback", file, "--to", top - random.randrange(1, HISTORY)], log, 0.15):
            kills += 1
            undoing += 1
    sorex("run", file, "--until", LAST)
    target = ["--data", root / "data"]
    for program in ("utxo", "balances"):
        equal(state_hash(target, program), want[program], f"{program} after {kills} kills")
    equal(engine_rows([file]), want["rows"], "rows in the engine")
    equal(fold_changes((root / "changes.jsonl").read_text()), want["rows"], "fold of the file")
    equal(dict(pg.sql("select key, balance from balances")), {key: str(row["balance"]) for (_, key), row in want["rows"].items()}, "rows in PostgreSQL")
    lines = (root / "changes.jsonl").read_text().count("\n")
    equal(pg.sql("select count(*), count(distinct (sequence, ordinal)) from sorex_changes"), [[str(lines)] * 2], "rows of the log")
    check(undoing > 0, "no undo was killed")
    print(f"{kills} kills, {undoing} of them while undoing", flush=True)


if __name__ == "__main__":
    main(test_killed_at_any_moment)
