"""sorex pipe: events through filters, compared with the same done here; order, policies, envelopes, signals, broken pipes."""
import json, os, random, signal, subprocess
from harness import *

COLUMNS = ("id", "email", "name", "note")


def event(rng, n):
    row = {"email": f"user{n}@example.org", "id": n, "name": rng.choice(["Ada", "Grâce", "line\nbreak", "quote\"d"]),
           "note": rng.choice([None, 1.5, True, [1, {"a": 2}]])}
    op = rng.choice(["insert", "update", "delete", "read"])
    other = dict(row, name="old")
    return {"before": other if op in ("update", "delete") else None, "after": None if op == "delete" else row, "op": op,
            "source": {"source_name": "pg", "offset": str(n), "timestamp": 1700000000000 + n}, "ts": 1700000000001 + n,
            "schema": "public", "table": rng.choice(["users", "sessions", "orders"]), "primary_key": ["id"], "snapshot": None,
            "transaction": None, "envelope_version": 1, "before_is_key_only": False}


def text(events):
    return "".join(json.dumps(e, separators=(",", ":"), ensure_ascii=False) + "\n" for e in events)


def events(count, seed=1):
    rng = random.Random(seed)
    return [event(rng, n) for n in range(count)]


def masked(e):
    e = json.loads(json.dumps(e))
    for image in ("before", "after"):
        if e[image]:
            e[image]["email"] = "***"
    return e


def guest(name):
    return GUESTS / f"filter_{name}.wasm"


def pipe(*words, given="", code=0):
    done = subprocess.run([SOREX, "pipe", *map(str, words)], input=given.encode(), capture_output=True, timeout=300, env=ENVIRONMENT)
    equal(done.returncode, code, f"exit code of sorex pipe {' '.join(map(str, words))} ({done.stderr.decode()[-800:]})")
    return done.stdout.decode(), done.stderr.decode()


def summary(err):
    return json.loads(err.strip().splitlines()[-1])


def test_pass_mask_drop(root):
    """Any number of instances, both versions of the contract, more than one batch: the same bytes in the same order."""
    given = events(5000)
    for suffix in ("", "_v1"):
        for instances in (1, 2, 5):
            out, err = pipe("--wasm", guest("pass" + suffix), "--instances", instances, "--json", given=text(given))
            equal(out == text(given), True, "pass-through")
            equal({k: summary(err)[k] for k in ("in", "out", "filtered", "failed")},
                  {"in": 5000, "out": 5000, "filtered": 0, "failed": 0}, "summary")
            out, err = pipe("--wasm", guest("mask" + suffix), "--instances", instances, given=text(given))
            equal(out == text(map(masked, given)), True, "mask")
            check("5000 events in, 5000 out, 0 filtered, 0 failed" in err, err)
    out, err = pipe("--wasm", guest("drop"), "--json", given=text(given))
    equal((out, summary(err)["filtered"]), ("", 5000), "drop everything")


def test_stages(root):
    """Stages in order, each with a configuration of its own; what one drops the next does not see."""
    given = events(2000, seed=2)
    out, err = pipe("--wasm", guest("drop"), "--config", '{"table":"sessions"}', "--wasm", guest("mask"), "--config",
                    '{"columns":["name","id"]}', "--wasm", guest("rewrite"), "--json", given=text(given))
    want = []
    for e in given:
        if e["table"] == "sessions":
            continue
        for image in ("before", "after"):
            if e[image]:
                e[image].update(name="***", id="***")
        want.append(dict(e, schema="masked"))
    equal(out == text(want), True, "three stages")
    equal(summary(err)["filtered"], 2000 - len(want), "filtered")


def test_canonical(root):
    """Without a filter it writes the canonical form."""
    loose = '  {"ts":2, "op":"insert", "table":"t","envelope_version":1,"after":{"b":1.50,"a":"\\u0041"},' \
            '"source":{"timestamp":1,"offset":"o","source_name":"s","more":1}, "unknown": [] }\r\n\n'
    out, _ = pipe(given=loose)
    equal(out, '{"before":null,"after":{"a":"A","b":1.50},"op":"insert","source":{"source_name":"s","offset":"o","timestamp":1},"ts":2,'
               '"schema":null,"table":"t","primary_key":null,"snapshot":null,"transaction":null,"envelope_version":1,'
               '"before_is_key_only":false}\n', "canonical form")


def test_last_line_without_end(root):
    given = text(events(3))
    out, _ = pipe("--wasm", guest("pass"), given=given[:-1])
    equal(out, given, "a last line without newline is a line")
    equal(pipe(given="")[0], "", "no input, no output")


def test_policies(root):
    given = text(events(1000)).splitlines(keepends=True)
    bad = given[:400] + ["{broken\n"] + given[400:700] + ['{"op":"insert"}\n'] + given[700:]
    for instances in (1, 3):
        out, err = pipe("--wasm", guest("pass"), "--instances", instances, given="".join(bad), code=2)
        equal(out == "".join(given[:400]), True, "everything before the line that failed, nothing else")
        check("line 401: " in err, err)
        dead = root / f"dead{instances}"
        out, err = pipe("--wasm", guest("pass"), "--instances", instances, "--on-error", "skip", "--dead-letters", dead, "--json",
                        given="".join(bad))
        equal(out == "".join(given), True, "skipped lines are left out")
        letters = [json.loads(line) for line in dead.read_text().splitlines()]
        equal([(d["line"], d["event"]) for d in letters], [(401, "{broken"), (702, '{"op":"insert"}')], "dead letters")
        check("is missing" in letters[1]["error"], letters[1]["error"])
        equal(summary(err)["failed"], 2, "failed")
        out, _ = pipe("--wasm", guest("pass"), "--instances", instances, "--on-error", "pass", given="".join(bad))
        equal(out == "".join(bad), True, "failed lines pass as they came")


def test_mistakes(root):
    check("did you mean \"debezium\"" in pipe("--from", "debezum", code=2)[1], "nearest envelope")
    check("No such file" in pipe("--wasm", root / "none.wasm", code=7)[1], "missing module")
    check("--config" in pipe("--config", "{}", code=2)[1], "a configuration without a filter")
    _, err = pipe("--wasm", GUESTS / "utxo.wasm", given="", code=2)
    check("utxo.wasm" in err and "import" in err, err)
    _, err = pipe("--wasm", guest("mask"), "--config", "{not json", code=2)
    check("config" in err, err)


def test_envelopes(root):
    """Through every envelope and back: the same events."""
    given = [e for e in events(500, seed=3) if e["op"] != "read"]
    for name in ("debezium", "cloudevents", "change"):
        there, _ = pipe("--to", name, given=text(given))
        check(there != text(given), "another form")
        back, _ = pipe("--from", name, given=there)
        if name == "change":  # `ts` is the only time of a change without source_timestamp
            equal([json.loads(line)["after"] for line in back.splitlines()], [e["after"] for e in given], name)
        equal(len(back.splitlines()), len(given), name)
        again, _ = pipe("--to", name, given=back)
        equal(again == there, True, f"there and back again: {name}")
    out, _ = pipe("--from", "debezium", "--wasm", guest("drop"), given="null\n")
    equal(out, "null\n", "a tombstone passes")


def test_interactive(root):
    """A line goes out as soon as it can, without the end of the input; SIGTERM ends it like the end of the input does."""
    lines = text(events(10)).splitlines(keepends=True)
    for instances in (1, 3):
        p = subprocess.Popen([SOREX, "pipe", "--wasm", str(guest("pass")), "--instances", str(instances), "--json"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        for line in lines:
            p.stdin.write(line.encode())
            p.stdin.flush()
            equal(p.stdout.readline().decode(), line, "a line, answered")
        p.send_signal(signal.SIGTERM)
        err = p.stderr.read().decode()
        equal(p.wait(60), 0, "exit code after SIGTERM: " + err)
        equal(summary(err)["out"], len(lines), "summary after SIGTERM")
        p.stdin.close()
        p.stdout.close()
        p.stderr.close()


def test_nobody_reads(root):
    """Like any Unix filter it ends when nobody reads its output."""
    given = root / "in"
    given.write_text(text(events(20000)))
    done = subprocess.run(f"'{SOREX}' pipe --wasm '{guest('pass')}' <'{given}' | head -n 3", shell=True, capture_output=True,
                          timeout=120, env=ENVIRONMENT)
    equal(len(done.stdout.splitlines()), 3, "three lines")


def test_full_disk(root):
    if not os.path.exists("/dev/full"):
        return
    with open("/dev/full", "wb") as full:
        done = subprocess.run([SOREX, "pipe"], input=text(events(5)).encode(), stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT)
    equal(done.returncode, 7, "exit code on a full disk")
    check("output" in done.stderr.decode() and "No space left" in done.stderr.decode(), done.stderr.decode())


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            with scratch() as root:
                test(root)
                print("ok", name)
