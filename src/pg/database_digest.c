/* The digest is made by a fork, as reading changes hint bits and caches. Settings that a session may have changed and
 * that text depends on are set first. Each table is copied out in the order of its rows' text, byte by byte. */
#include "base/check.h"
#include "pg/database.h"

static const char settings_sql[] =
    "set search_path = pg_catalog; set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set timezone = 'UTC';"
    "set bytea_output = 'hex'; set extra_float_digits = 1; set xmloption = 'content'; set row_security = off";

/* Name as in SQL, columns as "name type" one behind the other. */
static const char tables_sql[] =
    "select format('%I.%I', n.nspname, c.relname), coalesce((select string_agg(format('%I %s', a.attname, "
    "format_type(a.atttypid, a.atttypmod)), ', ' order by a.attnum) from pg_attribute a where a.attrelid = c.oid and "
    "a.attnum > 0 and not a.attisdropped), '') from pg_class c join pg_namespace n on n.oid = c.relnamespace "
    "where c.relkind in ('r', 'm') and c.relpersistence <> 't' and n.nspname !~ '^pg_' and n.nspname <> "
    "'information_schema' order by n.nspname collate \"C\", c.relname collate \"C\"";

static enum sorex_status run(struct database *fork, const char *sql, struct results *results, struct sorex_error *err)
{
    TRY(database_exec(fork, sql, results, err));
    return results->error == NULL ? SOREX_OK : result_error(results->error, err);
}

static void hash_line(struct sha256 *hash, struct bytes text)
{
    sha256_update(hash, text);
    sha256_update(hash, bytes_str("\n"));
}

static enum sorex_status table_hash(struct database *fork, struct sha256 *hash, const struct protocol_value *row,
                                    struct buf *sql, struct sorex_error *err)
{
    struct results results;
    results_init(&results, 0);
    hash_line(hash, row[0].bytes);
    hash_line(hash, row[1].bytes);
    buf_reset(sql);
    /* t alone could be a column of that name. */
    enum sorex_status status =
        buf_printf(sql, err, "copy (select t.* from %.*s t order by (t.*)::text collate \"C\") to stdout",
                   BYTES_FMT(row[0].bytes));
    if (status == SOREX_OK)
        status = buf_append_u8(sql, 0, err);
    if (status == SOREX_OK)
        status = run(fork, (const char *)sql->data, &results, err);
    if (status == SOREX_OK)
        hash_line(hash, results.first->copy_out);
    results_deinit(&results);
    return status;
}

static enum sorex_status fork_hash(struct database *fork, struct sha256 *hash, struct sorex_error *err)
{
    struct results tables;
    struct buf sql = {0};
    results_init(&tables, 0);
    enum sorex_status status = run(fork, settings_sql, &tables, err);
    if (status == SOREX_OK)
        status = run(fork, tables_sql, &tables, err);
    for (size_t i = 0; status == SOREX_OK && i < tables.first->rows_count; i++)
        status = table_hash(fork, hash, tables.first->rows[i], &sql, err);
    buf_deinit(&sql);
    results_deinit(&tables);
    return status;
}

enum sorex_status database_digest(struct database *database, uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    struct sha256 hash;
    struct snapshot *snapshot = NULL;
    struct database *fork = NULL;
    TRY(sha256_init(&hash, err));
    sha256_start(&hash);
    enum sorex_status status = database_save(database, &snapshot, err);
    if (status == SOREX_OK)
        status = database_fork(database, snapshot, &fork, err);
    if (status == SOREX_OK)
        status = fork_hash(fork, &hash, err);
    if (status == SOREX_OK)
        sha256_finish(&hash, out);
    database_close(fork);
    snapshot_drop(snapshot);
    sha256_deinit(&hash);
    return status;
}
