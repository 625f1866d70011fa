"""Every system call with which the store changes its disk is made to fail in turn: the cause is named, the next start is clean, and its
result is that of an undisturbed run. Then a disk that stays full, short reads and writes, and a real full file system."""
import shutil
from fault import *

TIP = 300
LAST = 14131
CALLS = "wsonlt"  # everything that changes the disk
SETTINGS = dict(history="30", group_ms="1m", group_max="256 KiB")


def prepared(root):
    """A store at half the height, and the result of an undisturbed run."""
    file = pipeline(root, **SETTINGS)
    sorex("run", file, "--until", TIP // 2)
    shutil.copytree(root / "data", root / "half")
    shutil.copy(root / "changes.jsonl", root / "half.jsonl")
    shutil.copy(root / "changes.jsonl.cursor", root / "half.jsonl.cursor")
    sorex("run", file, "--until", TIP)
    return file, result(root)


def restore(root, start):
    """start: from nothing, or from the half."""
    shutil.rmtree(root / "data", ignore_errors=True)
    for name in ("changes.jsonl", "changes.jsonl.cursor"):
        (root / name).unlink(missing_ok=True)
        if start == "half":
            shutil.copy(root / name.replace("changes", "half"), root / name)
    if start == "half":
        shutil.copytree(root / "half", root / "data")


def says_why(done, number, call):
    """A failed run names the cause, and is no crash."""
    check(done.returncode in (4, 7), f"{call}: ended with {done.returncode}: {done.stderr[-1500:]}")
    check(CAUSE[number] in done.stderr, f"{call}: the cause is not named: {done.stderr[-1500:]}")


def walk(root, file, want, start, number, lasting, count, calls=CALLS):
    """Fails the nth call, for every n (or a sample)."""
    restore(root, start)
    report = root / "report"
    sorex("run", file, "--until", TIP, env=shim(root / "data", report, calls=calls))
    total, _ = reported(report)
    check(total > 20, f"only {total} calls were seen: is the shim in use?")
    failed, began = 0, time.monotonic()
    for nth in sample(range(1, total + 1), count):
        if nth % 100 == 0:
            print(f"{start}: call {nth} of {total}, {time.monotonic() - began:.0f} s", flush=True)
        restore(root, start)
        done = sorex("run", file, "--until", TIP, ok=False, timeout=60,
                     env=shim(root / "data", report, calls=calls, nth=nth, errno=number, lasting=int(lasting)))
        call = f"{start}, call {nth} of {total}, {reported(report)[1]}"
        if done.returncode != 0:
            failed += 1
            says_why(done, number, call)
        again = sorex("run", file, "--until", TIP, ok=False)
        check(again.returncode == 0, f"after {call}: the next start ended with {again.returncode}: {again.stderr[-1500:]}")
        equal(result(root), want, "result after " + call)
    check(failed > 0, "no failure reached the program")
    print(f"{start}: {total} calls, {failed} ended the run ({CAUSE[number]}{', and stays' if lasting else ''})", flush=True)


def test_every_call_fails(root, _):
    file, want = prepared(root)
    for start in ("nothing", "half"):
        for number, lasting in ((ENOSPC, True), (EIO, False)) + (((ENOSPC, False), (EIO, True)) if LONG and start == "half" else ()):
            walk(root, file, want, start, number, lasting, 5)


def test_every_write_fails(root, _):
    """Of an open store, from then on: the sinks' cursors and the entries go to one log, from two threads. After one of them failed
    nothing may follow it, or the engine below ends the process where its cause should be named."""
    file, want = prepared(root)
    walk(root, file, want, "half", ENOSPC, True, 1000, "w")


def test_short_reads_and_writes(root, _):
    """POSIX lets every read and write do less than it was asked for."""
    file, want = prepared(root)
    for start in ("nothing", "half"):
        restore(root, start)
        sorex("run", file, "--until", TIP, env=shim(root, short=1))
        equal(result(root), want, "short reads and writes from " + start)


def test_reads_fail(root, _):
    """A read that fails ends the run or the question with its cause, and harms nothing."""
    file, want = prepared(root)
    report = root / "report"
    restore(root, "half")
    sorex("run", file, "--until", TIP, env=shim(root / "data", report, calls="r"))
    total, _ = reported(report)
    for nth in sample(range(1, total + 1), 8):
        restore(root, "half")
        done = sorex("run", file, "--until", TIP, ok=False, env=shim(root / "data", report, calls="r", nth=nth, errno=EIO))
        call = f"read {nth} of {total}, {reported(report)[1]}"
        if done.returncode != 0:
            says_why(done, EIO, call)
        sorex("run", file, "--until", TIP)
        equal(result(root), want, "result after " + call)


def fill_up(root, disk, size):
    """Runs on a file system of that size; the durable height where it was full (None = before the first), False = there was room."""
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
    shutil.rmtree(disk / "data", ignore_errors=True)
    for name in ("changes.jsonl", "changes.jsonl.cursor"):
        (root / name).unlink(missing_ok=True)
    file = pipeline(root, data=str(disk / "data"))
    done = sorex("run", file, "--until", LAST, ok=False, timeout=120)
    if done.returncode == 0:
        return False
    says_why(done, ENOSPC, f"a full disk of {size}")
    return json.loads(sorex("status", file, "--json").stdout)["heights"]["durable"] if (disk / "data" / "db" / "CURRENT").exists() else None


def test_full_disk(root, stack):
    """A file system of its own that is really full: at the start, and in the middle."""
    disk = sub(root, "disk")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)], capture_output=True).returncode != 0:
        print("SKIPPED: a full file system (tmpfs cannot be mounted here)")
        return
    stack.callback(lambda: subprocess.run(["umount", "-l", str(disk)], check=False))
    equal(fill_up(root, disk, "256k"), None, "height on a disk that is full from the start")
    full = next((height for height in (fill_up(root, disk, f"{mib}m") for mib in range(26, 16, -2)) if height), None)
    check(full, "no size of the disk was full in the middle of the run")
    subprocess.run(["mount", "-o", "remount,size=512m", str(disk)], check=True)
    file = root / "pipeline.json"
    sorex("run", file, "--until", LAST)
    plain = sub(root, "plain")
    sorex("run", pipeline(plain), "--until", LAST)
    got = {"utxo": state_hash([file]), "balances": state_hash([file], "balances")}
    want = result(plain)
    equal(got, {what: want[what] for what in got}, "state after the disk was full")
    equal((root / "changes.jsonl").read_bytes(), (plain / "changes.jsonl").read_bytes(), "changes after the disk was full")
    print(f"full at {full}", flush=True)


if __name__ == "__main__":
    main(test_every_write_fails, test_every_call_fails, test_short_reads_and_writes, test_reads_fail, test_full_disk)
