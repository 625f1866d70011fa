"""`sorex replay`: retained entries executed again; another module or a cut history is found or refused."""
import json
from harness import *


def pipeline(root, **more):
    sections = dict(name="replay", data=str(root / "data"), source={"type": "blockfiles", "path": str(BLOCKS)}, indexer=UTXO,
                    transforms=[BALANCES])
    sections.update(more)
    return pipeline_file(root / "pipeline.json", **sections)


def report(*words, code=0):
    return json.loads(sorex("replay", *words, "--json", code=code).stdout)


def test_all_is_the_same(root, _):
    for memory in ("fresh", "kept"):
        place = root / memory
        place.mkdir()
        file = pipeline(place, transforms=[dict(BALANCES, memory=memory)])
        sorex("run", file, "--until", 300)
        before = state_hash([file])
        got = report(file)
        equal((got["same"], got["from"], got["to"], got["commitments"]), (True, 0, 300, 602), memory)
        check(got["pairs"] > 300 and got["changes"] > 300, got)
        equal(report(file, "--from", 170, "--to", 181)["commitments"], 24, "commitments of a range")
        equal(state_hash([file]), before, "a replay left a trace")


def test_after_a_reorganisation(root, _):
    file = pipeline(root)
    sorex("run", file, "--until", 250)
    sorex("rollback", file, "--to", 160)
    sorex("run", file, "--until", 200)
    equal(report(file)["same"], True, "after a rollback")


def test_fuel_is_the_same_again(root, _):
    file = pipeline(root, indexer=dict(UTXO, fuel=10**12))
    sorex("run", file, "--until", 60)
    first = report(file, "--from", 5)
    check(first["fuel"] > 0 and first["same"], first)
    equal(report(file, "--from", 5), first, "the second replay")


def test_a_difference_is_named(root, _):
    """A guest of the tests in place of the one that wrote: the first height and the program; then another limit of an
    unchanged module, which gives the same results under another identity."""
    file = pipeline(root, transforms=[], indexer={"name": "main", "wasm": str(GUESTS / "utxo.wasm")})
    sorex("run", file, "--until", 100)
    other = "indexer.wasm=" + str(GUESTS / "tiny_indexer_views.wasm")
    got = report(file, "--from", 40, "--set", other, code=4)
    difference = got["difference"]
    equal((got["same"], got["from"], got["to"], difference["height"], difference["program"], difference["other_identity"]),
          (False, 40, 40, 40, "main", True), "difference")
    equal(difference["stored"], state_hash([file], "main", 40)[1], "the stored commitment")
    check(difference["computed"] != difference["stored"], difference)
    text = sorex("replay", file, "--from", 40, "--set", other, code=4).stdout
    check("height 40, program main differs" in text and difference["computed"] in text, text)
    equal(report(file, "--set", "indexer.fuel=1000000000")["same"], True, "the same module, metered")


def test_what_is_not_retained(root, _):
    file = pipeline(root, history="20")
    sorex("run", file, "--until", 100)
    err = sorex("replay", file, "--from", 50, code=6).stderr
    check("81 to 100" in err, err)
    equal(report(file)["from"], 81, "the lowest one")
    check("above" in sorex("replay", file, "--from", 95, "--to", 90, code=2).stderr, "from above to")
    sorex("replay", file, "--to", 101, code=6)


main(test_all_is_the_same, test_after_a_reorganisation, test_fuel_is_the_same_again, test_a_difference_is_named,
     test_what_is_not_retained)
