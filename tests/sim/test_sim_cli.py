"""`sorex sim` as people call it: report, JSON, exit codes."""
import json
import os
import subprocess
import tempfile

SOREX = os.environ["SOREX_BIN"]
GUESTS = os.environ["SOREX_GUESTS"]


def sorex(*arguments):
    done = subprocess.run([SOREX, "sim", *arguments], capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


def pipeline(folder, inverse, more=""):
    path = os.path.join(folder, f"{inverse}.yaml")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"name: p\ndata: {folder}/data\nsource: {{type: memory, blocks: 6}}\n"
                   f"transforms:\n  - {{name: rows, wasm: {GUESTS}/tiny_transform_rows.wasm, inverse: {inverse}}}\n{more}")
    return path


def made_up():
    code, out, err = sorex("--seed", "3", "--runs", "20", "--json")
    assert (code, err) == (0, ""), (code, out, err)
    first = json.loads(out)
    assert first["ok"] and first["seed"] == 3 and first["histories"] == 20 and first["entries"] > 20, first
    assert json.loads(sorex("--seed", "3", "--runs", "20", "--json")[1]) == first
    code, out, _ = sorex("--seed", "3", "--runs", "20")
    assert code == 0 and f"trace {first['trace']}" in out and "as it must be" in out, out


def wrong_use():
    for arguments, part in ((("--steps", "1001"), "at most 1000 steps"), (("--runs", "many"), "runs"), (("--run", "3"), "--runs")):
        code, out, err = sorex(*arguments)
        assert code == 2 and part in err and out == "", (arguments, code, err)
    assert sorex("--pipeline", "/nowhere.yaml")[0] in (2, 7)


def pipelines(folder):
    code, out, err = sorex("--pipeline", pipeline(folder, "host"), "--json")
    assert code == 0, (out, err)
    assert json.loads(out)["undone"] > 20, out
    filters = f"filters:\n  - {{name: rules, wasm: {GUESTS}/tiny_filter_rules.wasm}}\n"
    code, out, err = sorex("--pipeline", pipeline(folder, "host", filters), "--json")
    assert code == 0, (out, err)
    assert json.loads(out)["undone"] > 20, out
    # Its rollback adds a row instead of taking back what it did.
    code, out, err = sorex("--pipeline", pipeline(folder, "guest"))
    assert code == 9 and "fails" in out and "again: sorex sim --pipeline" in out, (code, out, err)
    assert not os.path.exists(os.path.join(folder, "data")), "the data directory was touched"


made_up()
wrong_use()
with tempfile.TemporaryDirectory() as scratch:
    pipelines(scratch)
print("ok")
