-- The board: 16 cells by 12. '.' is open ground, '~' rough ground, '^' trees, '#' a wall.
create table terrain (
    y     int  primary key,
    cells text not null check (cells ~ '^[.~^#]{16}$')
);

insert into terrain values
    ( 0, '................'),
    ( 1, '...~~....^^.....'),
    ( 2, '#...~....^......'),
    ( 3, '......##........'),
    ( 4, '..^...##...~~...'),
    ( 5, '..^^........~...'),
    ( 6, '...~........^^..'),
    ( 7, '...~~...##...^..'),
    ( 8, '........##......'),
    ( 9, '......^....~...#'),
    (10, '.....^^....~~...'),
    (11, '................');

-- What units can be: hp when new, armour to be reached, bonus to hit, faces of the damage die, how far it strikes and walks.
create table classes (
    class  text primary key,
    letter text not null,
    hp     int  not null,
    armour int  not null,
    bonus  int  not null,
    die    int  not null,
    reach  int  not null,
    speed  int  not null
);

insert into classes values
    ('knight', 'K', 16, 16, 5,  8, 1, 4),
    ('ranger', 'R', 10, 13, 5,  6, 5, 5),
    ('mage',   'M',  8, 11, 6, 10, 4, 4),
    ('orc',    'O', 14, 13, 4, 10, 1, 5),
    ('goblin', 'G',  9, 14, 4,  6, 3, 6),
    ('troll',  'T', 22, 12, 3, 12, 1, 3);

-- What a value may be is said by domains: checked when it is written, and not whenever another column of its row is.
create domain seat as int check (value in (1, 2));

create domain phase as text check (value in ('camp', 'battle', 'over'));

create domain hit_points as int check (value >= 0);

create domain unit_name as text check (value ~ '^[a-z][a-z0-9-]{0,15}$');

create domain truth as boolean check (value);

create table players (
    seat seat primary key,
    name text not null unique
);

-- One row. seed: where the next dice come from. It is written all the time: the fill factor has old versions swept early.
create table game (
    one    truth primary key default true,
    phase  phase not null default 'camp',
    turn   int not null default 0,
    active seat,
    winner seat,
    seed   bytea not null default sha256('sorex dnd')
) with (fillfactor = 10);

insert into game default values;

-- Each has what its class had when it came. steps and ready: what was left to it in the turn in which it acted last. In any
-- later one it has all of its speed, and is ready: so nothing has to be written when a turn begins.
create table units (
    name   unit_name  primary key,
    seat   seat       not null references players,
    class  text       not null references classes,
    x      int        not null,
    y      int        not null,
    hp     hit_points not null,
    armour int        not null,
    bonus  int        not null,
    die    int        not null,
    reach  int        not null,
    speed  int        not null,
    acted  int        not null default 0,
    steps  int        not null default 0,
    ready  boolean    not null default false
) with (fillfactor = 30);

-- Two of the living never stand on one cell: the database sees to that.
create unique index units_cell on units (x, y) where hp > 0;

-- What happened; now() is the time of the message.
create table events (
    message bigint      primary key,
    at      timestamptz not null default now(),
    player  text        not null,
    action  text        not null,
    unit    text,
    target  text,
    x       int,
    y       int,
    steps   int,
    roll    int,
    damage  int
);

-- Seat 1 in capitals, seat 2 in small letters.
create view map as
    select terrain.y, string_agg(coalesce(unit, substr(cells, col + 1, 1)), ' ' order by col) as cells
    from terrain cross join generate_series(0, 15) as col left join (
        select x, y, case seat when 1 then letter else lower(letter) end as unit
        from units join classes using (class) where units.hp > 0
    ) as living on living.x = col and living.y = terrain.y
    group by terrain.y
    order by terrain.y;

create view story as
    select message, player || ' ' || case action
        when 'spawn' then format('brings %s to (%s, %s)', unit, x, y)
        when 'start' then 'begins the battle'
        when 'move' then format('moves %s to (%s, %s), %s steps', unit, x, y, steps)
        when 'attack' then format('lets %s attack %s: %s, ', unit, target, roll) ||
            case damage when 0 then 'missed' else format('%s damage', damage) end
        else 'ends the turn'
    end as what
    from events
    order by message;

create function victor() returns text language sql stable return (select name from game join players on seat = winner);
