"""`sorex serve` and `postgres:` in a pipeline file: states at heights, beside a run and inside of it, read by psql."""
import json, os, re, signal, subprocess, urllib.request
from harness import *

PSQL = binary("psql", *[place / "psql" for place in sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)])
SUBSIDY = 50 * 10**8  # of each block but the first, whose coin cannot be spent


def pipeline(root, **more):
    sections = dict(name="mainnet", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)}, indexer=UTXO,
                    transforms=[BALANCES])
    sections.update(more)
    return pipeline_file(root / "pipeline.json", **sections)


class Serving:
    """`sorex serve` at a port of its own choice."""

    def __init__(self, stack, *words):
        self.process = subprocess.Popen([SOREX, "serve", *map(str, words), "--postgres", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                        text=True, env=ENVIRONMENT)
        stack.callback(self.process.kill)
        line = self.process.stdout.readline()
        place = re.match(r"127\.0\.0\.1:(\d+): ", line)
        check(place, f"sorex serve said {line!r}")
        self.port = int(place.group(1))

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        equal(self.process.wait(timeout=DEADLINE), 0, "exit code")


def psql(port, sql, database="mainnet", ok=True, host="127.0.0.1"):
    done = subprocess.run([PSQL, "-X", "-A", "-t", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", str(port), "-U", "me", "-d", database, "-c", sql],
                          capture_output=True, text=True, timeout=300)
    if not ok:
        check(done.returncode != 0, f"{sql} succeeded: {done.stdout}")
        return done.stderr
    check(done.returncode == 0, f"psql: {done.stderr}")
    return [tuple(line.split("\x1f")) for line in done.stdout.splitlines()]


class Session:
    """A psql that stays."""

    def __init__(self, stack, port, database="mainnet"):
        self.process = subprocess.Popen([PSQL, "-X", "-A", "-t", "-h", "127.0.0.1", "-p", str(port), "-U", "me", "-d", database], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1)
        stack.callback(self.process.kill)

    def ask(self, sql):
        self.process.stdin.write(sql + ";\n")
        return self.process.stdout.readline().strip()


def rows(file, height=None):
    return {(key, str(row["balance"])) for (_, key), row in engine_rows([file], height).items()}


def balances(port, database="mainnet"):
    return set(psql(port, "select key, balance from balances", database))


def test_heights(root, stack):
    file = pipeline(root)
    sorex("run", file, "--until", 2000)
    serving = Serving(stack, file)
    equal(balances(serving.port), rows(file), "rows at the newest height")
    for height in (0, 1, 170, 546, 1000, 1999, 2000):
        equal(balances(serving.port, f"mainnet@{height}"), rows(file, height), f"rows at {height}")
    equal(psql(serving.port, "select count(*) from balances", "postgres"), psql(serving.port, "select count(*) from balances", "database"), "names")
    check("height 2001" in psql(serving.port, "select 1", "mainnet@2001", ok=False), "a height above the newest")
    check('database "other" does not exist' in psql(serving.port, "select 1", "other", ok=False), "another name")
    psql(serving.port, "delete from balances")
    equal(balances(serving.port), rows(file), "rows after somebody deleted his own")
    serving.stop()


def test_beside_a_run(root, stack):
    """A connection sees one state, the next one what has come since."""
    file = pipeline(root)
    sorex("run", file, "--until", 500)
    serving = Serving(stack, "--data", root / "data")
    early = Session(stack, serving.port, "postgres")
    want = str(500 * SUBSIDY)
    equal(early.ask("select sum(balance) from balances"), want, "the first state")
    with Running(file, "--until", "3000", log=root / "log") as run:
        while run.alive():  # whatever state it is, it is a whole one
            height, total = psql(serving.port, "select (select sequence from sorex_cursor), sum(balance) from balances", "postgres")[0]
            equal(int(total), int(height) * SUBSIDY, f"all balances at {height}")
    equal(early.ask("select sum(balance) from balances"), want, "the first state, later")
    equal(psql(serving.port, "select sum(balance) from balances", "postgres"), [(str(3000 * SUBSIDY),)], "the last state")
    sorex("rollback", file, "--to", 1000)
    sorex("run", file, "--until", 1000)
    equal(balances(serving.port, "postgres"), rows(file), "rows after an undo")
    serving.stop()
    early.process.stdin.write("select 1;\n")
    check("57P01" in early.process.stdout.read() or early.process.wait(timeout=DEADLINE) == 2, "how the session ended")


def test_in_a_run(root, stack):
    port, metrics = free_port(), free_port()
    file = pipeline(root, postgres=str(port), metrics=str(metrics), postgres_connections=2)
    with Running(file, log=root / "log") as run:
        wait_for("the port", lambda: "postgres: listening at" in run.text())
        heights = set()
        def at_the_tip():
            height, total = psql(port, "select (select sequence from sorex_cursor), coalesce(sum(balance), 0) from balances")[0]
            heights.add(int(height or 0))
            equal(int(total), int(height or 0) * SUBSIDY, f"all balances at {height}")
            return int(height or 0) == 14131
        wait_for("a table", lambda: "balances" in subprocess.run([PSQL, "-X", "-h", "127.0.0.1", "-p", str(port), "-U", "me", "-d", "mainnet", "-c", "\\dt"],
                                                                 capture_output=True, text=True).stdout)
        wait_for("the tip", at_the_tip)
        equal(balances(port, "mainnet@100"), rows(file, 100), "rows at 100")
        one, two = Session(stack, port), Session(stack, port)
        equal((one.ask("select 1"), two.ask("select 2")), ("1", "2"), "two sessions")
        check("too many clients" in psql(port, "select 1", ok=False), "a third one")
        got = status(file)["postgres"]
        equal((got["connections"], got["connections_max"], got["refused"]), (2, 2, 1), "status")
        check("2 of 2 connections" in sorex("status", file).stdout, "status as text")
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=60) as answer:
            check('sorex_postgres_connections{pipeline="mainnet"} 2\n' in answer.read().decode(), "metrics")
        one.process.stdin.write("select pg_sleep(100000);\n")
        wait_for("the statement", lambda: status(file)["postgres"]["busy"] == 1)
        equal(run.kill(signal.SIGTERM), 0, "exit code")
        check("57P01" in one.process.stdout.read() or one.process.wait(timeout=DEADLINE) != 0, "how the session ended")
    check("abandoned" not in run.text(), "it waited for a session")


def test_refusals(root, _):
    check("which database?" in sorex("serve", code=2).stderr, "no database")
    check("nothing ran there yet" in sorex("serve", "--data", root / "nowhere", ok=False).stderr, "no store")
    file = pipeline(root, sinks=[{"type": "file", "path": str(root / "out")}])
    sorex("run", file, "--until", 10)
    check("no embedded database" in sorex("serve", file, ok=False).stderr, "no database sink")
    check("no sink of type database" in sorex("run", pipeline(root, sinks=[{"type": "file", "path": str(root / "out")}], postgres="0"), ok=False).stderr, "nor in a run")
    check("no sink of type database" in sorex("check", root / "pipeline.json", ok=False).stdout, "check finds it")
    (root / "two").mkdir()
    file = pipeline(root / "two")
    sorex("run", file, "--until", 10)
    for address, text in (("0.0.0.0:5433", "nobody is asked for a password"), ("nonsense", "is not HOST:PORT"), ("/no/such/dir/s", "No such file")):
        check(text in sorex("serve", file, "--postgres", address, ok=False).stderr, f"{address} is refused")
    check("is not HOST:PORT" in sorex("check", pipeline(root / "two", postgres="nonsense"), ok=False).stdout, "check finds it")
    check("not a time" in sorex("serve", file, "--statement-timeout", "long", code=2).stderr, "a timeout that is none")


def test_reducer(root, stack):
    """What a reducer derived of blocks: the newest state, others at their heights, also where it runs; and of lines."""
    days = {"name": "days", "wasm": str(GUESTS / "days.wasm")}
    port = free_port()
    file = pipeline_file(root / "days.json", name="mainnet", data="days-data", source={"type": "blockfiles", "path": str(BLOCKS)},
                         reducer=days, postgres=str(port))
    sorex("run", file, "--until", 300)
    serving = Serving(stack, file)
    for database, want in (("mainnet", "301"), ("days", "301"), ("mainnet@0", "1"), ("days@120", "121")):
        equal(psql(serving.port, "select sum(blocks) from days", database), [(want,)], database)
    check("has the heights 0 to 300" in psql(serving.port, "select 1", "mainnet@301", ok=False), "above it")
    serving.stop()
    with Running(file, log=root / "log") as run:
        wait_for("blocks", lambda: (s := status(file)) and s["state"] != "not running" and (s["reducer"]["height"] or 0) >= 400)
        equal(psql(port, "select sum(blocks) from days", "mainnet@250"), [("251",)], "in a run")
        check(run.alive(), "it runs on")
        run.kill(signal.SIGTERM)
    (root / "in.jsonl").write_text('{"time":1,"payload":"create table t (a int)"}\n{"time":2,"payload":"insert into t values (7)"}\n')
    lines = pipeline_file(root / "lines.json", name="lines", data="lines-data", source={"type": "lines", "path": "in.jsonl"},
                          reducer={"name": "game", "wasm": str(GUESTS / "derive_sql.wasm")})
    sorex("run", lines)
    serving = Serving(stack, lines)
    equal(psql(serving.port, "select * from t", "lines"), [("7",)], "of a stream")
    check("only that state" in psql(serving.port, "select 1", "lines@1", ok=False), "a stream has no others")
    serving.stop()


if PSQL is None:
    skip("no psql")
main(test_heights, test_beside_a_run, test_in_a_run, test_reducer, test_refusals)
