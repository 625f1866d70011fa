"""Filters in a pipeline, on real blocks: what a file sink gets is the transform's rows, filtered, whatever happens on the way."""
import json
from harness import *

MASK = {"name": "mask", "wasm": str(GUESTS / "filter_mask.wasm"), "config": {"columns": ["kind"]}}
COUNT = {"name": "count", "wasm": str(GUESTS / "filter_count.wasm")}


def drop(table):
    return {"name": "drop", "wasm": str(GUESTS / "filter_drop.wasm"), "config": {"table": table}}


def pipeline(root, filters, **more):
    sections = dict(name="filtered", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)}, indexer=UTXO,
                    transforms=[BALANCES], filters=filters, sinks=[{"type": "file", "path": str(root / "out.jsonl")}])
    sections.update(more)
    return pipeline_file(root / "pipeline.json", **sections)


def delivered(root):
    return fold_changes((root / "out.jsonl").read_text())


def masked(rows):
    return {at: dict(row, kind="***") for at, row in rows.items()}


def test_mask(root, _):
    """One column is hidden, in every image, also after a rollback; a replay finds the same."""
    file = pipeline(root, [MASK])
    sorex("run", file, "--until", 600)
    at_600 = delivered(root)
    equal(at_600, masked(engine_rows([file])), "rows")
    check(len(at_600) > 500, len(at_600))
    text = (root / "out.jsonl").read_text()
    check("p2pk" not in text.replace('"key"', "") and '"kind":"***"' in text, "the column shows")
    sorex("rollback", file, "--to", 100)
    sorex("run", file, "--until", 600)
    check('"operation":"delete"' in (root / "out.jsonl").read_text(), "nothing was taken back")
    equal(delivered(root), at_600, "rows after a rollback")
    got = json.loads(sorex("replay", file, "--json").stdout)
    equal((got["same"], got["commitments"]), (True, 601 * 3), "replay")
    other = json.loads(sorex("replay", file, "--json", "--from", 300, "--set", "filters.mask.on_error=skip",
                             "--set", "filters.mask.wasm=" + drop("")["wasm"], code=4).stdout)
    equal((other["difference"]["program"], other["difference"]["other_identity"]), ("filters", True), "another filter")


def test_same_state_as_without(root, _):
    """State and commitments of the programs do not know filters; rows are the transform's."""
    for name, filters in (("with", [MASK, drop("nothing")]), ("without", [])):
        (root / name).mkdir()
        sorex("run", pipeline(root / name, filters), "--until", 200)
    files = [[root / name / "pipeline.json"] for name in ("with", "without")]
    for program in ("utxo", "balances"):
        equal(state_hash(files[0], program), state_hash(files[1], program), program)
    equal(engine_rows(files[0]), engine_rows(files[1]), "rows")
    equal(delivered(root / "with"), masked(delivered(root / "without")), "delivered")


def test_drop_and_a_new_list(root, _):
    """A table that is dropped, then not: only `upgrade` takes the new list, and rows come when they change."""
    file = pipeline(root, [drop("balances"), COUNT])
    sorex("run", file, "--until", 150)
    equal((root / "out.jsonl").read_text(), "", "nothing is delivered")
    pipeline(root, [MASK])
    done = sorex("run", file, "--until", 400, code=4, ok=False)
    check("sorex upgrade PIPELINE --program filters" in done.stderr, done.stderr)
    check("from height 151 on" in sorex("upgrade", file, "--program", "filters").stdout, "upgrade")
    sorex("run", file, "--until", 400)
    rows, all_rows = delivered(root), masked(engine_rows([file]))
    check(0 < len(rows) < len(all_rows), (len(rows), len(all_rows)))
    equal({at: all_rows[at] for at in rows}, rows, "the rows that changed since")
    pipeline(root, [])
    check("sorex upgrade" in sorex("run", file, "--until", 410, code=4, ok=False).stderr, "an empty list is another list")
    sorex("upgrade", file, "--program", "filters")
    sorex("run", file, "--until", 450)
    sorex("rollback", file, "--to", 400)
    sorex("run", file, "--until", 400)
    equal(delivered(root), rows, "after undoing what the empty list delivered")


def test_status_check_inspect(root, _):
    file = pipeline(root, [MASK, COUNT])
    text = sorex("check", file).stdout
    check("ok    filter mask: " in text and "version 2 of the contract" in text, text)
    with Running(file, log=root / "log") as run:
        found = wait_tip(file, 14131, run, 300)
        text = sorex("status", file).stdout
    mask, count = found["filters"]
    check(f"filter    mask: {mask['events']} changes in, {mask['events']} changed, 0 dropped, 0 failed\n" in text, text)
    check("0 failed; events 1, seen_by_instance 1\n" in text, text)
    equal((mask["name"], mask["filtered"], mask["failed"]), ("mask", 0, 0), "mask")
    check(mask["events"] == mask["changed"] == count["events"] > 14000, found["filters"])
    equal(count["metrics"], {"events": 1, "seen_by_instance": 1}, "a fresh instance that sees no metric of another change")
    for module, version in ((COUNT["wasm"], 2), (COUNT["wasm"].replace(".wasm", "_v1.wasm"), 1)):
        report = json.loads(sorex("inspect", module, "--json").stdout)
        equal((report["contract"], report["version"], report["refused"]), ("filter", version, None), module)
        equal({i["known"] for i in report["imports"]}, {True}, "imports")


def test_mistakes(root, _):
    def refused(what, *parts, code=2, **more):
        file = pipeline(root, **more)
        err = sorex("check", file, code=code, ok=False)
        for part in parts:
            check(part in err.stderr + err.stdout, f"{what}: {err.stderr} {err.stdout}")
    refused("two of a name", "two filters have the name \"mask\"", filters=[MASK, MASK])
    refused("an unknown key", "unknown key \"wazm\"", filters=[{"name": "a", "wazm": "x"}])
    refused("a config that is none", "config must be a mapping", filters=[dict(MASK, config=[1])])
    refused("a name that is taken", "no program may have the name \"filters\"", filters=[],
            transforms=[dict(BALANCES, name="filters")])
    refused("inverse: guest", "transform balances says inverse: guest", filters=[MASK], transforms=[dict(BALANCES, inverse="guest")])
    refused("nothing to filter", "filters without a transform", filters=[MASK], transforms=[])
    refused("another contract", "program mask: import ", "is forbidden", filters=[dict(MASK, wasm=UTXO["wasm"])], code=2)


def test_kept_is_warned_of(root, _):
    file = pipeline(root, [dict(COUNT, memory="kept")])
    done = sorex("run", file, "--until", 20)
    check("filter count keeps its memory" in done.stderr, done.stderr)


main(test_mask, test_same_state_as_without, test_drop_and_a_new_list, test_status_check_inspect, test_mistakes, test_kept_is_warned_of)
