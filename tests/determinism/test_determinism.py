"""The same log gives the same commitments and states: whatever the settings that may not matter, with views asked meanwhile, killed and
continued, and in other builds (SOREX_OTHER_BINS: programs, separated by colons). `long` runs the whole matrix and more guests."""
import pathlib, sys, threading
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
import harness
from harness import *
import random_guest

LONG = "long" in sys.argv[1:]
GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden.json").read_text())
LENGTH = 1000 if LONG else 250
VARIANTS = {"alone": {"read_ahead": 1, "fetch_threads": 1}, "ahead": {"read_ahead": 256, "fetch_threads": 4},
            "bounded": {"history": "30"}, "small groups": {"group_max": "64 KiB"}}


def pipeline(root, indexer=UTXO, transforms=(BALANCES,), **more):
    root.mkdir()
    sections = dict(name="d", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)}, indexer=indexer,
                    transforms=list(transforms))
    return pipeline_file(root / "pipeline.json", **dict(sections, **more))


def results(file, programs, height=None):
    return {name: state_hash([file], name, height) for name in programs}


def with_views(file, height, view):
    """Runs up to the height while views are asked; stops when the height is durable."""
    asked, done = [0], threading.Event()

    def ask():
        while not done.is_set():
            asked[0] += sorex("view", file, view, ok=False).returncode == 0
    with Running(file, "--until", height) as run:
        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        code = run.process.wait(timeout=300)
        done.set()
        for thread in threads:
            thread.join()
    equal(code, 0, "exit code of the run with views")
    return asked[0]


def interrupted(file, height, kills):
    for stop in sorted(random.randrange(height) for _ in range(kills)):
        with Running(file, "--until", height) as run:
            wait_for("progress", lambda: not run.alive() or ((status(file) or {}).get("heights", {}).get("durable") or 0) >= stop)
            run.kill(signal.SIGKILL)
    sorex("run", file, "--until", height)


def matrix(root, indexer, transforms, view):
    """Every way of running the same guests; returns what they all gave."""
    programs = [indexer["name"], *(t["name"] for t in transforms)]
    file = pipeline(root / "first", indexer, transforms)
    sorex("run", file, "--until", LENGTH)
    want = results(file, programs)
    equal(sorex("replay", file, "--from", LENGTH - 50, "--json").returncode, 0, "replay")
    for name, settings in VARIANTS.items():
        file = pipeline(root / name, indexer, transforms, **settings)
        sorex("run", file, "--until", LENGTH)
        equal(results(file, programs), want, name)
    file = pipeline(root / "views", indexer, transforms)
    with_views(file, LENGTH, view)
    equal(results(file, programs), want, "with views")
    file = pipeline(root / "killed", indexer, transforms, group_ms=20)
    interrupted(file, LENGTH, 5 if LONG else 2)
    equal(results(file, programs), want, "killed and continued")
    file = pipeline(root / "metered", dict(indexer, fuel=10**12), transforms)
    sorex("run", file, "--until", LENGTH)
    equal(results(file, programs), want, "metered")  # the identity differs, what is computed does not
    ours = harness.SOREX
    for number, other in enumerate(filter(None, os.environ.get("SOREX_OTHER_BINS", "").split(":"))):
        file = pipeline(root / f"build{number}", indexer, transforms)
        harness.SOREX = other
        sorex("run", file, "--until", LENGTH)
        equal(results(file, programs), want, other)
        harness.SOREX = ours
    return want


def test_golden(root, _):
    file = pipeline(root / "golden")
    sorex("run", file, "--until", "tip")
    for program, heights in GOLDEN.items():
        for height, want in heights.items():
            equal(state_hash([file], program, height), tuple(want), f"{program} at {height}")


def test_real_guests(root, _):
    matrix(root, UTXO, [BALANCES], "supply")


def test_random_guests(root, _):
    assembler = binary("wat2wasm")
    if assembler is None:
        skip("no wat2wasm (package wabt)")
    seen = set()
    for number in range(20 if LONG else 2):
        place = root / f"guest{number}"
        place.mkdir()
        seed = random.getrandbits(32)
        text = place / "guest.wat"
        text.write_text(random_guest.module(seed))
        subprocess.run([assembler, text, "-o", place / "guest.wasm"], check=True)
        got = matrix(place, {"name": "guest", "wasm": str(place / "guest.wasm")}, [], "asked")
        print("guest", seed, got["guest"][0])
        seen.add(got["guest"])
    check(len(seen) > 1, "all random guests did the same")


main(test_golden, test_real_guests, test_random_guests)
