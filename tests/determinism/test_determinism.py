"""The same log gives the same bytes: states, commitments, what each entry made and the fuel that it used, and the file that a sink wrote.
Whatever compiled the program, whatever the settings that may not matter, asked meanwhile or not, interrupted or not.

usage: test_determinism.py BUILD=PROGRAM...: the first build is tested under every variant; with more builds, all of them are."""
import concurrent.futures, pathlib, sys
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import *
import random_guest
from trial import *

BUILDS = dict(word.split("=", 1) for word in sys.argv[1:])
HERE = pathlib.Path(__file__).parent
GOLDEN = json.loads((HERE / "golden.json").read_text())
HEAVY = SOURCE / "tests" / "data" / "blocks"
KEPT = dict(BALANCES, name="kept", memory="kept")
GUESTS_RANDOM = 8 if len(BUILDS) > 1 else 3


class Variant:
    """way: how it is run; settings and program: what is different; without: parts of the outcome that are not the same here."""

    def __init__(self, way=straight, settings=None, program=None, cpus=None, without=(), relay=False):
        self.way, self.settings, self.program, self.cpus = way, settings or {}, program or {}, cpus
        self.without, self.relay = without, relay


VARIANTS = {
    "plain": Variant(),
    "one ahead": Variant(settings={"read_ahead": 1, "fetch_threads": 1}),
    "far ahead": Variant(settings={"read_ahead": 1000, "fetch_threads": 16}),
    "bounded": Variant(settings={"history": "30"}),
    "small groups": Variant(settings={"group_ms": 5, "group_max": "64 KiB", "cache": "1 MiB"}),
    "one group": Variant(settings={"group_ms": 60000, "group_max": "1 GiB"}),
    "one processor": Variant(cpus={0}),
    "little resident": Variant(program={"resident": "64 KiB"}),
    "watched": Variant(watched, settings={"group_ms": 5}),
    "killed": Variant(signalled(signal.SIGKILL, 3), settings={"group_ms": 20}),
    "killed, bounded": Variant(signalled(signal.SIGKILL, 2), settings={"history": "10", "read_ahead": 3}),
    "terminated": Variant(signalled(signal.SIGTERM, 3)),
    "undone": Variant(undone, without=("bytes at the sink",)),
    "not metered": Variant(program={"fuel": 0}, without=("pairs, changes, fuel of each entry",)),
    "relay": Variant(signalled(signal.SIGKILL, 4), settings={"group_ms": 20}, relay=True),
}


def run_trial(root, log, build, name):
    """Runs one variant with one build, and returns the trial and what is to be compared."""
    variant = VARIANTS[name]
    builds = [BUILDS[build]] + ([other for key, other in BUILDS.items() if key != build] if variant.relay else [])
    for attempt in range(5):
        trial = Trial(root / build / f"{name} {attempt}", log, builds, variant.settings, variant.program, variant.cpus)
        variant.way(trial)
        if variant.way is not watched or len(trial.answers) >= 3:  # a run can be over before it was asked at three heights
            break
    else:
        check(False, f"{trial.root}: views were answered at {len(trial.answers)} heights only")
    return trial, {part: value for part, value in trial.outcome().items() if part not in variant.without}


def compare(name, got, want):
    for part, value in got.items():
        if value != want[part] and isinstance(value, dict):
            different = next(key for key in value if value[key] != want[part][key])
            check(False, f"{name}: {part}: {different}: {value[different]}, want {want[part][different]}")
        equal(value, want[part], f"{name}: {part}")


def replay(trial, build, first, last):
    """Another build executes what this one stored."""
    report = json.loads(sorex_of(build, "replay", trial.file, "--json"))
    entries = [made for height, made in trial.entries.items() if height >= first]
    equal((report["same"], report["from"], report["to"]), (True, first, last), f"{trial.root}: replay by {build}")
    equal(report["commitments"], len(entries) * len(trial.log.programs()), f"{trial.root}: commitments of the replay")
    equal([report[what] for what in ("pairs", "changes", "fuel")], [sum(part) for part in zip(*entries)],
          f"{trial.root}: what the replay by {build} made and used")


def sorex_of(build, *words):
    done = subprocess.run([BUILDS[build], *map(str, words)], capture_output=True, text=True, timeout=300)
    equal(done.returncode, 0, f"exit code of {build} {words[0]} ({done.stderr[-800:]})")
    return done.stdout


def matrix(root, log, pairs):
    """Runs the (build, variant) pairs, two at a time, and compares each with the first; returns the first's trial."""
    builds = list(BUILDS)
    first, want = run_trial(root / log.name, log, builds[0], "plain")
    check(first.fuel() > 0, f"{log.name}: no fuel was counted")
    replay(first, builds[-1], log.start, log.last)

    def one(pair):
        build, name = pair
        trial, got = run_trial(root / log.name, log, build, name)
        compare(f"{log.name}, {build}, {name}", got, want)
        if name == "bounded":
            replay(trial, builds[(builds.index(build) + 1) % len(builds)], max(log.start, log.last - 29), log.last)
        if name == "plain":
            replay(trial, builds[(builds.index(build) + 1) % len(builds)], log.start, log.last)
        answered = getattr(trial, "answered", 0)
        shutil.rmtree(trial.root)
        return answered
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        answered = sum(pool.map(one, [pair for pair in pairs if pair != (builds[0], "plain")]))
    print(f"{log.name}: {len(pairs)} trials, {first.fuel()} fuel, {answered} views answered meanwhile", flush=True)
    return first


def ways(log):
    return [name for name, variant in VARIANTS.items() if (log.view or variant.way is not watched) and (len(BUILDS) > 1 or not variant.relay)]


def all_pairs(log):
    return [(build, name) for build in BUILDS for name in ways(log)]


def rotated(log, turn):
    """Every build plainly, and every variant with one of them: another one with each turn."""
    builds = list(BUILDS)
    pairs = [(builds[(i + turn) % len(builds)], name) for i, name in enumerate(ways(log))] + [(build, "plain") for build in builds]
    return sorted(set(pairs))


def test_real_blocks(root, _):
    log = Log("chain", {"type": "blockfiles", "path": str(BLOCKS)}, 14131, UTXO, [BALANCES], view="supply")
    first = matrix(root, log, all_pairs(log))
    for program, heights in GOLDEN.items():
        for height, want in heights.items():
            equal(first.hashes(height)[program], tuple(want), f"{program} at {height}")


def test_kept_memory(root, _):
    """Three programs, one of which keeps its memory in the store: each variant with one of the builds."""
    log = Log("kept", {"type": "blockfiles", "path": str(BLOCKS)}, 300, UTXO, [BALANCES, KEPT], view="supply")
    matrix(root, log, rotated(log, 0))


def test_heavy_blocks(root, _):
    for height in (767430, 840243):
        source = {"type": "blocks", "files": [f"{HEAVY / str(height)}.bin@{height}"]}
        log = Log(f"block {height}", source, height, UTXO, [BALANCES, KEPT], start=height)
        matrix(root, log, rotated(log, height))
        alone = Trial(root / f"alone {height}", Log("alone", source, height, UTXO, start=height), list(BUILDS.values()))
        straight(alone)
        for build in BUILDS:  # `try` counts the same fuel
            tried = json.loads(sorex_of(build, "try", UTXO["wasm"], "--block", source["files"][0], "--fuel", FUEL, "--json"))
            equal(tried["fuel"], alone.fuel(), f"fuel of block {height}, tried by {build}")


def test_random_guests(root, _):
    """Every guest with every build and every variant; each pair of these two with some guests."""
    seen = set()
    for number in range(GUESTS_RANDOM):
        place = root / str(number)
        place.mkdir()
        text = random_guest.module(random.getrandbits(32))
        (place / "guest.wat").write_text(text)
        subprocess.run([os.environ["SOREX_ASSEMBLE"], place / "guest.wat", place / "guest.wasm"], check=True)
        guest = {"name": "guest", "wasm": str(place / "guest.wasm"), "memory_max": "8 MiB"}
        log = Log(f"guest {number}", {"type": "blockfiles", "path": str(BLOCKS)}, 250, guest, view="asked")
        first = matrix(place, log, rotated(log, number))
        seen.add(first.hashes()["guest"])
        shutil.rmtree(place)
    equal(len(seen), GUESTS_RANDOM, "guests that did different things")


def test_manipulated_state(root, _):
    """A value that was changed behind the engine's back, with all checksums right: the first height that read it is named."""
    place = root / "state"
    place.mkdir()
    (place / "guest.wat").write_text((HERE / "reader.wat").read_text())
    subprocess.run([os.environ["SOREX_ASSEMBLE"], place / "guest.wat", place / "guest.wasm"], check=True)
    guest = {"name": "reader", "wasm": str(place / "guest.wasm")}
    build = next(iter(BUILDS))
    for history, first in (("full", 0), ("30", 71)):
        log = Log(f"reader {history}", {"type": "blockfiles", "path": str(BLOCKS)}, 100, guest)
        trial = Trial(place / history, log, [BUILDS[build]], {"history": history})
        straight(trial)
        replay(trial, build, first, log.last)
        subprocess.run([os.environ["SOREX_EDIT_STATE"], trial.root / "data" / "db", "constant", "CONSTANT"], check=True)
        for start in (max(first, 1), 90):
            report = trial.tool("replay", trial.file, "--from", start, "--json", code=4)
            difference = json.loads(report)["difference"]
            equal((difference["height"], difference["program"], difference["other_identity"]), (start, "reader", False), "difference")


main(test_manipulated_state, test_real_blocks, test_kept_memory, test_heavy_blocks, test_random_guests)
