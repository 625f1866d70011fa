"""What other systems for this job get wrong, one test each. The reorganisations are here with a real node; without one and with every
order of events in tests/chain/test_chain_fork.c."""
import shutil, socket, struct
from fault import *


def only(root, name, **more):
    return pipeline(root, indexer={"name": "it", "wasm": str(GUESTS / f"tiny_indexer_{name}.wasm")}, transforms=[], sinks=[], **more)


def written(file, *words):
    """(keys of height 1, keys of height 2) that the view sees; it looks at every tenth."""
    return struct.unpack("<II", bytes.fromhex(sorex("view", file, "written", *words).stdout.strip()[2:]))


def test_undo_of_250000_keys(root, _):
    """Theirs stops at 100,000 keys and leaves the other orphans visible."""
    file = only(root, "many")
    sorex("run", file, "--until", 1)
    one, dump = state_hash([file], "it"), sorex("state", "dump", file, "--program", "it").stdout
    equal(written(file), (15000, 0), "the view at 1")
    sorex("run", file, "--until", 3)
    three = state_hash([file], "it")
    equal(written(file), (5000, 25000), "the view at 3")
    sorex("rollback", file, "--to", 1)
    equal(written(file), (15000, 0), "the view after the undo")
    equal(state_hash([file], "it"), one, "state after the undo")
    check(sorex("state", "dump", file, "--program", "it").stdout == dump, "the dump after the undo is another one")
    sorex("run", file, "--until", 3)
    equal(state_hash([file], "it"), three, "state after it came back")
    equal(state_hash([file], "it", 1), one, "state at 1 after it came back")


def test_block_0_is_processed(root, _):
    file = only(root, "trap_at_5")
    sorex("run", file, "--until", 0)
    equal(status(file)["heights"]["durable"], 0, "height")
    lines = sorex("state", "dump", file, "--program", "it").stdout.splitlines()
    equal(len(lines), 1, f"pairs of block 0 ({lines})")


def reorganised(root, stack, depth, longer):
    """A node's newest `depth` blocks are replaced by that many and `longer` more, beside a run: it comes to stand where a fresh one does."""
    node = Node(root)
    stack.callback(node.close)
    node.call("generate", 30)
    file = pipeline(root, source=node.source(), poll_ms="20ms")
    with Running(file, log=root / "log") as run:
        wait_tip(file, 30, run)
        before = node.call("getblockhash", 30)
        node.call("invalidateblock", node.call("getblockhash", 31 - depth))
        node.call("generate", depth + longer)
        check(node.call("getblockhash", 30) != before, "the node made the same block again")
        wait_for("the undo", lambda: f"heights {31 - depth} to 30 undone ({depth} entries)" in run.text())
        wait_tip(file, 30 + longer, run)
    fresh = sub(root, "fresh")
    other = pipeline(fresh, source=node.source())
    sorex("run", other, "--until", "tip")
    for program in ("utxo", "balances"):
        equal(state_hash([file], program), state_hash([other], program), program)
    equal(engine_rows([file]), engine_rows([other]), "rows")
    equal(fold_changes((root / "changes.jsonl").read_text()), engine_rows([other]), "fold of the file")


def test_one_deep_with_the_new_tip_ten_ahead(root, stack):
    """Theirs never converges."""
    reorganised(root, stack, 1, 10)


def test_a_replacement_at_the_same_height(root, stack):
    """Theirs is missed."""
    reorganised(root, stack, 1, 0)


def test_two_deep_with_one_block_more(root, stack):
    """Theirs loses a block."""
    reorganised(root, stack, 2, 1)


def disk_of(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*.sst")) + sorted(path.rglob("*.log"))}


def test_a_preview_leaves_no_trace(root, _):
    """Not in state, rows, changes or history; nor on the disk. Beside a running pipeline neither."""
    file = pipeline(root)
    sorex("run", file, "--until", 100)
    data = (BLOCKS / "blk00000.dat").read_bytes()
    at = 0
    for _height in range(101):
        at += 8 + struct.unpack_from("<I", data, at + 4)[0]
    (root / "101.bin").write_bytes(data[at + 8: at + 8 + struct.unpack_from("<I", data, at + 4)[0]])
    want, disk = result(root), disk_of(root / "data")
    for _turn in range(3):
        got = sorex("preview", file, "supply", "--block", root / "101.bin").stdout
    check(got != sorex("view", file, "supply").stdout, "the preview shows nothing new")
    equal(result(root), want, "result after previews")
    check(disk_of(root / "data") == disk, "previews wrote to the store")
    with Running(file, log=root / "log") as run:
        state = wait_tip(file, 14131, run)
        before = state_hash([file])
        for _turn in range(3):
            sorex("preview", file, "supply", "--block", root / "101.bin", ok=False)
        equal(state_hash([file]), before, "state after previews beside a run")
        equal(status(file)["heights"], state["heights"], "heights after previews beside a run")


def test_killed_near_the_commit(root, _):
    """kill -9 before each system call around commits: no height has two versions, no change is there twice."""
    file = pipeline(root, group_ms=1, group_max="64 KiB")
    sorex("run", file, "--until", 40)
    want = result(root), [state_hash([file], height=h) for h in range(0, 41, 4)]
    shutil.rmtree(root / "data")
    report = root / "report"
    sorex("run", file, "--until", 40, ok=False, env=shim(root, report, calls="wsn"))
    total, _call = reported(report)
    for nth in sample(range(1, total), 14):
        for path in ("data", "changes.jsonl", "changes.jsonl.cursor"):
            shutil.rmtree(root / path) if path == "data" else (root / path).unlink(missing_ok=True)
        done = sorex("run", file, "--until", 40, ok=False, env=shim(root, report, calls="wsn", nth=nth, errno=0))
        check(done.returncode in (-9, 0), f"killed at call {nth}: {done.returncode} {done.stderr[-500:]}")
        sorex("run", file, "--until", 40)
        got = result(root), [state_hash([file], height=h) for h in range(0, 41, 4)]
        equal(got, want, f"after SIGKILL at call {nth} of {total}, {reported(report)[1]}")


WRONG = [
    (["view"], 2, "usage"), (["view", "FILE"], 2, "usage"), (["view", "FILE", "nope"], 6, "no view named nope; it has "),
    (["view", "FILE", "supply", "zz"], 2, "hex"), (["view", "FILE", "supply", "0x123"], 2, "odd"),
    (["view", "FILE", "supply", "--height", "abc"], 2, "abc"), (["view", "FILE", "supply", "--height", ""], 2, "--height"),
    (["view", "FILE", "supply", "--height", "99999999999"], 2, "--height"), (["preview", "FILE", "supply"], 2, "usage"),
    (["preview", "FILE", "supply", "--block", "/nope"], 7, "/nope"), (["rows", "FILE"], 2, "usage"),
    (["rows", "FILE", "--program", "nope"], 6, "nope"), (["state", "hash", "FILE", "--program", "utxo", "--height", "-1"], 2, "-1"),
    (["rollback", "FILE"], 2, "usage"), (["rollback", "FILE", "--to", "99999"], 6, "99999"), (["state", "FILE"], 2, ""),
]


def ask_wrongly(file):
    for words, code, text in WRONG:
        done = sorex(*[file if word == "FILE" else word for word in words], ok=False)
        check(done.returncode == code and text in done.stderr and done.stderr.strip() and not done.stdout.strip(),
              f"{words}: ended with {done.returncode}: {done.stdout[:200]} {done.stderr[:400]}")


def send_raw(path, data):
    """What the pipeline answers to bytes that are no request; b'' = it hung up."""
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as s:
        s.settimeout(20)
        s.connect(str(path))
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            return s.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            return b""


def test_wrong_questions_get_an_error(root, _):
    """A bad or a missing parameter: what was wrong, in words; without a pipeline, and from one that goes on afterwards."""
    file = pipeline(root)
    sorex("run", file, "--until", 14131)
    ask_wrongly(file)
    with Running(file, log=root / "log") as run:
        wait_tip(file, 14131, run)
        ask_wrongly(file)
        for data in (b"", b"\0", b"\0" * 5, b"\xff" * 64, b"GET / HTTP/1.1\r\n\r\n", b'{"verb":"view"}', struct.pack("<I", 2) + b"{}",
                     random.randbytes(5000)):
            send_raw(root / "data" / "control.sock", data)
        equal(status(file)["heights"]["durable"], 14131, "the pipeline after all that")
        check(run.alive(), run.text()[-1000:])


if __name__ == "__main__":
    main(test_undo_of_250000_keys, test_one_deep_with_the_new_tip_ten_ahead, test_a_replacement_at_the_same_height,
         test_two_deep_with_one_block_more, test_block_0_is_processed, test_a_preview_leaves_no_trace, test_killed_near_the_commit,
         test_wrong_questions_get_an_error)
