true
false
null::bool
0::int2
(-32768)::int2
32767::int2
0::int4
(-2147483648)::int4
2147483647
(-9223372036854775808)::int8
9223372036854775807::int8
0::oid
4294967295::oid
'12345'::xid
'a'::"char"
''::"char"
'\377'::"char"
'\001'::"char"
'name'::name
'text with ''quotes'''::text
''::text
'äöü 日本語 🦊'::text
'x'::char(5)
'abc'::varchar(2)
'unknown'
e'line\nbreak\ttab\\'
'\x'::bytea
'\x00ff10abcdef'::bytea
'{"a": [1, 2.50, null]}'::json
'{"b":1,  "a": [1, 2.50, null]}'::jsonb
'null'::jsonb
'"x"'::json
'<a>b</a>'::xml
'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid
'00000000-0000-0000-0000-000000000000'::uuid
'2000-01-01'::date
'1999-12-31'::date
'0001-01-01'::date
'0001-12-31 BC'::date
'4713-11-24 BC'::date
'5874897-12-31'::date
'infinity'::date
'-infinity'::date
'2024-02-29'::date
'1900-02-28'::date
'1900-03-01'::date
'12345-06-07'::date
'0044-03-15 BC'::date
'00:00'::time
'23:59:59.999999'::time
'24:00'::time
'01:02:03.4'::time
'12:00:00.000001'::time
'00:00+00'::timetz
'10:11:12.5+02'::timetz
'10:11:12-03:30'::timetz
'10:11:12+05:45:30'::timetz
'23:00-15:59:59'::timetz
'2000-01-01 00:00'::timestamp
'1999-12-31 23:59:59.999999'::timestamp
'4713-11-24 00:00 BC'::timestamp
'294276-12-31 23:59:59.999999'::timestamp
'infinity'::timestamp
'-infinity'::timestamp
'0001-12-31 23:59:59.5 BC'::timestamp
'1970-01-01'::timestamp
'2000-01-01 00:00+00'::timestamptz
'2024-06-01 12:00+02'::timestamptz
'0044-03-15 10:00+00 BC'::timestamptz
'infinity'::timestamptz
'-infinity'::timestamptz
'1883-11-18 12:03:57.25-07'::timestamptz
'0'::interval
'1 year'::interval
'-1 year'::interval
'2 years 3 mons 4 days 05:06:07.000008'::interval
'-2 years 3 mons'::interval
'1 mon -1 day'::interval
'-1 mon 1 day'::interval
'-1 day 02:03:04'::interval
'1 day -02:03:04'::interval
'-00:00:00.1'::interval
'-13 mons'::interval
'100 hours'::interval
'-178000000 years'::interval
'178000000 years 2147483647 days 2562047788:00:54.775807'::interval
'11 mons'::interval
'1 day'::interval
'-1 days -00:00:01'::interval
0::numeric
0.0::numeric
-0.00::numeric
1::numeric
-1::numeric
10000::numeric
9999::numeric
100000000::numeric
1.5::numeric
0.0001::numeric
0.00001::numeric
0.00010001::numeric
-12345678901234567890.123456789::numeric
1e100::numeric
1e-100::numeric
'NaN'::numeric
'Infinity'::numeric
'-Infinity'::numeric
1.10::numeric(10,4)
123456789.987654321::numeric
10::numeric ^ 1000
1::numeric / 3
0.1::numeric(20,17)
'1e-16383'::numeric
'1e16382'::numeric
0::float8
'-0'::float8
1::float8
0.1::float8
1e14::float8
123456789012345::float8
1e15::float8
1234567890123456::float8
1e16::float8
0.0001::float8
0.00001::float8
1e23::float8
9e22::float8
-1.5e-7::float8
1e308::float8
5e-324::float8
2.2250738585072014e-308::float8
1.7976931348623157e308::float8
'NaN'::float8
'Infinity'::float8
'-Infinity'::float8
9007199254740993::float8
1e22::float8
1e21::float8
0.3::float8
2::float8 / 3
100::float8
-123.456::float8
pi()
0::float4
'-0'::float4
1::float4
0.1::float4
1e5::float4
123456::float4
1e6::float4
1234567::float4
0.0001::float4
0.00001::float4
1e10::float4
16777216::float4
3.4028235e38::float4
1e-45::float4
1.1754944e-38::float4
'NaN'::float4
'Infinity'::float4
'-Infinity'::float4
33554432::float4
8388608::float4
2::float4 / 3
7.038531e-26::float4
67108864::float4
'{}'::int4[]
'{1,2,3}'::int4[]
'{1,NULL,3}'::int8[]
'{{1,2},{3,4}}'::int2[]
'[0:2]={1,2,3}'::int4[]
'[-1:0][2:3]={{1,2},{3,4}}'::int4[]
'{{{1},{2}},{{3},{4}}}'::int4[]
array['a','','NULL','null','a b','a,b','{','}','"','\','ä',null,e'\n',e'\t',e'\v',' ','a"b\c','nul','nulls']::text[]
array['x','yy']::char(3)[]
array['x']::varchar[]
array['n']::name[]
'{a,b}'::"char"[]
array[true,false,null]
array[0.1,'NaN']::float8[]
array[1.5,2]::float4[]
array[1.50,null,3]::numeric[]
array['\x00'::bytea,'\x']
array['{"a":1}'::jsonb,'null']
array['[1]'::json]
array['2000-01-01'::date,'infinity']
array['10:00'::time]
array['10:00+01'::timetz]
array['2000-01-01 10:00:00'::timestamp]
array['2000-01-01'::timestamptz]
array['1 day'::interval,'1 day 2 h']
array['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]
array[1,2]::oid[]
array['3'::xid]
array['<a/>'::xml]
pg_sleep(0)
