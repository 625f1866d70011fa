"""Games by dice: a log of messages, one JSON line each, as `sorex derive` reads them. Equal seeds give equal logs.

    generate.py SEED [MESSAGES [BREAKS]]

Both sides play sensibly most of the time (they walk up to each other and strike), wander sometimes, and break every rule now and
then: other people's units, dead ones, walls, too far, out of turn, no JSON."""
import json, random, sys

import rules

NAMES = ("ann", "bob")
CAMPS = (range(0, 3), range(rules.WIDTH - 3, rules.WIDTH))
BROKEN = ("", "fight!", "[]", "{}", "7", "null", '"move"', '{"move":{}', '{"move":{"unit":"k","x":1.5,"y":2}}',
          '{"move":{"unit":"k","x":true,"y":2}}', '{"spawn":{"unit":"k"},"start":{}}', '{"spawn":{"unit":"k","x":99999,"y":1}}',
          '{"spawn":{"unit":"k\\u0000","class":"orc","x":1,"y":1}}', '{"move":{"unit":"k","x":"one","y":2}}')


class Generator:
    def __init__(self, seed, breaks=0.15):
        self.random = random.Random(seed)
        self.breaks = breaks  # how often a rule is broken on purpose
        self.game = rules.Game()
        self.time = 1_700_000_000_000
        self.index = 0
        self.plan = self._plan()

    def _plan(self):
        """Who brings what, in turns."""
        dice = self.random
        sizes = [dice.randint(2, rules.UNITS_MAX)] * 2
        plan = []
        for number in range(max(sizes)):
            for seat in (0, 1):
                kind = dice.choice(list(rules.CLASSES))
                plan.append((NAMES[seat], f"{kind}-{number + 1}" if seat == 0 else f"{kind}-{chr(ord('a') + number)}", kind))
        return plan[::-1]

    def next(self):
        """(line, verdict): the next message, played."""
        author, payload = self._rule_breaker() if self.random.random() < self.breaks else self._sensible()
        self.time += self.random.randint(0, 60_000)
        raw = payload if isinstance(payload, str) else json.dumps(payload)
        verdict = self.game.apply(self.index, author, raw)
        self.index += 1
        return {"time": self.time, "author": author, "payload": payload}, verdict

    def _sensible(self):
        game, dice = self.game, self.random
        if game.phase == "camp":
            if not self.plan:
                return dice.choice(NAMES), {"start": {}}
            author, unit, kind = self.plan[-1]
            x, y = self._free(CAMPS[NAMES.index(author)])
            self.plan.pop()
            return author, {"spawn": {"unit": unit, "class": kind, "x": x, "y": y}}
        if game.phase == "over":
            return dice.choice(NAMES), {"end_turn": {}}
        return game.players[game.active - 1], self._play()

    def _free(self, columns):
        while True:
            x, y = self.random.choice(columns), self.random.randrange(rules.HEIGHT)
            if rules.TERRAIN[y][x] != "#" and not self.game.at(x, y):
                return x, y

    def _play(self):
        game, dice = self.game, self.random
        enemies = game.living(3 - game.active)

        def far(x, y):
            return min(max(abs(x - e.x), abs(y - e.y)) for e in enemies)
        for unit in game.living(game.active):
            near = [e for e in enemies if max(abs(unit.x - e.x), abs(unit.y - e.y)) <= unit.reach]
            steps, ready = unit.left(game.turn)
            if ready and near:
                weakest = min(near, key=lambda e: (e.hp, e.name))
                return {"attack": {"unit": unit.name, "target": weakest.name}}
            cells = sorted(game.reachable(unit).items()) if ready and steps else []
            if cells and dice.random() < 0.1:
                (x, y), _ = dice.choice(cells)
                return {"move": {"unit": unit.name, "x": x, "y": y}}
            better = [(max(far(*cell), unit.reach), steps, cell) for cell, steps in cells]
            if better and min(better)[0] < max(far(unit.x, unit.y), unit.reach):
                x, y = min(better)[2]
                return {"move": {"unit": unit.name, "x": x, "y": y}}
        return {"end_turn": {}}

    def _rule_breaker(self):
        """Anything; by chance some of it is legal."""
        game, dice = self.game, self.random
        unit, target = (dice.choice([*game.units, "nobody", "Knight!"]) for _ in range(2))
        place = {"x": dice.randint(-1, rules.WIDTH), "y": dice.randint(-1, rules.HEIGHT)}
        camp = {"x": dice.choice((0, 1, 2, 13, 14, 15)), "y": dice.randint(0, rules.HEIGHT - 1)}
        kind = dice.choice([*rules.CLASSES, "dragon"])
        other = [{"fly": {"unit": unit}}, {"start": {}}, {"end_turn": {}}, dice.choice(BROKEN)]
        spawns = [{"spawn": {"unit": name, "class": kind, **where}}
                  for name in (unit, f"extra-{self.index}", "Loud!") for where in (camp, place, {})] + [{"spawn": {"class": kind, **camp}}]
        moves = [{"move": {"unit": unit, **where}} for where in (place, place, {})]
        moves += [{"attack": {"unit": unit, "target": who}} for who in (target, target, None)]
        author = dice.choice((*NAMES, *NAMES, "eve", ""))
        if dice.random() < 0.7:  # somebody whose turn it is, about something that is on
            if game.phase == "camp":
                return dice.choice(NAMES), dice.choice(spawns + other)
            if game.phase == "battle":
                return game.players[game.active - 1], dice.choice(moves)
        return author, dice.choice(spawns + moves + other)


def main():
    seed, messages, breaks = (*sys.argv[1:], *("", "1000", "0.15")[len(sys.argv) - 1:])
    generator = Generator(int(seed), breaks=float(breaks))
    for _ in range(int(messages)):
        print(json.dumps(generator.next()[0], separators=(",", ":")))
        if generator.game.phase == "over":
            break


if __name__ == "__main__":
    main()
