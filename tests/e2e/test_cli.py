"""The program as a user meets it: help, errors that name what is wrong, exit codes, try, inspect, check, upgrade, traps."""
import contextlib, json, os, signal, subprocess, time
from harness import *


def small(root, **more):
    sections = dict(name="small", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)}, indexer=UTXO,
                    transforms=[BALANCES], sinks=[{"type": "file", "path": str(root / "changes.jsonl")}])
    sections.update(more)
    return pipeline_file(root / "pipeline.json", **sections)


def test_help(root, _):
    text = sorex("--help").stdout
    for verb in ("run", "try", "inspect", "check", "status", "view", "preview", "state", "rollback", "upgrade", "sql"):
        check(f"  {verb}" in text, f"{verb} is not in --help")
        help_text = sorex(verb, "--help").stdout
        check("example:" in help_text and "usage:" in help_text, f"--help of {verb}")


def test_mistakes(root, _):
    equal("run" in sorex("rnu", code=2).stderr, True, "nearest verb")
    check("--until" in sorex("run", "x", "--untill", "3", code=2).stderr, "nearest flag")
    file = root / "p.yaml"
    file.write_text("data: d\nsource:\n  type: blockfiles\n  path: x\nindexer: {wasm: y}\nhistry: 5\n")
    err = sorex("check", file, code=2).stderr
    check("p.yaml:6" in err and "history" in err, err)
    file.write_text("data: d\nsource:\n  type: blockfils\n  path: x\nindexer: {wasm: y}\n")
    err = sorex("check", file, code=2).stderr
    check("p.yaml:3" in err and "blockfiles" in err, err)
    file.write_text("data: d\nsource: {type: blockfiles, path: x}\nindexer: {wasm: missing.wasm}\n")
    err = sorex("check", file, ok=False).stderr
    check("missing.wasm" in err and "No such file" in err, err)
    file.write_text("data: d\nsource: {type: blockfiles, path: nowhere}\nindexer: {wasm: missing.wasm}\nsink: {type: file, path: o}\n")
    done = sorex("check", file, "--json", ok=False)
    equal([(c["state"], c["what"]) for c in map(json.loads, done.stdout.splitlines())],
          [("ok", "pipeline"), ("fail", "indexer"), ("fail", "source"), ("ok", "sink")], "all that check says")
    check("missing.wasm" in done.stderr and done.returncode == 7, done.stderr)
    err = sorex("run", root / "absent.yaml", ok=False).stderr
    check("absent.yaml" in err, err)


def test_flags_win_over_environment_over_file(root, _):
    file = small(root, history="50")
    sorex("run", file, "--until", 100, env={"SOREX_HISTORY": "20"})
    equal(status(file)["heights"]["horizon"], 80, "horizon from the environment")
    sorex("run", file, "--until", 200, "--history", "30", env={"SOREX_HISTORY": "20"})
    equal(status(file)["heights"]["horizon"], 170, "horizon from the flag")
    sorex("run", file, "--until", 300, "--set", "sinks.file.path=" + str(root / "other.jsonl"), ok=False)


def test_environment_without_a_setting(root, _):
    """A typo in a variable's name is said, with the nearest one; it is no error: the environment may be that of several pipelines."""
    file = small(root)
    done = sorex("check", file, env={"SOREX_HISTROY": "20", "SOREX_SINK_FILE_FSYNC": "no", "SOREX_SOURCE_TYPE": "bitcoind",
                                     "SOREX_HISTORY": "30", "SOREX_SINKS_FILE_FINALITY": "1", "SOREX_BIN": ""})
    lines = done.stderr.splitlines()
    equal(len(lines), 4, "warnings: " + done.stderr)
    check("SOREX_BIN is no setting of this pipeline and does nothing\n" in done.stderr, done.stderr)
    for name, near in (("SOREX_HISTROY", "did you mean SOREX_HISTORY?"), ("SOREX_SINK_FILE_FSYNC", "did you mean SOREX_SINKS_FILE_FSYNC?"),
                       ("SOREX_SOURCE_TYPE", "is no setting of this pipeline")):
        check([line for line in lines if name in line and near in line], f"{name}: {done.stderr}")
    equal(sorex("check", file).stderr, "", "standard error of a check without trouble")


def test_check_and_inspect(root, _):
    text = sorex("check", small(root)).stdout
    check("tip 14131" in text and "indexer utxo" in text, text)
    check(not (root / "data").exists(), "check made a data directory")
    text = sorex("inspect", GUESTS / "utxo.wasm").stdout
    check("indexer" in text and "__flush" in text and "memory" in text, text)
    report = json.loads(sorex("inspect", GUESTS / "balances.wasm", "--json").stdout)
    equal(report["contract"], "transform", "contract of balances.wasm")
    text = sorex("inspect", GUESTS / "tiny_reducer_script.wasm").stdout
    check("contract  reducer" in text and "accepted  loads as reducer" in text and "forbidden" not in text, text)
    text = sorex("inspect", GUESTS / "tiny_indexer_unknown.wasm").stdout
    check([line for line in text.splitlines() if "unknown: a call of it traps" in line and "env.__odd" in line], text)
    check("env.__flush  func (i32) ->\n" in text, text)
    bad = root / "bad.wasm"
    bad.write_bytes(b"\0asm\1\0\0\0garbage")
    check("bad.wasm" in sorex("inspect", bad, ok=False).stderr, "inspect of garbage")


def test_try(root, _):
    block = SOURCE / "tests" / "data" / "blocks" / "840243.bin"
    done = sorex("try", GUESTS / "utxo.wasm", "--block", f"{block}@840243", "--view", "supply:")
    again = sorex("try", GUESTS / "utxo.wasm", "--block", f"{block}@840243", "--json", "--fuel", 10**12)
    report = json.loads(again.stdout.splitlines()[0])
    check(report["map_sha256"] in done.stdout and report["fuel"] > 0 and report["pairs"] >= report["distinct"] > 0, again.stdout)
    check("view supply: 0x" in done.stdout, done.stdout)
    err = sorex("try", GUESTS / "utxo.wasm", "--block", f"{block}@840243", "--fuel", 1000, code=3).stderr
    check("fuel" in err and "840243" in err, err)


def test_trap_upgrade(root, _):
    """A guest that fails at a block: nothing of the block is visible; the fixed module, adopted, continues there."""
    good = (GUESTS / "utxo.wasm").read_bytes()
    module = root / "indexer.wasm"
    module.write_bytes((GUESTS / "tiny_indexer_trap_at_5.wasm").read_bytes())
    file = small(root, indexer={"name": "utxo", "wasm": str(module)}, transforms=[], sinks=[])
    done = sorex("run", file, "--until", 20, code=3)
    check("height 5" in done.stderr and "utxo" in done.stderr and "unreachable" in done.stderr, done.stderr)
    equal(status(file)["heights"]["durable"], 4, "height after the trap")
    module.write_bytes(good)
    refused = sorex("run", file, "--until", 20, code=4)
    check("sorex upgrade" in refused.stderr, refused.stderr)
    out = sorex("upgrade", file, "--program", "utxo").stdout
    check("from height 5" in out, out)
    sorex("run", file, "--until", 20)
    equal(status(file)["heights"]["durable"], 20, "height after the upgrade")


def test_second_writer_and_socket(root, _):
    file = small(root)
    with Running(file, log=root / "log") as run:
        wait_tip(file, 14131, run)
        err = sorex("run", file, code=5).stderr
        check(str(run.process.pid) in err, err)
        check("waiting for" in sorex("status", file).stdout, "status of a waiting pipeline")
        sorex("rollback", file, "--to", 14000)
        wait_tip(file, 14131, run)
        view = sorex("view", "--data", root / "data", "supply", "--json").stdout
        equal(json.loads(view)["height"], 14131, "height of a view over the socket")
        live = state_hash([file])
        equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
    equal(state_hash([file]), live, "state over the socket and from disk")


def test_asked_while_it_starts_and_ends(root, _):
    """A pipeline that starts or ends takes files away from under who reads its store beside it: a question waits for it instead of
    calling the store damaged."""
    file = small(root, sinks=[], transforms=[], group_ms=5, group_max="64 KiB")
    sorex("run", file, "--until", 100)
    asked = 0
    for turn in range(12):
        with Running(file, "--until", 300 + 200 * turn, log=root / "log") as run:
            while run.alive():
                sorex("status", file, "--json")
                sorex("state", "hash", file, "--program", "utxo", "--height", 50)
                asked += 1
            equal(run.process.wait(), 0, "exit code of the run: " + run.text()[-500:])
    check(asked > 12, f"only {asked} questions")


def test_signals(root, _):
    """A signal that comes twice at once, as timeout(1) sends it, is one: the run ends in order and says what it did."""
    file = small(root, sinks=[])
    for number in range(5):
        log = root / f"log{number}"
        with Running(file, log=log) as run:
            wait_tip(file, 14131, run)
            for _ in range(3):
                run.process.send_signal(signal.SIGTERM)
            equal(run.process.wait(timeout=60), 0, "exit code")
            check("second signal" not in run.text() and "the tip is height 14131" in run.text(), run.text())


def test_preview_leaves_no_trace(root, _):
    file = small(root)
    sorex("run", file, "--until", 100)
    before = state_hash([file])
    import struct
    data = (BLOCKS / "blk00000.dat").read_bytes()
    at = 0
    for _height in range(101):
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
    (root / "101.bin").write_bytes(data[at + 8: at + 8 + struct.unpack_from("<I", data, at + 4)[0]])
    got = sorex("preview", file, "supply", "--block", root / "101.bin").stdout.strip()
    equal(state_hash([file]), before, "state after a preview")
    sorex("run", file, "--until", 101)
    equal(sorex("view", file, "supply").stdout.strip(), got, "the preview came true")


def test_status_says_why(root, _):
    """What is it doing, and why is it waiting: for a node, for a sink that fails, for room in the outbox; and when nothing runs."""
    said = lambda file: sorex("status", file, ok=False).stdout
    node = small(root, source={"type": "bitcoind", "url": f"http://127.0.0.1:{free_port()}"}, sinks=[])
    check("no store in" in sorex("status", node, code=6).stderr, "status before the first run")
    with Running(node, log=root / "log") as run:
        text = wait_for("the node to be named", lambda: (t := said(node)) and "attempt 2" in t and t)
        check("state     waiting for: node 127.0.0.1:" in text and "retrying in" in text and "lag -" in text, text)
        check("trying again" in run.text() and "entries/s" not in text, run.text())
    nowhere = {"type": "postgres", "url": f"host=127.0.0.1 port={free_port()} dbname=x"}
    file = small(root, data=str(root / "other"), outbox_max=65536, group_ms=100, finality=3,
                 sinks=[{**nowhere, "breaker_failures": 0}, {"type": "file", "path": str(root / "o")},
                        {**nowhere, "name": "given-up", "breaker_failures": 2, "breaker_open": "1h"}])
    with Running(file, log=root / "log2") as run:
        text = wait_for("the outbox to be full, what is final to be in the file",
                        lambda: (t := said(file)) and "the outbox is full" in t and ", 3 records behind: held back" in t
                        and "left alone" in t and t)
        check("waiting for: sink postgres (retrying): the outbox is full: PostgreSQL: connection" in text, text)
        line = next(line for line in text.splitlines() if line.startswith("sink      postgres (postgres): "))
        check("retrying (attempt " in line and ", again in " in line and " records behind: PostgreSQL: connection" in line, line)
        line = next(line for line in text.splitlines() if line.startswith("sink      given-up (postgres): "))
        check(": left alone after 2 failures in a row (tried again in " in line and " records behind: PostgreSQL: connection" in line, line)
        check("sink      file (file): idle, height " in text and ", 3 records behind: held back until they are final" in text, text)
        equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
    text = said(file)
    check("not running" in text and "sorex run PIPELINE" in text and "sink      postgres: stopped, " in text, text)


def test_unwritable(root, _):
    if os.getuid() == 0:
        blocked = root / "blocked"
        blocked.write_text("a file where the directory should be")
        err = sorex("run", small(root, data=str(blocked / "data")), ok=False).stderr
    else:
        (root / "ro").mkdir(mode=0o500)
        err = sorex("run", small(root, data=str(root / "ro" / "data")), ok=False).stderr
    check("data" in err and ("directory" in err.lower() or "denied" in err.lower()), err)


def test_torn_block_file(root, _):
    blocks = root / "blocks"
    blocks.mkdir()
    data = (BLOCKS / "blk00000.dat").read_bytes()
    (blocks / "blk00000.dat").write_bytes(data[: len(data) // 2])
    file = small(root, source={"type": "blockfiles", "path": str(blocks)})
    sorex("run", file, "--until", "tip")
    tip = status(file)["heights"]["durable"]
    check(1000 < tip < 14131, f"tip {tip} of a torn file")
    (blocks / "blk00000.dat").write_bytes(data)
    sorex("run", file, "--until", "tip")
    equal(status(file)["heights"]["durable"], 14131, "tip after the file was completed")


def test_damaged_block(root, _):
    """A block that fails its checks is waited for, with where it is kept; when the file is whole again, the run goes on."""
    blocks = root / "blocks"
    blocks.mkdir()
    data = bytearray((BLOCKS / "blk00000.dat").read_bytes())
    at = 0
    for _height in range(70):
        at += 8 + int.from_bytes(data[at + 4: at + 8], "little")
    data[at + 8 + 120] ^= 1
    (blocks / "blk00000.dat").write_bytes(data)
    file = small(root, source={"type": "blockfiles", "path": str(blocks)}, sinks=[])
    with Running(file, "--until", 100, log=root / "log") as run:
        def waits():
            s = status(file)
            return s["waiting_for"] if s and "height 70" in s.get("waiting_for", "") else None
        why = wait_for("the damaged block to be named", waits)
        check(f"blk00000.dat, offset {at + 8}" in why and "Merkle root" in why and "retrying in" in why, why)
        equal(status(file)["heights"]["durable"], 69, "height before the damaged block")
        wait_for("the log to name it", lambda: f"blk00000.dat, offset {at + 8}" in run.text())
        data[at + 8 + 120] ^= 1
        (blocks / "blk00000.dat").write_bytes(data)
        equal(wait_for("the end", lambda: None if run.alive() else run.process.wait() + 1), 1, "exit code")


def test_guest_that_never_returns(root, _):
    """The watchdog says so; SIGTERM ends the process; nothing of the block is visible."""
    file = small(root, indexer={"name": "loop", "wasm": str(GUESTS / "tiny_indexer_loop.wasm"), "watchdog": 200}, transforms=[], sinks=[])
    with Running(file, log=root / "log") as run:
        wait_for("the watchdog's warning", lambda: "loop" in run.text() and "running for" in run.text())
        equal(run.kill(signal.SIGTERM), 0, "exit code after SIGTERM")
    equal(status(file)["heights"]["durable"], None, "height")
    done = sorex("run", file, "--until", 1, "--set", "indexer.fuel=1000000", "--data", root / "other", code=3)
    check("fuel" in done.stderr and "height 0" in done.stderr, done.stderr)


def test_transform_that_is_stopped(root, _):
    """It is interrupted: a run that has no end ends well, one that was to reach a height says that it did not."""
    loop = {"name": "loop", "wasm": str(GUESTS / "tiny_transform_loop.wasm"), "watchdog": 200}
    for words, code in (((), 0), (("--until", 5), 8)):
        (root / "log").unlink(missing_ok=True)
        with Running(small(root, transforms=[loop], sinks=[]), *words, log=root / "log") as run:
            wait_for("the watchdog's warning", lambda: "running for" in run.text())
            equal(run.kill(signal.SIGTERM), code, f"exit code after SIGTERM ({run.text()[-500:]})")


def test_sink_that_fails_for_good(root, stack):
    """A permanent error stops that sink with its reason; the other one and the indexing go on."""
    (root / "changes.jsonl.cursor").write_text("not a cursor")
    (root / "changes.jsonl").write_text("")
    file = small(root, sinks=[{"name": "bad", "type": "file", "path": str(root / "changes.jsonl")},
                              {"name": "good", "type": "file", "path": str(root / "good.jsonl")}])
    with Running(file, log=root / "log") as run:
        def settled():
            s = status(file)
            sinks = {sink["name"]: sink for sink in s["sinks"]} if s and "sinks" in s else {}
            return s if sinks and s["heights"]["durable"] == 14131 and sinks["good"]["behind"] == 0 else None
        s = wait_for("the good sink", settled)
        bad = next(sink for sink in s["sinks"] if sink["name"] == "bad")
        equal(bad["state"], "failed", "state of the bad sink")
        check("cursor" in bad["why"], bad["why"])
    equal(fold_changes((root / "good.jsonl").read_text()), engine_rows([file]), "rows of the good sink")


def test_console(root, _):
    summary = json.loads(sorex("run", small(root, data=str(root / "first")), "--until", 10, "--json").stdout)
    equal((summary["from"], summary["tip"], summary["entries"]), (None, 10, 11), "summary of a run as JSON")
    file = small(root, sinks=[{"type": "console"}])
    out = sorex("run", file, "--until", 10).stdout
    check(all(line.startswith("{") for line in out.splitlines()), "something else than changes on standard output")
    equal(fold_changes(out), engine_rows([file]), "rows from the console")


def test_sink_that_left(root, _):
    """A sink that was taken out of the file still keeps the outbox, says so, and can be let go of."""
    a, b = ({"name": n, "type": "file", "path": str(root / n)} for n in ("a", "b"))
    sorex("run", small(root, sinks=[a, b]), "--until", 50)
    file = small(root, sinks=[a])
    warned = sorex("run", file, "--until", 60).stderr
    check("sink b is not in the pipeline" in warned and "--forget-sink b" in warned, warned)
    check("still in the pipeline" in sorex("upgrade", file, "--forget-sink", "a", code=2).stderr, "a sink in use was let go")
    check("sink b: nothing is kept for it any more" in sorex("upgrade", file, "--forget-sink", "b").stdout, "what --forget-sink says")
    check("sink b" not in sorex("run", file, "--until", 70).stderr, "the sink is still remembered")
    sorex("upgrade", file, "--forget-sink", "b", code=6)
    equal(status(file)["outbox"]["waiting_bytes"], 0, "bytes that wait")


def test_guest_inverse(root, _):
    """inverse: guest: what rollback emits is delivered instead of the host's inverses."""
    rows = {"name": "rows", "wasm": str(GUESTS / "tiny_transform_rows.wasm"), "inverse": "guest"}
    file = small(root, transforms=[rows])
    sorex("run", file, "--until", 2)
    sorex("rollback", file, "--to", 1)
    sorex("run", file, "--until", 1)
    lines = [json.loads(line)["payload"] for line in (root / "changes.jsonl").read_text().splitlines()]
    equal([(p["operation"], p["table"], p["key"]) for p in lines[7:]], [("create", "undone", "2")], "what followed the undo")


def test_json_and_heights(root, _):
    file = small(root)
    checked = [json.loads(line) for line in sorex("check", file, "--json").stdout.splitlines()]
    equal([(c["state"], c["what"]) for c in checked],
          [("ok", "pipeline"), ("ok", "indexer"), ("ok", "transform"), ("ok", "source"), ("ok", "sink")], "check --json")
    said = sorex("run", file, "--until", 30, "--finality", 6).stderr
    check("file has what is final (finality: 6), to height 24" in said, said)
    sorex("run", file, "--until", 30)
    plain = sorex("state", "dump", file, "--program", "utxo", "--height", 20).stdout.splitlines()
    pairs = [json.loads(line) for line in sorex("state", "dump", file, "--program", "utxo", "--height", 20, "--json").stdout.splitlines()]
    equal([p["key"] + ":" + p["value"] for p in pairs], plain, "state dump --json")
    check(len(plain) > 20, "dump is short")
    stopped = status(file)
    equal([(s["name"], s["state"], s["sequence"]) for s in stopped["sinks"]], [("file", "stopped", stopped["outbox"]["head"])], "sinks")
    adopted = json.loads(sorex("upgrade", file, "--program", "utxo", "--json").stdout)
    equal(adopted["program"], "utxo", "upgrade --json")
    for words in (("state", "hash", file, "--program", "utxo"), ("view", file, "supply"), ("rows", file, "--program", "balances")):
        err = sorex(*words, "--height", 31, code=6).stderr
        check("31" in err and "30" in err, err)


def test_program_left_out(root, _):
    """A program that misses entries does not come back with a gap unless somebody says so."""
    file = small(root, sinks=[])
    sorex("run", file, "--until", 5)
    without = small(root, sinks=[], transforms=[])
    check("program balances of this store is not in the pipeline" in sorex("run", without, "--until", 8).stderr, "warning")
    check("balances" not in sorex("run", without, "--until", 9).stderr, "the warning comes again and again")
    file = small(root, sinks=[])
    refused = sorex("run", file, "--until", 10, code=4).stderr
    check("program balances was not in the pipeline from height 6 on" in refused, refused)
    check("sorex upgrade PIPELINE --program balances" in refused and "missed what came since" in refused, refused)
    sorex("rollback", small(root, sinks=[], transforms=[]), "--to", 3)
    file = small(root, sinks=[])
    refused = sorex("run", file, "--until", 10, code=4).stderr
    check("nothing is left of what it missed" in refused and "sorex upgrade PIPELINE --program balances" in refused, refused)
    sorex("upgrade", file, "--program", "balances")
    sorex("run", file, "--until", 10)
    other = small(root, sinks=[], indexer=dict(UTXO, name="another"), transforms=[])
    refused = sorex("run", other, "--until", 11, code=4).stderr
    check("was written by another pipeline: it has program utxo" in refused, refused)
    late = dict(BALANCES, name="late")
    said = sorex("run", small(root, sinks=[], transforms=[BALANCES, late]), "--until", 11).stderr
    check("program late is new in this store: it begins at height 11" in said, said)


def test_other_network(root, _):
    file = small(root)
    sorex("run", file, "--until", 50)
    with contextlib.ExitStack() as stack:
        node = Node(root)
        stack.callback(node.close)
        node.call("generate", 60)
        other = small(root, source=node.source())
        err = sorex("run", other, "--until", 55, ok=False)
        check(err.returncode == 4 and "another network" in err.stderr, err.stderr)
        pruned = small(root, data=str(root / "pruned"), history="10", sinks=[])
        sorex("run", pruned, "--until", 50, "--start-height", 10)
        err = sorex("run", small(root, data=str(root / "pruned"), history="10", sinks=[], source=node.source()), "--until", 55,
                    "--start-height", 10, ok=False)
        check(err.returncode == 4 and "another network" in err.stderr, err.stderr)


if __name__ == "__main__":
    main(test_help, test_mistakes, test_flags_win_over_environment_over_file,
         test_environment_without_a_setting, test_check_and_inspect, test_try, test_trap_upgrade,
         test_second_writer_and_socket, test_asked_while_it_starts_and_ends, test_signals, test_preview_leaves_no_trace, test_status_says_why, test_unwritable, test_torn_block_file,
         test_damaged_block, test_guest_that_never_returns, test_transform_that_is_stopped,
         test_sink_that_fails_for_good, test_console, test_sink_that_left, test_guest_inverse,
         test_json_and_heights, test_program_left_out, test_other_network)
