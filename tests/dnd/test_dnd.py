"""The demo game against its rules written down a second time (rules.py): random games, legal and illegal, through every reducer of it.

usage: test_dnd.py PLAY GAMES REDUCER...

GAMES games are played in one process for each reducer; SOREX_DND_GAMES plays more of them, SOREX_DND_SEED others. Of each game the
tables, the dice and what became of every message are compared with the rules', and the reducers with each other."""
import json, os, pathlib, subprocess, sys, tempfile

import generate

MESSAGES_MAX = 250
OUTCOME = """select jsonb_build_object(
    'game', (select jsonb_build_object('phase', phase, 'turn', turn, 'active', active, 'winner', victor(), 'seed', seed) from game),
    'players', (select coalesce(jsonb_agg(p order by seat), '[]') from players p),
    'units', (select coalesce(jsonb_agg(u order by name collate "C"), '[]') from units u),
    'events', (select coalesce(jsonb_agg(to_jsonb(e) - 'at' order by message), '[]') from events e),
    'late', (select count(*) from events e join sorex.messages m on m.index = e.message where date_trunc('milliseconds', e.at) <> m.time),
    'rows', encode(sha256(convert_to(concat(
        (select string_agg(t::text, '' order by y) from terrain t), (select string_agg(c::text, '' order by class) from classes c),
        (select string_agg(p::text, '' order by seat) from players p), (select string_agg(u::text, '' order by name) from units u),
        (select string_agg(e::text, '' order by message) from events e)), 'UTF8')), 'hex'),
    'verdicts', (select coalesce(jsonb_agg(jsonb_build_array(status, code, reason) order by index), '[]') from sorex.messages))"""


def game_write(seed, path):
    """Plays by the rules into a log; returns what the tables are to be."""
    game, verdicts = generate.Generator(seed, breaks=(0.15, 0.4, 0.05)[seed % 3]), []
    with open(path, "w", encoding="utf-8") as file:
        over = 0
        while game.index < MESSAGES_MAX and over < 5:  # what comes after the end is rejected
            line, verdict = game.next()
            file.write(json.dumps(line) + "\n")
            verdicts.append(verdict)
            over += game.game.phase == "over"
    return {**game.game.state(), "late": 0, "verdicts": verdicts}


def play(program, reducer, logs):
    done = subprocess.run([program, reducer, OUTCOME, *map(str, logs)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"play {reducer}: exit code {done.returncode}: {done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdict_of(status, code, reason):
    """As the rules say it: a constraint's refusal begins with its SQLSTATE."""
    return None if status == "applied" else (code, "" if code else reason[:5])


def differences(got, want):
    for name in want:
        if got[name] != want[name]:
            yield f"{name}: got {json.dumps(got[name])[:1500]}\n  want {json.dumps(want[name])[:1500]}"


def coverage(games):
    """Nothing is compared that did not happen: every rule was broken, both sides have won."""
    verdicts = {verdict for game in games for verdict in game["verdicts"]}
    winners = {game["game"]["winner"] for game in games}
    missing = {(code, "") for code in range(1, 15)} | {(0, state) for state in ("23502", "23505", "23514")}
    missing -= verdicts
    if missing or not {"ann", "bob"} <= winners:
        sys.exit(f"these games are too tame: no message was refused with {sorted(missing)}, winners {winners}")


def example_check():
    """The example's log is what its seed gives."""
    log = pathlib.Path(__file__).resolve().parents[2] / "examples" / "dnd" / "game.jsonl"
    game = generate.Generator(384, breaks=0.08)
    for number, line in enumerate(log.read_text(encoding="utf-8").splitlines(), 1):
        if json.loads(line) != game.next()[0]:
            sys.exit(f"{log}:{number}: generate.py 384 1000 0.08 gives another message")
    if game.game.winner is None:
        sys.exit(f"{log}: nobody has won")


def main():
    example_check()
    program, count, reducers = sys.argv[1], int(os.environ.get("SOREX_DND_GAMES", sys.argv[2])), sys.argv[3:]
    first = int(os.environ.get("SOREX_DND_SEED", 1))
    with tempfile.TemporaryDirectory(prefix="sorex-dnd-") as folder:
        seeds = range(first, first + count)
        logs = [pathlib.Path(folder) / f"{seed}.jsonl" for seed in seeds]
        wanted = [game_write(seed, log) for seed, log in zip(seeds, logs)]
        if first == 1 or count >= 300:
            coverage(wanted)
        rows = None  # of the first reducer, those that the rules do not know too
        for reducer in reducers:
            games = play(program, reducer, logs)
            if len(games) != count:
                sys.exit(f"{reducer}: {len(games)} games of {count}")
            for seed, got, want in zip(seeds, games, wanted):
                got["verdicts"] = [verdict_of(*verdict) for verdict in got["verdicts"]]
                for text in differences(got, want):
                    sys.exit(f"{reducer}: game of seed {seed}: {text}")
            rows = rows or [game["rows"] for game in games]
            if rows != [game["rows"] for game in games]:
                sys.exit(f"{reducer}: other rows than those of {reducers[0]}")
            print(f"{os.path.basename(reducer)}: {count} games, {sum(len(w['verdicts']) for w in wanted)} messages")


main()
