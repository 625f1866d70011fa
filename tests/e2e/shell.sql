-- Executed by psql on a native server and by `sorex sql`: test_sql.py compares what they print.
create table t (id int generated always as identity primary key, name text not null default 'x', v numeric(5,2) check (v > 0), tag varchar(10) collate "C" unique);
create table u (a int references t (id) on delete cascade, b int, c timestamptz default now(), unique (a, b), exclude using btree (b with =));
create index u_c on u (c desc) where a > 3;
create unique index u_expr on u (lower(a::text), b);
create view w as select id, name from t;
create materialized view m as select 1 as one;
create sequence s increment by 5 minvalue -3 cycle;
create unlogged table ul (x int[]);
create schema other;
create table other.t2 (id serial, "Odd Name" int);
create table p (k int, v text) partition by range (k);
create table p1 partition of p for values from (0) to (10);
create table parent (i int);
create table child (j int) inherits (parent);
create function f() returns trigger language plpgsql as $$ begin return new; end $$;
create trigger tr before insert on t for each row execute function f();
create type comp as (a int, b text collate "C");
\dt
\d
\di
\dv
\ds
\dm
\d t
\d u
\d w
\d m
\d s
\d ul
\d other.t2
\d other.t2_id_seq
\d p
\d p1
\d parent
\d child
\d t_pkey
\d u_c
\d u_expr
\d u_b_excl
\d comp
\dt par*
\dt *.t2
\dt "Odd"
\dn
\d t_id_seq
\dt "t"
\x
\d t
select 1 as a, null as b, 'x
y' as c;
\x
\t
select 1 as a;
\t
\pset null NIL
select null as a, 'ä' as b;
selec 1;
select 1 from nowhere
  where x = 1;
select * from (select 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', nothing, 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb') q;
select 'ä漢字	tab', oops;
insert into t (v) values (-1);
insert into t (v) values (1) returning *;
do $$ begin raise notice 'hello %', 1 using hint = 'a hint', detail = 'more'; end $$;
do $$ begin raise exception 'bad'; end $$;
do $$ begin perform 1/0; end $$;
select foo(1);
begin;
select 1/0;
select 1;
rollback;
copy t (name, v) from stdin;
copied	2.5
\.
copy t (name, v) from stdin (format csv);
c2,x
\.
select name, v from t order by 1;
copy t (name, v) to stdout;
create table ctas as select 1 as x;
explain (costs off) select * from t where id = 1;
\echo 'one two' three
select 1 \g
select 1; select 2;
values (1, 2), (3, 4)
