/* A reducer for tests: a message is one SQL statement. "reject" is rejected with code 7. */
#include "sorex/reducer.h"

static void schema(void) { sx_run(sx_prepare("create table note (id bigint primary key, body text not null)")); }
SOREX_SCHEMA(schema)

static void reduce(void)
{
    struct sx_bytes sql = sx_message();
    if (sql.len == 6 && sql.data[0] == 'r' && sql.data[2] == 'j')
        sx_reject(7, "asked for");
    int32_t statement = sx_prepare_bytes(sql);
    while (sx_step(statement)) {
    }
}
SOREX_REDUCE(reduce)
