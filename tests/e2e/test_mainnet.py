"""The main job on real data: 14,132 mainnet blocks, indexed, transformed, delivered; and what must not change its result."""
import json, os, random, signal, time
from harness import *

TIP = 14131


def pipeline(root, **more):
    sections = dict(name="mainnet", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)}, indexer=UTXO,
                    transforms=[BALANCES], sinks=[{"type": "file", "path": str(root / "changes.jsonl")}])
    sections.update(more)
    return pipeline_file(root / "pipeline.json", **sections)


def facts(root):
    target = ["--data", root / "data"]
    return {"utxo": state_hash(target), "balances": state_hash(target, "balances"),
            "at 9000": state_hash(target, height=9000), "changes": (root / "changes.jsonl").read_text()}


def sub(root, name):
    path = root / name
    path.mkdir()
    return path


def test_whole_road(root, _):
    file = pipeline(root)
    out = sorex("run", file, "--until", TIP).stdout
    check("14132 blocks indexed" in out, out)
    again = sorex("run", file, "--until", TIP).stdout
    check(f"continued after height {TIP}" in again and "nothing new" in again, again)
    rows = engine_rows([file])
    equal(fold_changes((root / "changes.jsonl").read_text()), rows, "fold of the change file")
    subsidies = TIP * 50 * 10**8  # the genesis coinbase cannot be spent and is not counted
    equal(sum(r["balance"] for r in rows.values()), subsidies, "sum of all balances")
    supply = bytes.fromhex(sorex("view", file, "supply").stdout.strip()[2:])
    equal(int.from_bytes(supply[:8], "little"), subsidies, "view supply")
    old = bytes.fromhex(sorex("view", file, "supply", "--height", 170).stdout.strip()[2:])
    equal(int.from_bytes(old[:8], "little"), 170 * 50 * 10**8, "view supply at 170")
    dump = sorex("state", "dump", file, "--program", "utxo").stdout
    check(dump.splitlines() == sorted(dump.splitlines()), "the dump is not sorted as text")
    import hashlib
    equal(hashlib.sha256(dump.encode()).hexdigest(), state_hash([file])[0], "state hash is the hash of the dump")


def test_same_result_however_it_ran(root, _):
    plain = sub(root, "plain")
    sorex("run", pipeline(plain), "--until", TIP)
    want = facts(plain)
    small = sub(root, "small")
    sorex("run", pipeline(small, group_max="64 KiB", group_ms=50, read_ahead=1, fetch_threads=1), "--until", TIP)
    equal(facts(small), want, "small groups, no read-ahead")
    bounded = sub(root, "bounded")
    sorex("run", pipeline(bounded, history="100"), "--until", TIP)
    for program in ("utxo", "balances"):
        equal(state_hash(["--data", bounded / "data"], program), want[program], f"{program} with bounded history")
    equal((bounded / "changes.jsonl").read_text(), want["changes"], "changes with bounded history")
    refused = sorex("state", "hash", "--data", bounded / "data", "--program", "utxo", "--height", 9000, code=6)
    check("horizon" in refused.stderr, refused.stderr)


def test_rollback_and_again(root, _):
    file = pipeline(root)
    sorex("run", file, "--until", 3000)
    at_2000 = state_hash([file], height=2000)
    want = facts_short(file)
    sorex("rollback", file, "--to", 2000)
    equal(state_hash([file]), at_2000, "state after rollback")
    sorex("run", file, "--until", 3000)
    equal(facts_short(file), want, "state after running again")
    equal(fold_changes((root / "changes.jsonl").read_text()), engine_rows([file]), "fold over the inverses")


def facts_short(file):
    return state_hash([file]), state_hash([file], "balances")


def test_killed_a_hundred_times(root, _):
    plain = sub(root, "plain")
    sorex("run", pipeline(plain), "--until", TIP)
    want = facts(plain)
    hurt = sub(root, "hurt")
    file = pipeline(hurt, group_ms=20, group_max="256 KiB")
    kills = 0
    while kills < 100:
        with Running(file, "--until", TIP, log=hurt / "log") as run:
            end = time.monotonic() + random.uniform(0.005, 0.09)
            while time.monotonic() < end and run.alive():
                time.sleep(0.001)
            if not run.alive():
                equal(run.process.returncode, 0, "run between kills: " + run.text()[-1500:])
                (sorex("rollback", file, "--to", random.randrange(100, TIP)))
            run.kill()
            kills += 1
    sorex("run", file, "--until", TIP)
    got = facts(hurt)
    equal(fold_changes(got["changes"]), fold_changes(want["changes"]), "tables after 100 kills")
    for what in ("utxo", "balances", "at 9000"):
        equal(got[what], want[what], what + " after 100 kills")


if __name__ == "__main__":
    main(test_whole_road, test_same_result_however_it_ran, test_rollback_and_again, test_killed_a_hundred_times)
