"""A game that nobody wins: as tests/dnd/generate.py plays, but who is hurt is spared. Legal and illegal messages.

usage: long_game.py SEED MESSAGES"""
import json, pathlib, sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests" / "dnd"))
import generate


class LongGame(generate.Generator):
    def _spare(self, author, payload):
        hit = payload.get("attack") if isinstance(payload, dict) else None
        target = self.game.units.get(hit.get("target")) if isinstance(hit, dict) else None
        return (author, {"end_turn": {}}) if target is not None and target.hp <= 12 else (author, payload)

    def _sensible(self):
        return self._spare(*super()._sensible())

    def _rule_breaker(self):
        return self._spare(*super()._rule_breaker())


def main():
    game = LongGame(int(sys.argv[1]))
    for _ in range(int(sys.argv[2])):
        print(json.dumps(game.next()[0], separators=(",", ":")))
    print(game.game.phase, file=sys.stderr)


main()
