/* Damaged files: a torn end of the log loses whole groups only; a flipped byte in a table is found, not used. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/internal.h"
#include "store/scratch.h"

#define ENTRIES 12u

static const struct store_space keys = {0, STORE_KEYS};

/* The file in DIR/db with this ending that is largest. */
static off_t file_largest(const char *dir, const char *ending, char out[600])
{
    char db[SCRATCH_PATH_MAX + 8];
    snprintf(db, sizeof db, "%s/db", dir);
    DIR *list = opendir(db);
    assert_non_null(list);
    off_t size = -1;
    for (struct dirent *each; (each = readdir(list)) != NULL;) {
        size_t len = strlen(each->d_name), end = strlen(ending);
        struct stat st;
        char path[600];
        snprintf(path, sizeof path, "%s/%s", db, each->d_name);
        if (len > end && strcmp(each->d_name + len - end, ending) == 0 && stat(path, &st) == 0 && st.st_size > size) {
            size = st.st_size;
            memcpy(out, path, sizeof path);
        }
    }
    closedir(list);
    return size;
}

static void fill(struct store *store)
{
    struct sorex_error err;
    struct store_program program;
    uint8_t hash[HASH_BYTES] = {0};
    OK(store_program(store, "p", hash, hash, false, &program, &err));
    for (uint32_t height = 0; height < ENTRIES; height++) {
        struct entry entry = entry_make(height, 0, 0);
        uint8_t value[8] = {0};
        u32le_put(value, height);
        OK(store_begin(store, &entry, &err));
        OK(store_put(store, keys, bytes_str("height"), bytes_of(value, 8), &err));
        OK(store_put(store, keys, bytes_of(value, 8), bytes_of(value, 8), &err));
        OK(store_emit(store, 0, bytes_str("{}"), bytes_str("{}"), &err));
        OK(store_commit(store, true, &err));
    }
}

/* Everything the store shows hangs together: one tip in state, entries and outbox. */
static void expect_whole(struct store *store, bool *out_shorter)
{
    struct sorex_error err;
    struct store_heights heights;
    store_heights(store, &heights);
    *out_shorter = heights.tip != ENTRIES - 1;
    if (heights.tip == SOREX_HEIGHT_NONE)
        return;
    uint64_t first = 0, head = 0;
    store_outbox_range(store, &first, &head);
    assert_int_equal(head, heights.tip + 1);
    for (uint32_t height = 0; height <= heights.tip + 1 && height < ENTRIES; height++) {
        struct bytes value;
        bool found = false;
        uint8_t key[8] = {0};
        u32le_put(key, height);
        OK(store_get(store, keys, bytes_of(key, 8), &value, &found, &err));
        assert_int_equal(found, height <= heights.tip);
    }
    while (heights.tip > heights.horizon) {
        struct bytes value;
        bool found = false;
        OK(store_get(store, keys, bytes_str("height"), &value, &found, &err));
        assert_true(found && u32le_get(value.data) == heights.tip);
        OK(store_undo(store, NULL, &err));
        store_heights(store, &heights);
    }
}

static void torn_log(void **state)
{
    (void)state;
    struct sorex_error err;
    uint32_t shorter_count = 0;
    for (off_t cut = 1; cut < 3000; cut = cut * 2 + 3) {
        char dir[SCRATCH_PATH_MAX], log[600];
        scratch_make(dir);
        struct store_options options = {
            .dir = dir, .create = true, .history = STORE_HISTORY_FULL, .cache_bytes = 1 << 20, .fail_fast_sync = true};
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) { /* ends without closing, so that all is in the log */
            struct store *store = NULL;
            OK(store_open(&options, &store, &err));
            fill(store);
            _exit(0);
        }
        int result = 0;
        assert_int_equal(waitpid(pid, &result, 0), pid);
        assert_int_equal(result, 0);
        off_t size = file_largest(dir, ".log", log);
        assert_true(size > cut);
        assert_int_equal(truncate(log, size - cut), 0);
        struct store *store = NULL;
        OK(store_open(&options, &store, &err));
        bool shorter = false;
        expect_whole(store, &shorter);
        shorter_count += shorter;
        store_close(store);
        scratch_remove(dir);
    }
    assert_true(shorter_count > 5);
}

static enum sorex_status count_pair(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    (void)key;
    (void)value;
    (void)err;
    ++*(uint32_t *)user_data;
    return SOREX_OK;
}

/* Many pairs, so that closing writes tables. */
static void fill_tables(const struct store_options *options)
{
    struct sorex_error err;
    struct store *store = NULL;
    struct store_program program;
    uint8_t hash[HASH_BYTES] = {0}, value[600];
    OK(store_open(options, &store, &err));
    OK(store_program(store, "p", hash, hash, false, &program, &err));
    struct entry entry = entry_make(0, 0, 0);
    OK(store_begin(store, &entry, &err));
    uint32_t random = 1;
    for (uint32_t i = 0; i < 10000; i++) {
        for (size_t b = 0; b < sizeof value; b++) {
            random = random * 1664525u + 1013904223u;
            value[b] = (uint8_t)(random >> 24);
        }
        OK(store_put(store, keys, bytes_of(&i, sizeof i), bytes_of(value, sizeof value), &err));
    }
    OK(store_commit(store, true, &err));
    store_close(store);
}

static void flipped_byte_in_a_table(void **state)
{
    (void)state;
    struct sorex_error err;
    char dir[SCRATCH_PATH_MAX], table[600];
    scratch_make(dir);
    struct store_options options = {
        .dir = dir, .create = true, .history = STORE_HISTORY_FULL, .cache_bytes = 1 << 20, .fail_fast_sync = true};
    fill_tables(&options);
    off_t size = file_largest(dir, ".sst", table);
    assert_true(size > 1 << 20);
    int fd = open(table, O_RDWR);
    assert_true(fd >= 0);
    uint8_t byte = 0;
    assert_int_equal(pread(fd, &byte, 1, size / 2), 1);
    byte ^= 0x10;
    assert_int_equal(pwrite(fd, &byte, 1, size / 2), 1);
    close(fd);

    struct store *store = NULL;
    struct store_reader *reader = NULL;
    uint32_t pairs = 0;
    OK(store_open(&options, &store, &err));
    OK(store_reader_open(store, SOREX_HEIGHT_NONE, &reader, &err));
    assert_int_equal(store_reader_scan(reader, keys, (struct bytes){0}, count_pair, &pairs, &err), SOREX_CORRUPT);
    assert_true(pairs < 10000);
    store_reader_close(reader);
    store_close(store);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(torn_log),
        cmocka_unit_test(flipped_byte_in_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
