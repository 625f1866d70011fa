select 1 as id, 'a' as name
select
select from generate_series(1, 3)
select 1 as x where false
select null::int, null::text, ''::text
select g, repeat('x', g) from generate_series(1, 12) g
select 1.5 as numeric, 2::float8 as float, 3::oid as oid, true as flag, 'txt' as text
select e'two\nlines' as text, 1 as n
select e'two\nlines\n' as a, e'\n' as b, e'one\ntwo\nthree' as c, 7 as d
select 1 as "head\er", 2 as "a much longer header", 3 as "日本"
select 'äöü' as a, '日本語' as b, '🦊' as c, e'e\u0301' as d, 'x' as e
select e'tab\there', e'\ttab', e'12345678\tx', e'cr\rcr', e'bell\x07', e'\u0085'
select 'a,b' as "x,y", 'say "hi"' as "q""q", e'line\nbreak' as l, '\.' as p, ' ' as s
select '{"a": 1}'::json as j, array[1,2] as arr, '2024-02-29'::date as d, '1 day'::interval as i
select 1 as "two
line header", 'x' as "plain", e'a\nb' as "three
line
header"
select 12345678 as a, -1 as a, 'longer than the header' as a
select g as "a column name that is wide", g * 1000000 as b from generate_series(1, 11) g
select 'x' as a, repeat('wide ', 40) as b
values (1, 'one'), (2, null), (null, 'three')
show server_encoding
explain (costs off) select 1
