/* One log that the tests of this folder derive: statements that depend on what was before, on time and on chance. */
#ifndef SOREX_TESTS_DERIVE_STORY_H
#define SOREX_TESTS_DERIVE_STORY_H

#include "derive/fold.h"

#define MESSAGES 24

/* Some fail, some are rejected. */
static const char *const story[MESSAGES] = {
    "create table unit (id int primary key, hp int not null, born timestamptz not null default now(), luck double "
    "precision not null default random())",
    "insert into unit (id, hp) select g, g * 3 from generate_series(1, 40) g",
    "update unit set hp = hp - 1 where id % 3 = 0",
    "insert into unit (id, hp) values (1, 1)", /* fails: it is there */
    "reject",
    "insert into note values (1, gen_random_uuid()::text)",
    "delete from unit where hp < 20 and luck < 0.5",
    "create index on unit (hp)",
    "update unit set luck = random(), hp = hp + (random() * 10)::int",
    "no sql at all",
    "insert into note select g, md5(g::text) from generate_series(100, 400) g",
    "delete from note where id % 2 = 0",
    "update unit set born = clock_timestamp() where id = 7",
    "insert into note select 1000 + id, body from note",
    "select count(*), sum(hp) from unit",
    "truncate note",
    "insert into note values (1, 'x')",
    "alter table unit add column name text",
    "update unit set name = 'unit ' || id || ' ' || random()",
    "select pg_sleep(0)",
    "delete from unit where id > 35",
    "create view strong as select * from unit where hp > 30",
    "insert into note select id + 10, name from strong where name is not null",
    "update unit set hp = 0 where id = (select max(id) from unit)",
};

#endif
