"""`sorex run` with a reducer over made-up block files: whatever the chain does and whenever the process is killed, the database is that
of a straight run over the chain as it is."""
import hashlib, json, os, pathlib, random, signal, struct, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import BLOCKS, GUESTS, Running, check, equal, pipeline_file, scratch, sorex, status, wait_for

KILLS = int(os.environ.get("SOREX_KILLS", 2))
SEED = int(os.environ.get("SOREX_SEED", 7))
DAYS = {"name": "days", "wasm": str(GUESTS / "days.wasm")}
MAGIC = bytes.fromhex("fabfb5da")  # regtest
ROWS = ("select * from days order by day; select index, extract(epoch from time), status, code, reason, hash from sorex.messages "
        "order by index")


def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def block(parent, height, branch):
    """One transaction; a few hours after its parent, or before it."""
    script = struct.pack("<II", height, branch) + bytes((height * 7 + branch) % 60)
    tx = (struct.pack("<I", 1) + b"\1" + bytes(32) + b"\xff" * 4 + bytes([len(script)]) + script + b"\xff" * 4 + b"\1" +
          struct.pack("<Q", 5000000000) + b"\1\x51" + bytes(4))
    time = 1700000000 + height * 7200 - (10000 if height % 3 == 0 else 0)
    for nonce in range(1000):
        header = struct.pack("<I", 1) + parent + sha256d(tx) + struct.pack("<III", time, 0x207FFFFF, nonce)
        if sha256d(header)[31] < 0x7F:
            return header + b"\1" + tx
    raise AssertionError("no nonce")


class Chain:
    """Block files, as a node writes them: branches one behind the other, the longest one counts."""

    def __init__(self, dir):
        dir.mkdir()
        self.path = dir / "blk00000.dat"
        self.path.touch()
        self.blocks = []

    def add(self, count, depth=0, branch=0):
        new = self.blocks[:len(self.blocks) - depth]
        with open(self.path, "ab") as out:
            for height in range(len(new), len(new) + count):
                new.append(block(sha256d(new[-1][:80]) if new else bytes(32), height, branch))
                out.write(MAGIC + struct.pack("<I", len(new[-1])) + new[-1])
        self.blocks = new

    @property
    def tip(self):
        return len(self.blocks) - 1


def pipeline(dir, chain, name="run", reducer=DAYS, **more):
    return pipeline_file(dir / f"{name}.json", data=f"{name}-data", poll_ms=20, source={"type": "blockfiles", "path": str(chain.path)},
                         reducer=dict(reducer, **more))


def rows(file, *words):
    return sorex("sql", file, *words, "--csv", "-c", ROWS).stdout


def straight(dir, chain, until="tip", count=[0]):
    count[0] += 1
    file = pipeline(dir, chain, f"straight{count[0]}")
    sorex("run", file, "--until", until)
    return rows(file)


def wait_derived(file, run, chain):
    def there():
        check(run.alive(), "sorex run ended: " + run.text()[-2000:])
        s = status(file)
        hash = sha256d(chain.blocks[-1][:80])[::-1].hex()
        return s and s.get("reducer") and s["reducer"]["height"] == chain.tip and s["heights"]["durable"] == chain.tip and \
            s["reducer"]["state"] == "idle" and hash and s
    return wait_for(f"height {chain.tip} derived", there)


def test_reorganised(dir):
    """While it runs: each fork is one deeper than all blocks since the last."""
    chain = Chain(dir / "blocks")
    chain.add(56)
    file = pipeline(dir, chain, snapshot_messages=20)
    with Running(file, log=dir / "log") as run:
        wait_derived(file, run, chain)
        for branch, depth in enumerate((1, 7, 50), 1):
            chain.add(depth + 1, depth, branch)
            said = wait_for(f"branch {branch}", lambda: (s := wait_derived(file, run, chain))["reducer"]["undone"] >= branch and s)
        equal((said["reducer"]["messages"], said["reducer"]["rejected"]), (59, 0), "status")
        text = sorex("status", file).stdout
        check("\nreducer   days: idle, height 58, 59 messages, 0 of them rejected, undone " in text, text)
        beside, past = rows(file), rows(file, "--at", 30)
        equal(status(file)["reducer"]["trace"], said["reducer"]["trace"], "it was not disturbed")
        run.kill(signal.SIGTERM)
    equal(rows(file), beside, "beside it and after it")
    equal(past, straight(dir, chain, 30), "at height 30, beside it")
    check(", height 58, 59 messages, 0 of them rejected" in sorex("status", file).stdout, "status of what does not run")
    equal(beside, straight(dir, chain), "after three forks")


def test_killed(dir):
    rng = random.Random(SEED)
    chain = Chain(dir / "blocks")
    chain.add(40)
    file = pipeline(dir, chain, snapshot_messages=7, checkpoint_messages=3)
    for branch in range(1, KILLS + 1):
        with Running(file, log=dir / "log") as run:
            def derived(height):
                def there():
                    check(run.alive(), "sorex run ended: " + run.text()[-2000:])
                    s = status(file)
                    return s and s["state"] != "not running" and (s["reducer"]["height"] or 0) >= height
                wait_for(f"height {height}", there)

            goal = rng.randrange(0, chain.tip)
            derived(goal)
            if rng.random() < 0.7:
                depth = rng.randrange(0, 12)
                chain.add(depth + rng.randrange(1, 9), depth, branch)
            if rng.random() < 0.5:
                derived(rng.randrange(0, chain.tip + 1))
            run.kill(signal.SIGKILL)
    sorex("run", file, "--until", "tip")
    equal(rows(file), straight(dir, chain), f"after {KILLS} kills, seed {SEED}")


def test_refused(dir):
    """Messages that are rejected are a part of the state; one that halts ends the run, and what was before it stays."""
    chain = Chain(dir / "blocks")
    chain.add(8)
    sql = {"name": "words", "wasm": str(GUESTS / "derive_sql.wasm")}  # blocks are no SQL
    file = pipeline(dir, chain, "rejecting", sql)
    sorex("run", file, "--until", "tip")
    equal(sorex("sql", file, "--csv", "-t", "-c", "select status, count(*) from sorex.messages group by 1").stdout, "rejected,8\n",
          "rejected")
    halting = pipeline(dir, chain, "halting", sql, on_error="halt")
    said = sorex("run", halting, "--until", "tip", ok=False)
    check(said.returncode not in (0, 2) and "reducer words: height 0: message 1: " in said.stderr, said.stderr[-600:])
    equal(sorex("sql", halting, "--csv", "-t", "-c", "select count(*) from sorex.messages").stdout, "0\n", "halted")
    changed = pipeline(dir, chain, "rejecting", sql, fuel=12345678)
    said = sorex("run", changed, "--until", "tip", ok=False)
    check("fuel" in said.stderr and "sorex upgrade PIPELINE --program words" in said.stderr, said.stderr[-600:])
    sorex("upgrade", changed, "--program", "words")
    sorex("run", changed, "--until", "tip")
    equal(sorex("sql", changed, "--csv", "-t", "-c", "select count(*) from sorex.messages").stdout, "8\n", "anew")


def largest(count):
    """Of the first blocks in the files, which are in order."""
    data = b"".join(path.read_bytes() for path in sorted(BLOCKS.glob("blk*.dat"))[:1])
    at, most = 0, 0
    for _ in range(count):
        length = struct.unpack_from("<I", data, at + 4)[0]
        most, at = max(most, length), at + 8 + length
    return most


def verify_again(dir, file, receipt):
    """From the source's blocks alone: no data directory is needed. What is not so is told."""
    blocks = {"type": "blockfiles", "path": str(BLOCKS)}
    elsewhere = pipeline_file(dir / "elsewhere.json", data="nothing", source=blocks, reducer=DAYS)
    for one in (file, elsewhere):
        check(sorex("verify", one, "--receipt", dir / "days.receipt").stdout.startswith("equal: 106 messages, 0 of them rejected"), "verify")
    check(not (dir / "nothing").exists(), "verify leaves nothing behind")
    trace = receipt["trace"]
    (dir / "false.receipt").write_text(json.dumps(dict(receipt, trace=("0" if trace[0] != "0" else "1") + trace[1:])))
    said = sorex("verify", elsewhere, "--receipt", dir / "false.receipt", code=9).stderr
    check("the messages did something else (the trace), after message 106; up to message 106 all is equal" in said, said)
    chain = Chain(dir / "others")
    chain.add(8)
    other = pipeline_file(dir / "other.json", data="nothing", source={"type": "blockfiles", "path": str(dir / "others")}, reducer=DAYS)
    said = sorex("verify", other, "--receipt", dir / "days.receipt", ok=False)
    check(said.returncode not in (0, 9) and "the receipt is of 106 blocks from height 0 on, and the source's tip is 7 now" in said.stderr,
          said.stderr)
    later = pipeline_file(dir / "later.json", data="nothing", source=blocks, reducer=DAYS, start_height=1)
    said = sorex("verify", later, "--receipt", dir / "days.receipt", code=9).stderr
    check("the messages are others (the key), after message 1; up to message 0 all is equal" in said, said)
    for member, what in (("log", "the log is another one"), ("digest", "the database has other rows (the digest)")):
        (dir / "false.receipt").write_text(json.dumps(dict(receipt, **{member: "00" * 32})))
        said = sorex("verify", elsewhere, "--receipt", dir / "false.receipt", code=9).stderr
        check(what in said, said)
    query = dict(receipt["query"], result=receipt["query"]["result"].replace("106", "107"))
    (dir / "false.receipt").write_text(json.dumps(dict(receipt, query=query)))
    check("the query gives something else" in sorex("verify", elsewhere, "--receipt", dir / "false.receipt", code=9).stderr, "the query")
    changed = pipeline_file(dir / "changed.json", data="nothing", source=blocks, reducer=dict(DAYS, fuel=12345678))
    check("derived with \"" in sorex("verify", changed, "--receipt", dir / "days.receipt", code=9).stderr, "another fuel")
    check("no --log" in sorex("verify", file, "--receipt", dir / "days.receipt", "--data", dir, code=2).stderr, "both")


def test_beside_others(dir):
    """With an indexer, a transform and its sink: each database by its name; check says what it sees; history may be short."""
    file = pipeline_file(dir / "all.json", data="data", history=20, source={"type": "blockfiles", "path": str(BLOCKS)},
                         indexer={"name": "utxo", "wasm": str(GUESTS / "utxo.wasm")},
                         transform={"name": "balances", "wasm": str(GUESTS / "balances.wasm")}, reducer=dict(DAYS, finality=10))
    check("reducer days: " in sorex("check", file).stdout, "check")
    sorex("run", file, "--until", 120)
    sum = "select sum(blocks), max(largest_bytes) from days"
    equal(sorex("sql", file, "--sink", "days", "--csv", "-t", "-c", sum).stdout, f"111,{largest(111)}\n", "110 is final")
    check(int(sorex("sql", file, "--csv", "-t", "-c", "select count(*) from balances").stdout) > 90, "the sink's is the first one")
    sorex("rollback", file, "--to", 105)
    sorex("run", file, "--until", 115)
    equal(sorex("sql", file, "--sink", "days", "--csv", "-t", "-c", sum).stdout[:4], "106,", "105 is final")
    sorex("derive", file, "--receipt", dir / "days.receipt", "--query", sum)
    receipt = json.loads((dir / "days.receipt").read_text())
    equal((receipt["count"], receipt["query"]["result"].splitlines()[1], receipt["trace"]),
          (106, f"106,{largest(106)}", status(file)["reducer"]["trace"]), "the receipt")
    verify_again(dir, file, receipt)
    less = pipeline_file(dir / "less.json", data="data", history=20, source={"type": "blockfiles", "path": str(BLOCKS)},
                         indexer={"name": "utxo", "wasm": str(GUESTS / "utxo.wasm")},
                         transform={"name": "balances", "wasm": str(GUESTS / "balances.wasm")})
    check("still in the pipeline" in sorex("upgrade", file, "--forget-sink", "days", ok=False).stderr, "a reducer that is there")
    for height in (70,):
        equal(sorex("sql", file, "--sink", "days", "--at", height, "--csv", "-t", "-c", sum).stdout, f"{height + 1},{largest(height + 1)}\n",
              f"at {height}")
    check("has the heights 0 to 105" in sorex("sql", file, "--sink", "days", "--at", 106, "-c", "select 1", ok=False).stderr, "above it")
    sorex("upgrade", less, "--forget-sink", "days")
    check("days has no embedded database" in sorex("sql", less, "--sink", "days", "-c", "select 1", ok=False).stderr, "it is gone")


def main():
    for test in (test_reorganised, test_killed, test_refused, test_beside_others):
        with scratch() as dir:
            test(dir)
        print("ok", test.__name__, flush=True)


main()
