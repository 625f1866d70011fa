"""Streams: lines through filters into files and a real PostgreSQL; killed at random moments, stopped, mistaken files, dead letters."""
import json, os, random, signal, subprocess, threading
from harness import *


def event(n, table="users"):
    return {"before": None, "after": {"email": f"user{n}@example.org", "id": n, "name": "Ada"}, "op": "insert",
            "source": {"source_name": "pg", "offset": str(n), "timestamp": 1700000000000 + n}, "ts": 1700000000001 + n,
            "schema": "public", "table": table, "primary_key": ["id"], "snapshot": None, "transaction": None, "envelope_version": 1,
            "before_is_key_only": False}


def line(n, **more):
    return json.dumps(event(n, **more), separators=(",", ":")) + "\n"


def masked(n):
    e = event(n)
    e["after"]["email"] = "***"
    return json.dumps(e, separators=(",", ":")) + "\n"


MASK = {"name": "mask", "wasm": str(GUESTS / "filter_mask.wasm"), "timeout": "10s"}  # of a busy machine


def stream(root, name="p", **sections):
    sections = {"data": "data-" + name, "source": {"type": "lines", "path": "in.jsonl"}, "filters": [MASK],
                "sink": {"type": "file", "path": "out.jsonl"}, **sections}
    return pipeline_file(root / f"{name}.yaml", **sections)


def test_once(root):
    """To the end, again, and again after more was written."""
    given = root / "in.jsonl"
    given.write_text("".join(map(line, range(3000))))
    pipeline = stream(root, batch_events=700)
    check("3000 events in, 3000 out" in sorex("run", pipeline).stdout, "summary")
    equal((root / "out.jsonl").read_text() == "".join(map(masked, range(3000))), True, "output")
    check("0 events in" in sorex("run", pipeline).stdout, "nothing new")
    with given.open("a") as f:
        f.write("".join(map(line, range(3000, 3500))))
    out = json.loads(sorex("run", pipeline, "--json").stdout)
    equal((out["in"], out["out"], out["failed"]), (500, 500, 0), "what was added")
    equal((root / "out.jsonl").read_text() == "".join(map(masked, range(3500))), True, "output")


def test_killed(root):
    """SIGKILL at random moments: every event is there once."""
    rng = random.Random(5)
    count = 40000
    (root / "in.jsonl").write_text("".join(map(line, range(count))))
    pipeline = stream(root, batch_events=100)
    out = root / "out.jsonl"
    kills = 0
    while True:
        with Running(pipeline, log=root / "log") as run:
            size = out.stat().st_size if out.exists() else 0
            goal = size + rng.randrange(1, 400000)
            def far_enough():
                return not run.alive() or (out.exists() and out.stat().st_size > goal)
            wait_for("progress", far_enough)
            if not run.alive():
                equal(run.kill(), 0, run.text()[-1000:])
                break
            run.kill()
            kills += 1
    check(kills >= 5, f"only {kills} kills")
    equal(out.read_text() == "".join(map(masked, range(count))), True, f"output after {kills} kills")


def test_postgres(root):
    """The same into tables: rows, positions and dead letters in one transaction."""
    rng = random.Random(6)
    count = 20000
    texts = [line(n) if n % 1000 != 7 else "no event\n" for n in range(count)]
    (root / "in.jsonl").write_text("".join(texts))
    pg = Postgres(root)
    with contextlib.closing(pg):
        pipeline = stream(root, batch_events=100, source={"type": "lines", "path": "in.jsonl", "on_error": "skip"},
                          sink={"type": "postgres", "url": pg.url(), "dead_letters": "failed"})

        def rows():
            answer = pg.sql("select count(*) from users", check_it=False)
            return int(answer[0][0]) if answer else 0

        kills, seen = 0, 0
        while True:
            with Running(pipeline, log=root / "log") as run:
                goal = seen + rng.randrange(1, 4000)
                wait_for("progress", lambda: not run.alive() or rows() > goal)
                if not run.alive():
                    equal(run.kill(), 0, run.text()[-1000:])
                    break
                run.kill()
                kills += 1
                seen = rows()
        check(kills >= 3, f"only {kills} kills")
        bad = texts.count("no event\n")
        equal(pg.sql("select count(*), count(distinct id), min(email), max(email) from users"),
              [[str(count - bad), str(count - bad), "***", "***"]], f"rows after {kills} kills")
        equal(pg.sql("select count(*) from failed"), [[str(bad)]], "dead letters")


def test_policies(root):
    """What is no event, and what a filter fails on: halt names the line and delivers what is before it; skip keeps it; pass."""
    texts = [line(n) for n in range(50)]
    texts[20] = "{broken\n"
    (root / "in.jsonl").write_text("".join(texts))
    pipeline = stream(root)
    err = sorex("run", pipeline, code=2).stderr
    check("in.jsonl, record 21: " in err, err)
    equal((root / "out.jsonl").read_text() == "".join(map(masked, range(20))), True, "what lies before it")
    sorex("run", pipeline, code=2)
    equal(len((root / "out.jsonl").read_text().splitlines()), 20, "the next run begins with it")
    pipeline = stream(root, name="q", source={"type": "lines", "path": "in.jsonl", "on_error": "skip"},
                      sink={"type": "file", "path": "out-q.jsonl", "dead_letters": "dead.jsonl"})
    check("50 events in, 49 out, 0 filtered, 1 failed" in sorex("run", pipeline).stdout, "summary")
    equal((root / "out-q.jsonl").read_text() == "".join(masked(n) for n in range(50) if n != 20), True, "left out")
    dead = [json.loads(text) for text in (root / "dead.jsonl").read_text().splitlines()]
    equal(len(dead), 1, "dead letters")
    check("{broken" in json.dumps(dead[0]), dead)
    pipeline = stream(root, name="r", source={"type": "lines", "path": "in.jsonl", "on_error": "pass"},
                      sink={"type": "file", "path": "out-r.jsonl"})
    sorex("run", pipeline)
    equal((root / "out-r.jsonl").read_text().splitlines()[20], "{broken", "passed as it came")


def test_follow(root):
    """A file that grows; status meanwhile; SIGTERM ends it."""
    given = root / "in.jsonl"
    given.write_text("")
    pipeline = stream(root, source={"type": "lines", "path": "in.jsonl", "follow": True})
    with Running(pipeline, log=root / "log") as run:
        for n in range(5):
            with given.open("a") as f:
                f.write(line(n))
            wait_for("the line", lambda: (root / "out.jsonl").exists() and
                     (root / "out.jsonl").read_text() == "".join(map(masked, range(n + 1))))
        s = wait_for("status", lambda: status(pipeline))
        wait_for("five events in status", lambda: status(pipeline)["events"]["in"] == 5)
        s = status(pipeline)
        equal((s["kind"], s["events"]["out"], s["filters"][0]["changed"], s["partitions"][0]["number"]), ("stream", 5, 5, 5), "status")
        text = sorex("status", pipeline).stdout
        check("events    5 in, 5 out" in text and "filter    mask: 5 events in" in text, text)
        check("a stream runs here" in sorex("rollback", pipeline, "--to", "1", ok=False).stderr, "rollback of a stream")
        equal(sorex("run", pipeline, ok=False).returncode, 5, "a second one")
        equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
    check("does not run" in sorex("status", pipeline, ok=False).stderr, "status of what does not run")
    check("0 events in" in sorex("run", pipeline, "--until", "tip").stdout, "to the end")


def test_mistakes(root):
    (root / "in.jsonl").write_text("".join(map(line, range(10))))
    pipeline = stream(root)
    sorex("run", pipeline)
    (root / "in.jsonl").write_text("".join(line(n, table="other") for n in range(20)))
    err = sorex("run", pipeline, code=4).stderr
    check("in.jsonl" in err, err)
    for words in (("replay",), ("upgrade", "--program", "x")):
        check("is a stream" in sorex(words[0], pipeline, *words[1:], ok=False).stderr, words[0])
    check("no heights" in sorex("run", pipeline, "--until", "5", code=2).stderr, "a height")
    check("history" in sorex("run", stream(root, history=5), code=2).stderr, "a chain's setting")
    equal(sorex("check", stream(root)).returncode, 0, "check")


def test_examples(root):
    """examples/stream.yaml runs, examples/kafka.yaml fits its options; guests and output are elsewhere."""
    guest = f"filters.mask.wasm={GUESTS / 'filter_mask.wasm'}"
    out = root / "masked.jsonl"
    sorex("run", SOURCE / "examples" / "stream.yaml", "--set", f"data={root / 'd'}", "--set", guest, "--set", f"sinks.file.path={out}",
          "--set", f"sinks.file.dead_letters={root / 'dead.jsonl'}")
    equal([json.loads(text)["op"] for text in out.read_text().splitlines()], ["insert", "insert", "update", "delete"], "events")
    check("@" not in out.read_text(), "nothing is unmasked")
    sorex("check", SOURCE / "examples" / "kafka.yaml", "--set", guest)


def test_stdin(root):
    """Standard input to standard output, converted on the way."""
    pipeline = stream(root, source={"type": "lines", "path": "-"}, sink={"type": "console"})
    done = subprocess.run([SOREX, "run", pipeline], input="".join(map(line, range(100))), capture_output=True, text=True,
                          env=ENVIRONMENT, timeout=120)
    equal(done.returncode, 0, done.stderr)
    equal(done.stdout == "".join(map(masked, range(100))), True, "output")


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            with scratch() as root:
                test(root)
                print("ok", name)
