"""The source `lines` at the edge of the process: standard input that is given again, files that are rotated or cut while followed."""
import random, threading
from harness import *
from test_stream import line, masked, stream


def whole(root):
    out = root / "out.jsonl"
    return out.read_text() if out.exists() else ""


def test_stdin_again(root, _):
    """Broken off by SIGKILL and given again from its beginning, until it comes through: each line once."""
    rng = random.Random(7)
    count = 15000
    given = "".join(map(line, range(count))).encode()
    file = stream(root, batch_events=100, source={"type": "lines", "path": "-"})
    kills, done = 0, False

    def feed(pipe):
        try:
            with pipe:
                pipe.write(given)
        except BrokenPipeError:
            pass

    while not done:
        with open(root / "log", "wb") as log:
            run = subprocess.Popen([SOREX, "run", file], stdin=subprocess.PIPE, stdout=log, stderr=log, env=ENVIRONMENT)
        feeder = threading.Thread(target=feed, args=(run.stdin,))
        feeder.start()
        goal = len(whole(root)) + rng.randrange(1, 300000)
        wait_for("progress", lambda: run.poll() is not None or len(whole(root)) > goal)
        run.kill()
        done = run.wait(timeout=DEADLINE) == 0
        kills += not done
        feeder.join()
        check(done or run.returncode == -signal.SIGKILL, (root / "log").read_text()[-1000:])
    check(kills >= 3, f"only {kills} kills")
    equal(whole(root) == "".join(map(masked, range(count))), True, f"output after {kills} kills")


def test_another_stdin(root, _):
    """Standard input that is not the same: nothing of it is taken."""
    def given(text):
        return subprocess.run([SOREX, "run", file, "--set", "source.path=-"], input=text, capture_output=True, text=True, env=ENVIRONMENT, timeout=120)
    file = stream(root, source={"type": "lines", "path": "in.jsonl"})
    equal(given("".join(map(line, range(100)))).returncode, 0, "the first time")
    for other, said in (("".join(map(line, range(1, 200))), "stands something else than what was read there"),
                        (line(0), f"but was read up to byte {sum(len(line(n)) for n in range(100))}")):
        done = given(other)
        equal(done.returncode, 4, done.stderr)
        check("standard input: " in done.stderr and said in done.stderr, done.stderr)
    equal(given("".join(map(line, range(150)))).returncode, 0, "grown")
    equal(whole(root) == "".join(map(masked, range(150))), True, "output")


def test_rotated(root, _):
    """The old file is read to its end, what is still appended to it included; the new one is not taken for it."""
    given = root / "in.jsonl"
    given.write_text("".join(map(line, range(1000))))
    file = stream(root, source={"type": "lines", "path": "in.jsonl", "follow": True})
    with Running(file, log=root / "log") as run:
        wait_for("1,000 lines", lambda: whole(root).count("\n") == 1000)
        with given.open("a") as old:
            given.rename(root / "in.jsonl.1")
            old.write("".join(map(line, range(1000, 1010))))
        wait_for("what was still written", lambda: whole(root).count("\n") == 1010)
        given.write_text("".join(map(line, range(5))))
        equal(run.process.wait(timeout=DEADLINE), 4, run.text())
        check("another file has taken its place; the old one was read to its end" in run.text(), run.text())
    err = sorex("run", file, code=4).stderr
    check("but was read up to byte" in err, err)
    equal(whole(root) == "".join(map(masked, range(1010))), True, "output")
    given.rename(root / "next.jsonl")
    sorex("run", stream(root, source={"type": "lines", "path": "next.jsonl"}))
    equal(whole(root) == "".join(map(masked, [*range(1010), *range(5)])), True, "under another name it is another file")


def test_cut(root, _):
    given = root / "in.jsonl"
    given.write_text("".join(map(line, range(1000))))
    file = stream(root, source={"type": "lines", "path": "in.jsonl", "follow": True})
    with Running(file, log=root / "log") as run:
        wait_for("1,000 lines", lambda: whole(root).count("\n") == 1000)
        with given.open("r+") as f:
            f.truncate(100)
        equal(run.process.wait(timeout=DEADLINE), 4, run.text())
        check("in.jsonl: has 100 bytes, but was read up to byte" in run.text(), run.text())
    equal(whole(root) == "".join(map(masked, range(1000))), True, "output")


def test_named_pipe(root, _):
    """Ends when its writer does."""
    fifo = root / "in.fifo"
    os.mkfifo(fifo)
    file = stream(root, source={"type": "lines", "path": "in.fifo"})
    with Running(file, log=root / "log") as run:
        with fifo.open("w") as f:
            f.write("".join(map(line, range(10))))
            f.flush()
            wait_for("ten lines", lambda: whole(root).count("\n") == 10)
            check(run.alive(), run.text())
            f.write(line(10)[:-1])
        equal(run.process.wait(timeout=DEADLINE), 0, run.text())
    equal(whole(root) == "".join(map(masked, range(11))), True, "output")


def test_stopped_while_it_waits(root, _):
    """SIGTERM ends a wait for input at once, before there was any, and for a position that was not reached yet."""
    file = stream(root, source={"type": "lines", "path": "-"})
    for begins in (b"", line(0).encode(), line(0).encode()[:50]):
        with open(root / "log", "wb") as log:
            run = subprocess.Popen([SOREX, "run", file], stdin=subprocess.PIPE, stdout=log, stderr=log, env=ENVIRONMENT)
            run.stdin.write(begins)
            run.stdin.flush()
            wait_for("the run", lambda: status(file))
            run.terminate()
            code = run.wait(timeout=DEADLINE)
            text = (root / "log").read_text()
            equal(code, 0, text)
            check("abandoned" not in text, text)
            run.stdin.close()


def test_target_restarts(root, _):
    """PostgreSQL goes away and comes back while standard input is read: what was on its way is read again from memory."""
    count = 20000
    pg = Postgres(root)
    with contextlib.closing(pg):
        file = stream(root, batch_events=100, source={"type": "lines", "path": "-"}, sink={"type": "postgres", "url": pg.url()})
        with open(root / "log", "wb") as log:
            run = subprocess.Popen([SOREX, "run", file], stdin=subprocess.PIPE, stdout=log, stderr=log, env=ENVIRONMENT)

        def feed():
            with run.stdin:
                run.stdin.write("".join(map(line, range(count))).encode())

        def rows():
            answer = pg.sql("select count(*) from users", check_it=False)
            return int(answer[0][0]) if answer else 0

        feeder = threading.Thread(target=feed)
        feeder.start()
        for goal in (1000, 5000, 9000):
            wait_for(f"{goal} rows", lambda: rows() > goal)
            pg.stop(signal.SIGQUIT)
            pg.start()
        equal(run.wait(timeout=DEADLINE * 2), 0, (root / "log").read_text()[-1000:])
        feeder.join()
        check("trying again" in (root / "log").read_text(), "it was never away")
        equal(pg.sql("select count(*), count(distinct id), min(email), max(email) from users"), [[str(count), str(count), "***", "***"]], "rows")


if __name__ == "__main__":
    main(test_stdin_again, test_another_stdin, test_rotated, test_cut, test_named_pipe, test_stopped_while_it_waits, test_target_restarts)
