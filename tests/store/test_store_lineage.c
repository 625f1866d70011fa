/* The lists of ancestors against the rule that they stand for, and readings of every old version of a hot key. */
#include "store/lineage.h"

#include <stdio.h>

#include "store/record.h"
#include "store/scratch.h"
#include "store/store.h"

#define VERSIONS 5000u

static uint32_t heights[VERSIONS + 1]; /* of version n */
static struct {
    uint8_t bytes[LINEAGE_BYTES_MAX];
    size_t len;
} lineages[VERSIONS + 1];

static struct bytes lineage_of(uint32_t n) { return bytes_of(lineages[n].bytes, lineages[n].len); }

static uint32_t random_state;
static uint32_t random_below(uint32_t below)
{
    random_state = random_state * 1664525u + 1013904223u;
    return (random_state >> 8) % below;
}

/* The heights that a lineage names, read by the letter of docs/formats/store.md. */
static size_t list_of(uint32_t n, uint64_t *out_number, uint32_t out[64])
{
    struct reader r = reader_of(lineage_of(n));
    uint64_t word = 1;
    uint32_t height = heights[n];
    size_t count = 0;
    assert_true(reader_varint(&r, out_number));
    while ((word & 1) != 0) {
        assert_true(reader_varint(&r, &word));
        height -= (uint32_t)(word >> 1);
        out[count++] = height;
    }
    assert_int_equal(reader_left(&r), 0);
    return count;
}

static void versions_make(uint32_t seed, uint32_t history)
{
    random_state = seed;
    heights[0] = 0;
    lineages[1].len = 0;
    for (uint32_t n = 1; n <= VERSIONS; n++) {
        heights[n] = heights[n - 1] + 1 + random_below(n % 50 == 0 ? 100000 : 5);
        uint32_t horizon = heights[n] > history ? heights[n] - history : 0;
        if (n > 1)
            lineages[n].len = lineage_next(lineages[n].bytes, lineage_of(n - 1), heights[n - 1], heights[n], horizon);
        struct reader r = reader_of(lineage_of(n));
        struct bytes read;
        if (n > 1) {
            assert_true(lineage_read(&r, heights[n], &read));
            assert_true(bytes_equal(read, lineage_of(n)));
        }
    }
}

static void lists_follow_the_rule(void **state)
{
    (void)state;
    versions_make(1, UINT32_MAX);
    for (uint32_t n = 2; n <= VERSIONS; n++) {
        uint64_t number = 0;
        uint32_t list[64];
        size_t count = list_of(n, &number, list), at = 0;
        assert_int_equal(number, n);
        for (uint32_t m = n - 1; m != 0; m &= m - 1)
            assert_true(at < count && list[at++] == heights[m]);
        assert_int_equal(at, count);
    }
}

/* Goes from version `from` to the one that was the last at `wanted`, as a reader does; 0 = none. */
static uint32_t trace(uint32_t from, uint32_t wanted, uint32_t *out_steps)
{
    uint32_t n = from;
    *out_steps = 0;
    while (n != 0 && heights[n] > wanted) {
        uint32_t above = lineage_above(lineage_of(n), heights[n], wanted), m = n;
        assert_true(above > wanted && above <= heights[n]);
        while (heights[m] != above)
            m--;
        n = m - 1; /* what the undo record of that height holds */
        ++*out_steps;
    }
    return n;
}

static void every_version_is_found_in_few_steps(void **state)
{
    (void)state;
    static const uint32_t histories[] = {UINT32_MAX, 100000, 500, 3, 1, 0};
    for (size_t h = 0; h < sizeof histories / sizeof histories[0]; h++) {
        versions_make((uint32_t)h + 7, histories[h]);
        for (uint32_t from = 1; from <= VERSIONS; from += 1 + random_below(7)) {
            uint32_t horizon = heights[from] > histories[h] ? heights[from] - histories[h] : 0, steps = 0;
            for (uint32_t tries = 0; tries < 20; tries++) {
                uint32_t wanted = horizon + random_below(heights[from] - horizon + 1);
                uint32_t version = from;
                while (version != 0 && heights[version] > wanted)
                    version--;
                assert_int_equal(trace(from, wanted, &steps), version);
                assert_true(steps <= 14); /* log2(5000) is 12.3 */
            }
        }
    }
}

/* A bounded history keeps lists short, however often a key was written. */
static void what_is_below_the_horizon_is_cut(void **state)
{
    (void)state;
    versions_make(3, 10);
    for (uint32_t n = 2; n <= VERSIONS; n++)
        assert_true(lineages[n].len <= 12);
}

static void lineages_refuse_what_does_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *data;
        size_t len;
    } wrong[] = {{"", 0},       {"\1\2", 2},   {"\2", 1},   {"\2\0", 2},
                 {"\2\1\2", 3}, {"\2\x16", 2}, {"\3\3", 2}, {"\x80\x80\x80\x80\x10\2", 6}};
    struct bytes read;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct reader r = reader_of(bytes_of(wrong[i].data, wrong[i].len));
        assert_false(lineage_read(&r, 10, &read));
    }
    struct reader r = reader_of(bytes_of("\4\3\2value", 8)); /* number 4: 3 and 2, of heights 9 and 8 */
    assert_true(lineage_read(&r, 10, &read));
    assert_int_equal(read.len, 3);
    assert_int_equal(lineage_above(read, 10, 9), 10);
    assert_int_equal(lineage_above(read, 10, 8), 9);
    assert_int_equal(lineage_above(read, 10, 7), 8);
}

/* ---- in a store ---- */

static const struct store_space keys = {0, STORE_KEYS};

/* Whether and as what the hot key exists after the entry. */
static bool hot_value(uint32_t height, uint32_t branch, uint8_t out[8])
{
    u32le_put(out, height);
    u32le_put(out + 4, branch);
    return height % 11 != 5;
}

static void entry_add(struct store *store, uint32_t height, uint32_t branch, uint32_t parent_branch)
{
    struct sorex_error err;
    uint8_t value[8];
    struct entry entry = entry_make(height, branch, parent_branch);
    OK(store_begin(store, &entry, &err));
    if (hot_value(height, branch, value))
        OK(store_put(store, keys, bytes_str("hot"), bytes_of(value, 8), &err));
    else
        OK(store_delete(store, keys, bytes_str("hot"), &err));
    OK(store_commit(store, height % 97 == 0, &err));
}

static void expect_every(struct store *store, uint32_t first, uint32_t tip, uint32_t fork)
{
    struct sorex_error err;
    for (uint32_t height = first; height <= tip; height++) {
        struct store_reader *reader = NULL;
        struct bytes value;
        bool found = false;
        uint8_t wanted[8];
        OK(store_reader_open(store, height, &reader, &err));
        OK(store_reader_get(reader, keys, bytes_str("hot"), &value, &found, &err));
        assert_int_equal(found, hot_value(height, height > fork ? 1 : 0, wanted));
        if (found)
            assert_true(bytes_equal(value, bytes_of(wanted, 8)));
        store_reader_close(reader);
    }
}

static void a_hot_key_at_every_height(void **state)
{
    (void)state;
    static const uint32_t histories[] = {STORE_HISTORY_FULL, 300};
    struct sorex_error err;
    for (size_t h = 0; h < 2; h++) {
        char dir[SCRATCH_PATH_MAX];
        uint8_t hash[HASH_BYTES] = {0};
        struct store *store = NULL;
        struct store_program program;
        scratch_make(dir);
        struct store_options options = {.dir = dir,
                                        .create = true,
                                        .history = histories[h],
                                        .group_ms_max = UINT64_MAX,
                                        .cache_bytes = 1 << 20,
                                        .fail_fast_sync = true};
        OK(store_open(&options, &store, &err));
        OK(store_program(store, "p", hash, hash, false, &program, &err));
        for (uint32_t height = 0; height <= 1200; height++)
            entry_add(store, height, 0, 0);
        OK(store_flush(store, &err));
        struct store_heights now;
        store_heights(store, &now);
        assert_int_equal(now.horizon, h == 0 ? 0 : 900);
        expect_every(store, now.horizon, 1200, 1200);
        OK(store_undo_to(store, 1000, NULL, NULL, &err));
        expect_every(store, now.horizon, 1000, 1000);
        for (uint32_t height = 1001; height <= 1150; height++)
            entry_add(store, height, 1, height == 1001 ? 0 : 1);
        OK(store_flush(store, &err));
        expect_every(store, now.horizon, 1150, 1000);
        store_close(store);
        scratch_remove(dir);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_follow_the_rule),
        cmocka_unit_test(every_version_is_found_in_few_steps),
        cmocka_unit_test(what_is_below_the_horizon_is_cut),
        cmocka_unit_test(lineages_refuse_what_does_not_fit),
        cmocka_unit_test(a_hot_key_at_every_height),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
