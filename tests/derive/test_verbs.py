"""sorex derive, verify, bisect, preview, messages, and sql of derived databases: what a user types. Killed at random moments it
goes on, to the same bytes."""
import json, os, pathlib, random, signal, subprocess, sys, time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import DEADLINE, ENVIRONMENT, GUESTS, SOREX, check, equal, scratch, sorex, wait_for

KILLS = int(os.environ.get("SOREX_KILLS", 4))
LONG = 400 if KILLS > 10 else 200  # messages of the log that is killed
SEED = int(os.environ.get("SOREX_SEED", 7))
REDUCER = GUESTS / "derive_sql.wasm"
QUERY = "select count(*), sum(hp) from unit"


def statements(count, from_=0):
    """Messages that depend on what was before and on chance; every tenth is rejected."""
    yield "create table unit (id bigint primary key, hp bigint, luck float8 default random())"
    for i in range(1, count):
        yield (f"insert into unit (id, hp) values ({i}, {i * 7 % 31})" if i % 10 < 6 else
               "reject" if i % 10 == 6 else
               f"update unit set hp = hp + (luck * 10)::int where id % 7 = {i % 7}")


def write_log(path, count):
    with open(path, "w") as out:
        for i, sql in enumerate(statements(count)):
            out.write(json.dumps({"time": 1700000000000 + i * 50, "author": "ann", "payload": sql}) + "\n")


def value(dir, sql, *words):
    return sorex("sql", "--data", dir, *words, "--csv", "-t", "-c", sql).stdout.strip()


def test_verbs(dir):
    log, data, receipt = dir / "log.jsonl", dir / "data", dir / "a.receipt"
    write_log(log, 60)
    said = json.loads(sorex("derive", "--reducer", REDUCER, "--log", log, "--data", data, "--receipt", receipt, "--query", QUERY,
                            "--json").stdout)
    equal((said["messages"], said["derived"], said["rejected"]), (60, 60, 6), "derive")
    file = json.loads(receipt.read_text())
    equal((file["count"], file["key"], file["query"]["sql"]), (60, said["key"], QUERY), "the receipt")
    equal(value(data, QUERY), file["query"]["result"].splitlines()[1], "sql")
    equal(value(data, "select count(*) from sorex.messages", "--at", 17), "17", "sql --at")
    check("60 messages were derived" in sorex("sql", "--data", data, "--at", 61, "-c", "select 1", code=6).stderr, "beyond")
    again = json.loads(sorex("derive", "--data", data, "--json").stdout)
    equal((again["derived"], again["trace"]), (0, said["trace"]), "derive again")

    out = sorex("verify", "--reducer", REDUCER, "--log", log, "--receipt", receipt).stdout
    check(out.startswith("equal: 60 messages, 6 of them rejected"), out)
    check(sorex("verify", "--data", data, "--receipt", receipt, "--json").stdout == '{"equal":true}\n', "verify --data")
    file["points"][40][1] = file["points"][41][1]
    lie = dir / "lie.receipt"
    lie.write_text(json.dumps(file))
    wrong = sorex("verify", "--reducer", REDUCER, "--log", log, "--receipt", lie, code=9).stderr
    check("after message 41; up to message 40 all is equal" in wrong, wrong)
    found = sorex("bisect", receipt, lie, "--log", log, "--reducer", REDUCER, code=9).stdout
    check("no more after message 41" in found and "--from 40 --to 41" in found, found)
    check("they agree, up to message 60" in sorex("bisect", data, receipt, code=0).stdout, "bisect of equals")

    preview = sorex("preview", "--data", data, "--message", '"insert into unit (id, hp) values (1000, 5)"', "-c",
                    "select hp from unit where id = 1000").stdout
    check("message 61 would be applied" in preview and " 5\n" in preview, preview)
    preview = sorex("preview", "--data", data, "--at", 5, "--message", '"reject"').stdout
    check("message 6 would be rejected: code 7: asked for" in preview, preview)
    preview = sorex("preview", "--data", data, "--message", '"insert into unit (id, hp) values (1, 5)"').stdout
    check("would be rejected: 23505" in preview, preview)
    check("is before" in sorex("preview", "--data", data, "--time", 5, "--message", "1", code=2).stderr, "a time before")
    equal(value(data, "select count(*) from sorex.messages"), "60", "nothing has happened")


def test_logs(dir):
    log, frames, lines = dir / "log.jsonl", dir / "log.frames", dir / "back.jsonl"
    write_log(log, 25)
    said = sorex("messages", log).stdout
    check(said.startswith("25 messages\nlog    "), said)
    for source, form, path in ((log, "frames", frames), (frames, "lines", lines)):
        with open(path, "wb") as out:
            subprocess.run([SOREX, "messages", source, "--to", form], stdout=out, check=True, stderr=subprocess.DEVNULL)
        equal(sorex("messages", path).stdout, said, f"the log as {form}")
    data = dir / "frames"
    a = json.loads(sorex("derive", "--reducer", REDUCER, "--log", frames, "--data", data, "--json").stdout)
    b = json.loads(sorex("derive", "--log", lines, "--data", data, "--json").stdout)
    equal((b["derived"], b["key"]), (0, a["key"]), "the same log in the other form")
    whole = frames.read_bytes()
    frames.write_bytes(whole[:-1])
    check("message 25: cut off" in sorex("messages", frames, code=4).stderr, "cut off")
    frames.write_bytes(whole[:200] + bytes([whole[200] ^ 1]) + whole[201:])
    check("the check does not fit" in sorex("messages", frames, code=4).stderr, "flipped")
    lines.write_text("".join(reversed(lines.read_text().splitlines(True))))
    check("line 2: its time" in sorex("messages", lines, code=2).stderr, "reordered")


def test_export(dir):
    log, receipt = dir / "log.jsonl", dir / "a.receipt"
    write_log(log, 30)
    sorex("derive", "--reducer", REDUCER, "--log", log, "--data", dir / "from", "--export", dir / "state", "--receipt", receipt)
    sorex("derive", "--import", dir / "state", "--data", dir / "into", "--trust", receipt)
    equal(value(dir / "into", QUERY), value(dir / "from", QUERY), "the imported database")
    write_log(log, 40)
    said = json.loads(sorex("derive", "--log", log, "--data", dir / "into", "--json").stdout)
    equal((said["messages"], said["derived"]), (40, 10), "derived on")
    file = json.loads(receipt.read_text())
    file["digest"] = "0" * 64
    receipt.write_text(json.dumps(file))
    check("not the one that the receipt" in
          sorex("derive", "--import", dir / "state", "--data", dir / "no", "--trust", receipt, code=4).stderr, "not trusted")


def test_follow(dir):
    log, data = dir / "log.jsonl", dir / "data"
    write_log(log, 40)
    lines = log.read_text().splitlines(True)
    log.write_text("".join(lines[:10]))
    process = subprocess.Popen([SOREX, "derive", "--reducer", str(REDUCER), "--log", str(log), "--data", str(data), "--follow", "--checkpoint", "50ms"],
                               env=ENVIRONMENT, stdout=subprocess.DEVNULL)
    try:
        count = lambda: sorex("sql", "--data", data, "--csv", "-t", "-c", "select count(*) from sorex.messages", ok=False).stdout.strip()
        wait_for("the first ten", lambda: count() == "10")
        with open(log, "a") as out:
            out.write("".join(lines[10:]))
        wait_for("the others", lambda: count() == "40")
        process.send_signal(signal.SIGTERM)
        equal(process.wait(DEADLINE), 0, "exit code after SIGTERM")
    finally:
        process.kill()
        process.wait()


def test_kills(dir):
    """kill -9 at random moments, the log longer each time: from its half to the whole."""
    dice = random.Random(SEED)
    log, data = dir / "log.jsonl", dir / "data"
    write_log(log, LONG)
    began = time.monotonic()
    sorex("derive", "--reducer", REDUCER, "--log", log, "--data", dir / "calm", "--receipt", dir / "calm.receipt", "--query", QUERY)
    lasted = time.monotonic() - began
    lines = log.read_text().splitlines(True)
    killed = 0
    for i in range(KILLS):
        log.write_text("".join(lines[:LONG * (KILLS + i) // (2 * KILLS)]))
        process = subprocess.Popen([SOREX, "derive", "--reducer", str(REDUCER), "--log", str(log), "--data", str(data),
                                    "--checkpoint-messages", str(dice.randint(1, 40)), "--snapshot-messages", str(dice.randint(20, 60))],
                                   env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        try:
            process.wait(dice.uniform(0.1, 1.2) * lasted)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
    log.write_text("".join(lines))
    sorex("derive", "--reducer", REDUCER, "--log", log, "--data", data, "--receipt", dir / "killed.receipt", "--query", QUERY)
    equal((dir / "killed.receipt").read_text(), (dir / "calm.receipt").read_text(), f"the receipt after {killed} kills (seed {SEED})")
    print(f"kills: {killed} of {KILLS} in time")


for test in (test_kills,) if os.environ.get("SOREX_KILLS") else (test_verbs, test_logs, test_export, test_follow, test_kills):
    with scratch() as folder:
        test(folder)
        print(test.__name__, "ok")
