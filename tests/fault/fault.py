"""What the tests of this folder share, over tests/e2e/harness.py: the preloaded shim, a run's result as one value, a quick place to work.
FAULT_LONG=1 (make torture) walks everything where `make check` takes samples."""
import contextlib, hashlib, json, os, pathlib, random, signal, subprocess, tempfile, time
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


def sample(numbers, count):
    """All of them in the long job, otherwise the first, the last and some by chance between."""
    numbers = list(numbers)
    if LONG or len(numbers) <= count:
        return numbers
    return sorted({numbers[0], numbers[-1], *random.sample(numbers, count - 2)})
