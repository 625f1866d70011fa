"""Two processes on one store: one of them writes. The other one asks it, waits, or is told that it cannot and what to do; and neither changes
what the other one gets."""
from fault import *

TIP = 14131


def refused(words, pid):
    done = sorex(*words, ok=False, timeout=60)
    check(done.returncode == 5 and f"pid {pid}" in done.stderr and "sorex.lock" in done.stderr and "stop it" in done.stderr,
          f"{words[0]} beside another writer: {done.returncode} {done.stdout[-300:]} {done.stderr[-800:]}")


def test_beside_a_run(root, stack):
    """A second run, a replay, an upgrade are refused by name; questions are answered through the socket."""
    file = pipeline(root)
    plain = sub(root, "plain")
    sorex("run", pipeline(plain), "--until", TIP)
    file = pipeline(root, group_ms=5, group_max="64 KiB")
    sorex("run", file, "--until", 100)
    with Running(file, log=root / "log") as run:
        wait_for("the pipeline", lambda: (s := status(file)) and s["heights"]["durable"] > 100)
        turns = 0
        while status(file)["heights"]["durable"] < TIP or turns < 3:
            check(run.alive(), run.text()[-1000:])
            refused(["replay", file, "--json"], run.process.pid)
            refused(["run", file, "--until", 1], run.process.pid)
            refused(["upgrade", file, "--program", "utxo"], run.process.pid)
            height = status(file)["heights"]["durable"]
            equal(state_hash([file], height=height), state_hash(["--data", plain / "data"], height=height), f"state at {height} beside a run")
            turns += 1
        wait_tip(file, TIP, run)
    equal(result(root), result(plain), "result after all that")
    equal(json.loads(sorex("replay", file, "--from", TIP - 500, "--json").stdout)["same"], True, "a replay afterwards")


def test_beside_a_replay(root, stack):
    """A run does not move the store under a replay."""
    file = pipeline(root)
    sorex("run", file, "--until", 4000)
    want = result(root)
    replay = subprocess.Popen([SOREX, "replay", str(file), "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    stack.callback(replay.kill)
    lock = root / "data" / "sorex.lock"
    wait_for("the replay to begin", lambda: replay.poll() is not None or lock.read_text().strip() == str(replay.pid))
    check(replay.poll() is None, "the replay was over before it could be looked at")
    refused(["run", file, "--until", 4100], replay.pid)
    refused(["rollback", file, "--to", 10], replay.pid)
    refused(["replay", file], replay.pid)
    equal(state_hash(["--data", root / "data"]), want["utxo"], "state, asked beside the replay")
    out, err = replay.communicate(timeout=300)
    equal(replay.returncode, 0, f"exit code of the replay ({err})")
    equal(json.loads(out)["same"], True, "the replay")
    sorex("run", file, "--until", 4000)
    equal(result(root), want, "result after all that")


if __name__ == "__main__":
    main(test_beside_a_run, test_beside_a_replay)
