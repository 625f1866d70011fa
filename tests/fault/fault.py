"""What the tests of this folder share, over tests/e2e/harness.py: the preloaded shim, a run's result as one value, a quick place to work.
FAULT_LONG=1 (make torture) walks everything where `make check` takes samples."""
import bisect, contextlib, functools, hashlib, json, os, pathlib, random, signal, subprocess, tempfile, time
import harness
from harness import *

SHIM = os.environ["SOREX_SHIM"]
LONG = os.environ.get("FAULT_LONG") == "1"
ENOSPC, EIO = 28, 5
CAUSE = {ENOSPC: "No space left on device", EIO: "Input/output error"}

# Thousands of stores are made and synced here; what a power cut does to a disk is not what is tested, so memory will do.
if os.access("/dev/shm", os.W_OK) and os.statvfs("/dev/shm").f_bavail * os.statvfs("/dev/shm").f_frsize > 2 << 30:
    tempfile.tempdir = "/dev/shm"


def sub(root, name):
    path = root / name
    path.mkdir()
    return path


def pipeline(root, **more):
    """utxo and balances over the example's blocks into a file; what is below root/data is the store's own."""
    sections = dict(name="fault", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)}, indexer=UTXO,
                    transforms=[BALANCES], sinks=[{"type": "file", "path": str(root / "changes.jsonl")}])
    sections.update(more)
    return pipeline_file(root / "pipeline.json", **sections)


def result(root):
    """State, commitments and delivered changes: equal for an uninterrupted run and for one that recovered."""
    target = ["--data", root / "data"]
    changes = (root / "changes.jsonl").read_bytes()
    return {"utxo": state_hash(target), "balances": state_hash(target, "balances"), "lines": changes.count(b"\n"),
            "changes": hashlib.sha256(changes).hexdigest()}


def shim(directory, report=None, **plan):
    """Environment that makes calls below the directory fail (tests/fault/shim.c)."""
    env = {"LD_PRELOAD": SHIM, "FAULT_DIR": str(directory), **{"FAULT_" + k.upper(): str(v) for k, v in plan.items()}}
    if report is not None:
        env["FAULT_REPORT"] = str(report)
    if os.environ.get("SOREX_SANITIZED"):
        env["ASAN_OPTIONS"] = "verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")
    return env


def reported(path):
    """(calls seen, the failed call's text)"""
    count, _, call = path.read_text().strip().partition(" ")
    return int(count), call


@functools.cache
def functions():
    """Of the program: start addresses in order, and (end, name, source file for a static function) of each."""
    found, source = {}, None
    for line in subprocess.run(["readelf", "-sW", SOREX], capture_output=True, text=True, check=True).stdout.splitlines():
        words = line.split()
        if len(words) != 8 or words[3] not in ("FILE", "FUNC") or (words[3] == "FUNC" and words[6] == "UND"):
            continue
        if words[3] == "FILE":
            source = words[7]
        else:
            start = int(words[1], 16)
            found[start] = (start + int(words[2], 0), words[7], source if words[4] == "LOCAL" else None)
    check(found, "the program has no symbols")
    return sorted(found), found


def stopped(process):
    """Stops the process; False when it has ended."""
    process.send_signal(signal.SIGSTOP)
    if process.returncode is not None:
        return False
    _pid, how = os.waitpid(process.pid, os.WUNTRACED)
    if os.WIFSTOPPED(how):
        return True
    process.returncode = os.waitstatus_to_exitcode(how)
    return False


def on_stacks(pid):
    """Names and source files of the program's functions that a stopped process is in, on all threads: what looks like a return address
    counts, so one that has just returned may be named too."""
    starts, found = functions()
    base = end = None
    for line in pathlib.Path(f"/proc/{pid}/maps").read_text().splitlines():
        if line.endswith(os.path.realpath(SOREX)):
            low, high = (int(x, 16) for x in line.split()[0].split("-"))
            base, end = low if base is None else base, high
    if base is None:
        return set()  # it has not begun yet
    names = set()
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
            try:
                words = (task / "syscall").read_text().split()
            except OSError:
                continue  # it was just ending
            if words[0] == "running":
                continue
            top, at = int(words[-2], 16), int(words[-1], 16)
            addresses = [at]
            with contextlib.suppress(OSError):
                memory.seek(top & ~7)
                data = memory.read(1 << 15)
                addresses += memoryview(data[:len(data) & ~7]).cast("Q")
            for address in addresses:
                if base <= address < end:
                    i = bisect.bisect_right(starts, address - base) - 1
                    if i >= 0 and address - base < found[starts[i]][0]:
                        names.update(found[starts[i]][1:])
    return names


def sample(numbers, count):
    """All of them in the long job, otherwise the first, the last and some by chance between."""
    numbers = list(numbers)
    if LONG or len(numbers) <= count:
        return numbers
    return sorted({numbers[0], numbers[-1], *random.sample(numbers, count - 2)})
