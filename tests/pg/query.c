#include "pg/query.h"

#include <stdio.h>

#include "base/check.h"

#define TABLES 3
#define ROWS 24

struct query {
    struct buf *out;
    uint64_t state;
    bool may_fail;  /* every row is evaluated */
    unsigned scope; /* how many of the tables a, b, c can be named */
};

static unsigned dice(struct query *query, unsigned sides)
{
    query->state = query->state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(query->state >> 33) % sides;
}

static void say(struct query *query, const char *text) { CHECK(buf_append_str(query->out, text, NULL) == SOREX_OK); }

static void say_number(struct query *query, long long number)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", number);
    say(query, text);
}

static void say_one(struct query *query, const char *const *texts, size_t count)
{
    say(query, texts[dice(query, (unsigned)count)]);
}
#define ONE_OF(query, ...)                                         \
    do {                                                           \
        static const char *const one_of_[] = {__VA_ARGS__};        \
        say_one(query, one_of_, sizeof one_of_ / sizeof *one_of_); \
    } while (0)

/* ---- expressions ----
 *
 * Forms: %i an integer (bigint), %n a numeric, %t a text, %d a date, %b a boolean, %k a small constant, %w a word.
 */

static void expression(struct query *query, char type, unsigned depth);

static void column(struct query *query, const char *name)
{
    static const char *const tables[TABLES] = {"a.", "b.", "c."};
    say(query, tables[dice(query, query->scope)]);
    say(query, name);
}

static void word(struct query *query)
{
    ONE_OF(query, "'a'", "'shrew'", "'Sorex araneus'", "''", "'x,y,z'", "' pad '", "'100%'", "'a_b'",
           "'\xe6\x97\xa5\xe6\x9c\xac'", "'\xe2\x82\xac 5'", "'12'", "'-7'", "NULL");
}

static void fill(struct query *query, const char *form, unsigned depth)
{
    for (; *form != '\0'; form++) {
        if (*form != '%') {
            CHECK(buf_append(query->out, bytes_of(form, 1), NULL) == SOREX_OK);
            continue;
        }
        form++;
        if (*form == '%')
            say(query, "%");
        else if (*form == 'k')
            say_number(query, (long long)dice(query, 12) - 2);
        else if (*form == 'w')
            word(query);
        else
            expression(query, *form, depth - 1);
    }
}

static const char *const integers[] = {"(%i + %i)",
                                       "(%i - %i)",
                                       "(%i * %k)",
                                       "(%i / nullif(%i, 0))",
                                       "(%i %% nullif(%i, 0))",
                                       "abs(%i)",
                                       "sign(%i::numeric)::bigint",
                                       "length(%t)::bigint",
                                       "octet_length(%t)::bigint",
                                       "coalesce(%i, %k)",
                                       "nullif(%i, %i)",
                                       "greatest(%i, %i, %k)",
                                       "least(%i, %i)",
                                       "strpos(%t, %w)::bigint",
                                       "case when %b then %i else %i end",
                                       "case %i when %k then %i when %i then %k end",
                                       "extract(year from %d)::bigint",
                                       "extract(dow from %d)::bigint",
                                       "(%d - %d)::bigint",
                                       "round(%n)::bigint",
                                       "floor(%n)::bigint",
                                       "ceil(%n)::bigint",
                                       "ascii(%t)::bigint",
                                       "(%i & 255)",
                                       "(%i # %i)",
                                       "cardinality(array[%i, %i])::bigint",
                                       "width_bucket(%n, -50, 50, 7)::bigint",
                                       "gcd(%i, %k)",
                                       "div(%n, 3)::bigint",
                                       "('{\"a\": [1, 2, 3]}'::jsonb -> 'a' ->> abs(%k))::bigint"};
static const char *const numerics[] = {"(%n + %n)",
                                       "(%n - %n)",
                                       "(%n * 1.25)",
                                       "round(%n / nullif(%n, 0), 6)",
                                       "round(%n, 2)",
                                       "round(%n, -1)",
                                       "trunc(%n, 1)",
                                       "abs(%n)",
                                       "(- %n)",
                                       "%i::numeric",
                                       "mod(%n, 7)",
                                       "coalesce(%n, 0.5)",
                                       "case when %b then %n else %n end",
                                       "greatest(%n, %n)",
                                       "round(sqrt(abs(%n)), 8)",
                                       "trim_scale(%n)",
                                       "scale(%n)::numeric"};
static const char *const texts[] = {"(%t || %t)",
                                    "lower(%t)",
                                    "upper(left(%t, 1))",
                                    "substr(%t, 2, 3)",
                                    "substring(%t from 2)",
                                    "replace(%t, 'a', 'bb')",
                                    "left(%t, %k)",
                                    "right(%t, %k)",
                                    "lpad(%t, 8, '*')",
                                    "rpad(%t, 6)",
                                    "reverse(%t)",
                                    "md5(%t)",
                                    "btrim(%t)",
                                    "ltrim(%t, 'sS ')",
                                    "split_part(%t, ',', 2)",
                                    "%i::text",
                                    "%n::text",
                                    "%d::text",
                                    "coalesce(%t, %w)",
                                    "concat_ws('-', %t, %i, %w)",
                                    "translate(%t, 'abc', 'xy')",
                                    "repeat(%t, 2)",
                                    "regexp_replace(%t, '[aeiou]', '#', 'g')",
                                    "to_char(%d, 'YYYY-MM-DD Dy')",
                                    "to_char(%n, 'FM99990.00')",
                                    "format('%%s/%%L', %t, %i)",
                                    "quote_literal(%t)",
                                    "case when %b then %t else %t end",
                                    "overlay(%t placing 'ZZ' from 2)",
                                    "encode(convert_to(%t, 'UTF8'), 'hex')",
                                    "array_to_string(string_to_array(%t, ','), ';')",
                                    "jsonb_build_object('k', %t, 'n', %i)::text",
                                    "(array[%t, %w])[2]",
                                    "%b::text",
                                    "to_json(%t)::text",
                                    "(substring(%t from '([a-z]+)'))"};
static const char *const dates[] = {"(%d + %k)",
                                    "date_trunc('month', %d)::date",
                                    "(%d - interval '1 month')::date",
                                    "coalesce(%d, date '2000-01-01')",
                                    "greatest(%d, %d)",
                                    "(%d + make_interval(days => 3))::date",
                                    "case when %b then %d else %d end",
                                    "date_trunc('quarter', %d + %k)::date",
                                    "to_date(to_char(%d, 'YYYYMMDD'), 'YYYYMMDD')"};
static const char *const booleans[] = {"(%i < %i)",
                                       "(%i = %i)",
                                       "(%n >= %n)",
                                       "(%t < %t)",
                                       "(%t = %t)",
                                       "(%d > %d)",
                                       "(%t like '%%a%%')",
                                       "(%t ilike 'S%%')",
                                       "(%t ~ '^[a-z]+$')",
                                       "(%i in (1, 2, %k, %i))",
                                       "(%i between %k and %i)",
                                       "(%t is null)",
                                       "(%i is not null)",
                                       "(%b and %b)",
                                       "(%b or %b)",
                                       "(not %b)",
                                       "(%i is distinct from %i)",
                                       "(%i = any (array[%k, %i]))",
                                       "(%b is true)",
                                       "(%d between date '1999-01-01' and %d)",
                                       "(%t similar to '(a|s)%%')",
                                       "starts_with(%t, 's')",
                                       "(%t collate \"C\" > %w)",
                                       "((%i, %t) < (%i, %w))"};
/* May fail: by zero, out of range, what is no number or date. */
static const char *const risks[] = {"(%i / %i)",
                                    "(%i %% %k)",
                                    "%t::bigint",
                                    "(%i * 4611686018427387904)",
                                    "%i::smallint::bigint",
                                    "chr((%i)::int)::text::bigint",
                                    "extract(day from %t::date)::bigint",
                                    "ln(%n)::bigint",
                                    "(%t::numeric)::bigint",
                                    "repeat(%t, -1)::bigint",
                                    "to_number(%t, '999')::bigint",
                                    "array_length(%t::int[], 1)::bigint",
                                    "(%t::jsonb ->> 'a')::bigint",
                                    "factorial(%i)::bigint",
                                    "make_date(%k, %k, %k) - date '2000-01-01'",
                                    "sqrt(%n)::bigint",
                                    "substr(%t, 1, (%k)::int)::bigint",
                                    "lo_get(%i::oid)::text::bigint"};

static void leaf(struct query *query, char type)
{
    bool constant = query->scope == 0 || dice(query, 4) == 0;
    if (type == 'i' && constant)
        say_number(query, (long long)dice(query, 200) - 50);
    else if (type == 'i')
        column(query, dice(query, 2) == 0 ? "i" : "id::bigint");
    else if (type == 'n' && constant)
        ONE_OF(query, "0.5", "-3.25", "100.00", "0", "12345.6789", "NULL::numeric");
    else if (type == 'n')
        column(query, "n");
    else if (type == 't' && constant)
        word(query), say(query, "::text");
    else if (type == 't')
        column(query, "t");
    else if (type == 'd' && constant)
        ONE_OF(query, "date '2024-02-29'", "date '1999-12-31'", "date '2026-11-21'", "NULL::date");
    else if (type == 'd')
        column(query, "d");
    else if (constant)
        ONE_OF(query, "true", "false", "NULL::boolean");
    else
        column(query, "f");
}

static void expression(struct query *query, char type, unsigned depth)
{
    if (depth == 0 || dice(query, 5) == 0) {
        leaf(query, type);
        return;
    }
#define FORM(forms) forms[dice(query, sizeof(forms) / sizeof *(forms))]
    const char *form = type == 'n'   ? FORM(numerics)
                       : type == 't' ? FORM(texts)
                       : type == 'd' ? FORM(dates)
                       : type == 'b' ? FORM(booleans)
                                     : FORM(integers);
    if (type == 'i' && query->may_fail && dice(query, 4) == 0)
        form = FORM(risks);
#undef FORM
    fill(query, form, depth);
}

/* A result's column. Equal numerics of other scales are one value, of which some row's text would be seen. */
static void column_say(struct query *query, char type, unsigned depth)
{
    say(query, type == 'n' ? "trim_scale(" : "");
    expression(query, type, depth);
    say(query, type == 'n' ? ")" : "");
}

static char type_any(struct query *query) { return "iintdtb"[dice(query, 7)]; }

/* ---- queries ---- */

static void source(struct query *query)
{
    static const char *const tables[TABLES] = {"t0", "t1", "t2"};
    static const char names[] = "abc";
    unsigned count = query->may_fail ? 1 : 1 + dice(query, TABLES);
    query->scope = 0;
    say(query, " from ");
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            ONE_OF(query, " join ", " left join ", " full join ", " right join ");
        say_one(query, tables, TABLES);
        say(query, " ");
        CHECK(buf_append(query->out, bytes_of(names + i, 1), NULL) == SOREX_OK);
        query->scope = i + 1;
        if (i > 0) { /* full joins want conditions that can be merged or hashed */
            static const char *const conditions[] = {" on a.id = b.id", " on a.i = b.i", " on b.t = c.t",
                                                     " on b.id = c.id"};
            say(query, conditions[(i - 1) * 2 + dice(query, 2)]);
        }
    }
}

/* A condition that cannot fail. */
static void where(struct query *query)
{
    bool may_fail = query->may_fail;
    if (may_fail || dice(query, 3) == 0)
        return;
    say(query, " where ");
    expression(query, 'b', 2);
    if (dice(query, 4) == 0)
        say(query, " and exists (select 1 from t1 z where z.id = a.id and z.i > 0)");
    if (dice(query, 6) == 0)
        say(query, " and a.id in (select z.id from t2 z where z.f)");
}

static void order(struct query *query, unsigned columns)
{
    say(query, " order by ");
    for (unsigned i = 1; i <= columns; i++) {
        say_number(query, i);
        ONE_OF(query, "", " desc", " nulls first", " desc nulls last");
        say(query, i < columns ? ", " : "");
    }
    if (!query->may_fail && dice(query, 4) == 0)
        ONE_OF(query, " limit 5", " limit 3 offset 2", " fetch first 4 rows only");
}

/* The columns come first in the text, but the tables decide on what they may name: all shapes have room for three. */
static void rows(struct query *query, const char *types, bool ordered)
{
    struct buf *out = query->out, from = {0};
    query->out = &from;
    source(query);
    where(query);
    query->out = out;
    say(query, dice(query, 6) == 0 ? "select distinct " : "select ");
    for (const char *type = types; *type != '\0'; type++) {
        column_say(query, *type, 3);
        say(query, type[1] == '\0' ? "" : ", ");
    }
    CHECK(buf_append(query->out, buf_view(&from), NULL) == SOREX_OK);
    buf_deinit(&from);
    if (ordered)
        order(query, (unsigned)strlen(types));
}

static void types_any(struct query *query, char out[5])
{
    unsigned count = 1 + dice(query, 4);
    for (unsigned i = 0; i < count; i++)
        out[i] = type_any(query);
    out[count] = '\0';
}

static void query_plain(struct query *query)
{
    char types[5];
    types_any(query, types);
    query->may_fail = dice(query, 5) == 0;
    rows(query, types, true);
}

static void query_set(struct query *query)
{
    char types[5];
    types_any(query, types);
    say(query, "select * from ((");
    rows(query, types, false);
    ONE_OF(query, ") union (", ") union all (", ") intersect (", ") except (", ") intersect all (", ") except all (");
    rows(query, types, false);
    say(query, ")) q");
    order(query, (unsigned)strlen(types));
}

static void query_group(struct query *query)
{
    struct buf *out = query->out, from = {0};
    query->out = &from;
    source(query);
    where(query);
    query->out = out;
    say(query, "select * from (select ");
    char type = type_any(query);
    column_say(query, type, 2);
    say(query, " as k");
    for (unsigned i = dice(query, 3) + 1; i > 0; i--) {
        static const char *const aggregates[] = {"count(*)",
                                                 "count(%t)",
                                                 "sum(%i)",
                                                 "trim_scale(min(%n))",
                                                 "max(%t)",
                                                 "round(avg(%i), 4)",
                                                 "sum(%n)",
                                                 "count(distinct %i)",
                                                 "string_agg(%t, ',' order by a.id, b.id, c.id)",
                                                 "array_agg(%i order by a.id, b.id, c.id)",
                                                 "bool_and(%b)",
                                                 "bool_or(%b)",
                                                 "max(%d)",
                                                 "sum(%i) filter (where %b)",
                                                 "min(%d)",
                                                 "jsonb_agg(%i order by a.id, b.id, c.id)",
                                                 "round(stddev_samp(%i), 3)",
                                                 "percentile_disc(0.5) within group (order by %i)",
                                                 "mode() within group (order by %i)",
                                                 "every(%b)",
                                                 "bit_or(%i)"};
        const char *aggregate = aggregates[dice(query, sizeof aggregates / sizeof *aggregates)];
        if (query->scope < TABLES && strstr(aggregate, "c.id") != NULL)
            aggregate = "sum(%i)";
        say(query, ", ");
        fill(query, aggregate, 2);
    }
    CHECK(buf_append(query->out, buf_view(&from), NULL) == SOREX_OK);
    buf_deinit(&from);
    ONE_OF(query, " group by 1", " group by 1", " group by rollup (1)", " group by grouping sets ((1), ())");
    if (dice(query, 3) == 0)
        say(query, " having count(*) > 1");
    say(query, ") q order by q::text");
}

static void query_window(struct query *query)
{
    query->scope = 1;
    say(query, "select a.id");
    for (unsigned i = dice(query, 3) + 1; i > 0; i--) {
        static const char *const functions[] = {
            "row_number() over (w)",
            "rank() over (partition by %b order by %i, a.id)",
            "sum(%i) over (w)",
            "lag(%t) over (w)",
            "lead(%n, 2, 0.0) over (w)",
            "first_value(%t) over (w)",
            "count(*) over (partition by %i)",
            "max(%i) over (w rows between 2 preceding and 1 following)",
            "ntile(3) over (w)",
            "dense_rank() over (order by %i)",
            "sum(%i) over (order by a.id range between 3 preceding and current row)",
            "nth_value(%d, 2) over (w)",
            "count(%t) over (w rows between unbounded preceding and current row exclude current row)",
            "sum(%n) over (w groups between 1 preceding and 1 following)",
            "round(percent_rank() over (order by %i)::numeric, 6)"};
        say(query, ", ");
        fill(query, functions[dice(query, sizeof functions / sizeof *functions)], 3);
    }
    ONE_OF(query, " from t0 a", " from t1 a", " from t2 a");
    where(query);
    say(query, " window w as (");
    if (dice(query, 2) == 0)
        fill(query, "partition by %b ", 2);
    say(query, "order by a.id) order by 1");
}

static void query_sub(struct query *query)
{
    query->scope = 1;
    switch (dice(query, 5)) {
    case 0:
        fill(query,
             "with q as (select a.id, %i as x, %t as y from t0 a) select q.*, (select count(*) from q r where r.x < "
             "q.x) "
             "from q order by 1",
             3);
        break;
    case 1:
        fill(query,
             "with recursive q(n, s) as (select 1, %w::text union all select n + 1, left(s || n::text, 20) from q "
             "where n < 9) "
             "select n, s, length(s) from q order by 1",
             3);
        break;
    case 2:
        fill(query,
             "select a.id, l.m, l.c from t1 a left join lateral (select max(b.i) as m, count(*) as c from t2 b where "
             "b.i < "
             "%i) l on true order by 1",
             2);
        break;
    case 3:
        fill(query,
             "select a.id, (select string_agg(z.t, '|' order by z.id) from t1 z where z.id <= %i) from t0 a where a.i "
             ">= "
             "all (select z.i - 50 from t2 z where z.i is not null) order by 1",
             2);
        break;
    default:
        fill(query,
             "select g, a.id, %i from generate_series(1, 3) g cross join t0 a where g <> (a.id %% 3) order by 1, 2", 2);
        break;
    }
}

static void query_change(struct query *query)
{
    static const char *const forms[] = {
        "with u as (update t0 a set i = (%i) %% 1000, t = left(%t, 30) where %b returning a.id, a.i, a.t) select * "
        "from "
        "u order by 1",
        "with u as (delete from t1 a where %b and a.id %% 5 = 0 returning a.*) select id, i, t from u order by 1",
        "with u as (insert into t2 as a (id, i, t) select g + 100, g * 3, 'new' from generate_series(1, 2) g on "
        "conflict (id) do "
        "update set i = (excluded.i + coalesce(a.i, 0)) %% 1000 returning a.id, a.i) select * from u order by 1",
        "insert into t0 (id) values (1)",
        "insert into t1 (id, t) values (NULL, 'x')",
        "insert into t2 (id, n) values (2000, -1000000)",
        "update t1 set n = 7 where id = 3",
        "merge into t0 a using t1 s on a.id = s.id when matched and s.f then update set t = s.t when not matched then "
        "insert "
        "(id, i) values (s.id + 5000, s.i)",
        "begin; savepoint s; delete from t0; rollback to s; select count(*) from t0; commit",
        "select count(*), sum(i), max(t) from t0",
        "delete from t0 where id > 4000",
        "update t2 set d = d + 1 where f"};
    query->scope = 1;
    fill(query, forms[dice(query, sizeof forms / sizeof *forms)], 2);
}

static void tables_make(struct query *query)
{
    static const char *const tables[TABLES] = {"t0", "t1", "t2"};
    for (unsigned table = 0; table < TABLES; table++) {
        say(query, "drop table if exists ");
        say(query, tables[table]);
        say(query, "; create table ");
        say(query, tables[table]);
        say(query, " (id int primary key, i bigint, n numeric(12, 3) check (n > -100000), t text, d date, f boolean); "
                   "insert into ");
        say(query, tables[table]);
        say(query, " values ");
        for (int row = 1; row <= ROWS; row++) {
            query->scope = 0;
            say(query, "(");
            say_number(query, row + (int)table * 3);
            fill(query, dice(query, 6) == 0 ? ", NULL" : ", %i", 1);
            fill(query, ", %n, ", 1);
            word(query);
            fill(query, ", %d, %b)", 1);
            say(query, row < ROWS ? ", " : ";");
        }
    }
    say(query, "create index on t0 (i); create index on t1 (t)");
}

void query_make(uint64_t seed, uint64_t number, struct buf *out)
{
    static void (*const kinds[])(struct query *) = {query_plain, query_plain,  query_plain, query_set,   query_group,
                                                    query_group, query_window, query_sub,   query_change};
    struct query query = {.out = out, .state = seed * 0x9E3779B97F4A7C15u + number};
    out->len = 0;
    (void)dice(&query, 2);
    if (number % QUERY_ROUND == 0)
        tables_make(&query);
    else
        kinds[dice(&query, sizeof kinds / sizeof *kinds)](&query);
    CHECK(buf_append(out, bytes_of("", 1), NULL) == SOREX_OK);
    out->len--;
}
