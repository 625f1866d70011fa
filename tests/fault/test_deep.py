"""Depth and time: reorganisations 1,000 deep with a real node while it goes on, a clock that jumps. Beyond the
horizon: tests/e2e/test_node.py; two processes on one store: tests/e2e/test_cli.py; a store of a newer format: tests/store/test_store_unit.c."""
import shutil
from fault import *


def test_a_thousand_deep_under_load(root, stack):
    node = Node(root)
    stack.callback(node.close)
    file = pipeline(root, poll_ms="20ms", group_ms=20, source=node.source())
    depth = 1000
    for _ in range(0, depth + 50, 50):
        node.call("generate", 50)
    with Running(file, log=root / "log") as run:
        wait_tip(file, node.height(), run)
        for turn in range(4 if LONG else 1):
            old = node.call("getblockhash", node.height() - depth + 1)
            node.call("invalidateblock", old)
            for _ in range(0, depth + 20, 20):  # the engine follows while the new branch is still growing
                node.call("generate", 20)
            wait_tip(file, node.height(), run, deadline=300)
        check("undone" in run.text(), "the log does not say what was undone")
    fresh = sub(root, "fresh")
    sorex("run", pipeline(fresh, source=node.source()), "--until", "tip")
    for program in ("utxo", "balances"):
        equal(state_hash([file], program), state_hash(["--data", fresh / "data"], program), program + " after the reorganisation")
    equal(fold_changes((root / "changes.jsonl").read_text()), engine_rows([file]), "fold over the inverses")


def test_a_clock_that_jumps(root, _):
    """The time of day goes there and back by hours: no wait hangs, no result changes."""
    file = pipeline(root, group_ms=5, group_max="64 KiB")
    sorex("run", file, "--until", 2000)
    want = result(root)
    for seconds in (7200, 86400 * 400) if LONG else (86400 * 400,):
        shutil.rmtree(root / "data")
        for name in ("changes.jsonl", "changes.jsonl.cursor"):
            (root / name).unlink()
        sorex("run", file, "--until", 1000, env=shim(root / "none", clock=seconds), timeout=60)
        sorex("run", file, "--until", 2000, env=shim(root / "none", clock=-seconds), timeout=60)
        equal(result(root), want, f"result with a clock that jumps by {seconds} s")
        with Running(file, log=root / "log", env=shim(root / "none", clock=seconds)) as run:
            wait_tip(file, 14131, run)
            started = time.monotonic()
            equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
            check(time.monotonic() - started < 10, "stopping took long under a clock that jumps")
            check(seconds < 86400 or len({line[:4] for line in run.text().splitlines()}) > 1, "the clock did not jump")


if __name__ == "__main__":
    main(test_a_clock_that_jumps, test_a_thousand_deep_under_load)
