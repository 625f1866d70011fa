/* Key order to text order in one pass. In text, a key K ends in ':' (0x3a), which sorts after the digits 0 to 9 and before a to f:
 * the keys that extend K with a byte below 0xa0 come before K, the others after it. So a key waits while extensions below 0xa0 arrive;
 * what waits at any time is a chain of prefixes of the current key. */
#include "pipeline/dump.h"

#include <stdlib.h>

#include "base/check.h"

struct dump_pending {
    struct dump_pending *shorter;
    size_t key_len, value_len;
    uint8_t data[]; /* key, value */
};

void dump_init(struct dump *dump, dump_line_fn *line, void *user_data)
{
    *dump = (struct dump){.line = line, .user_data = user_data};
}

void dump_deinit(struct dump *dump)
{
    while (dump->pending != NULL) {
        struct dump_pending *top = dump->pending;
        dump->pending = top->shorter;
        free(top);
    }
    buf_deinit(&dump->text);
}

static enum sorex_status top_emit(struct dump *dump, struct sorex_error *err)
{
    struct dump_pending *top = dump->pending;
    buf_reset(&dump->text);
    TRY(buf_append_hex(&dump->text, bytes_of(top->data, top->key_len), err));
    TRY(buf_append_u8(&dump->text, ':', err));
    TRY(buf_append_hex(&dump->text, bytes_of(top->data + top->key_len, top->value_len), err));
    TRY(buf_append_u8(&dump->text, '\n', err));
    dump->pending = top->shorter;
    free(top);
    return dump->line(dump->user_data, buf_view(&dump->text), err);
}

enum sorex_status dump_pair(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct dump *dump = user_data;
    while (dump->pending != NULL) {
        const struct dump_pending *top = dump->pending;
        bool extends = key.len > top->key_len && (top->key_len == 0 || memcmp(key.data, top->data, top->key_len) == 0);
        if (extends && key.data[top->key_len] < 0xa0)
            break;
        TRY(top_emit(dump, err));
    }
    struct dump_pending *pending = malloc(sizeof *pending + key.len + value.len);
    if (pending == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a state dump");
    *pending = (struct dump_pending){.shorter = dump->pending, .key_len = key.len, .value_len = value.len};
    if (key.len != 0)
        memcpy(pending->data, key.data, key.len);
    if (value.len != 0)
        memcpy(pending->data + key.len, value.data, value.len);
    dump->pending = pending;
    return SOREX_OK;
}

enum sorex_status dump_finish(struct dump *dump, struct sorex_error *err)
{
    while (dump->pending != NULL)
        TRY(top_emit(dump, err));
    return SOREX_OK;
}

enum sorex_status dump_hash_line(void *hash, struct bytes line, struct sorex_error *err)
{
    (void)err;
    sha256_update(hash, line);
    return SOREX_OK;
}
