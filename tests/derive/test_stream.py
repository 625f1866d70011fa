"""`sorex run` of a stream with a reducer: whatever is killed, the database is that of `sorex derive` of the same messages from a file."""
import contextlib, json, os, pathlib, random, signal, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import Broker, GUESTS, Running, check, equal, pipeline_file, scratch, sorex, status, wait_for

KILLS = int(os.environ.get("SOREX_KILLS", 2))
SEED = int(os.environ.get("SOREX_SEED", 7))
GAME = {"name": "game", "wasm": str(GUESTS / "derive_sql.wasm")}
ROWS = ("select * from unit order by id; select index, extract(epoch from time), author, status, code, reason, hash from sorex.messages "
        "order by index")


def statement(i):
    """Messages that depend on what was before and on chance; every tenth is rejected."""
    return ("create table unit (id bigint primary key, hp bigint, luck float8 default random())" if i == 0 else
            f"insert into unit (id, hp) values ({i}, {i * 7 % 31})" if i % 10 < 6 else
            "reject" if i % 10 == 6 else
            f"update unit set hp = hp + (luck * 10)::int where id % 7 = {i % 7}")


def line(i, ms=None, **more):
    return json.dumps({"time": 1700000000000 + i * 50 if ms is None else ms, **more, "payload": statement(i)}) + "\n"


def rows(*words):
    return sorex("sql", *words, "--csv", "-c", ROWS).stdout


def derived(dir, text):
    """What a file of these lines gives: messages, rejected, key, trace, rows."""
    (dir / "log.jsonl").write_text(text)
    said = json.loads(sorex("derive", "--reducer", GAME["wasm"], "--log", dir / "log.jsonl", "--data", dir / "straight", "--json").stdout)
    return [said[name] for name in ("messages", "rejected", "key", "trace")] + [rows("--data", dir / "straight")]


def folded(file):
    """The same of a pipeline that does not run."""
    reducer = status(file)["reducer"]
    equal(reducer["state"], "stopped", "state")
    return [reducer[name] for name in ("messages", "rejected", "key", "trace")] + [rows(file)]


def wait_messages(file, run, count):
    def there():
        check(run.alive(), "sorex run ended: " + run.text()[-2000:])
        s = status(file)
        return s and s["state"] != "not running" and s["reducer"]["messages"] >= count and s
    return wait_for(f"{count} messages", there)


def test_lines(dir):
    """A file that grows and is followed; killed; then what is no message, and another reducer."""
    given = dir / "in.jsonl"
    text = "".join(line(i, author="ann") for i in range(300))
    given.write_text("".join(text.splitlines(True)[:100]))
    file = pipeline_file(dir / "p.json", data="data", source={"type": "lines", "path": str(given), "follow": True},
                         reducer=dict(GAME, checkpoint_messages=7))
    said = sorex("check", file).stdout
    check("reducer game: " in said and "source lines: " in said, said)
    rng = random.Random(SEED)
    for kill in range(KILLS):
        with Running(file, log=dir / "log") as run:
            wait_messages(file, run, rng.randrange(1, 100))
            if kill == 0:
                with given.open("a") as out:
                    out.write("".join(text.splitlines(True)[100:]))
            wait_messages(file, run, rng.randrange(1, 300))
            run.kill()
    with Running(file, log=dir / "log") as run:
        said = wait_messages(file, run, 300)
        equal((said["kind"], said["partitions"][0]["number"]), ("stream", 300), "status")
        check("\nreducer   game: " in (text_said := sorex("status", file).stdout) and ", 300 messages, " in text_said, text_said)
        beside = rows(file)
        run.kill(signal.SIGTERM)
    wanted = derived(dir, text)
    equal(folded(file), wanted, f"after {KILLS} kills, seed {SEED}")
    equal(beside, wanted[-1], "beside the run")
    query = "select count(*), sum(hp) from unit"
    sorex("derive", file, "--receipt", dir / "stream.receipt", "--query", query)
    sorex("derive", "--data", dir / "straight", "--receipt", dir / "straight.receipt", "--query", query)
    equal((dir / "stream.receipt").read_text(), (dir / "straight.receipt").read_text(), "receipts, with digests")
    check("gives its messages once" in sorex("verify", file, "--receipt", dir / "stream.receipt", code=2).stderr, "verify")
    check("here its receipt is written" in sorex("derive", file, code=2).stderr, "no receipt")
    check("game: stopped, 300 messages" in sorex("status", file).stdout, "status of what does not run")

    with given.open("a") as out:
        out.write('{"time":1800000000000,"payload":"reject"}\nno message\n')
    said = sorex("run", file, "--until", "tip", ok=False)
    check(said.returncode == 2 and "in.jsonl, record 302: " in said.stderr, said.stderr)
    equal(folded(file)[0], 301, "what lies before it")
    other = pipeline_file(dir / "p.json", data="data", source={"type": "lines", "path": str(given)}, reducer=dict(GAME, fuel=12345678))
    said = sorex("run", other, ok=False).stderr
    check("fuel" in said and "sorex upgrade PIPELINE --program game" in said, said)
    given.write_text(text)
    sorex("upgrade", other, "--program", "game")
    sorex("run", other)
    equal(folded(other)[:2], wanted[:2], "derived anew")
    given.write_text(text.replace("ann", "bob"))
    said = sorex("run", other, ok=False).stderr
    check("stands something else than what was read there" in said, said)


def test_refused(dir):
    source = {"type": "lines", "path": "in.jsonl"}
    for words, more in (("reducer and sink exclude each other", {"sink": {"type": "console"}}),
                        ("reducer and filters exclude each other", {"filters": []}),
                        ("none is left out", {"source": dict(source, on_error="skip")}),
                        ("none is left out", {"source": dict(source, envelope="debezium")}),
                        ("nothing is undone", {"reducer": dict(GAME, finality=3)}),
                        ("neither a sink nor a reducer", {"reducer": None})):
        sections = {"data": "data", "source": source, "reducer": GAME, **more}
        file = pipeline_file(dir / "p.json", **{name: value for name, value in sections.items() if value is not None})
        said = sorex("check", file, code=2).stderr
        check(words in said, f"{words}: {said}")


def kafka(dir, broker, topic, name="p", **more):
    return pipeline_file(dir / f"{name}.json", data=f"{name}-data", reducer=dict(GAME, checkpoint_messages=7, **more),
                         source={"type": "kafka", "brokers": broker.address, "topics": [topic],
                                 "properties": {"session.timeout.ms": 2000, "heartbeat.interval.ms": 200}})


def test_kafka(dir, broker):
    """Written while it runs; the process killed, the broker too; times that go back are not before those of what came before."""
    rng = random.Random(SEED)
    count = 400
    times = [1700000000000 + i * 50 - (4000 if i % 90 == 70 else 0) for i in range(count)]
    broker.do("make", "game", 1)
    file = kafka(dir, broker, "game")

    def write(from_, to):
        broker.do("write", "game", given="".join(f"{times[i]} {statement(i)}\n" for i in range(from_, to)).encode())

    write(0, 100)
    for kill in range(KILLS):
        with Running(file, log=dir / "log") as run:
            wait_messages(file, run, rng.randrange(1, 100))
            if kill == 0:
                write(100, 250)
            if kill == 1:
                broker.tell("kill")
                run.kill()
                broker.tell("start")
                continue
            wait_messages(file, run, rng.randrange(1, 250))
            run.kill()
    with Running(file, log=dir / "log") as run:
        wait_messages(file, run, 250)
        broker.tell("kill")  # it waits for the broker, and goes on
        wait_for("waiting", lambda: (s := status(file)) and s["state"] == "waiting")
        broker.tell("start")
        write(250, count)
        wait_messages(file, run, count)
        beside = rows(file)
        run.kill(signal.SIGTERM)
    latest = 0
    lines = []
    for i, ms in enumerate(times):
        latest = max(latest, ms)
        lines.append(line(i, latest))
    wanted = derived(dir, "".join(lines))
    equal(folded(file), wanted, f"after {KILLS} kills, seed {SEED}")
    equal(beside, wanted[-1], "beside the run")
    sorex("run", file, "--until", "tip")
    equal(folded(file), wanted, "nothing new")
    check("reducer game: " in sorex("check", file).stdout, "check")


def test_kafka_truncated(dir, broker):
    """A log without its beginning, and one that lost what comes next."""
    broker.do("make", "short", 1)
    file, late = kafka(dir, broker, "short"), kafka(dir, broker, "short", "late")
    broker.do("write", "short", given="".join(f"{1700000000000 + i} {statement(i)}\n" for i in range(30)).encode())
    sorex("run", file, "--until", "tip")
    broker.do("write", "short", given="".join(f"{1700000000000 + i} {statement(i)}\n" for i in range(30, 60)).encode())
    broker.do("trim", "short", 40)
    for pipeline in (file, late):
        said = sorex("run", pipeline, "--until", "tip", ok=False)
        check(said.returncode not in (0, -11) and "a reducer needs every message of its log: short/0: messages " in said.stderr, said.stderr)
    equal(folded(file)[0], 30, "what was derived stays")


def test_kafka_order(dir, broker):
    broker.do("make", "wide", 3)
    said = sorex("run", kafka(dir, broker, "wide"), "--until", "tip", code=2).stderr
    check("its topic has 3 partitions" in said or "this source has 3" in said, said)
    said = sorex("run", kafka(dir, broker, "^wide.*", "many"), "--until", "tip", code=2).stderr
    check("give it one topic" in said, said)


def main():
    with contextlib.ExitStack() as stack:
        tests = [test_lines, test_refused]
        if sys.argv[1:] == ["kafka"]:
            broker = Broker()
            stack.callback(broker.close)
            tests = [lambda dir, test=test: test(dir, broker) for test in (test_kafka, test_kafka_truncated, test_kafka_order)]
        for test in tests:
            with scratch() as dir:
                test(dir)
            print("ok", test.__name__, flush=True)


main()
