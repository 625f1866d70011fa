/* A reducer for tests: a message is one SQL statement. "reject" is rejected with code 7. With
 * OTHER it does something else in one of them. */
#include "sorex/reducer.h"

static void schema(void) { sx_run(sx_prepare("create table note (id bigint primary key, body text not null)")); }
SOREX_SCHEMA(schema)

static void reduce(void)
{
    struct sx_bytes sql = sx_message();
    if (sql.len == 6 && sql.data[0] == 'r' && sql.data[2] == 'j')
        sx_reject(7, "asked for");
#ifdef OTHER
    if (sx_message_index() == 12)
        sx_run(sx_prepare("update unit set hp = hp + 1 where id = 7"));
#endif
    int32_t statement = sx_prepare_bytes(sql);
    while (sx_step(statement)) {
    }
}
SOREX_REDUCE(reduce)
