/* libFuzzer: a whole store with damage in its records. The input is a script of entries, undos and cursors, which a
 * store in memory executes, and then what happens to the records that it left. The store that is opened on these is
 * read at every height, undone to its horizon and written on: damage is a status and a text, whatever it hit; where
 * there was none, there is no error. (RocksDB's checksums are not in the way here.)
 *
 *   byte 0     bit 0: a history of three entries; bit 1: every commit is durable
 *   byte 1     number of steps, modulo STEPS_MAX; each four bytes: kind, a, b, c
 *   the rest   damage, five bytes each: kind, record u16le, offset, value */
#include "base/check.h"
#include "base/codec.h"
#include "base/log.h"
#include "store/disk.h"
#include "store/store.h"

#define STEPS_MAX 48
#define DAMAGES_MAX 8
#define KEYS 24
#define FIRST 100u
#define SEQUENCES_MAX 100u /* read of the outbox */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct store_space space = {.kind = STORE_KEYS};
static bool damaged;
static uint32_t entries; /* no two have the same hash */

/* What a call may answer: nothing is wrong before the damage; afterwards it says what is. */
static bool good(enum sorex_status status, const struct sorex_error *err)
{
    if (status == SOREX_OK)
        return true;
    CHECK(err->status == status && err->text[0] != '\0');
    CHECK(status == SOREX_GONE || (damaged && (status == SOREX_CORRUPT || status == SOREX_MISMATCH ||
                                               status == SOREX_LIMIT || status == SOREX_IO)));
    return false;
}

static struct store *store_make(struct disk *disk, uint8_t choice, struct sorex_error *err)
{
    struct store_options options = {.dir = "fuzz",
                                    .disk = disk,
                                    .create = true,
                                    .network = "fuzz",
                                    .history = (choice & 1) != 0 ? 3 : STORE_HISTORY_FULL,
                                    .group_ms_max = 1000000};
    struct store *store = NULL;
    return good(store_open(&options, &store, err), err) ? store : NULL;
}

/* As a pipeline does when it starts. */
static bool program_take(struct store *store, struct sorex_error *err)
{
    static const uint8_t identity[HASH_BYTES] = {1};
    struct store_program program;
    if (!good(store_program(store, "program", identity, identity, true, &program, err), err))
        return false;
    space.program = program.id;
    return true;
}

/* ---- script ---- */

static struct bytes key_of(uint8_t number, uint8_t out[40])
{
    memset(out, 'a' + number % KEYS, 40);
    out[0] = 'k';
    return bytes_of(out, (size_t)(number % KEYS) * 3 / 2);
}

static bool writes_stage(struct store *store, uint8_t a, uint8_t b, uint8_t c, struct sorex_error *err)
{
    uint8_t text[40], value[64];
    memset(value, c, sizeof value);
    for (unsigned i = 0; i < a % 8u; i++) {
        struct bytes key = key_of((uint8_t)(b + i * c), text);
        bool drop = (c >> i & 1) != 0, found;
        struct bytes before;
        if ((b & 1) != 0 && (!good(store_get(store, space, key, &before, &found, err), err) ||
                             !good(store_get_staged(store, space, key, &before, &found, err), err)))
            return false;
        if (!good(drop ? store_delete(store, space, key, err)
                       : store_put(store, space, key, bytes_of(value, (size_t)(b + i * 7u) % sizeof value), err),
                  err))
            return false;
    }
    for (unsigned i = 0; i < (a >> 3) % 4u; i++) {
        struct bytes change = bytes_str("{\"change\":1}");
        if (!good(store_emit(store, space.program, change, change, err), err))
            return false;
    }
    return true;
}

static void entry_add(struct store *store, uint8_t a, uint8_t b, uint8_t c, bool durable, struct sorex_error *err)
{
    struct store_heights heights;
    store_heights(store, &heights);
    struct entry entry = {.height = FIRST}, tip;
    if (heights.tip != SOREX_HEIGHT_NONE) {
        if (!good(store_entry(store, heights.tip, &tip, err), err))
            return;
        entry.height = heights.tip + 1;
        memcpy(entry.parent, tip.hash, HASH_BYTES);
    }
    u32le_put(entry.hash, ++entries);
    bool staged = good(store_begin(store, &entry, err), err);
    if (!staged || !writes_stage(store, a, b, c, err) || !good(store_commit(store, durable, err), err))
        store_abort(store);
}

/* Further writes and changes of the entry at the tip, as an inverse makes them. */
static void tip_amend(struct store *store, uint8_t a, uint8_t b, uint8_t c, struct sorex_error *err)
{
    if (!good(store_amend_begin(store, err), err))
        return;
    if (!writes_stage(store, a, b, c, err) || !good(store_amend_commit(store, err), err))
        store_abort(store);
}

static void step(struct store *store, const uint8_t *at, bool durable, struct sorex_error *err)
{
    static const uint8_t hash[HASH_BYTES] = {7};
    static const char *const sinks[] = {"file", "postgres", "console"};
    struct store_program program;
    uint64_t first, head;
    switch (at[0] % 8) {
    case 0:
        if (good(store_undo(store, NULL, err), err) && at[1] != 0)
            tip_amend(store, at[1], at[2], at[3], err);
        break;
    case 1:
        store_outbox_range(store, &first, &head);
        (void)good(store_cursor_set(store, sinks[at[1] % 3], at[2] % (head + 1), hash, err), err);
        break;
    case 2:
        if ((at[1] & 1) != 0)
            (void)good(store_program(store, "program", hash, hash, true, &program, err), err);
        else
            (void)good(store_cursor_forget(store, sinks[at[2] % 3], err), err);
        break;
    default:
        entry_add(store, at[1], at[2], at[3], durable, err);
    }
}

static void script_run(struct disk *disk, uint8_t choice, struct bytes steps)
{
    struct sorex_error err = {0};
    struct store *store = store_make(disk, choice, &err);
    CHECK(store != NULL && program_take(store, &err));
    for (size_t i = 0; i + 4 <= steps.len; i += 4)
        step(store, steps.data + i, (choice & 2) != 0, &err);
    store_close(store);
}

/* ---- damage ---- */

static void value_change(struct buf *value, uint8_t kind, uint8_t offset, uint8_t with)
{
    size_t at = value->len == 0 ? 0 : offset % value->len;
    if (kind == 0 && value->len > 0)
        value->data[at] ^= with == 0 ? 1 : with;
    else if (kind == 1 && value->len > 0)
        value->data[at] = with;
    else if (kind == 2)
        value->len = at;
    else
        CHECK(buf_append_u8(value, with, NULL) == SOREX_OK);
}

/* Of the record `number`, counted through all families. */
static void record_damage(struct disk *disk, const uint8_t *damage, uint32_t number)
{
    struct buf key = {0}, value = {0};
    struct bytes at, record;
    enum db_family family = DB_META;
    struct disk_batch *batch = disk_batch_new();
    for (; family < DB_FAMILIES; family++) {
        struct disk_iter *iter = disk_iter_new(disk, NULL, family);
        CHECK(iter != NULL);
        for (disk_iter_seek(iter, (struct bytes){0}); key.data == NULL && disk_iter_at(iter, &at, &record);
             disk_iter_next(iter)) {
            if (number-- > 0)
                continue;
            CHECK(buf_append(&key, at, NULL) == SOREX_OK && buf_append(&value, record, NULL) == SOREX_OK);
        }
        disk_iter_free(iter);
        if (key.data != NULL)
            break;
    }
    if (key.data != NULL && family < DB_FAMILIES) {
        uint8_t kind = damage[0] % 8;
        disk_batch_delete(batch, family, buf_view(&key));
        if (kind < 7) {
            value_change(kind < 4 ? &value : &key, kind & 3, damage[3], damage[4]);
            disk_batch_put(batch, family, buf_view(&key), buf_view(&value));
        }
        CHECK(disk_write(disk, batch, true, NULL) == SOREX_OK);
        damaged = true;
    }
    disk_batch_free(batch);
    buf_deinit(&key);
    buf_deinit(&value);
}

/* ---- what is left ---- */

static enum sorex_status on_pair(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    (void)err;
    *(size_t *)user_data += key.len + value.len;
    return SOREX_OK;
}

static void height_read(struct store *store, uint32_t height, struct sorex_error *err)
{
    struct store_reader *reader;
    struct entry entry;
    struct bytes value;
    bool found;
    size_t bytes = 0;
    uint8_t text[40], commitment[HASH_BYTES];
    (void)good(store_entry(store, height, &entry, err), err);
    (void)good(store_commitment(store, height, 0, commitment, err), err);
    if (!good(store_reader_open(store, height, &reader, err), err))
        return;
    for (uint8_t i = 0; i < KEYS; i++)
        (void)good(store_reader_get(reader, space, key_of(i, text), &value, &found, err), err);
    (void)good(store_reader_scan(reader, space, bytes_str("k"), on_pair, &bytes, err), err);
    store_reader_close(reader);
}

static void outbox_read(struct store *store, struct sorex_error *err)
{
    uint64_t first, head;
    struct buf bytes = {0};
    struct outbox_record record;
    store_outbox_range(store, &first, &head);
    for (uint64_t sequence = first; sequence <= head && sequence - first < SEQUENCES_MAX; sequence++)
        (void)good(store_outbox_read(store, sequence, &bytes, &record, err), err);
    buf_deinit(&bytes);
}

static void store_use(struct store *store, struct sorex_error *err)
{
    struct store_heights heights;
    struct buf network = {0};
    (void)good(store_network(store, &network, err), err);
    buf_deinit(&network);
    store_heights(store, &heights);
    for (uint32_t height = FIRST - 1; height < FIRST + STEPS_MAX; height++)
        height_read(store, height, err);
    outbox_read(store, err);
    if (!program_take(store, err)) {
        store_close(store);
        return;
    }
    if (good(store_undo(store, NULL, err), err))
        tip_amend(store, 0xff, 5, 2, err);
    entry_add(store, 0xff, 3, 5, true, err);
    if (heights.tip != SOREX_HEIGHT_NONE && heights.horizon != SOREX_HEIGHT_NONE)
        (void)good(store_undo_to(store, heights.horizon, NULL, NULL, err), err);
    entry_add(store, 0xff, 9, 1, true, err);
    outbox_read(store, err);
    store_close(store);
}

static struct bytes take(struct bytes *input, size_t len)
{
    struct bytes taken = bytes_of(input->data, len < input->len ? len : input->len);
    *input = bytes_of(input->data + taken.len, input->len - taken.len);
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct bytes rest = bytes_of(data + 2, size - 2);
    struct bytes steps = take(&rest, data[1] % STEPS_MAX * 4u);
    struct disk *disk = disk_new();
    struct sorex_error err = {0};
    CHECK(disk != NULL);
    log_level_set(LOG_OFF);
    damaged = false;
    entries = 0;
    script_run(disk, data[0], steps);
    for (size_t i = 0; i < DAMAGES_MAX && (i + 1) * 5 <= rest.len; i++)
        record_damage(disk, rest.data + i * 5, u16le_get(rest.data + i * 5 + 1));
    struct store *store = store_make(disk, data[0], &err);
    CHECK(damaged || store != NULL);
    if (store != NULL)
        store_use(store, &err);
    disk_free(disk);
    return 0;
}
