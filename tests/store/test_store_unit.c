/* What store.h promises, one rule per test. */
#include <fcntl.h>
#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/codec.h"
#include "store/fault.h"
#include "store/internal.h"
#include "store/scratch.h"

static const uint8_t identity_a[HASH_BYTES] = {1}, identity_b[HASH_BYTES] = {2}, module_a[HASH_BYTES] = {3},
                     module_b[HASH_BYTES] = {4};
static const struct store_space keys = {0, STORE_KEYS}, images = {0, STORE_IMAGES};

struct world {
    char dir[SCRATCH_PATH_MAX];
    struct store_options options;
    struct store *store;
};

static void world_open(struct world *world)
{
    struct sorex_error err;
    struct store_program program;
    OK(store_open(&world->options, &world->store, &err));
    OK(store_program(world->store, "p", identity_a, module_a, false, &program, &err));
}

static void world_start(struct world *world, uint32_t history)
{
    scratch_make(world->dir);
    world->options = (struct store_options){.dir = world->dir,
                                            .create = true,
                                            .history = history,
                                            .group_ms_max = UINT64_MAX,
                                            .cache_bytes = 1 << 20,
                                            .fail_fast_sync = true};
    world_open(world);
}

static void world_end(struct world *world)
{
    store_close(world->store);
    scratch_remove(world->dir);
}

static void put(struct world *world, const char *key, const char *value)
{
    struct sorex_error err;
    OK(store_put(world->store, keys, bytes_str(key), bytes_str(value), &err));
}

/* One entry with one write per pair of arguments' text "key=value", or "key" for a delete. */
static void commit(struct world *world, uint32_t height, const char *key, const char *value, bool durable)
{
    struct sorex_error err;
    struct entry entry = entry_make(height, 0, 0);
    OK(store_begin(world->store, &entry, &err));
    if (key != NULL && value != NULL)
        put(world, key, value);
    else if (key != NULL)
        OK(store_delete(world->store, keys, bytes_str(key), &err));
    OK(store_commit(world->store, durable, &err));
}

static void expect_get(struct world *world, const char *key, const char *value)
{
    struct sorex_error err;
    struct bytes found;
    bool is = false;
    OK(store_get(world->store, keys, bytes_str(key), &found, &is, &err));
    assert_int_equal(is, value != NULL);
    if (value != NULL)
        assert_true(bytes_is(found, value));
}

static void expect_at(struct world *world, uint32_t height, const char *key, const char *value)
{
    struct sorex_error err;
    struct store_reader *reader = NULL;
    struct bytes found;
    bool is = false;
    OK(store_reader_open(world->store, height, &reader, &err));
    OK(store_reader_get(reader, keys, bytes_str(key), &found, &is, &err));
    assert_int_equal(is, value != NULL);
    if (value != NULL)
        assert_true(bytes_is(found, value));
    store_reader_close(reader);
}

static void entries_must_link(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 7, "k", "v", true);
    struct entry gap = entry_make(9, 0, 0), stranger = entry_make(8, 0, 1), again = entry_make(7, 0, 0);
    assert_int_equal(store_begin(world.store, &gap, &err), SOREX_INVALID);
    assert_int_equal(store_begin(world.store, &stranger, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "parent"));
    assert_int_equal(store_begin(world.store, &again, &err), SOREX_INVALID);
    commit(&world, 8, "k", "w", true);
    world_end(&world);
}

static void staged_writes_are_seen_only_where_promised(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct bytes found;
    bool is = false;
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 1, "k", "old", false);
    struct entry entry = entry_make(2, 0, 0);
    OK(store_begin(world.store, &entry, &err));
    put(&world, "k", "new");
    put(&world, "k", "newer");
    expect_get(&world, "k", "old");
    OK(store_get_staged(world.store, keys, bytes_str("k"), &found, &is, &err));
    assert_true(is && bytes_is(found, "newer"));
    OK(store_get_staged(world.store, images, bytes_str("k"), &found, &is, &err));
    assert_false(is);
    store_abort(world.store);
    expect_get(&world, "k", "old");
    struct store_heights heights;
    store_heights(world.store, &heights);
    assert_int_equal(heights.tip, 1);
    assert_int_equal(heights.durable, SOREX_HEIGHT_NONE);
    world_end(&world);
}

static void readers_see_durable_only(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    world_start(&world, STORE_HISTORY_FULL);
    struct store_reader *reader = NULL;
    OK(store_reader_open(world.store, 5, &reader, &err));
    assert_int_equal(store_reader_height(reader), SOREX_HEIGHT_NONE);
    store_reader_close(reader);
    commit(&world, 1, "k", "one", true);
    commit(&world, 2, "k", "two", false);
    expect_get(&world, "k", "two");
    expect_at(&world, SOREX_HEIGHT_NONE, "k", "one");
    expect_at(&world, 2, "k", "one");
    OK(store_flush(world.store, &err));
    expect_at(&world, SOREX_HEIGHT_NONE, "k", "two");
    expect_at(&world, 1, "k", "one");
    world_end(&world);
}

static void a_commit_may_be_lost_only_with_its_group(void **state)
{
    (void)state;
    struct world world;
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 1, "k", "one", true);
    store_close(world.store);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        world_open(&world);
        commit(&world, 2, "k", "two", true);
        commit(&world, 3, "k", "three", false);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    world_open(&world);
    expect_get(&world, "k", "two");
    world_end(&world);
}

/* Everything in state, undo and entries, as one text. */
static void dump(struct store *store, struct buf *out)
{
    static const enum db_family families[] = {DB_STATE, DB_UNDO, DB_ENTRIES};
    struct sorex_error err;
    buf_reset(out);
    for (size_t i = 0; i < 3; i++) {
        struct db_iter *iter = db_iter_new(store->db, NULL, families[i]);
        struct bytes key, value;
        for (db_iter_seek(iter, (struct bytes){0}); db_iter_at(iter, &key, &value); db_iter_next(iter)) {
            OK(buf_append_hex(out, key, &err));
            OK(buf_append_str(out, ":", &err));
            OK(buf_append_hex(out, value, &err));
            OK(buf_append_str(out, "\n", &err));
        }
        db_iter_free(iter);
    }
}

static void undo_leaves_the_same_bytes(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct buf before = {0}, after = {0};
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 1, "changed", "1", true);
    commit(&world, 2, "deleted", "1", true);
    commit(&world, 3, "gone", NULL, true);
    dump(world.store, &before);
    for (uint32_t round = 0; round < 2; round++) {
        struct entry entry = entry_make(4, round, 0);
        OK(store_begin(world.store, &entry, &err));
        put(&world, "changed", "2");
        put(&world, "new", "2");
        put(&world, "gone", "2");
        OK(store_delete(world.store, keys, bytes_str("deleted"), &err));
        OK(store_delete(world.store, keys, bytes_str("never was"), &err));
        OK(store_commit(world.store, round == 0, &err));
        entry = entry_make(5, round, round);
        OK(store_begin(world.store, &entry, &err));
        put(&world, "changed", "3");
        OK(store_delete(world.store, keys, bytes_str("new"), &err));
        OK(store_commit(world.store, round == 0, &err));
        OK(store_undo(world.store, NULL, &err));
        OK(store_undo(world.store, NULL, &err));
        dump(world.store, &after);
        assert_true(bytes_equal(buf_view(&before), buf_view(&after)));
    }
    buf_deinit(&before);
    buf_deinit(&after);
    world_end(&world);
}

static void count_undone(void *user_data, const struct entry *entry)
{
    uint32_t *next = user_data;
    assert_int_equal(entry->height, *next);
    --*next;
}

/* Many entries in one go leave what they leave one by one. The large entries make pieces and undo records of several.
 */
static void undo_to_leaves_the_same_bytes(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct buf before = {0}, after = {0};
    static uint8_t value[40000];
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 1, "hot", "1", true);
    commit(&world, 2, "once", "1", true);
    dump(world.store, &before);
    for (uint32_t round = 0; round < 2; round++) {
        for (uint32_t height = 3; height < 303; height++) {
            struct entry entry = entry_make(height, round, height == 3 ? 0 : round);
            OK(store_begin(world.store, &entry, &err));
            put(&world, height % 2 == 0 ? "hot" : "new", "x");
            if (height % 7 == 0)
                OK(store_delete(world.store, keys, bytes_str("once"), &err));
            for (uint8_t i = 0; i < 4; i++)
                OK(store_put(world.store, keys, bytes_of(&i, 1), bytes_of(value, sizeof value), &err));
            OK(store_emit(world.store, 0, bytes_str("{}"), bytes_str("{}"), &err));
            OK(store_commit(world.store, false, &err));
        }
        uint32_t next = 302;
        OK(store_undo_to(world.store, round == 0 ? 2 : 5, count_undone, &next, &err));
        for (uint32_t height = round == 0 ? 2 : 5; height > 2; height--)
            OK(store_undo(world.store, NULL, &err));
        assert_int_equal(next, round == 0 ? 2 : 5);
        dump(world.store, &after);
        assert_true(bytes_equal(buf_view(&before), buf_view(&after)));
        expect_get(&world, "hot", "1");
        uint64_t first = 0, head = 0;
        store_outbox_range(world.store, &first, &head);
        assert_int_equal(head, (round + 1) * 600); /* 300 applied, each taken back */
    }
    assert_int_equal(store_undo_to(world.store, 0, NULL, NULL, &err), SOREX_GONE);
    buf_deinit(&before);
    buf_deinit(&after);
    world_end(&world);
}

/* The horizon that counts is the one after the group was written. */
static void undo_to_below_the_horizon_undoes_nothing(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct store_heights heights;
    world_start(&world, 2);
    for (uint32_t height = 1; height <= 6; height++)
        commit(&world, height, "hot", "1", false);
    assert_int_equal(store_undo_to(world.store, 3, NULL, NULL, &err), SOREX_GONE);
    store_heights(world.store, &heights);
    assert_int_equal(heights.tip, 6);
    assert_int_equal(heights.horizon, 4);
    OK(store_undo_to(world.store, 4, NULL, NULL, &err));
    world_end(&world);
}

static void bounded_history_keeps_nothing_below(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct buf group = {0}, single = {0};
    for (int durable = 0; durable < 2; durable++) {
        world_start(&world, 2);
        for (uint32_t height = 1; height <= 20; height++) {
            char value[16];
            snprintf(value, sizeof value, "%u", height);
            commit(&world, height, "hot", value, durable != 0);
        }
        commit(&world, 21, "hot", NULL, durable != 0);
        for (uint32_t height = 22; height <= 24; height++)
            commit(&world, height, NULL, NULL, durable != 0);
        OK(store_flush(world.store, &err));
        dump(world.store, durable != 0 ? &single : &group);
        struct store_heights heights;
        store_heights(world.store, &heights);
        assert_int_equal(heights.horizon, 22);
        assert_int_equal(heights.first, 1);
        OK(store_undo(world.store, NULL, &err));
        OK(store_undo(world.store, NULL, &err));
        assert_int_equal(store_undo(world.store, NULL, &err), SOREX_GONE);
        assert_non_null(strstr(err.text, "horizon"));
        world_end(&world);
    }
    /* One group or twenty-four: the same records remain, and neither the key nor its tombstone is among them. */
    assert_true(bytes_equal(buf_view(&group), buf_view(&single)));
    OK(buf_append_u8(&group, 0, &err));
    assert_null(strstr((const char *)group.data, "686f74")); /* "hot" */
    buf_deinit(&group);
    buf_deinit(&single);
}

static void a_pruned_tombstone_is_absent_in_the_cache_too(void **state)
{
    (void)state;
    struct world world;
    struct buf warm = {0}, cold = {0};
    for (int reopened = 0; reopened < 2; reopened++) {
        world_start(&world, 1);
        commit(&world, 1, "k", "v", true);
        commit(&world, 2, "k", NULL, true);
        for (uint32_t height = 3; height <= 5; height++)
            commit(&world, height, NULL, NULL, true);
        if (reopened != 0) {
            store_close(world.store);
            world_open(&world);
        }
        commit(&world, 6, "k", "w", true);
        dump(world.store, reopened != 0 ? &cold : &warm);
        world_end(&world);
    }
    assert_true(bytes_equal(buf_view(&warm), buf_view(&cold)));
    buf_deinit(&warm);
    buf_deinit(&cold);
}

static void first_entry_cannot_be_undone(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    world_start(&world, STORE_HISTORY_FULL);
    assert_int_equal(store_undo(world.store, NULL, &err), SOREX_GONE);
    commit(&world, 10, "k", "v", true);
    assert_int_equal(store_undo(world.store, NULL, &err), SOREX_GONE);
    assert_non_null(strstr(err.text, "new data directory"));
    struct store_reader *reader = NULL;
    assert_int_equal(store_reader_open(world.store, 9, &reader, &err), SOREX_GONE);
    world_end(&world);
}

static void emitted_and_stored_may_differ(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct buf bytes = {0};
    struct outbox_record record;
    world_start(&world, STORE_HISTORY_FULL);
    struct entry entry = entry_make(1, 0, 0);
    OK(store_begin(world.store, &entry, &err));
    OK(store_emit(world.store, 0, bytes_str("emitted"), bytes_str("stored"), &err));
    OK(store_emit(world.store, 0, bytes_str("filtered out"), (struct bytes){0}, &err));
    OK(store_emit(world.store, 0, (struct bytes){0}, bytes_str("a second part"), &err));
    OK(store_commit(world.store, true, &err));
    OK(store_outbox_read(world.store, 1, &bytes, &record, &err));
    assert_int_equal(record.kind, OUTBOX_APPLY);
    assert_int_equal(record.change_count, 2);
    uint16_t program = 9;
    struct bytes json;
    bool ok = false;
    assert_true(outbox_change_next(&record.changes, &program, &json, &ok));
    assert_true(ok && program == 0 && bytes_is(json, "stored"));
    assert_true(outbox_change_next(&record.changes, &program, &json, &ok));
    assert_true(ok && program == 0 && bytes_is(json, "a second part"));
    assert_false(outbox_change_next(&record.changes, &program, &json, &ok));
    assert_true(ok);
    uint8_t with_part[HASH_BYTES], without[HASH_BYTES];
    OK(store_commitment(world.store, 1, 0, with_part, &err));
    world_end(&world);
    world_start(&world, STORE_HISTORY_FULL);
    OK(store_begin(world.store, &entry, &err));
    OK(store_emit(world.store, 0, bytes_str("emitted"), (struct bytes){0}, &err));
    OK(store_emit(world.store, 0, bytes_str("filtered out"), bytes_str("not filtered out"), &err));
    OK(store_commit(world.store, true, &err));
    OK(store_commitment(world.store, 1, 0, without, &err));
    assert_memory_equal(with_part, without, HASH_BYTES); /* it knows what was emitted, nothing else */
    struct bytes torn = bytes_of("\0\0\x7fx", 4);
    assert_false(outbox_change_next(&torn, &program, &json, &ok));
    assert_false(ok);
    buf_deinit(&bytes);
    world_end(&world);
}

static void commitment_matches_the_documented_bytes(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    world_start(&world, STORE_HISTORY_FULL);
    struct entry entry = {.height = 5};
    memset(entry.hash, 0xaa, HASH_BYTES);
    memset(entry.parent, 0xbb, HASH_BYTES);
    OK(store_begin(world.store, &entry, &err));
    put(&world, "b", "first");
    put(&world, "b", "xy");
    OK(store_delete(world.store, keys, bytes_str("a"), &err));
    OK(store_emit(world.store, 0, bytes_str("{}"), bytes_str("{}"), &err));
    OK(store_commit(world.store, true, &err));
    uint8_t got[HASH_BYTES];
    OK(store_commitment(world.store, 5, 0, got, &err));
    char hex[HASH_HEX_SIZE];
    hash_hex(got, hex);
    /* printf of the 32 zero, 32 0xaa, 32 0xbb bytes, then 02000000 | 00 01000000 61 00 00000000 | 00 01000000 62 01
     * 02000000 7879 | 01000000 02000000 7b7d through sha256sum */
    assert_string_equal(hex, "0e318c3f1afe9738d869828e99312c886e7cad53f18cdc0dcaeacdb66358ba5e");
    world_end(&world);
}

static void programs_are_checked(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct store_program program;
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 3, "k", "v", false);
    assert_int_equal(store_program(world.store, "p", identity_b, module_b, false, &program, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "sorex upgrade PIPELINE --program p"));
    OK(store_program(world.store, "p", identity_b, module_b, true, &program, &err));
    assert_int_equal(program.id, 0);
    assert_int_equal(program.from_height, 4);
    store_close(world.store);
    OK(store_open(&world.options, &world.store, &err));
    OK(store_program_find(world.store, "p", &program, &err));
    assert_memory_equal(program.module_hash, module_b, HASH_BYTES);
    assert_int_equal(program.from_height, 4);
    assert_int_equal(store_program_find(world.store, "q", &program, &err), SOREX_GONE);
    OK(store_program(world.store, "q", identity_a, module_a, false, &program, &err));
    assert_int_equal(program.id, 1);
    /* A later program's chain starts with the next entry. */
    uint8_t commitment[HASH_BYTES];
    commit(&world, 4, NULL, NULL, true);
    assert_int_equal(store_commitment(world.store, 3, 1, commitment, &err), SOREX_GONE);
    OK(store_commitment(world.store, 4, 1, commitment, &err));
    world_end(&world);
}

static void other_stores_are_refused(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    struct store *other = NULL;
    world_start(&world, STORE_HISTORY_FULL);
    assert_int_equal(store_open(&world.options, &other, &err), SOREX_BUSY);
    assert_non_null(strstr(err.text, "sorex.lock"));
    store_close(world.store);

    world.options.network = "bitcoin:mainnet";
    world_open(&world);
    store_close(world.store);
    world.options.network = "bitcoin:regtest";
    assert_int_equal(store_open(&world.options, &other, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "bitcoin:mainnet"));
    world.options.network = NULL;

    struct buf network = {0};
    world_open(&world);
    OK(store_network(world.store, &network, &err));
    assert_true(bytes_is(buf_view(&network), "bitcoin:mainnet"));
    OK(store_network_set(world.store, "bitcoin:mainnet", &err));
    assert_int_equal(store_network_set(world.store, "bitcoin:regtest", &err), SOREX_MISMATCH);
    buf_deinit(&network);
    store_close(world.store);

    world_open(&world);
    uint8_t format[4];
    u32le_put(format, STORE_FORMAT + 1);
    struct db_batch *batch = db_batch_new(world.store->db);
    db_batch_put(batch, DB_META, bytes_str(META_FORMAT), bytes_of(format, 4));
    OK(db_write(world.store->db, batch, false, &err));
    db_batch_clear(batch);
    store_close(world.store);
    assert_int_equal(store_open(&world.options, &other, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "newer"));
    db_batch_free(batch);

    struct db_options raw = {.path = NULL, .create = true, .no_sync = true, .cache_bytes = 1 << 20};
    char path[SCRATCH_PATH_MAX + 8], dir[SCRATCH_PATH_MAX];
    scratch_make(dir);
    snprintf(path, sizeof path, "%s/db", dir);
    raw.path = path;
    struct db *db = NULL;
    OK(db_open(&raw, &db, &err));
    batch = db_batch_new(db);
    db_batch_put(batch, DB_META, bytes_str("something"), bytes_str("else"));
    OK(db_write(db, batch, false, &err));
    db_batch_free(batch);
    db_close(db);
    struct store_options foreign = {.dir = dir, .create = true};
    assert_int_equal(store_open(&foreign, &other, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "not a sorex store"));
    scratch_remove(dir);

    struct store_options absent = {.dir = "store-test-none"};
    assert_int_equal(store_open(&absent, &other, &err), SOREX_GONE);
    scratch_remove(world.dir);
}

/* It had a family that is gone, so RocksDB would not open it; the message is ours all the same. */
static void a_store_of_format_2_is_refused(void **state)
{
    (void)state;
    struct sorex_error err;
    struct store *store = NULL;
    char path[SCRATCH_PATH_MAX + 8], dir[SCRATCH_PATH_MAX];
    char *text = NULL;
    scratch_make(dir);
    snprintf(path, sizeof path, "%s/db", dir);
    rocksdb_options_t *options = rocksdb_options_create();
    rocksdb_options_set_create_if_missing(options, 1);
    rocksdb_t *db = rocksdb_open(options, path, &text);
    assert_null(text);
    rocksdb_column_family_handle_t *history = rocksdb_create_column_family(db, options, "history", &text);
    assert_null(text);
    rocksdb_column_family_handle_destroy(history);
    rocksdb_close(db);
    rocksdb_options_destroy(options);
    struct store_options old = {.dir = dir, .create = true};
    assert_int_equal(store_open(&old, &store, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "format 2"));
    scratch_remove(dir);
}

static void read_only_beside_a_writer(void **state)
{
    (void)state;
    struct world world, beside;
    struct sorex_error err;
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 1, "k", "one", true);
    beside = world;
    beside.options.read_only = true;
    OK(store_open(&beside.options, &beside.store, &err));
    commit(&world, 2, "k", "two", true);
    expect_at(&beside, SOREX_HEIGHT_NONE, "k", "one");
    struct entry entry = entry_make(2, 0, 0);
    assert_int_equal(store_begin(beside.store, &entry, &err), SOREX_INVALID);
    assert_int_equal(store_undo(beside.store, NULL, &err), SOREX_INVALID);
    assert_memory_equal(store_id(beside.store), store_id(world.store), STORE_ID_BYTES);
    store_close(beside.store);
    world_end(&world);
}

static void a_failed_group_stops_the_writer(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 1, "k", "one", true);
    struct entry entry = entry_make(2, 0, 0);
    OK(store_begin(world.store, &entry, &err));
    put(&world, "k", "two");
    store_fault_arm(FAULT_FAIL, 1);
    assert_int_equal(store_commit(world.store, true, &err), SOREX_IO);
    entry = entry_make(3, 0, 0);
    assert_int_equal(store_begin(world.store, &entry, &err), SOREX_IO);
    assert_int_equal(store_flush(world.store, &err), SOREX_IO);
    expect_at(&world, SOREX_HEIGHT_NONE, "k", "one");
    store_close(world.store);
    world_open(&world);
    expect_get(&world, "k", "one");
    commit(&world, 2, "k", "two", true);
    world_end(&world);
}

static void a_group_that_fails_behind_is_reported(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err = {0};
    world_start(&world, STORE_HISTORY_FULL);
    commit(&world, 1, "k", "one", true);
    store_close(world.store);
    world.options.group_bytes_max = 1;
    world_open(&world);
    store_fault_arm(FAULT_FAIL, 1);
    enum sorex_status status = SOREX_OK;
    for (uint32_t height = 2; height < 5 && status == SOREX_OK; height++) {
        struct entry entry = entry_make(height, 0, 0);
        OK(store_begin(world.store, &entry, &err));
        put(&world, "k", "later");
        status = store_commit(world.store, false, &err);
    }
    assert_int_equal(status, SOREX_IO);
    assert_non_null(strstr(err.text, "heights 2 to 2"));
    assert_int_equal(store_flush(world.store, &err), SOREX_IO);
    assert_int_equal(store_undo(world.store, NULL, &err), SOREX_IO);
    store_close(world.store);
    world_open(&world);
    expect_get(&world, "k", "one");
    world_end(&world);
}

static void sizes(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    world_start(&world, STORE_HISTORY_FULL);
    size_t len = SOREX_KEY_BYTES_MAX + 1;
    uint8_t *big = calloc(1, len);
    assert_non_null(big);
    struct entry entry = entry_make(0, 0, 0);
    OK(store_begin(world.store, &entry, &err));
    assert_int_equal(store_put(world.store, keys, bytes_of(big, len), bytes_str("v"), &err), SOREX_LIMIT);
    OK(store_put(world.store, keys, bytes_of(big, len - 1), bytes_of(big, len), &err));
    OK(store_put(world.store, keys, bytes_str("empty"), (struct bytes){0}, &err));
    OK(store_commit(world.store, true, &err));
    expect_get(&world, "empty", "");
    struct bytes found;
    bool is = false;
    OK(store_get(world.store, keys, bytes_of(big, len - 1), &found, &is, &err));
    assert_true(is && found.len == len);
    commit(&world, 1, "empty", NULL, true);
    OK(store_undo(world.store, NULL, &err));
    expect_get(&world, "empty", "");
    free(big);
    world_end(&world);
}

static void cursors_hold_the_outbox(void **state)
{
    (void)state;
    struct world world;
    struct sorex_error err;
    uint8_t hash[HASH_BYTES] = {7}, got[HASH_BYTES];
    uint64_t first = 0, head = 0, sequence = 0;
    world_start(&world, 1);
    OK(store_cursor_set(world.store, "slow", 0, hash, &err));
    assert_int_equal(store_cursor_set(world.store, "slow", 1, hash, &err), SOREX_INVALID);
    for (uint32_t height = 1; height <= 10; height++) {
        struct entry entry = entry_make(height, 0, 0);
        OK(store_begin(world.store, &entry, &err));
        OK(store_emit(world.store, 0, bytes_str("{}"), bytes_str("{}"), &err));
        OK(store_commit(world.store, true, &err));
    }
    store_outbox_range(world.store, &first, &head);
    assert_int_equal(first, 1);
    assert_int_equal(head, 10);
    assert_true(store_outbox_bytes(world.store) > 0);
    OK(store_cursor_set(world.store, "slow", 10, hash, &err));
    assert_int_equal(store_outbox_bytes(world.store), 0);
    commit(&world, 11, NULL, NULL, true);
    store_outbox_range(world.store, &first, &head);
    assert_int_equal(first, 11); /* the horizon is 10: nothing at or below it is needed */
    store_close(world.store);
    world_open(&world);
    OK(store_cursor_get(world.store, "slow", &sequence, got, &err));
    assert_int_equal(sequence, 10);
    assert_memory_equal(got, hash, HASH_BYTES);
    assert_int_equal(store_cursor_get(world.store, "other", &sequence, got, &err), SOREX_GONE);
    world_end(&world);
}

static void records_refuse_what_does_not_fit(void **state)
{
    (void)state;
    struct version_record version;
    struct head head;
    assert_false(state_decode(bytes_of("\1\0\0\0", 4), &version));
    assert_false(state_decode(bytes_of("\1\0\0\0\3", 5), &version));
    assert_false(state_decode(bytes_of("\1\0\0\0\0", 5), &version));
    assert_false(state_decode(bytes_of("\1\0\0\0\1x", 6), &version));
    assert_false(state_decode(bytes_of("\xff\xff\xff\xff\2", 5), &version));
    assert_true(state_decode(bytes_of("\1\0\0\0\2", 5), &version));
    assert_false(state_decode(bytes_of("\1\0\0\0\x82", 5), &version));
    assert_false(state_decode(bytes_of("\1\0\0\0\x82\2\4", 7), &version)); /* an ancestor below 0 */
    assert_true(state_decode(bytes_of("\1\0\0\0\x82\2\2v", 8), &version));
    assert_true(version.kind == VERSION_VALUE && version.lineage.len == 2 && bytes_is(version.value, "v"));
    assert_false(state_decode(bytes_of("\1\0\0\0\x81\2\2v", 8), &version));
    uint8_t bytes[HEAD_BYTES];
    struct head wrong = {.first = 5, .tip = 4, .horizon = 5, .pruned = 5, .outbox_first = 1};
    head_encode(bytes, &wrong);
    assert_false(head_decode(bytes_of(bytes, sizeof bytes), &head));
    wrong.tip = 5;
    head_encode(bytes, &wrong);
    assert_true(head_decode(bytes_of(bytes, sizeof bytes), &head));
    assert_false(head_decode(bytes_of(bytes, sizeof bytes - 1), &head));
}

static void undo_records_refuse_what_does_not_fit(void **state)
{
    (void)state;
    static const struct bytes undos[] = {{(const uint8_t *)"\2\0\0\0x", 5},            /* more than there should be */
                                         {(const uint8_t *)"\2\0\0\1\0\3abc", 9},      /* ends before the word */
                                         {(const uint8_t *)"\2\0\0\1\1\3abc\0", 10},   /* shares with nothing */
                                         {(const uint8_t *)"\2\0\0\1\0\2ab\0", 9},     /* a key without its space */
                                         {(const uint8_t *)"\2\0\0\1\0\3abc\1", 10},   /* deletes, and no flag */
                                         {(const uint8_t *)"\2\0\0\1\0\3abc\x0a", 10}, /* ends before the version */
                                         {(const uint8_t *)"\2\0\0\1\0\3abc\x0a\1\0\0\0\3", 15}}; /* of no kind */
    struct undo_reader undo;
    struct undo_item item;
    struct buf key = {0};
    enum sorex_status status = SOREX_OK;
    assert_false(undo_open(&undo, bytes_of("\1\0\0\0", 4), &key));
    assert_false(undo_open(&undo, bytes_of("\2\2\0\0", 4), &key));
    assert_false(undo_open(&undo, bytes_of("\2\0\2\1", 4), &key)); /* item 2 of 1 */
    for (size_t i = 0; i < sizeof undos / sizeof undos[0]; i++) {
        assert_true(undo_open(&undo, undos[i], &key));
        assert_false(undo_next(&undo, &item, &status));
        assert_int_equal(status, SOREX_CORRUPT);
    }
    assert_true(undo_open(&undo, bytes_of("\2\1\0\2\0\3abc\1\2\2de\x0a\1\0\0\0\2", 20), &key));
    assert_true(undo_next(&undo, &item, &status));
    assert_true(item.deleted && item.buried.kind == VERSION_ABSENT && bytes_is(item.key, "abc"));
    assert_true(undo_next(&undo, &item, &status));
    assert_true(!item.deleted && item.buried.kind == VERSION_VALUE && item.buried.height == 1);
    assert_true(bytes_is(item.key, "abde"));
    assert_false(undo_next(&undo, &item, &status));
    assert_int_equal(status, SOREX_OK);
    buf_deinit(&key);
}

/* Enough keys for digits: of all lengths, many with the same first eight bytes, in several spaces. */
static void many_keys_are_sorted(void **state)
{
    (void)state;
    static const size_t counts[] = {1, 2, 300, 511, 512, 20000};
    struct sorex_error err;
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        struct generation generation;
        struct node_list list = {0};
        uint32_t random = 7;
        generation_init(&generation);
        while (list.count < counts[c]) {
            uint8_t key[24] = {0};
            for (size_t i = 0; i < sizeof key; i++) {
                random = random * 1664525u + 1013904223u;
                key[i] = (uint8_t)(random >> 24) & (i > 5 && i < 20 ? 0x01 : 0xc3);
            }
            struct bytes bytes = bytes_of(key, SPACE_BYTES + (random >> 8) % (sizeof key - SPACE_BYTES + 1));
            size_t before = generation.node_count;
            struct node *node = generation_node(&generation, bytes, key_hash(bytes));
            assert_non_null(node);
            if (generation.node_count == before)
                continue;
            OK(node_list_reserve(&list, 1, &err));
            list.items[list.count++] = node;
        }
        OK(node_list_sort(&list, &err));
        for (size_t i = 0; i + 1 < list.count; i++)
            assert_true(bytes_compare(node_key(list.items[i]), node_key(list.items[i + 1])) < 0);
        free(list.items);
        generation_deinit(&generation);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_must_link),
        cmocka_unit_test(staged_writes_are_seen_only_where_promised),
        cmocka_unit_test(readers_see_durable_only),
        cmocka_unit_test(a_commit_may_be_lost_only_with_its_group),
        cmocka_unit_test(undo_leaves_the_same_bytes),
        cmocka_unit_test(undo_to_leaves_the_same_bytes),
        cmocka_unit_test(undo_to_below_the_horizon_undoes_nothing),
        cmocka_unit_test(bounded_history_keeps_nothing_below),
        cmocka_unit_test(a_pruned_tombstone_is_absent_in_the_cache_too),
        cmocka_unit_test(first_entry_cannot_be_undone),
        cmocka_unit_test(emitted_and_stored_may_differ),
        cmocka_unit_test(commitment_matches_the_documented_bytes),
        cmocka_unit_test(programs_are_checked),
        cmocka_unit_test(other_stores_are_refused),
        cmocka_unit_test(a_store_of_format_2_is_refused),
        cmocka_unit_test(read_only_beside_a_writer),
        cmocka_unit_test(a_failed_group_stops_the_writer),
        cmocka_unit_test(a_group_that_fails_behind_is_reported),
        cmocka_unit_test(sizes),
        cmocka_unit_test(cursors_hold_the_outbox),
        cmocka_unit_test(records_refuse_what_does_not_fit),
        cmocka_unit_test(undo_records_refuse_what_does_not_fit),
        cmocka_unit_test(many_keys_are_sorted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
