"""One flipped bit in each kind of stored record: tables of every family, log, manifest, module copies, compiled modules, sidecar cursor.
Every question is either answered as before or refused with what is damaged: never answered with something else."""
import shutil
from fault import *

TIP = 4000
FAMILIES = ("default", "state", "undo", "outbox", "entries")
REFUSED = (4, 7)


def families(db):
    """Table files by family, which their properties name."""
    found = {}
    for file in sorted(db.glob("*.sst")):
        tail = file.read_bytes()[-6000:]
        name = next((f for f in FAMILIES if b"name" + f.encode() in tail), None)
        check(name, f"{file} does not say its family")
        found.setdefault(name, []).append(file.name)
    return found


def flip(path, at):
    """at: a fraction of the file."""
    data = bytearray(path.read_bytes())
    place = min(int(len(data) * at), len(data) - 1)
    data[place] ^= 1 << random.randrange(8)
    path.write_bytes(data)
    return f"{path.name} byte {place} of {len(data)}"


def questions(root, file):
    """Everything that a store is asked, in an order that spoils nothing: name -> (exit code, answer, error)."""
    replay = root / "replay.jsonl"
    for path in (replay, root / "replay.jsonl.cursor"):
        path.unlink(missing_ok=True)
    more = pipeline_file(root / "more.json", **dict(json.loads(file.read_text()), sinks=[{"type": "file", "name": "replay", "path": str(replay)}]))
    target = ["--data", root / "data"]
    asked = {"hash": ["state", "hash", *target, "--program", "utxo", "--json"],
             "balances": ["state", "hash", *target, "--program", "balances", "--json"],
             "old": ["state", "hash", *target, "--program", "utxo", "--height", TIP // 2, "--json"],
             "oldest": ["state", "hash", *target, "--program", "balances", "--height", 1, "--json"],
             "rows": ["rows", *target, "--program", "balances", "--limit", 100000, "--json"],
             "view": ["view", file, "supply"],
             "run": ["run", more, "--until", TIP],
             "rollback": ["rollback", file, "--to", 1],
             "rolled": ["state", "hash", *target, "--program", "utxo", "--json"]}
    answers = {}
    for name, words in asked.items():
        done = sorex(*words, ok=False, timeout=60)
        text = done.stdout if name not in ("run", "rollback") else ""
        answers[name] = (done.returncode, text, done.stderr)
        if name == "run":
            answers["replay"] = (done.returncode, replay.read_text() if replay.exists() else "", done.stderr)
    return answers


def judge(what, got, want):
    """True when the damage was noticed."""
    noticed = False
    for name, (code, text, error) in got.items():
        if code != 0:
            check(code in REFUSED, f"{what}: {name} ended with {code}: {error[-800:]}")
            check(any(word in error.lower() for word in ("corrupt", "damage", "checksum", "mismatch", "does not")), f"{what}: {name} does not say what is wrong: {error[-800:]}")
            noticed = True
            if name == "replay":
                check(want["replay"][1].startswith(text), f"{what}: something false was delivered")
        elif name == "rolled" and got["rollback"][0] != 0:
            continue  # it stands where the rollback was refused
        else:
            equal(text, want[name][1], f"{what}: answer of {name}")
    return noticed


def test_tables(root, _):
    file = pipeline(root, group_max="256 KiB")
    sorex("run", file, "--until", TIP)
    shutil.copytree(root / "data", root / "whole")
    want = questions(root, file)
    check(all(code == 0 for code, _, _ in want.values()), f"undamaged: {[(n, c, e[-300:]) for n, (c, _, e) in want.items() if c]}")
    by_family = families(root / "whole" / "db")
    equal(sorted(by_family), sorted(FAMILIES), "families with table files")
    for family, names in by_family.items():
        noticed = 0
        places = [random.choice((0.02, 0.3, 0.5)), 0.999] if not LONG else [random.random() for _ in range(40)] + [0.999]
        for at in places:
            shutil.rmtree(root / "data")
            shutil.copytree(root / "whole", root / "data")
            what = f"{family}: " + flip(root / "data" / "db" / random.choice(names), at)
            noticed += judge(what, questions(root, file), want)
        print(f"{family}: {noticed} of {len(places)} noticed", flush=True)
        check(noticed > 0, f"damage of family {family} was never noticed")


def test_log_and_manifest(root, _):
    file = pipeline(root, group_ms=5, group_max="64 KiB")
    sorex("run", file, "--until", 400)
    want = result(root)
    shutil.copytree(root / "data", root / "whole")
    for kind, pattern, count in (("log", "*.log", 6), ("manifest", "MANIFEST-*", 4), ("current", "CURRENT", 2)):
        refused = 0
        for at in [random.random() for _ in range(count * (20 if LONG else 1))]:
            shutil.rmtree(root / "data")
            shutil.copytree(root / "whole", root / "data")
            what = kind + ": " + flip(next((root / "data" / "db").glob(pattern)), at)
            done = sorex("run", file, "--until", 400, ok=False)
            if done.returncode == 0:
                equal(result(root), want, f"{what}: result of going on")
            else:
                refused += 1
                check(done.returncode in REFUSED, f"{what}: ended with {done.returncode}: {done.stderr[-800:]}")
                check(str(root / "data") in done.stderr or "cursor" in done.stderr, f"{what}: the place is not named: {done.stderr[-800:]}")
        print(f"{kind}: {refused} refused", flush=True)
        check(refused > 0 or kind == "log", f"damage of the {kind} was never noticed")


def test_modules(root, _):
    """A compiled module is compiled again; the copy of a module is not run."""
    file = pipeline(root)
    sorex("run", file, "--until", 50)
    want = result(root)
    for compiled in sorted((root / "data" / "cache").glob("*.cwasm")):
        for at in (0.001, 0.0001, 0.5, 0.99):
            whole = compiled.read_bytes()
            flip(compiled, at)
            sorex("run", file, "--until", 60)
            equal(compiled.read_bytes(), whole, f"compiled module after a flip at {at}")
            sorex("rollback", file, "--to", 50)
    equal(state_hash([file]), want["utxo"], "state after runs with damaged compiled modules")
    refused = 0
    asked = {"view": sorex("view", "--data", root / "data", "supply").stdout,
             "rows": sorex("rows", "--data", root / "data", "--program", "balances", "--json").stdout}
    for module in sorted((root / "data" / "modules").glob("*.wasm")):
        whole = module.read_bytes()
        for at in (0.5, 0.9, 0.01):
            flip(module, at)
            for words in (["view", "--data", root / "data", "supply"], ["rows", "--data", root / "data", "--program", "balances", "--json"]):
                done = sorex(*words, ok=False)
                check(done.returncode == 0 or (done.returncode == 4 and module.name in done.stderr and "damaged" in done.stderr),
                      f"{words[0]}: {done.returncode} {done.stderr[-800:]}")
                check(done.stdout in ("", asked[words[0]]), f"{words[0]} with a damaged copy answers {done.stdout[:200]}")
                refused += done.returncode != 0
            sorex("run", file, "--until", 51)
            equal(module.read_bytes(), whole, "the copy after a run")
            sorex("rollback", file, "--to", 50)
    check(refused >= 3, f"damaged copies were refused {refused} times only")
    equal(state_hash([file]), want["utxo"], "state after runs with damaged copies")


def test_sidecar(root, _):
    file = pipeline(root)
    sorex("run", file, "--until", 200)
    cursor, want = root / "changes.jsonl.cursor", (root / "changes.jsonl").read_bytes()
    whole = cursor.read_bytes()
    for at in [random.random() for _ in range(8)]:
        what = flip(cursor, at)
        with Running(file, log=root / "log") as run:
            wait_for(what + " to be named", lambda: "cursor" in run.text() and "stopped" in run.text() or not run.alive())
            check("changes.jsonl.cursor is not a cursor" in run.text() or "format" in run.text(), f"{what}: {run.text()[-800:]}")
        (root / "log").unlink()
        equal((root / "changes.jsonl").read_bytes(), want, what + ": the file")
        cursor.write_bytes(whole)
    sorex("run", file, "--until", 210)
    check((root / "changes.jsonl").read_bytes().startswith(want), "the file goes on where it was")


if __name__ == "__main__":
    main(test_tables, test_log_and_manifest, test_modules, test_sidecar)
