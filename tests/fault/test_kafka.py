"""SIGKILL while a real broker takes what comes of indexing and of undoing, also while the broker itself is being killed and started
again: what read_committed readers see is, message for message, what the file sink of the same pipeline has.
Half of the kills hit the sink's transaction, by looking at the stack; 300 kills in the long job."""
import collections
from fault import *

KILLS, EACH = (300, 2) if LONG else (10, 1)
CHECK_EVERY = 50 if LONG else 5
HISTORY = 300
LAST = 14131
# What is on the stack of some thread.
PHASES = {"connect": "producer_make", "progress": "kafka_progress_read", "send": "kafka_changes_send", "commit": "kafka_producer_commit"}


def killed(words, log, hits, aim):
    """Runs and kills at a random moment, or at the first one of some where it is in the sink; True when it was in time. Sending one
    message is too short a moment to find by looking: it is killed at one of the first."""
    env = shim(log.parent, calls="k", nth=random.randrange(1, 100), errno=0) if aim == "send" else {}
    with open(log, "ab") as output:
        process = subprocess.Popen([SOREX, *map(str, words)], stdout=output, stderr=output, env={**os.environ, **env})
    if aim == "send":
        check(process.wait(timeout=300) in (0, 6, -signal.SIGKILL), f"{words[0]} ended with {process.returncode}: {log.read_text(errors='replace')[-1500:]}")
        hits.update(["send"] * (process.returncode == -signal.SIGKILL))
        return process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            process.wait(timeout=random.uniform(0.001, 0.02) if aim else random.uniform(0.05, 1.0))
            break
        except subprocess.TimeoutExpired:
            pass
        if not stopped(process):
            break
        names = on_stacks(process.pid)
        doing = {phase for phase, name in PHASES.items() if name in names}
        if not aim or aim in doing:
            process.kill()
            process.wait()
            hits.update(doing or {"else"})
            return True
        process.send_signal(signal.SIGCONT)
    else:
        process.kill()
        process.wait()
    check(process.returncode in (0, 6, -signal.SIGKILL), f"{words[0]} ended with {process.returncode}: {log.read_text(errors='replace')[-1500:]}")
    return False


def compare(root, broker, what):
    lines = (root / "changes.jsonl").read_bytes()
    messages = broker.read("changes")
    if messages != lines:
        for number, (got, want) in enumerate(zip(messages.splitlines(), lines.splitlines())):
            check(got == want, f"message {number} {what} is {got[:200]}, the file has {want[:200]}")
        check(False, f"{messages.count(10)} messages {what}, {lines.count(10)} lines in the file")


def test_killed_at_any_moment(root, stack):
    broker = Broker()
    stack.callback(broker.close)
    file = pipeline(root, history=str(HISTORY), group_ms=5, group_max="128 KiB",
                    sinks=[{"type": "kafka", "name": "out", "brokers": broker.address, "topic": "changes", "partitions": 1},
                           {"type": "file", "path": str(root / "changes.jsonl")}])
    log = root / "log"
    hits, kills, top, due, brokers = collections.Counter(), 0, 500, CHECK_EVERY, 0
    sorex("run", file, "--until", top)
    while kills < KILLS or any(hits[phase] < EACH for phase in PHASES):
        check(kills < 6 * KILLS, f"not everything was hit: {dict(hits)}")
        if kills >= due:
            sorex("run", file, "--until", top)
            compare(root, broker, f"after {kills} kills")
            print(f"{kills} kills so far: {dict(sorted(hits.items()))}", flush=True)
            due += CHECK_EVERY
        state = status(file)
        tip = state["heights"]["durable"] if state else None
        if tip == top and random.random() < 0.4:  # so that inverses are delivered, by the next run
            sorex("rollback", file, "--to", top - random.randrange(1, HISTORY))
        elif tip == top:
            top = min(LAST, top + random.randrange(50, 400))
        if random.random() < 0.1:
            broker.tell("kill")
            broker.tell("start")
            brokers += 1
        aim = min(PHASES, key=lambda phase: (hits[phase], random.random())) if kills >= KILLS or random.random() < 0.7 else None
        kills += killed(["run", file, "--until", top], log, hits, aim)
    sorex("run", file, "--until", top)
    compare(root, broker, f"after {kills} kills")
    print(f"{kills} kills and {brokers} of the broker; the process was in {dict(sorted(hits.items()))}", flush=True)


if __name__ == "__main__":
    main(test_killed_at_any_moment)
