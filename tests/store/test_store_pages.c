/* What store/pages.h promises: whole batches, prefixes, beside the entries; stores that were made before the family. */
#include <rocksdb/c.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/disk.h"
#include "store/fault.h"
#include "store/pages.h"
#include "store/scratch.h"

static struct store *open_at(const char *dir, struct disk *disk, bool read_only)
{
    struct sorex_error err;
    struct store *store = NULL;
    struct store_options options = {.dir = dir,
                                    .disk = disk,
                                    .create = !read_only,
                                    .read_only = read_only,
                                    .history = STORE_HISTORY_FULL,
                                    .cache_bytes = 1 << 20,
                                    .fail_fast_sync = disk == NULL};
    OK(store_open(&options, &store, &err));
    return store;
}

static enum sorex_status write_two(struct store *store, const char *key_a, const char *key_b, const char *value,
                                   struct sorex_error *err)
{
    struct pages_batch *batch = pages_batch_new(store);
    assert_non_null(batch);
    pages_batch_put(batch, bytes_str(key_a), bytes_str(value));
    pages_batch_put(batch, bytes_str(key_b), bytes_str(value));
    enum sorex_status status = pages_batch_write(batch, err);
    pages_batch_free(batch);
    return status;
}

static enum sorex_status add(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    return buf_printf(user_data, err, "%.*s=%.*s ", BYTES_FMT(key), BYTES_FMT(value));
}

static void expect(struct store *store, const char *prefix, const char *wanted)
{
    struct sorex_error err;
    struct buf out = {0};
    OK(pages_scan(store, bytes_str(prefix), add, &out, &err));
    if (!bytes_is(buf_view(&out), wanted))
        fail_msg("%s: %.*s, wanted %s", prefix, BYTES_FMT(buf_view(&out)), wanted);
    buf_deinit(&out);
}

static void entry_commit(struct store *store, uint32_t height)
{
    struct sorex_error err;
    struct store_program program;
    struct entry entry = entry_make(height, 0, 0);
    uint8_t hash[HASH_BYTES] = {0};
    OK(store_program(store, "p", hash, hash, false, &program, &err));
    OK(store_begin(store, &entry, &err));
    OK(store_put(store, (struct store_space){0, STORE_KEYS}, bytes_str("a1"), bytes_str("of an entry"), &err));
    OK(store_commit(store, false, &err));
}

static void use(struct store *store)
{
    struct sorex_error err;
    OK(write_two(store, "a1", "a2", "x", &err));
    OK(write_two(store, "b1", "a3", "y", &err));
    expect(store, "a", "a1=x a2=x a3=y ");
    expect(store, "b", "b1=y ");
    expect(store, "c", "");
    struct pages_batch *batch = pages_batch_new(store);
    assert_non_null(batch);
    pages_batch_delete(batch, bytes_str("a2"));
    pages_batch_put(batch, bytes_str("a3"), bytes_str("z"));
    OK(pages_batch_write(batch, &err));
    pages_batch_free(batch);
    expect(store, "a", "a1=x a3=z ");
}

/* Pages are there after a crash, the unwritten group is not. */
static void beside_entries(void **state)
{
    (void)state;
    char dir[SCRATCH_PATH_MAX];
    scratch_make(dir);
    struct disk *disk = disk_new();
    assert_non_null(disk);
    for (int memory = 0; memory < 2; memory++) {
        struct store_heights heights;
        struct store *store = open_at(dir, memory ? disk : NULL, false);
        entry_commit(store, 0);
        use(store);
        store_crash(store);
        if (memory)
            disk_crash(disk);
        store = open_at(dir, memory ? disk : NULL, false);
        expect(store, "", "a1=x a3=z b1=y ");
        store_heights(store, &heights);
        assert_int_equal(heights.tip, SOREX_HEIGHT_NONE);
        store_close(store);
    }
    struct store *store = open_at(dir, NULL, true);
    struct sorex_error err;
    expect(store, "a", "a1=x a3=z ");
    assert_int_equal(write_two(store, "a1", "a2", "no", &err), SOREX_INVALID);
    store_close(store);
    disk_free(disk);
    scratch_remove(dir);
}

static void faults(void **state)
{
    (void)state;
    struct sorex_error err;
    struct disk *disk = disk_new();
    assert_non_null(disk);
    struct store *store = open_at("", disk, false);
    OK(write_two(store, "a1", "a2", "x", &err));
    store_fault_arm(FAULT_FAIL, 1);
    assert_int_equal(write_two(store, "a1", "a2", "y", &err), SOREX_IO);
    expect(store, "a", "a1=x a2=x ");
    store_fault_arm(FAULT_FAIL_AFTER, 1);
    assert_int_equal(write_two(store, "a1", "a2", "z", &err), SOREX_IO);
    expect(store, "a", "a1=z a2=z ");
    store_close(store);
    disk_free(disk);
}

static void family_drop(const char *dir)
{
    static const char *const names[] = {"default", "state", "undo", "outbox", "entries", "pages"};
    char path[SCRATCH_PATH_MAX + 8], *text = NULL;
    snprintf(path, sizeof path, "%s/db", dir);
    rocksdb_options_t *options = rocksdb_options_create();
    const rocksdb_options_t *all[] = {options, options, options, options, options, options};
    rocksdb_column_family_handle_t *families[6];
    rocksdb_t *db = rocksdb_open_column_families(options, path, 6, names, all, families, &text);
    assert_null(text);
    rocksdb_drop_column_family(db, families[5], &text);
    assert_null(text);
    for (int i = 0; i < 6; i++)
        rocksdb_column_family_handle_destroy(families[i]);
    rocksdb_close(db);
    rocksdb_options_destroy(options);
}

/* As it was made before the family was there: read-only it stays as it is, for writing it gets it. */
static void older_store(void **state)
{
    (void)state;
    char dir[SCRATCH_PATH_MAX];
    struct sorex_error err;
    struct entry entry;
    scratch_make(dir);
    struct store *store = open_at(dir, NULL, false);
    entry_commit(store, 7);
    store_close(store);
    family_drop(dir);
    for (int i = 0; i < 2; i++) {
        store = open_at(dir, NULL, true);
        OK(store_entry(store, 7, &entry, &err));
        expect(store, "", "");
        struct store_figures figures;
        store_figures(store, &figures);
        store_close(store);
    }
    struct store_options options = {.dir = dir, .history = STORE_HISTORY_FULL, .cache_bytes = 1 << 20};
    OK(store_open(&options, &store, &err)); /* not even told to create one */
    use(store);
    store_close(store);
    store = open_at(dir, NULL, true);
    OK(store_entry(store, 7, &entry, &err));
    expect(store, "a", "a1=x a3=z ");
    store_close(store);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(beside_entries), cmocka_unit_test(faults),
                                       cmocka_unit_test(older_store)};
    return cmocka_run_group_tests_name("store pages", tests, NULL, NULL);
}
