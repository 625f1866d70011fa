/* A small game of war as a reducer: two players, a board of 16 by 12 cells, units that walk and strike.
 *
 * A message is one action: {"spawn":{"unit":"orc-1","class":"orc","x":1,"y":4}}, {"start":{}},
 * {"move":{"unit":"orc-1","x":5,"y":4}}, {"attack":{"unit":"orc-1","target":"elf-1"}}, {"end_turn":{}}. Its author is
 * the player. PostgreSQL reads the JSON and holds every rule that a constraint can hold; docs/guides/reducers.md builds
 * the game step by step. guests/dnd/dnd.zig is the same game in Zig: equal logs give equal tables. */
#include "sorex/reducer.h"
#include "schema.h"

#define WIDTH 16
#define HEIGHT 12
#define CELLS (WIDTH * HEIGHT)
#define CAMP 3 /* columns at either side */
#define UNITS_MAX 6
#define COVER 2 /* of trees, on top of a unit's armour */
#define TOO_MANY 255

enum refusal {
    MALFORMED = 1,
    NO_ACTION,
    NO_PLAYER,
    NOT_NOW,
    NOT_YOUR_TURN,
    NO_UNIT,
    NOT_YOURS,
    DEAD,
    NO_CLASS,
    FULL,
    NO_PLACE,
    TOO_FAR,
    SPENT,
    NO_TARGET
};

/* The message, and where the game stands. */
struct turn {
    struct sx_bytes author, action, unit, class, target;
    int64_t x, y;
    bool placed; /* x and y are there */
    bool camp, battle;
    int64_t seat, active; /* 0: the author has none; nobody's turn */
    int64_t number;       /* of the turn */
};

struct unit {
    int64_t seat, x, y, hp, steps, armour, bonus, die, reach;
    bool ready;
};

/* What goes into the table events. */
struct event {
    struct sx_bytes unit, target; /* data NULL: none */
    bool placed, moved, struck;   /* x and y, steps, roll and damage are there */
    int64_t x, y, steps, roll, damage;
};

static const struct sx_bytes nothing;

static void require(bool condition, enum refusal code, const char *reason)
{
    if (!condition)
        sx_reject((int32_t)code, reason);
}

static bool on_board(int64_t x, int64_t y) { return x >= 0 && x < WIDTH && y >= 0 && y < HEIGHT; }

/* ---- the message ---- */

static bool text_is(struct sx_bytes text, const char *word) { return sx_bytes_equal(text, sx_str(word)); }

static struct turn turn_read(void)
{
    struct turn turn = {.author = sx_message_author()};
    int32_t s = sx_prepare("select key, value->>'unit', value->>'class', value->>'target',"
                           " (value->>'x')::smallint, (value->>'y')::smallint,"
                           " phase, turn, active, (select seat from players where name = $2)"
                           " from jsonb_each($1::text::jsonb) cross join game");
    sx_bind_text(s, 1, sx_message());
    sx_bind_text(s, 2, turn.author);
    require(sx_try_step(s) == SX_ROW, MALFORMED, "a message is an object with one action");
    turn.action = sx_column_text(s, 0);
    turn.unit = sx_column_text(s, 1);
    turn.class = sx_column_text(s, 2);
    turn.target = sx_column_text(s, 3);
    turn.placed = !sx_column_is_null(s, 4) && !sx_column_is_null(s, 5);
    turn.x = sx_column_i64(s, 4);
    turn.y = sx_column_i64(s, 5);
    struct sx_bytes phase = sx_column_text(s, 6);
    turn.camp = text_is(phase, "camp");
    turn.battle = text_is(phase, "battle");
    turn.number = sx_column_i64(s, 7);
    turn.active = sx_column_i64(s, 8);
    turn.seat = sx_column_i64(s, 9);
    require(sx_try_step(s) == SX_DONE, MALFORMED, "a message is an object with one action");
    return turn;
}

static void bind_some(int32_t s, int32_t i, bool there, int64_t value)
{
    if (there)
        sx_bind_i64(s, i, value);
    else
        sx_bind_null(s, i);
}

static void event_write(const struct turn *turn, const struct event *event)
{
    int32_t s = sx_prepare("insert into events (message, player, action, unit, target, x, y, steps, roll, damage)"
                           " values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)");
    sx_bind_i64(s, 1, sx_message_index());
    sx_bind_text(s, 2, turn->author);
    sx_bind_text(s, 3, turn->action);
    sx_bind_text_or_null(s, 4, event->unit);
    sx_bind_text_or_null(s, 5, event->target);
    bind_some(s, 6, event->placed, event->x);
    bind_some(s, 7, event->placed, event->y);
    bind_some(s, 8, event->moved, event->steps);
    bind_some(s, 9, event->struck, event->roll);
    bind_some(s, 10, event->struck, event->damage);
    sx_run(s);
}

/* ---- dice ---- */

/* Two numbers for whatever is decided next. The seed is a chain of hashes over what was done, so dice are a function of
 * the game alone: neither the reducer's language nor white space in a message changes them. */
static void dice_roll(struct sx_bytes what, struct sx_bytes whom, int64_t out[2])
{
    int32_t s =
        sx_prepare("update game set seed = sha256(seed || convert_to(concat_ws('>', $1::text, $2::text), 'UTF8'))"
                   " returning substring(seed from 1 for 4)::bigint, substring(seed from 5 for 4)::bigint");
    sx_bind_text(s, 1, what);
    sx_bind_text_or_null(s, 2, whom);
    sx_step(s);
    out[0] = sx_column_i64(s, 0);
    out[1] = sx_column_i64(s, 1);
    sx_reset(s);
}

/* ---- the board ---- */

/* '.', '~', '^', '#'. */
static char ground_at(int64_t x, int64_t y)
{
    int32_t s = sx_prepare("select ascii(substr(cells, $1::int + 1, 1)) from terrain where y = $2");
    sx_bind_i64(s, 1, x);
    sx_bind_i64(s, 2, y);
    sx_step(s);
    char ground = (char)sx_column_i64(s, 0);
    sx_reset(s);
    return ground;
}

/* What it costs to step on each cell; TOO_MANY: nobody can. */
static void board_read(uint8_t cost[CELLS])
{
    int32_t s = sx_prepare("select string_agg(cells, '' order by y) from terrain");
    sx_step(s);
    struct sx_bytes cells = sx_column_text(s, 0);
    sx_reset(s);
    for (int i = 0; i < CELLS; i++)
        cost[i] = cells.data[i] == '#' ? TOO_MANY : cells.data[i] == '.' ? 1 : 2;
    s = sx_prepare("select y * 16 + x from units where hp > 0");
    while (sx_step(s))
        cost[sx_column_i64(s, 0)] = TOO_MANY;
}

static void relax(const uint8_t cost[CELLS], uint8_t steps[CELLS], int from, int to, bool *changed)
{
    unsigned sum = (unsigned)steps[from] + cost[to];
    if (sum >= steps[to])
        return;
    steps[to] = (uint8_t)sum;
    *changed = true;
}

/* The least number of steps from one cell to another; above `most` when those do not do. Goes over the board again and
 * again until no cell can be had for less: it is small. */
static int64_t steps_between(const uint8_t cost[CELLS], int from, int to, int64_t most)
{
    static uint8_t steps[CELLS];
    memset(steps, TOO_MANY, sizeof steps);
    steps[from] = 0;
    for (bool changed = true; changed;) {
        changed = false;
        for (int i = 0; i < CELLS; i++) {
            if (steps[i] >= most)
                continue;
            if (i % WIDTH > 0)
                relax(cost, steps, i, i - 1, &changed);
            if (i % WIDTH < WIDTH - 1)
                relax(cost, steps, i, i + 1, &changed);
            if (i >= WIDTH)
                relax(cost, steps, i, i - WIDTH, &changed);
            if (i < CELLS - WIDTH)
                relax(cost, steps, i, i + WIDTH, &changed);
        }
    }
    return steps[to];
}

/* ---- units ---- */

/* With the steps and the strike that it has in this turn. */
static bool unit_read(const struct turn *turn, struct sx_bytes name, struct unit *out)
{
    int32_t s = sx_prepare("select seat, x, y, hp, case acted when $2 then steps else speed end, ready or acted <> $2,"
                           " armour, bonus, die, reach from units where name = $1");
    sx_bind_text(s, 1, name);
    sx_bind_i64(s, 2, turn->number);
    bool found = sx_step(s);
    if (found)
        *out = (struct unit){.seat = sx_column_i64(s, 0),
                             .x = sx_column_i64(s, 1),
                             .y = sx_column_i64(s, 2),
                             .hp = sx_column_i64(s, 3),
                             .steps = sx_column_i64(s, 4),
                             .ready = sx_column_i64(s, 5) != 0,
                             .armour = sx_column_i64(s, 6),
                             .bonus = sx_column_i64(s, 7),
                             .die = sx_column_i64(s, 8),
                             .reach = sx_column_i64(s, 9)};
    sx_reset(s);
    return found;
}

/* The living unit of the message, which is its author's. */
static struct unit unit_own(const struct turn *turn)
{
    struct unit unit;
    require(unit_read(turn, turn->unit, &unit), NO_UNIT, "there is no such unit");
    require(unit.seat == turn->seat, NOT_YOURS, "the unit is not yours");
    require(unit.hp > 0, DEAD, "the unit is dead");
    return unit;
}

static int64_t living(int64_t seat)
{
    int32_t s = sx_prepare("select count(*) from units where seat = $1 and hp > 0");
    sx_bind_i64(s, 1, seat);
    sx_step(s);
    int64_t count = sx_column_i64(s, 0);
    sx_reset(s);
    return count;
}

/* ---- actions ---- */

static int64_t seat_take(const struct turn *turn)
{
    int32_t s = sx_prepare("insert into players select count(*) + 1, $1 from players having count(*) < 2 and $1 <> ''"
                           " returning seat");
    sx_bind_text(s, 1, turn->author);
    require(sx_step(s), NO_PLAYER, "both seats are taken");
    int64_t seat = sx_column_i64(s, 0);
    sx_reset(s);
    return seat;
}

static struct event spawn(const struct turn *turn)
{
    int64_t seat = turn->seat != 0 ? turn->seat : seat_take(turn), dice[2];
    require(living(seat) < UNITS_MAX, FULL, "six units are enough");
    require(turn->placed, MALFORMED, "x and y are missing");
    require(on_board(turn->x, turn->y) && ground_at(turn->x, turn->y) != '#', NO_PLACE, "nobody can stand there");
    require(seat == 1 ? turn->x < CAMP : turn->x >= WIDTH - CAMP, NO_PLACE, "that is outside of your camp");
    /* A name that is none or that is taken, a cell that is taken: constraints. */
    int32_t s = sx_prepare("insert into units (name, seat, class, x, y, hp, armour, bonus, die, reach, speed)"
                           " select $1, $2, class, $4, $5, hp, armour, bonus, die, reach, speed"
                           " from classes where class = $3");
    sx_bind_text_or_null(s, 1, turn->unit);
    sx_bind_i64(s, 2, seat);
    sx_bind_text(s, 3, turn->class);
    sx_bind_i64(s, 4, turn->x);
    sx_bind_i64(s, 5, turn->y);
    sx_run(s);
    require(sx_changes() == 1, NO_CLASS, "there is no such class");
    dice_roll(turn->unit, nothing, dice);
    return (struct event){.unit = turn->unit, .placed = true, .x = turn->x, .y = turn->y};
}

static void turn_give(int64_t seat)
{
    int32_t s = sx_prepare("update game set active = $1, turn = turn + 1");
    sx_bind_i64(s, 1, seat);
    sx_run(s);
}

static struct event start(const struct turn *turn)
{
    int64_t dice[2];
    (void)turn;
    require(living(1) > 0 && living(2) > 0, NOT_NOW, "both sides need a unit");
    dice_roll(sx_str("start"), nothing, dice);
    sx_run(sx_prepare("update game set phase = 'battle'"));
    turn_give(1 + dice[0] % 2);
    return (struct event){0};
}

static struct event move(const struct turn *turn)
{
    static uint8_t cost[CELLS];
    struct unit unit = unit_own(turn);
    require(turn->placed, MALFORMED, "x and y are missing");
    board_read(cost);
    int to = (int)(turn->y * WIDTH + turn->x);
    require(on_board(turn->x, turn->y) && cost[to] != TOO_MANY, NO_PLACE, "nobody can stand there");
    int64_t steps = steps_between(cost, (int)(unit.y * WIDTH + unit.x), to, unit.steps);
    require(steps <= unit.steps, TOO_FAR, "that is too far");
    int32_t s = sx_prepare("update units set x = $2, y = $3, acted = $4, steps = $5, ready = $6 where name = $1");
    sx_bind_text(s, 1, turn->unit);
    sx_bind_i64(s, 2, turn->x);
    sx_bind_i64(s, 3, turn->y);
    sx_bind_i64(s, 4, turn->number);
    sx_bind_i64(s, 5, unit.steps - steps);
    sx_bind_i64(s, 6, unit.ready);
    sx_run(s);
    return (struct event){
        .unit = turn->unit, .placed = true, .moved = true, .x = turn->x, .y = turn->y, .steps = steps};
}

static int64_t distance(const struct unit *a, const struct unit *b)
{
    int64_t dx = a->x > b->x ? a->x - b->x : b->x - a->x, dy = a->y > b->y ? a->y - b->y : b->y - a->y;
    return dx > dy ? dx : dy;
}

/* 20 always hits, twice as hard; 1 never does. */
static int64_t damage_of(const struct unit *unit, const struct unit *target, int64_t roll, int64_t die)
{
    int64_t armour = target->armour + (ground_at(target->x, target->y) == '^' ? COVER : 0);
    if (roll == 20)
        return 2 * die;
    return roll > 1 && roll + unit->bonus >= armour ? die : 0;
}

static struct event attack(const struct turn *turn)
{
    struct unit unit = unit_own(turn), target;
    int64_t dice[2];
    bool found = unit_read(turn, turn->target, &target);
    require(found && target.seat != turn->seat && target.hp > 0, NO_TARGET, "there is no such enemy");
    require(unit.ready, SPENT, "the unit has struck in this turn");
    require(distance(&unit, &target) <= unit.reach, TOO_FAR, "that is too far");

    dice_roll(turn->unit, turn->target, dice);
    int64_t roll = 1 + dice[0] % 20, damage = damage_of(&unit, &target, roll, 1 + dice[1] % unit.die);
    int32_t s = sx_prepare("update units set acted = $2, steps = $3, ready = false where name = $1");
    sx_bind_text(s, 1, turn->unit);
    sx_bind_i64(s, 2, turn->number);
    sx_bind_i64(s, 3, unit.steps);
    sx_run(s);
    s = sx_prepare("update units set hp = greatest(hp - $2, 0) where name = $1");
    sx_bind_text(s, 1, turn->target);
    sx_bind_i64(s, 2, damage);
    sx_run(s);
    if (damage >= target.hp && living(target.seat) == 0) {
        s = sx_prepare("update game set phase = 'over', winner = $1");
        sx_bind_i64(s, 1, turn->seat);
        sx_run(s);
    }
    return (struct event){.unit = turn->unit, .target = turn->target, .struck = true, .roll = roll, .damage = damage};
}

static struct event end_turn(const struct turn *turn)
{
    turn_give(3 - turn->active);
    return (struct event){0};
}

static const struct {
    const char *name;
    bool camp; /* allowed before the battle, else in it */
    struct event (*act)(const struct turn *turn);
} actions[] = {{"spawn", true, spawn},
               {"start", true, start},
               {"move", false, move},
               {"attack", false, attack},
               {"end_turn", false, end_turn}};

static void play(const struct turn *turn)
{
    size_t i = 0, count = sizeof actions / sizeof actions[0];
    while (i < count && !text_is(turn->action, actions[i].name))
        i++;
    require(i < count, NO_ACTION, "there is no such action");
    require(actions[i].camp ? turn->camp : turn->battle, NOT_NOW, "not now");
    require(actions[i].act == spawn || turn->seat != 0, NO_PLAYER, "you are no player");
    require(turn->camp || turn->seat == turn->active, NOT_YOUR_TURN, "it is not your turn");
    struct event event = actions[i].act(turn);
    event_write(turn, &event);
}

static void schema(void)
{
    for (size_t i = 0; i < sizeof schema_statements / sizeof schema_statements[0]; i++)
        sx_run(sx_prepare(schema_statements[i]));
}
SOREX_SCHEMA(schema)

static void reduce(void)
{
    struct turn turn = turn_read();
    play(&turn);
}
SOREX_REDUCE(reduce)
