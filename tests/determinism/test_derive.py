"""One log, one reducer, one database: whatever compiled sorex. The image that databases begin from, keys, traces, digests, the query's
result and the exported image, byte for byte; each build verifies what another one says, goes on where another one stopped, and bisects
to "equal".

usage: test_derive.py BUILD=DIRECTORY...: the builds' directories; the first is this one's, whose reducers all of them derive with."""
import hashlib, json, os, pathlib, subprocess, sys
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import ENVIRONMENT, GUESTS, SOURCE, check, equal, scratch

BUILDS = {name: pathlib.Path(directory) for name, directory in (word.split("=", 1) for word in sys.argv[1:])}
THIS = next(iter(BUILDS.values()))
LOG = SOURCE / "examples" / "dnd" / "game.jsonl"
PART = 40  # messages that the build before has derived already
QUERY = "select victor(), (select sum(hp) from units where hp > 0), (select md5(string_agg(what, ' ' order by message, what)) from story)"


def run(build, program, *words):
    """With the compiled code of this build: it is the same WebAssembly compiler's, and costs most of the time."""
    done = subprocess.run([BUILDS[build] / program, *map(str, words)], capture_output=True, text=True, timeout=300,
                          env=dict(ENVIRONMENT, SOREX_POSTGRES_DIR=str(THIS / "postgres")))
    equal(done.returncode, 0, f"exit code of {program} {words[0]} by {build} ({done.stderr[-800:]})")
    return done.stdout


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_images(root):
    """initdb and a start of PostgreSQL, by the program of each build."""
    want = digest(THIS / "postgres" / "cluster.image")
    for build in list(BUILDS)[1:]:
        image = root / f"{build}.image"
        run(build, "src/pg/pg_prepare", SOURCE / "build" / "deps" / "pglite", THIS / "postgres-cache", image)
        equal(digest(image), want, f"cluster.image by {build}")


def derive(root, build, reducer):
    data, receipt, image = (root / f"{build} {what}" for what in ("data", "receipt", "export"))
    said = json.loads(run(build, "src/sorex", "derive", "--reducer", reducer, "--log", LOG, "--data", data, "--receipt", receipt,
                          "--query", QUERY, "--export", image, "--json"))
    file = json.loads(receipt.read_text())
    check(said["rejected"] > 3 and len(file["points"]) == said["messages"] == 120, f"{build}: {said}")
    return {"receipt": file, "text of the receipt": receipt.read_text(), "exported image": digest(image)}


def relay(root, build, reducer, before, part):
    """Goes on in a directory that another build began; its snapshots are asked too."""
    data = root / f"relay {build}"
    run(before, "src/sorex", "derive", "--reducer", reducer, "--log", part, "--data", data, "--snapshot-messages", 15)
    run(build, "src/sorex", "derive", "--log", LOG, "--data", data, "--receipt", data / "receipt", "--query", QUERY, "--export", data / "export")
    return {"text of the receipt": (data / "receipt").read_text(), "exported image": digest(data / "export")}


def test_reducer(root, reducer):
    builds = list(BUILDS)
    part = root / "part.jsonl"
    part.write_text("".join(LOG.read_text().splitlines(True)[:PART]))
    outcomes = {build: derive(root, build, reducer) for build in builds}
    want = outcomes[builds[0]]
    for turn, build in enumerate(builds):
        before = builds[turn - 1]
        for what, value in outcomes[build].items():
            equal(value, want[what], f"{reducer.name}, {build}: {what}")
        for what, value in relay(root, build, reducer, before, part).items():
            equal(value, want[what], f"{reducer.name}, begun by {before}, ended by {build}: {what}")
    said = run(builds[-1], "src/sorex", "verify", "--reducer", reducer, "--log", LOG, "--receipt", root / f"{builds[0]} receipt")
    check(said.startswith("equal: 120 messages"), said)
    said = run(builds[0], "src/sorex", "bisect", root / f"{builds[0]} data", root / f"{builds[-1]} data")
    check("they agree, up to message 120" in said, said)


def main():
    with scratch() as root:
        test_images(root)
        reducers = [path for path in (GUESTS / "dnd_c.wasm", GUESTS / "dnd.wasm") if path.exists()]
        for reducer in reducers:
            place = root / reducer.stem
            place.mkdir()
            test_reducer(place, reducer)
        print(f"{' '.join(path.name for path in reducers)}: the same by {' '.join(BUILDS)}")


main()
