"""Depth and time: rollbacks of thousands of blocks that are killed between and in their writes, reorganisations 1,000 deep with a real node
that works and is asked meanwhile, what is beyond the horizon and the way out, a clock that jumps."""
import shutil, threading
from fault import *

TIP, GOAL = 4000, 400


def test_a_deep_rollback_killed(root, _):
    """Many entries go in a few synced writes. Killed before each of the calls that write (a sample in make check): the store stands at the
    end of some entry with exactly its state, the rollback goes on from there, and no inverse comes twice."""
    file = pipeline(root, group_max="256 KiB")
    sorex("run", file, "--until", TIP)
    names = ("data", "changes.jsonl", "changes.jsonl.cursor")
    whole = sub(root, "whole")
    for name in names:
        (shutil.copytree if name == "data" else shutil.copy)(root / name, whole / name)

    def fresh():
        shutil.rmtree(root / "data")
        shutil.copytree(whole / "data", root / "data")
        for name in names[1:]:
            shutil.copy(whole / name, root / name)

    report = root / "report"
    sorex("rollback", file, "--to", GOAL, env=shim(root / "data" / "db", report, calls="wsn"))
    total, _call = reported(report)
    sorex("run", file, "--until", GOAL)  # the sinks take the inverses
    want = result(root)
    known = [(h, state_hash(["--data", whole / "data"], height=h), engine_rows(["--data", whole / "data"], h)) for h in (GOAL, TIP)]
    equal((want["utxo"], engine_rows([file])), known[0][1:], "state after the rollback")
    stood = set()
    for nth in sample(range(1, total + 1), 9):
        fresh()
        done = sorex("rollback", file, "--to", GOAL, ok=False, env=shim(root / "data" / "db", report, calls="wsn", nth=nth, errno=0))
        what = f"after SIGKILL at call {nth} of {total}, {reported(report)[1]}"
        check(done.returncode in (-9, 0), f"{what}: {done.returncode} {done.stderr[-500:]}")
        height = status(file)["heights"]["durable"]
        stood.add(height)
        equal(state_hash([file]), state_hash(["--data", whole / "data"], height=height), f"state at {height} {what}")
        if nth % 2 == 0:  # half of them: the sink takes what there is before it goes on
            sorex("run", file, "--until", height)
            equal(fold_changes((root / "changes.jsonl").read_text()), engine_rows([file]), f"fold of the file at {height} {what}")
        sorex("rollback", file, "--to", GOAL)
        sorex("run", file, "--until", GOAL)
        equal(result(root), want, what)
    check(len(stood) > 2 and any(GOAL < height < TIP for height in stood), f"no kill was in the middle: it stood at {sorted(stood)}")
    print(f"{total} calls; it stood at {sorted(stood)}", flush=True)


def ask_all_the_time(node, file, end):
    """Load: somebody asks the node for blocks and the pipeline for views and rows."""
    while not end.is_set():
        height = random.randrange(node.height() + 1)
        node.call("getblock", node.call("getblockhash", height, quiet=True) or node.call("getblockhash", 0), 0, quiet=True)
        done = sorex("view", file, "supply", "--height", height, ok=False)
        check(done.returncode in (0, 2, 6, 7), f"a view under load: {done.returncode} {done.stderr}")


def test_a_thousand_deep_under_load(root, stack):
    node = Node(root)
    stack.callback(node.close)
    file = pipeline(root, poll_ms="20ms", group_ms=20, source=node.source())
    depth = 1000
    for _ in range(0, depth + 50, 50):
        node.call("generate", 50)
    with Running(file, log=root / "log") as run:
        wait_tip(file, node.height(), run)
        end, failed = threading.Event(), []

        def load():
            try:
                ask_all_the_time(node, file, end)
            except (AssertionError, OSError) as error:
                failed.append(error)
        asker = threading.Thread(target=load)
        asker.start()
        stack.callback(end.set)
        for turn in range(4 if LONG else 1):
            old = node.call("getblockhash", node.height() - depth + 1)
            node.call("invalidateblock", old)
            for _ in range(0, depth + 20, 20):  # the engine follows while the new branch is still growing
                node.call("generate", 20)
            wait_tip(file, node.height(), run, deadline=300)
        end.set()
        asker.join()
        check(not failed, f"the load ended early: {failed}")
        check("undone" in run.text(), "the log does not say what was undone")
    fresh = sub(root, "fresh")
    sorex("run", pipeline(fresh, source=node.source()), "--until", "tip")
    for program in ("utxo", "balances"):
        equal(state_hash([file], program), state_hash(["--data", fresh / "data"], program), program + " after the reorganisation")
    equal(fold_changes((root / "changes.jsonl").read_text()), engine_rows([file]), "fold over the inverses")


def test_beyond_the_horizon(root, stack):
    """A fork below what can be restored: a stop that touches nothing and names the ways out; both of them are gone."""
    node = Node(root)
    stack.callback(node.close)
    file = pipeline(root, history="10", source=node.source())
    node.call("generate", 50)
    sorex("run", file, "--until", "tip")
    want, heights = result(root), status(file)["heights"]
    old = node.call("getblockhash", 31)
    node.call("invalidateblock", old)
    node.call("generate", 30)
    for words in (["--until", "tip"], []):
        done = sorex("run", file, *words, ok=False, timeout=60)
        equal(done.returncode, 6, f"exit code ({done.stderr[-800:]})")
        text = done.stderr
        check("horizon" in text and "40" in text, f"the horizon is not named: {text[-800:]}")
        check("backup" in text and "new store" in text and "history" in text, f"no way out is named: {text[-800:]}")
        equal(result(root), want, "what was indexed, after the stop")
    # the source comes back to our branch
    newer = node.call("getblockhash", 31)
    node.call("invalidateblock", newer)
    node.call("reconsiderblock", old)
    wait_for("the old branch", lambda: node.height() == 50)
    node.call("generate", 2)
    sorex("run", file, "--until", "tip")
    equal(status(file)["heights"]["durable"], heights["durable"] + 2, "height on the old branch")
    # or everything again, elsewhere
    node.call("reconsiderblock", newer)
    wait_for("the new branch", lambda: node.height() == 60)
    again = sub(root, "again")
    other = pipeline(again, history="40", source=node.source())
    sorex("run", other, "--until", "tip")
    equal(fold_changes((again / "changes.jsonl").read_text()), engine_rows([other]), "fold in the new place")
    equal(sorex("run", file, "--until", "tip", ok=False).returncode, 6, "exit code of the old place")


def test_a_clock_that_jumps(root, _):
    """The time of day goes there and back by hours: no wait hangs, not even for sinks that are behind; no result changes."""
    file = pipeline(root, group_ms=5, group_max="64 KiB", outbox_max="64 KiB")
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
            equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
            check(seconds < 86400 or len({line[:4] for line in run.text().splitlines()}) > 1, "the clock did not jump")


if __name__ == "__main__":
    main(test_a_clock_that_jumps, test_a_deep_rollback_killed, test_beyond_the_horizon, test_a_thousand_deep_under_load)
