"""A long log: memory is bounded by the database, whatever the number of messages, and what a message costs is printed, tenth by tenth.
SOREX_MESSAGES messages of a game that nobody wins (bench/derive/long_game.py); nothing here is timed by an assertion."""
import json, os, pathlib, subprocess, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "e2e"))
from harness import ENVIRONMENT, GUESTS, SOREX, SOURCE, check, equal, scratch, sorex

MESSAGES = int(os.environ.get("SOREX_MESSAGES", 100_000))
LEGS = 10
MIB = 1 << 20
REDUCER = GUESTS / "dnd_c.wasm"
QUERY = "select count(*), sum(hp) from units"


def measured(*words):
    """What it printed, its CPU time and the memory that it had at most."""
    process = subprocess.Popen([SOREX, *map(str, words)], stdout=subprocess.PIPE, text=True, env=ENVIRONMENT)
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    equal(process.returncode, 0, f"exit code of {words[0]}")
    return output, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def database_bytes(data):
    return int(sorex("sql", "--data", data, "--csv", "-t", "-c", "select pg_database_size(current_database())").stdout)


def check_memory(what, peak, first, grown):
    """Files of the database are in memory: once as they are, and once more in pages that a snapshot shares no longer, plus what is in
    flight. Anything that a message left behind for good would be more."""
    bound = first + 4 * grown + 64 * MIB
    check(peak <= bound, f"{what}: {peak >> 20} MiB, at most {bound >> 20} MiB were expected")


def main():
    game = subprocess.run([sys.executable, SOURCE / "bench" / "derive" / "long_game.py", "1", str(MESSAGES)], capture_output=True, text=True,
                          check=True).stdout.splitlines(True)
    equal(len(game), MESSAGES, "messages of the game")
    with scratch() as root:
        log, data, receipt = root / "log.jsonl", root / "data", root / "receipt"
        first, began = None, 0
        for leg in range(1, LEGS + 1):
            count = MESSAGES * leg // LEGS
            log.write_text("".join(game[:count]))
            output, cpu, peak = measured("derive", "--reducer", REDUCER, "--log", log, "--data", data, "--receipt", receipt, "--query", QUERY,
                                         "--json")
            said = json.loads(output)
            equal(said["derived"], MESSAGES // LEGS, f"messages of leg {leg}")
            size = database_bytes(data)
            if leg == 1:
                first, began = peak, size
            print(f"{count:8} messages: {cpu * 1e6 / said['derived']:6.0f} us of CPU time each, {peak >> 20} MiB, database {size >> 20} MiB",
                  flush=True)
            check_memory(f"after {count} messages", peak, first, size - began)
        check(receipt.stat().st_size < 50_000, "the receipt grew with the log")
        output, cpu, peak = measured("verify", "--reducer", REDUCER, "--log", log, "--receipt", receipt)
        check(output.startswith(f"equal: {MESSAGES} messages"), output)
        print(f"verified in one process: {cpu * 1e6 / MESSAGES:6.0f} us of CPU time each, {peak >> 20} MiB")
        check_memory("verify", peak, first, size - began)


main()
