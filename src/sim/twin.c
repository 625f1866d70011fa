#include "sim/twin.h"

#include "base/check.h"
#include "base/sha256.h"

enum sorex_status twin_init(struct twin *twin, struct sorex_error *err)
{
    *twin = (struct twin){0};
    memory_state_init(&twin->rows, NULL);
    TRY(json_parser_new(&twin->parsers[0], err));
    return json_parser_new(&twin->parsers[1], err);
}

void twin_deinit(struct twin *twin)
{
    for (size_t i = 0; i < 2; i++)
        if (twin->parsers[i] != NULL)
            json_parser_free(twin->parsers[i]);
    memory_state_deinit(&twin->rows);
    buf_deinit(&twin->key);
}

static enum sorex_status key_make(struct twin *twin, const char *program, struct bytes table, struct bytes key,
                                  struct sorex_error *err)
{
    struct bytes parts[] = {bytes_str(program), table, key};
    buf_reset(&twin->key);
    for (size_t i = 0; i < 3; i++) {
        TRY(buf_append_varint(&twin->key, parts[i].len, err));
        TRY(buf_append(&twin->key, parts[i], err));
    }
    return SOREX_OK;
}

static enum sorex_status untrue(const struct sink_change *item, const char *what, struct bytes row,
                                struct sorex_error *err)
{
    const struct change *change = &item->change;
    return sorex_error_set(
        err, SOREX_MISMATCH,
        "sequence %llu, %s height %u, program %s: %s of %.*s/%.*s: %s (before %.*s, the sink has %.*s)",
        (unsigned long long)item->sequence, item->undo ? "undo of" : "at", item->height, item->program,
        change_operation_name(change->operation), BYTES_FMT(change->table), BYTES_FMT(change->key), what,
        (int)(change->before.len > 200 ? 200 : change->before.len), (const char *)change->before.data,
        (int)(row.len > 200 ? 200 : row.len), (const char *)row.data);
}

static enum sorex_status before_check(struct twin *twin, const struct sink_change *item, struct bytes row,
                                      struct sorex_error *err)
{
    bool equal = bytes_equal(item->change.before, row);
    if (item->change.before.data == NULL)
        return untrue(item, "there is no `before`", row, err);
    if (!equal)
        TRY(change_image_equal(twin->parsers[0], item->change.before, twin->parsers[1], row, &equal, err));
    return equal ? SOREX_OK : untrue(item, "`before` is not the row", row, err);
}

static enum sorex_status change_apply(struct twin *twin, const struct sink_change *item, struct sorex_error *err)
{
    const struct change *change = &item->change;
    struct bytes row = {0};
    bool found = false;
    TRY(key_make(twin, item->program, change->table, change->key, err));
    TRY(memory_state_get(&twin->rows, buf_view(&twin->key), &row, &found, err));
    bool trusted = twin->trusted != NULL && strcmp(twin->trusted, item->program) == 0;
    if (change->operation == CHANGE_CREATE && found && !trusted)
        return untrue(item, "the row exists", row, err);
    if (change->operation != CHANGE_CREATE && !found && !trusted)
        return untrue(item, "there is no such row", row, err);
    if (change->operation != CHANGE_CREATE && !trusted)
        TRY(before_check(twin, item, row, err));
    twin->changes++;
    if (change->operation == CHANGE_DELETE && !found)
        return SOREX_OK;
    if (change->operation == CHANGE_DELETE)
        return memory_state_del(&twin->rows, buf_view(&twin->key), err);
    return memory_state_put(&twin->rows, buf_view(&twin->key), change->after, err);
}

enum sorex_status twin_apply(struct twin *twin, const struct sink_batch *batch, struct sorex_error *err)
{
    for (size_t i = 0; i < batch->count; i++)
        TRY(change_apply(twin, &batch->changes[i], err));
    twin->cursor = batch->cursor;
    return SOREX_OK;
}

enum sorex_status twin_row(struct twin *twin, const char *program, struct bytes table, struct bytes key,
                           struct bytes *out, struct sorex_error *err)
{
    bool found = false;
    TRY(key_make(twin, program, table, key, err));
    TRY(memory_state_get(&twin->rows, buf_view(&twin->key), out, &found, err));
    if (!found)
        *out = bytes_of(NULL, 0);
    return SOREX_OK;
}

static enum sorex_status row_count(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    (void)key, (void)value, (void)err;
    ++*(uint64_t *)user_data;
    return SOREX_OK;
}

enum sorex_status twin_count(struct twin *twin, uint64_t *out, struct sorex_error *err)
{
    *out = 0;
    return twin->rows.used == 0 ? SOREX_OK : memory_state_scan(&twin->rows, row_count, out, err);
}

static enum sorex_status row_hash(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct sha256 *hash = user_data;
    (void)err;
    sha256_update_u32le(hash, (uint32_t)key.len);
    sha256_update(hash, key);
    sha256_update_u32le(hash, (uint32_t)value.len);
    sha256_update(hash, value);
    return SOREX_OK;
}

enum sorex_status twin_hash(struct twin *twin, uint8_t out[HASH_BYTES], struct sorex_error *err)
{
    struct sha256 hash;
    TRY(sha256_init(&hash, err));
    enum sorex_status status = twin->rows.used == 0 ? SOREX_OK : memory_state_scan(&twin->rows, row_hash, &hash, err);
    sha256_finish(&hash, out);
    sha256_deinit(&hash);
    return status;
}
