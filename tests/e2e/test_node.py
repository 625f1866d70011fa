"""A real Bitcoin node and a real PostgreSQL: reorganisations of depth 1, 6 and 100 and back, restarts in mid-run, SIGKILL."""
import json, random, signal, time
from harness import *


def setup(root, stack, **more):
    node, pg = Node(root), Postgres(root)
    stack.callback(node.close)
    stack.callback(pg.close)
    sections = dict(name="regtest", data=str(root / "data"), poll_ms="50ms", source=node.source(), indexer=UTXO, transforms=[BALANCES],
                    sinks=[{"type": "postgres", "name": "pg", "url": pg.url()},
                           {"type": "postgres", "name": "log", "url": pg.url(), "mode": "log"},
                           {"type": "file", "path": str(root / "changes.jsonl")}])
    sections.update(more)
    return node, pg, pipeline_file(root / "pipeline.json", **sections)


def table_rows(pg):
    return {key: int(balance) for key, balance in pg.sql("select key, balance from balances")}


def all_equal(root, pg, file):
    rows = engine_rows([file])
    want = {key: row["balance"] for (_, key), row in rows.items()}
    equal(fold_changes((root / "changes.jsonl").read_text()), rows, "fold of the file")
    equal(table_rows(pg), want, "table in PostgreSQL")


def fresh_hash(root, node, name):
    """State hash of an index made from nothing over the node's present chain."""
    file = pipeline_file(root / f"{name}.json", name=name, data=str(root / name), source=node.source(), indexer=UTXO, transforms=[BALANCES])
    sorex("run", file, "--until", "tip")
    return state_hash([file]), state_hash([file], "balances")


def reorganise(node, depth, more):
    """Replaces the newest `depth` blocks by depth + more new ones; returns the hash that brings the old branch back."""
    old = node.call("getblockhash", node.height() - depth + 1)
    node.call("invalidateblock", old)
    node.call("generate", depth + more)
    return old


def test_reorganisations(root, stack):
    node, pg, file = setup(root, stack)
    node.call("generate", 150)
    with Running(file, log=root / "log") as run:
        wait_tip(file, 150, run)
        all_equal(root, pg, file)
        for depth, more in ((1, 1), (1, 10), (6, 1), (2, 1), (100, 5)):
            reorganise(node, depth, more)
            wait_tip(file, node.height(), run)
            all_equal(root, pg, file)
        check("undone" in run.text(), "the log does not say what was undone")
        equal(state_hash([file]), fresh_hash(root, node, "fresh")[0], "state after reorganisations")
        # back and forth: the old branch becomes the best again
        tip_hash = node.call("getblockhash", node.height())
        old = reorganise(node, 6, 1)
        wait_tip(file, node.height(), run)
        newer = node.call("getblockhash", node.height() - 6)
        node.call("invalidateblock", newer)
        node.call("reconsiderblock", old)
        wait_for("the old branch", lambda: node.call("getblockhash", node.height()) == tip_hash)
        wait_tip(file, node.height(), run)
        all_equal(root, pg, file)
        equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
    equal((state_hash([file]), state_hash([file], "balances"))[0], fresh_hash(root, node, "fresh2")[0], "state at the end")
    # offline reorganisation: the fork is found at the next start
    reorganise(node, 3, 2)
    sorex("run", file, "--until", "tip")
    all_equal(root, pg, file)
    undone = pg.sql("select count(*) from sorex_changes where undo")
    check(int(undone[0][0]) > 0, "mode log has no inverse rows")


def test_same_height_replacement(root, stack):
    node, pg, file = setup(root, stack)
    node.call("generate", 20)
    with Running(file, log=root / "log") as run:
        wait_tip(file, 20, run)
        before = node.call("getblockhash", 20)
        reorganise(node, 1, 0)
        check(node.call("getblockhash", 20) != before, "the node made the same block again")
        wait_for("the replacement", lambda: "undone" in run.text())
        wait_tip(file, 20, run)
        all_equal(root, pg, file)
    equal(state_hash([file]), fresh_hash(root, node, "fresh")[0], "state after the replacement")


def test_servers_restart(root, stack):
    node, pg, file = setup(root, stack)
    node.call("generate", 60)
    with Running(file, log=root / "log") as run:
        wait_tip(file, 60, run)
        pg.stop()
        node.call("generate", 10)
        wait_for("status to name the sink", lambda: any(s["state"] == "retrying" for s in (status(file) or {"sinks": []})["sinks"]))
        pg.start()
        wait_tip(file, 70, run)
        all_equal(root, pg, file)
        node.stop()
        wait_for("status to name the node", lambda: "retry" in (status(file) or {"waiting_for": ""})["waiting_for"])
        node.start()
        node.call("generate", 10)
        wait_tip(file, 80, run)
        log = run.text()
        check("source: node 127.0.0.1" in log and "source: it answers again" in log, log)
        pg.stop(signal.SIGQUIT)
        node.call("generate", 5)
        pg.start()
        wait_tip(file, 85, run)
        all_equal(root, pg, file)


def test_killed_with_postgres(root, stack):
    node, pg, file = setup(root, stack, group_ms=20)
    node.call("generate", 100)
    for turn in range(100):
        with Running(file, log=root / "log") as run:
            if turn % 3 == 0:
                reorganise(node, random.randrange(1, 8), 2)
            time.sleep(random.uniform(0.01, 0.25))  # a random moment is the point
            run.kill()
    sorex("run", file, "--until", "tip", timeout=120)
    all_equal(root, pg, file)
    equal(state_hash([file]), fresh_hash(root, node, "fresh")[0], "state after the kills")
    duplicates = pg.sql("select count(*) from (select sequence, ordinal from sorex_changes group by 1, 2 having count(*) > 1) d")
    equal(duplicates, [["0"]], "rows in the log table that came twice")


def test_finality(root, stack):
    node, pg, file = setup(root, stack, finality=6)
    node.call("generate", 30)
    with Running(file, log=root / "log") as run:
        wait_for("height 30", lambda: (status(file) or {"heights": {"durable": None}})["heights"]["durable"] == 30)
        wait_for("rows up to 24", lambda: pg.sql("select max(height) from sorex_changes", False) == [["24"]])
        reorganise(node, 3, 1)
        wait_for("height 31", lambda: (status(file) or {"heights": {"durable": None}})["heights"]["durable"] == 31)
        wait_for("rows up to 25", lambda: pg.sql("select max(height) from sorex_changes") == [["25"]])
    equal(pg.sql("select count(*) from sorex_changes where undo"), [["0"]], "inverses of blocks that were never delivered")


def test_horizon(root, stack):
    node, pg, file = setup(root, stack, history="10")
    node.call("generate", 50)
    sorex("run", file, "--until", "tip")
    reorganise(node, 20, 1)
    done = sorex("run", file, "--until", "tip", code=6)
    check("horizon" in done.stderr, done.stderr)


def test_reducer(root, stack):
    """The blocks as messages: the node's reorganisations, a node that is away, SIGKILL; equal to a run from nothing."""
    node = Node(root)
    stack.callback(node.close)
    query = "select * from days order by day; select index, status, hash from sorex.messages order by index"
    days = {"name": "days", "wasm": str(GUESTS / "days.wasm"), "snapshot_messages": 20}

    def derive(name):
        return pipeline_file(root / f"{name}.json", data=str(root / name), poll_ms="50ms", source=node.source(), reducer=days)

    def wait_derived(run):
        def there():
            check(run.alive(), "sorex run ended: " + run.text()[-2000:])
            s, tip = status(file), node.height()
            return s and s["heights"]["durable"] == tip and s["reducer"]["height"] == tip and s["reducer"]["state"] == "idle"
        wait_for("the node's tip", there)

    file = derive("derived")
    node.call("generate", 60)
    with Running(file, log=root / "log") as run:
        wait_derived(run)
        for undone, (depth, more) in enumerate(((1, 1), (6, 2), (40, 1)), 1):
            reorganise(node, depth, more)
            wait_for("the fork", lambda: check(run.alive(), run.text()[-2000:]) or status(file)["reducer"]["undone"] >= undone)
            wait_derived(run)
        run.kill()
    reorganise(node, 3, 1)
    with Running(file, log=root / "log") as run:
        wait_derived(run)
        node.stop()
        wait_for("trouble with the source", lambda: "trying again" in run.text())
        node.start()
        node.call("generate", 5)
        wait_derived(run)
    fresh = derive("fresh")
    sorex("run", fresh, "--until", "tip")
    equal(sorex("sql", file, "--csv", "-c", query).stdout, sorex("sql", fresh, "--csv", "-c", query).stdout, "what was derived")


if __name__ == "__main__":
    main(test_reorganisations, test_same_height_replacement, test_servers_restart, test_killed_with_postgres, test_finality,
         test_horizon, test_reducer)
