//! A small game of war as a reducer: two players, a board of 16 by 12 cells, units that walk and strike.
//!
//! A message is one action: {"spawn":{"unit":"orc-1","class":"orc","x":1,"y":4}}, {"start":{}},
//! {"move":{"unit":"orc-1","x":5,"y":4}}, {"attack":{"unit":"orc-1","target":"elf-1"}}, {"end_turn":{}}. Its author is
//! the player. PostgreSQL reads the JSON and holds every rule that a constraint can hold; docs/guides/reducers.md builds
//! the game step by step. guests/dnd/dnd.c is the same game in C: equal logs give equal tables.
const std = @import("std");
const sorex = @import("sorex");

const width = 16;
const height = 12;
const cells = width * height;
const camp_width = 3; // columns at either side
const units_max = 6;
const cover = 2; // of trees, on top of a unit's armour
const too_many = 255;

const Refusal = enum(i32) {
    malformed = 1,
    no_action,
    no_player,
    not_now,
    not_your_turn,
    no_unit,
    not_yours,
    dead,
    no_class,
    full,
    no_place,
    too_far,
    spent,
    no_target,
};

fn require(condition: bool, code: Refusal, reason: []const u8) void {
    if (!condition) sorex.reject(@intFromEnum(code), reason);
}

/// The message, and where the game stands.
const Turn = struct {
    author: []const u8,
    action: []const u8,
    unit: ?[]const u8,
    class: ?[]const u8,
    target: ?[]const u8,
    x: ?i64,
    y: ?i64,
    camp: bool,
    battle: bool,
    number: i64, // of the turn
    active: i64, // 0: nobody's turn
    seat: i64, // 0: the author has none

    fn read() Turn {
        const no_message = "a message is an object with one action";
        const author = sorex.author();
        const s = sorex.prepare(
            \\select key, value->>'unit', value->>'class', value->>'target', (value->>'x')::smallint, (value->>'y')::smallint,
            \\  phase, turn, active, (select seat from players where name = $2)
            \\from jsonb_each($1::text::jsonb) cross join game
        );
        s.bind_all(.{ sorex.payload(), author });
        require(s.tryStep() == .row, .malformed, no_message);
        const phase = s.text(6).?;
        const turn: Turn = .{
            .author = author,
            .action = s.text(0).?,
            .unit = s.text(1),
            .class = s.text(2),
            .target = s.text(3),
            .x = s.int(4),
            .y = s.int(5),
            .camp = std.mem.eql(u8, phase, "camp"),
            .battle = std.mem.eql(u8, phase, "battle"),
            .number = s.int(7).?,
            .active = s.int(8) orelse 0,
            .seat = s.int(9) orelse 0,
        };
        require(s.tryStep() == .done, .malformed, no_message);
        return turn;
    }

    /// The cell of the message.
    fn place(turn: Turn) struct { i64, i64 } {
        require(turn.x != null and turn.y != null, .malformed, "x and y are missing");
        return .{ turn.x.?, turn.y.? };
    }
};

/// What goes into the table `events`.
const Event = struct {
    unit: ?[]const u8 = null,
    target: ?[]const u8 = null,
    x: ?i64 = null,
    y: ?i64 = null,
    steps: ?i64 = null,
    roll: ?i64 = null,
    damage: ?i64 = null,

    fn write(event: Event, turn: Turn) void {
        sorex.run(
            \\insert into events (message, player, action, unit, target, x, y, steps, roll, damage)
            \\values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        , .{
            sorex.index(), turn.author, turn.action, event.unit, event.target,
            event.x,       event.y,     event.steps, event.roll, event.damage,
        });
    }
};

// ---- dice ----

/// Two numbers for whatever is decided next. The seed is a chain of hashes over what was done, so dice are a function of
/// the game alone: neither the reducer's language nor white space in a message changes them.
fn roll_dice(what: ?[]const u8, whom: ?[]const u8) struct { i64, i64 } {
    const s = sorex.query(
        \\update game set seed = sha256(seed || convert_to(concat_ws('>', $1::text, $2::text), 'UTF8'))
        \\returning substring(seed from 1 for 4)::bigint, substring(seed from 5 for 4)::bigint
    , .{ what, whom });
    defer s.reset();
    return .{ s.int(0).?, s.int(1).? };
}

// ---- the board ----

fn on_board(x: i64, y: i64) bool {
    return x >= 0 and x < width and y >= 0 and y < height;
}

/// '.', '~', '^', '#'.
fn ground_at(x: i64, y: i64) i64 {
    const s = sorex.query("select ascii(substr(cells, $1::int + 1, 1)) from terrain where y = $2", .{ x, y });
    defer s.reset();
    return s.int(0).?;
}

/// What it costs to step on each cell; too_many: nobody can.
fn read_board() [cells]u8 {
    var cost: [cells]u8 = undefined;
    const terrain = sorex.query("select string_agg(cells, '' order by y) from terrain", .{});
    for (terrain.text(0).?, &cost) |ground, *c| {
        c.* = switch (ground) {
            '#' => too_many,
            '.' => 1,
            else => 2,
        };
    }
    terrain.reset();
    const units = sorex.prepare("select y * 16 + x from units where hp > 0");
    while (units.step()) cost[@intCast(units.int(0).?)] = too_many;
    return cost;
}

/// The least number of steps from one cell to another; above `most` when those do not do. Goes over the board again and
/// again until no cell can be had for less: it is small.
fn steps_between(cost: [cells]u8, from: usize, to: usize, most: i64) i64 {
    var steps = [_]u8{too_many} ** cells;
    steps[from] = 0;
    var changed = true;
    while (changed) {
        changed = false;
        for (0..cells) |i| {
            if (steps[i] >= most) continue;
            const neighbours = [_]?usize{
                if (i % width > 0) i - 1 else null,
                if (i % width < width - 1) i + 1 else null,
                if (i >= width) i - width else null,
                if (i < cells - width) i + width else null,
            };
            for (neighbours) |neighbour| {
                const n = neighbour orelse continue;
                const sum = steps[i] +| cost[n];
                if (sum < steps[n]) {
                    steps[n] = sum;
                    changed = true;
                }
            }
        }
    }
    return steps[to];
}

// ---- units ----

const Unit = struct {
    seat: i64,
    x: i64,
    y: i64,
    hp: i64,
    steps: i64,
    ready: bool,
    armour: i64,
    bonus: i64,
    die: i64,
    reach: i64,

    /// With the steps and the strike that it has in this turn.
    fn read(turn: Turn, name: ?[]const u8) ?Unit {
        const s = sorex.prepare(
            \\select seat, x, y, hp, case acted when $2 then steps else speed end, ready or acted <> $2,
            \\  armour, bonus, die, reach from units where name = $1
        );
        s.bind_all(.{ name, turn.number });
        if (!s.step()) return null;
        defer s.reset();
        return .{
            .seat = s.int(0).?,
            .x = s.int(1).?,
            .y = s.int(2).?,
            .hp = s.int(3).?,
            .steps = s.int(4).?,
            .ready = s.int(5).? != 0,
            .armour = s.int(6).?,
            .bonus = s.int(7).?,
            .die = s.int(8).?,
            .reach = s.int(9).?,
        };
    }

    /// The living unit of the message, which is its author's.
    fn own(turn: Turn) Unit {
        const unit = read(turn, turn.unit) orelse sorex.reject(@intFromEnum(Refusal.no_unit), "there is no such unit");
        require(unit.seat == turn.seat, .not_yours, "the unit is not yours");
        require(unit.hp > 0, .dead, "the unit is dead");
        return unit;
    }
};

fn living(seat: i64) i64 {
    const s = sorex.query("select count(*) from units where seat = $1 and hp > 0", .{seat});
    defer s.reset();
    return s.int(0).?;
}

// ---- actions ----

fn take_seat(turn: Turn) i64 {
    const s = sorex.prepare(
        \\insert into players select count(*) + 1, $1 from players having count(*) < 2 and $1 <> '' returning seat
    );
    s.bind(1, turn.author);
    require(s.step(), .no_player, "both seats are taken");
    defer s.reset();
    return s.int(0).?;
}

fn spawn(turn: Turn) Event {
    const seat = if (turn.seat != 0) turn.seat else take_seat(turn);
    require(living(seat) < units_max, .full, "six units are enough");
    const x, const y = turn.place();
    require(on_board(x, y) and ground_at(x, y) != '#', .no_place, "nobody can stand there");
    require(if (seat == 1) x < camp_width else x >= width - camp_width, .no_place, "that is outside of your camp");
    // A name that is none or that is taken, a cell that is taken: constraints.
    sorex.run(
        \\insert into units (name, seat, class, x, y, hp, armour, bonus, die, reach, speed)
        \\select $1, $2, class, $4, $5, hp, armour, bonus, die, reach, speed from classes where class = $3
    , .{ turn.unit, seat, turn.class, x, y });
    require(sorex.changes() == 1, .no_class, "there is no such class");
    _ = roll_dice(turn.unit, null);
    return .{ .unit = turn.unit, .x = x, .y = y };
}

fn give_turn(seat: i64) void {
    sorex.run("update game set active = $1, turn = turn + 1", .{seat});
}

fn start(_: Turn) Event {
    require(living(1) > 0 and living(2) > 0, .not_now, "both sides need a unit");
    const first, _ = roll_dice("start", null);
    sorex.run("update game set phase = 'battle'", .{});
    give_turn(1 + @rem(first, 2));
    return .{};
}

fn move(turn: Turn) Event {
    const unit = Unit.own(turn);
    const x, const y = turn.place();
    const cost = read_board();
    require(on_board(x, y) and cost[@intCast(y * width + x)] != too_many, .no_place, "nobody can stand there");
    const steps = steps_between(cost, @intCast(unit.y * width + unit.x), @intCast(y * width + x), unit.steps);
    require(steps <= unit.steps, .too_far, "that is too far");
    sorex.run("update units set x = $2, y = $3, acted = $4, steps = $5, ready = $6 where name = $1", .{
        turn.unit, x, y, turn.number, unit.steps - steps, unit.ready,
    });
    return .{ .unit = turn.unit, .x = x, .y = y, .steps = steps };
}

/// 20 always hits, twice as hard; 1 never does.
fn damage_of(unit: Unit, target: Unit, roll: i64, die: i64) i64 {
    const armour = target.armour + @as(i64, if (ground_at(target.x, target.y) == '^') cover else 0);
    if (roll == 20) return 2 * die;
    return if (roll > 1 and roll + unit.bonus >= armour) die else 0;
}

fn attack(turn: Turn) Event {
    const unit = Unit.own(turn);
    const target = Unit.read(turn, turn.target);
    require(target != null and target.?.seat != turn.seat and target.?.hp > 0, .no_target, "there is no such enemy");
    require(unit.ready, .spent, "the unit has struck in this turn");
    const enemy = target.?;
    require(@max(@abs(unit.x - enemy.x), @abs(unit.y - enemy.y)) <= unit.reach, .too_far, "that is too far");

    const first, const second = roll_dice(turn.unit, turn.target);
    const roll = 1 + @rem(first, 20);
    const damage = damage_of(unit, enemy, roll, 1 + @rem(second, unit.die));
    sorex.run("update units set acted = $2, steps = $3, ready = false where name = $1", .{ turn.unit, turn.number, unit.steps });
    sorex.run("update units set hp = greatest(hp - $2, 0) where name = $1", .{ turn.target, damage });
    if (damage >= enemy.hp and living(enemy.seat) == 0) {
        sorex.run("update game set phase = 'over', winner = $1", .{turn.seat});
    }
    return .{ .unit = turn.unit, .target = turn.target, .roll = roll, .damage = damage };
}

fn end_turn(turn: Turn) Event {
    give_turn(3 - turn.active);
    return .{};
}

const Action = enum { spawn, start, move, attack, end_turn };

fn play(turn: Turn) void {
    const action = std.meta.stringToEnum(Action, turn.action) orelse
        sorex.reject(@intFromEnum(Refusal.no_action), "there is no such action");
    require(if (action == .spawn or action == .start) turn.camp else turn.battle, .not_now, "not now");
    require(action == .spawn or turn.seat != 0, .no_player, "you are no player");
    require(turn.camp or turn.seat == turn.active, .not_your_turn, "it is not your turn");
    const event = switch (action) {
        .spawn => spawn(turn),
        .start => start(turn),
        .move => move(turn),
        .attack => attack(turn),
        .end_turn => end_turn(turn),
    };
    event.write(turn);
}

export fn schema() i32 {
    var statements = std.mem.splitSequence(u8, @embedFile("schema.sql"), "\n\n");
    while (statements.next()) |statement| sorex.run(statement, .{});
    return 0;
}

export fn reduce() i32 {
    play(Turn.read());
    return 0;
}
