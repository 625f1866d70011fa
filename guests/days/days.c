/* A reducer over the blocks of a chain: how many each day had, their bytes, and the largest one. The day is that of the
 * message's time, which is the block's own. */
#include "sorex/reducer.h"

#define HEADER_BYTES 80

static void schema(void)
{
    sx_run(sx_prepare("create table days (day date primary key, blocks bigint not null, bytes bigint not null,"
                      " largest_bytes bigint not null, largest_block text not null)"));
}
SOREX_SCHEMA(schema)

/* The first of the largest ones is kept. Blocks are called as explorers call them: the hash, reversed. */
static const char *const sql =
    "insert into days values ((now() at time zone 'UTC')::date, 1, $1, $1,"
    " (select string_agg(lpad(to_hex(get_byte(hash, 31 - i)), 2, '0'), '' order by i)"
    "  from (select sha256(sha256($2)) hash) block, generate_series(0, 31) i))"
    " on conflict (day) do update set blocks = days.blocks + 1, bytes = days.bytes + excluded.bytes,"
    " largest_bytes = greatest(days.largest_bytes, excluded.largest_bytes),"
    " largest_block = case when excluded.largest_bytes > days.largest_bytes"
    " then excluded.largest_block else days.largest_block end";

static void reduce(void)
{
    struct sx_bytes block = sx_message();
    if (block.len < HEADER_BYTES)
        sx_reject(1, "no block");
    int32_t statement = sx_prepare(sql);
    sx_bind_i64(statement, 1, (int64_t)block.len);
    sx_bind_blob(statement, 2, (struct sx_bytes){block.data, HEADER_BYTES});
    sx_run(statement);
}
SOREX_REDUCE(reduce)
