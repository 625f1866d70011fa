"""The rules of the game, once more and from their description: what a reducer in any language has to come to.

A Game takes messages and says of each None (applied) or (code, sqlstate): a rule's own code, or 0 and the SQLSTATE of the constraint
that it broke. `state()` is what the tables then have."""
import hashlib, heapq, json, re

WIDTH, HEIGHT = 16, 12
TERRAIN = """
................
...~~....^^.....
#...~....^......
......##........
..^...##...~~...
..^^........~...
...~........^^..
...~~...##...^..
........##......
......^....~...#
.....^^....~~...
................
""".split()
COST = {".": 1, "~": 2, "^": 2}
COVER = 2
# class: hp, armour, bonus, die, reach, speed
CLASSES = {"knight": (16, 16, 5, 8, 1, 4), "ranger": (10, 13, 5, 6, 5, 5), "mage": (8, 11, 6, 10, 4, 4),
           "orc": (14, 13, 4, 10, 1, 5), "goblin": (9, 14, 4, 6, 3, 6), "troll": (22, 12, 3, 12, 1, 3)}
UNITS_MAX = 6

(MALFORMED, NO_ACTION, NO_PLAYER, NOT_NOW, NOT_YOUR_TURN, NO_UNIT, NOT_YOURS, DEAD, NO_CLASS, FULL, NO_PLACE, TOO_FAR, SPENT,
 NO_TARGET) = range(1, 15)
NOT_NULL, CHECK, UNIQUE = (0, "23502"), (0, "23514"), (0, "23505")


class Refused(Exception):
    def __init__(self, code, sqlstate=""):
        super().__init__(code)
        self.verdict = (code, sqlstate)


def require(condition, code):
    if not condition:
        raise Refused(code)


class Unit:
    def __init__(self, name, seat, kind, x, y):
        self.name, self.seat, self.kind, self.x, self.y = name, seat, kind, x, y
        self.hp, self.armour, self.bonus, self.die, self.reach, self.speed = CLASSES[kind]
        self.acted, self.steps, self.ready = 0, 0, False

    def left(self, turn):
        """The steps that it has in a turn, and whether it may strike."""
        return (self.steps, self.ready) if self.acted == turn else (self.speed, True)

    def act(self, turn, steps, ready):
        self.acted, self.steps, self.ready = turn, steps, ready

    def row(self):
        return {"name": self.name, "seat": self.seat, "class": self.kind, "x": self.x, "y": self.y, "hp": self.hp,
                "armour": self.armour, "bonus": self.bonus, "die": self.die, "reach": self.reach, "speed": self.speed, "acted": self.acted,
                "steps": self.steps, "ready": self.ready}


def parse(payload):
    """(action, fields) of a payload's text, as PostgreSQL reads it: no NUL in a text, coordinates of 16 bits."""
    try:
        message = json.loads(payload)
    except ValueError:
        raise Refused(MALFORMED) from None
    require(isinstance(message, dict) and len(message) == 1, MALFORMED)
    action, fields = next(iter(message.items()))
    if not isinstance(fields, dict):
        fields = {}
    out = {}
    for name in ("unit", "class", "target"):
        value = fields.get(name)
        require(value is None or isinstance(value, str) and "\0" not in value, MALFORMED)  # the generator makes no others
        out[name] = value
    for name in ("x", "y"):
        value = fields.get(name)
        if isinstance(value, str):
            require(re.fullmatch(r"-?[0-9]+", value), MALFORMED)
            value = int(value)
        require(value is None or type(value) is int and -32768 <= value <= 32767, MALFORMED)
        out[name] = value
    return action, out


class Game:
    def __init__(self):
        self.players, self.units, self.events = [], {}, []
        self.phase, self.turn, self.active, self.winner = "camp", 0, None, None
        self.seed = hashlib.sha256(b"sorex dnd").digest()

    def apply(self, index, author, payload):
        try:
            event = self._apply(author, payload)
        except Refused as refused:
            return refused.verdict
        self.events.append({"message": index, "player": author, "unit": None, "target": None, "x": None, "y": None, "steps": None,
                            "roll": None, "damage": None, **event})
        return None

    def _apply(self, author, payload):
        action, m = parse(payload)
        act = {"spawn": self._spawn, "start": self._start, "move": self._move, "attack": self._attack,
               "end_turn": self._end_turn}.get(action)
        require(act, NO_ACTION)
        seat = self.players.index(author) + 1 if author in self.players else 0
        require(self.phase == ("camp" if action in ("spawn", "start") else "battle"), NOT_NOW)
        if action != "spawn":
            require(seat, NO_PLAYER)
        if self.phase == "battle":
            require(seat == self.active, NOT_YOUR_TURN)
        return {"action": action, **act(seat, author, m)}

    def _dice(self, text):
        self.seed = hashlib.sha256(self.seed + text.encode()).digest()
        return int.from_bytes(self.seed[0:4], "big"), int.from_bytes(self.seed[4:8], "big")

    def living(self, seat):
        return [u for u in self.units.values() if u.seat == seat and u.hp > 0]

    def at(self, x, y):
        return next((u for u in self.units.values() if u.hp > 0 and (u.x, u.y) == (x, y)), None)

    def _spawn(self, seat, author, m):
        new = seat == 0
        if new:
            require(len(self.players) < 2 and author, NO_PLAYER)
            seat = len(self.players) + 1
        require(len(self.living(seat)) < UNITS_MAX, FULL)
        x, y = m["x"], m["y"]
        require(x is not None and y is not None, MALFORMED)
        require(0 <= x < WIDTH and 0 <= y < HEIGHT and TERRAIN[y][x] != "#", NO_PLACE)
        require(x < 3 if seat == 1 else x >= WIDTH - 3, NO_PLACE)
        require(m["class"] in CLASSES, NO_CLASS)
        if m["unit"] is None:
            raise Refused(*NOT_NULL)
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,15}", m["unit"]):
            raise Refused(*CHECK)
        if m["unit"] in self.units or self.at(x, y):
            raise Refused(*UNIQUE)
        if new:
            self.players.append(author)
        self.units[m["unit"]] = Unit(m["unit"], seat, m["class"], x, y)
        self._dice(m["unit"])
        return {"unit": m["unit"], "x": x, "y": y}

    def _start(self, *_):
        require(self.living(1) and self.living(2), NOT_NOW)
        first, _ = self._dice("start")
        self.phase = "battle"
        self._turn(1 + first % 2)
        return {}

    def _turn(self, seat):
        self.active, self.turn = seat, self.turn + 1

    def _end_turn(self, *_):
        self._turn(3 - self.active)
        return {}

    def _own(self, seat, name):
        unit = self.units.get(name)
        require(unit, NO_UNIT)
        require(unit.seat == seat, NOT_YOURS)
        require(unit.hp > 0, DEAD)
        return unit

    def reachable(self, unit):
        """Cells and the steps that they cost."""
        cost, heap, most = {(unit.x, unit.y): 0}, [(0, unit.x, unit.y)], unit.left(self.turn)[0]
        while heap:
            so_far, x, y = heapq.heappop(heap)
            for nx, ny in ((x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)):
                if not (0 <= nx < WIDTH and 0 <= ny < HEIGHT) or TERRAIN[ny][nx] == "#" or self.at(nx, ny):
                    continue
                total = so_far + COST[TERRAIN[ny][nx]]
                if total <= most and total < cost.get((nx, ny), 99):
                    cost[nx, ny] = total
                    heapq.heappush(heap, (total, nx, ny))
        del cost[unit.x, unit.y]
        return cost

    def _move(self, seat, _, m):
        unit, x, y = self._own(seat, m["unit"]), m["x"], m["y"]
        require(x is not None and y is not None, MALFORMED)
        require(0 <= x < WIDTH and 0 <= y < HEIGHT and TERRAIN[y][x] != "#" and not self.at(x, y), NO_PLACE)
        steps = self.reachable(unit).get((x, y))
        require(steps is not None, TOO_FAR)
        left, ready = unit.left(self.turn)
        unit.x, unit.y = x, y
        unit.act(self.turn, left - steps, ready)
        return {"unit": unit.name, "x": x, "y": y, "steps": steps}

    def _attack(self, seat, _, m):
        unit, target = self._own(seat, m["unit"]), self.units.get(m["target"])
        require(target and target.seat != seat and target.hp > 0, NO_TARGET)
        left, ready = unit.left(self.turn)
        require(ready, SPENT)
        require(max(abs(unit.x - target.x), abs(unit.y - target.y)) <= unit.reach, TOO_FAR)
        first, second = self._dice(f"{unit.name}>{target.name}")
        roll, damage = 1 + first % 20, 0
        armour = target.armour + (COVER if TERRAIN[target.y][target.x] == "^" else 0)
        if roll == 20 or (roll > 1 and roll + unit.bonus >= armour):
            damage = (1 + second % unit.die) * (2 if roll == 20 else 1)
        target.hp = max(0, target.hp - damage)
        unit.act(self.turn, left, False)
        if not self.living(target.seat):
            self.phase, self.winner = "over", self.players[seat - 1]
        return {"unit": unit.name, "target": target.name, "roll": roll, "damage": damage}

    def state(self):
        return {"game": {"phase": self.phase, "turn": self.turn, "active": self.active, "winner": self.winner,
                         "seed": "\\x" + self.seed.hex()},
                "players": [{"seat": seat, "name": name} for seat, name in enumerate(self.players, 1)],
                "units": [self.units[name].row() for name in sorted(self.units)],
                "events": self.events}
