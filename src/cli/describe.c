#include "cli/describe.h"

#include "base/check.h"
#include "cli/describe_sql.h"

/* ---- names and patterns ---- */

/* A text as a literal of SQL. */
static enum sorex_status literal(struct bytes text, struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_str(out, "E'", err));
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '\'' || text.data[i] == '\\')
            TRY(buf_append_u8(out, text.data[i], err));
        TRY(buf_append_u8(out, text.data[i], err));
    }
    return buf_append_str(out, "'", err);
}

/* A pattern's parts as regular expressions: what stands behind the last dot, and before it. */
struct pattern {
    struct buf name, schema;
    bool has_schema;
};

static enum sorex_status pattern_begin(struct pattern *p, struct sorex_error *err)
{
    return buf_append_str(&p->name, "^(", err);
}

static enum sorex_status pattern_end(struct pattern *p, struct sorex_error *err)
{
    return buf_append_str(&p->name, ")$", err);
}

static enum sorex_status pattern_dot(struct pattern *p, struct sorex_error *err)
{
    TRY(pattern_end(p, err));
    buf_deinit(&p->schema);
    p->schema = p->name;
    p->name = (struct buf){0};
    p->has_schema = true;
    return pattern_begin(p, err);
}

/* * and ? stand for any text and any character; outside of double quotes letters become small ones. */
static enum sorex_status pattern_make(struct bytes text, struct pattern *p, struct sorex_error *err)
{
    bool quoted = false;
    TRY(pattern_begin(p, err));
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        if (c == '"') {
            quoted = !quoted;
        } else if (!quoted && c == '.') {
            TRY(pattern_dot(p, err));
        } else if (!quoted && (c == '*' || c == '?')) {
            TRY(buf_append_str(&p->name, c == '*' ? ".*" : ".", err));
        } else if (c == '$' || (quoted && strchr("|*+?()[]{}.^\\", c) != NULL)) {
            TRY(buf_printf(&p->name, err, "\\%c", c));
        } else
            TRY(buf_append_u8(&p->name, !quoted && c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c, err));
    }
    return pattern_end(p, err);
}

/* Appends conditions on a name and its schema. visible: a call that says whether it is in the search path. */
static enum sorex_status conditions_append(struct bytes pattern, const char *name, const char *visible, struct buf *sql,
                                           struct sorex_error *err)
{
    struct pattern p = {0};
    enum sorex_status status = pattern_make(pattern, &p, err);
    if (status == SOREX_OK)
        status = buf_printf(sql, err, " and %s operator(pg_catalog.~) ", name);
    if (status == SOREX_OK)
        status = literal(buf_view(&p.name), sql, err);
    if (status == SOREX_OK)
        status = buf_append_str(sql, " collate pg_catalog.default", err);
    if (status == SOREX_OK && p.has_schema)
        status = buf_append_str(sql, " and n.nspname operator(pg_catalog.~) ", err);
    if (status == SOREX_OK && p.has_schema)
        status = literal(buf_view(&p.schema), sql, err);
    else if (status == SOREX_OK && visible != NULL)
        status = buf_printf(sql, err, " and %s", visible);
    buf_deinit(&p.name);
    buf_deinit(&p.schema);
    return status;
}

/* ---- asking and showing ---- */

static bool complain(struct session *session, const struct sorex_error *err)
{
    return session_complain(session, NULL, err->text);
}

/* Executes what was made of a statement; status is of making it. */
static bool ask(struct session *session, enum sorex_status status, struct buf *sql, struct results *results,
                struct sorex_error *err)
{
    bool good = status == SOREX_OK ? session_ask(session, buf_view(sql), results) : complain(session, err);
    buf_reset(sql);
    return good;
}

static bool nothing_found(struct session *session, const char *what, struct bytes pattern)
{
    (void)fflush(session->out);
    if (pattern.data != NULL)
        (void)fprintf(stderr, "Did not find any %s named \"%.*s\".\n", what, BYTES_FMT(pattern));
    else
        (void)fprintf(stderr, "Did not find any %ss.\n", what);
    return false;
}

/* Shows what a statement lists. what: of which nothing may be found; NULL: an empty list is shown. */
static bool list(struct session *session, enum sorex_status status, struct buf *sql, const char *title,
                 const char *what, struct bytes pattern, struct sorex_error *err)
{
    struct results results;
    struct table_options options = session->table;
    options.title = bytes_str(title);
    results_init(&results, 0);
    bool good = ask(session, status, sql, &results, err);
    if (good && what != NULL && results.first->rows_count == 0)
        good = nothing_found(session, what, pattern);
    else if (good)
        good = session_show(session, results.first, &options);
    results_deinit(&results);
    buf_deinit(sql);
    return good;
}

/* ---- lists ---- */

static enum sorex_status list_make(const char *kinds, struct bytes pattern, struct buf *sql, struct sorex_error *err)
{
    static const struct {
        char letter;
        const char *kinds;
    } letters[] = {{'t', "'r', 'p'"}, {'v', "'v'"}, {'m', "'m'"}, {'s', "'S'"}, {'i', "'i', 'I'"}};
    bool indexes = strchr(kinds, 'i') != NULL;
    TRY(buf_printf(
        sql, err,
        "select n.nspname as \"Schema\", c.relname as \"Name\", case c.relkind when 'r' then 'table' when 'v' then "
        "'view' "
        "when 'm' then 'materialized view' when 'i' then 'index' when 'S' then 'sequence' when 'p' then 'partitioned "
        "table' when 'I' then 'partitioned index' end as \"Type\", pg_catalog.pg_get_userbyid(c.relowner) as "
        "\"Owner\"%s "
        "from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace%s where c.relkind in (",
        indexes ? ", t.relname as \"Table\"" : "",
        indexes ? " left join pg_catalog.pg_index i on i.indexrelid = c.oid left join pg_catalog.pg_class t on t.oid = "
                  "i.indrelid"
                : ""));
    for (size_t i = 0; i < sizeof letters / sizeof *letters; i++)
        if (strchr(kinds, letters[i].letter) != NULL)
            TRY(buf_printf(sql, err, "%s, ", letters[i].kinds));
    TRY(buf_append_str(sql, "'')", err));
    if (pattern.data != NULL)
        TRY(conditions_append(pattern, "c.relname", "pg_catalog.pg_table_is_visible(c.oid)", sql, err));
    else
        TRY(buf_append_str(sql,
                           " and n.nspname <> 'pg_catalog' and n.nspname !~ '^pg_toast' and n.nspname <> "
                           "'information_schema' and pg_catalog.pg_table_is_visible(c.oid)",
                           err));
    return buf_append_str(sql, " order by 1, 2", err);
}

bool describe_list(struct session *session, const char *kinds, struct bytes pattern)
{
    struct sorex_error err = {0};
    struct buf sql = {0};
    enum sorex_status status = list_make(kinds, pattern, &sql, &err);
    return list(session, status, &sql, "List of relations", "relation", pattern, &err);
}

static enum sorex_status schemas_make(struct bytes pattern, struct buf *sql, struct sorex_error *err)
{
    TRY(buf_append_str(sql,
                       "select n.nspname as \"Name\", pg_catalog.pg_get_userbyid(n.nspowner) as \"Owner\" from "
                       "pg_catalog.pg_namespace n where ",
                       err));
    if (pattern.data == NULL)
        return buf_append_str(sql, "n.nspname !~ '^pg_' and n.nspname <> 'information_schema' order by 1", err);
    TRY(buf_append_str(sql, "true", err));
    TRY(conditions_append(pattern, "n.nspname", NULL, sql, err));
    return buf_append_str(sql, " order by 1", err);
}

bool describe_schemas(struct session *session, struct bytes pattern)
{
    struct sorex_error err = {0};
    struct buf sql = {0};
    enum sorex_status status = schemas_make(pattern, &sql, &err);
    return list(session, status, &sql, "List of schemas", NULL, pattern, &err);
}

static enum sorex_status functions_make(struct bytes pattern, struct buf *sql, struct sorex_error *err)
{
    TRY(buf_append_str(
        sql,
        "select n.nspname as \"Schema\", p.proname as \"Name\", pg_catalog.pg_get_function_result(p.oid) as \"Result "
        "data "
        "type\", pg_catalog.pg_get_function_arguments(p.oid) as \"Argument data types\", case p.prokind when 'a' then "
        "'agg' when 'w' then 'window' when 'p' then 'proc' else 'func' end as \"Type\" from pg_catalog.pg_proc p join "
        "pg_catalog.pg_namespace n on n.oid = p.pronamespace where true",
        err));
    if (pattern.data == NULL)
        TRY(buf_append_str(sql,
                           " and n.nspname <> 'pg_catalog' and n.nspname <> 'information_schema' and "
                           "pg_catalog.pg_function_is_visible(p.oid)",
                           err));
    else
        TRY(conditions_append(pattern, "p.proname", "pg_catalog.pg_function_is_visible(p.oid)", sql, err));
    return buf_append_str(sql, " order by 1, 2, 4", err);
}

bool describe_functions(struct session *session, struct bytes pattern)
{
    struct sorex_error err = {0};
    struct buf sql = {0};
    enum sorex_status status = functions_make(pattern, &sql, &err);
    return list(session, status, &sql, "List of functions", NULL, pattern, &err);
}

/* ---- one relation ---- */

/* A statement with the relation's object id where it has a $ in front of what is no quantifier's or pattern's. */
static enum sorex_status fill(const char *sql, struct bytes oid, struct buf *out, struct sorex_error *err)
{
    for (const char *at = sql; *at != '\0'; at++) {
        if (*at != '$' || at[1] == '\'')
            TRY(buf_append_u8(out, (uint8_t)*at, err));
        else
            TRY(buf_append(out, oid, err));
    }
    return SOREX_OK;
}

/* What the kinds of relations have. */
static const struct kind {
    const char *letters, *columns, *footer;
} kinds[] = {{"rpf", columns_sql, table_footer_sql},
             {"vm", columns_sql, table_footer_sql},
             {"iI", index_columns_sql, index_footer_sql},
             {"S", sequence_columns_sql, sequence_footer_sql},
             {"ct", columns_sql, no_footer_sql}};

static bool ask_of(struct session *session, const char *sql, struct bytes oid, struct results *results)
{
    struct sorex_error err = {0};
    struct buf text = {0};
    bool good = ask(session, fill(sql, oid, &text, &err), &text, results, &err);
    buf_deinit(&text);
    return good;
}

static enum sorex_status lines_join(const struct result *result, struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, 1, err)); /* no lines are no default footer */
    for (size_t row = 0; row < result->rows_count; row++) {
        TRY(buf_append(out, result->rows[row][0].bytes, err));
        TRY(buf_append_u8(out, '\n', err));
    }
    return SOREX_OK;
}

/* columns, footer: results to be filled; title: the relation's. */
static bool relation_show(struct session *session, struct bytes title, const struct results *columns,
                          const struct results *footer)
{
    struct sorex_error err = {0};
    struct buf lines = {0};
    struct table_options options = session->table;
    bool good = lines_join(footer->first, &lines, &err) == SOREX_OK || complain(session, &err);
    options.title = title;
    options.footer = buf_view(&lines);
    if (options.format == TABLE_EXPANDED) /* would be confusing, as psql has it */
        options.format = TABLE_ALIGNED;
    good = good && session_show(session, columns->first, &options);
    buf_deinit(&lines);
    return good;
}

static bool relation_describe(struct session *session, struct bytes oid)
{
    struct results relation, columns, footer;
    results_init(&relation, 0);
    results_init(&columns, 0);
    results_init(&footer, 0);
    bool good = ask_of(session, relation_sql, oid, &relation) && relation.first->rows_count == 1;
    const struct kind *kind = NULL;
    for (size_t i = 0; good && i < sizeof kinds / sizeof *kinds; i++)
        if (strchr(kinds[i].letters, relation.first->rows[0][0].bytes.data[0]) != NULL)
            kind = &kinds[i];
    good = good && kind != NULL && ask_of(session, kind->columns, oid, &columns) &&
           ask_of(session, kind->footer, oid, &footer) &&
           relation_show(session, relation.first->rows[0][1].bytes, &columns, &footer);
    results_deinit(&relation);
    results_deinit(&columns);
    results_deinit(&footer);
    return good;
}

static enum sorex_status find_make(struct bytes pattern, struct buf *sql, struct sorex_error *err)
{
    TRY(buf_append_str(
        sql,
        "select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace "
        "where true",
        err));
    TRY(conditions_append(pattern, "c.relname", "pg_catalog.pg_table_is_visible(c.oid)", sql, err));
    return buf_append_str(sql, " order by n.nspname, c.relname", err);
}

bool describe_relations(struct session *session, struct bytes pattern)
{
    struct sorex_error err = {0};
    struct buf sql = {0};
    struct results found;
    results_init(&found, 0);
    bool good = ask(session, find_make(pattern, &sql, &err), &sql, &found, &err);
    if (good && found.first->rows_count == 0)
        good = nothing_found(session, "relation", pattern);
    for (size_t row = 0; good && row < found.first->rows_count; row++)
        good = relation_describe(session, found.first->rows[row][0].bytes);
    results_deinit(&found);
    buf_deinit(&sql);
    return good;
}
