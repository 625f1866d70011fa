/* Contract 4: the guest of docs/guide-guests.md, so that it is known to build and to do what is said of it. */
#include "sorex/reducer.h"

static void schema(void)
{
    sx_run(sx_prepare("create table notes (id bigint primary key, author text not null, note jsonb not null)"));
}
SOREX_SCHEMA(schema)

static void reduce(void)
{
    int32_t s = sx_prepare("insert into notes values ($1, $2, $3::text::jsonb)");
    sx_bind_i64(s, 1, sx_message_index());
    sx_bind_text(s, 2, sx_message_author());
    sx_bind_text(s, 3, sx_message());
    sx_run(s);
}
SOREX_REDUCE(reduce)
