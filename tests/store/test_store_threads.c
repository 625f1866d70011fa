/* One writer that commits, undoes and prunes; readers, an outbox reader, status, and pages of a database beside it.
 * Made for ThreadSanitizer.
 *
 * Every entry writes its height to all keys, so a consistent reader sees one value everywhere. So do batches of pages.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "base/codec.h"
#include "store/pages.h"
#include "store/scratch.h"

#define KEYS 40u
#define ROUNDS 400u

/* Debian's RocksDB is not instrumented: what it does with its own memory, and the order that its atomics make, cannot
 * be seen. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:librocksdb.so\ncalled_from_lib:libstdc++.so\nrace:librocksdb.so\n";
}

static const struct store_space keys = {0, STORE_KEYS};

struct shared {
    struct store *store;
    atomic_bool done;
    atomic_uint reads, records, batches;
};

static void *read_states(void *user_data)
{
    struct shared *shared = user_data;
    struct sorex_error err;
    while (!atomic_load(&shared->done)) {
        struct store_heights heights;
        struct store_reader *reader = NULL;
        store_heights(shared->store, &heights);
        uint32_t wanted = heights.horizon != SOREX_HEIGHT_NONE && heights.durable > heights.horizon + 1
                              ? heights.durable - atomic_load(&shared->reads) % 3
                              : SOREX_HEIGHT_NONE;
        enum sorex_status status = store_reader_open(shared->store, wanted, &reader, &err);
        if (status == SOREX_GONE)
            continue; /* pruned in this moment */
        assert_int_equal(status, SOREX_OK);
        uint32_t height = store_reader_height(reader);
        for (uint32_t i = 0; height != SOREX_HEIGHT_NONE && i < KEYS; i++) {
            struct bytes value;
            bool found = false;
            OK(store_reader_get(reader, keys, bytes_of(&i, sizeof i), &value, &found, &err));
            assert_true(found && u32le_get(value.data) == height);
        }
        store_reader_close(reader);
        atomic_fetch_add(&shared->reads, 1);
    }
    return NULL;
}

static void *read_outbox(void *user_data)
{
    struct shared *shared = user_data;
    struct sorex_error err;
    struct buf bytes = {0};
    struct outbox_record record;
    uint64_t next = 1;
    while (true) {
        store_outbox_wait(shared->store, next - 1, 50);
        uint64_t first = 0, head = 0;
        store_outbox_range(shared->store, &first, &head);
        if (next > head && atomic_load(&shared->done))
            break;
        for (; next <= head; next++) {
            OK(store_outbox_read(shared->store, next, &bytes, &record, &err));
            assert_int_equal(record.sequence, next);
            OK(store_cursor_set(shared->store, "sink", next, record.hash, &err));
            atomic_fetch_add(&shared->records, 1);
        }
        struct store_figures figures;
        store_figures(shared->store, &figures);
        (void)store_outbox_bytes(shared->store);
    }
    buf_deinit(&bytes);
    return NULL;
}

static enum sorex_status page_check(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    (void)err;
    assert_int_equal(key.len, 5);
    assert_int_equal(u32le_get(value.data), *(uint32_t *)user_data);
    return SOREX_OK;
}

static void *write_pages(void *user_data)
{
    struct shared *shared = user_data;
    struct sorex_error err;
    for (uint32_t batches = 0; !atomic_load(&shared->done); batches++) {
        struct pages_batch *batch = pages_batch_new(shared->store);
        assert_non_null(batch);
        uint8_t value[4], key[5] = {'p'};
        u32le_put(value, batches);
        for (uint32_t i = 0; i < KEYS; i++) {
            u32be_put(key + 1, i);
            pages_batch_put(batch, bytes_of(key, sizeof key), bytes_of(value, sizeof value));
        }
        OK(pages_batch_write(batch, &err));
        pages_batch_free(batch);
        OK(pages_scan(shared->store, bytes_str("p"), page_check, &batches, &err));
        atomic_store(&shared->batches, batches + 1);
    }
    return NULL;
}

static void commit(struct store *store, uint32_t height, const struct entry *parent, uint32_t branch, struct entry *out)
{
    struct sorex_error err;
    *out = entry_make(height, branch, 0);
    if (parent != NULL)
        memcpy(out->parent, parent->hash, HASH_BYTES);
    uint8_t value[4];
    u32le_put(value, height);
    OK(store_begin(store, out, &err));
    for (uint32_t i = 0; i < KEYS; i++)
        OK(store_put(store, keys, bytes_of(&i, sizeof i), bytes_of(value, 4), &err));
    OK(store_emit(store, 0, bytes_str("{}"), bytes_str("{}"), &err));
    OK(store_commit(store, height % 3 == 0, &err));
}

static void readers_beside_the_writer(void **state)
{
    (void)state;
    char dir[SCRATCH_PATH_MAX];
    struct sorex_error err;
    struct shared shared = {0};
    struct store_program program;
    uint8_t hash[HASH_BYTES] = {0};
    scratch_make(dir);
    struct store_options options = {
        .dir = dir, .create = true, .history = 6, .group_bytes_max = 1, .cache_bytes = 1 << 20, .fail_fast_sync = true};
    OK(store_open(&options, &shared.store, &err));
    OK(store_program(shared.store, "p", hash, hash, false, &program, &err));
    OK(store_cursor_set(shared.store, "sink", 0, hash, &err));
    pthread_t threads[4];
    assert_int_equal(pthread_create(&threads[0], NULL, read_states, &shared), 0);
    assert_int_equal(pthread_create(&threads[1], NULL, read_states, &shared), 0);
    assert_int_equal(pthread_create(&threads[2], NULL, read_outbox, &shared), 0);
    assert_int_equal(pthread_create(&threads[3], NULL, write_pages, &shared), 0);

    struct entry tip, next;
    commit(shared.store, 10, NULL, 0, &tip);
    for (uint32_t round = 1, height = 11; round < ROUNDS; round++, height++) {
        commit(shared.store, height, &tip, round, &next);
        tip = next;
        if (round % 11 != 0)
            continue;
        for (int i = 0; i < 3; i++, height--)
            OK(store_undo(shared.store, NULL, &err));
        OK(store_entry(shared.store, height, &tip, &err));
    }
    OK(store_flush(shared.store, &err));
    atomic_store(&shared.done, true);
    store_outbox_wake(shared.store);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    uint64_t first = 0, head = 0;
    store_outbox_range(shared.store, &first, &head);
    assert_int_equal(atomic_load(&shared.records), head);
    assert_true(atomic_load(&shared.reads) > 0);
    assert_true(atomic_load(&shared.batches) > 0);
    store_close(shared.store);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(readers_beside_the_writer)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
