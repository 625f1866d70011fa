/* The dump's one-pass order against a plain sort of the finished lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/hex.h"
#include "pipeline/dump.h"
#include "pipeline/memory_state.h"

#define KEYS 400

static uint64_t seed = 1;
static uint64_t next_random(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

struct lines {
    char *line[KEYS];
    size_t count;
};

static enum sorex_status line_keep(void *user_data, struct bytes line, struct sorex_error *err)
{
    (void)err;
    struct lines *lines = user_data;
    assert_true(lines->count < KEYS);
    lines->line[lines->count++] = strndup((const char *)line.data, line.len);
    return SOREX_OK;
}

static int text_order(const void *a, const void *b)
{
    const char *const *left = a, *const *right = b;
    return strcmp(*left, *right);
}

/* Short keys over few byte values, so that many are prefixes of others, on both sides of 0xa0. */
static void random_state(struct memory_state *state)
{
    static const uint8_t alphabet[] = {0x00, 0x0a, 0x9f, 0xa0, 0xff};
    struct sorex_error err;
    memory_state_init(state, NULL);
    for (int i = 0; i < KEYS; i++) {
        uint8_t key[6], value[3] = {(uint8_t)i, (uint8_t)next_random(), 7};
        size_t len = next_random() % 6;
        for (size_t j = 0; j < len; j++)
            key[j] = alphabet[next_random() % sizeof alphabet];
        assert_int_equal(memory_state_put(state, bytes_of(key, len), bytes_of(value, next_random() % 4), &err),
                         SOREX_OK);
    }
}

static void test_order(void **unused)
{
    (void)unused;
    for (seed = 1; seed < 200; seed += 7) {
        struct memory_state state;
        struct lines lines = {0};
        struct dump dump;
        struct sorex_error err;
        random_state(&state);
        dump_init(&dump, line_keep, &lines);
        assert_int_equal(memory_state_scan(&state, dump_pair, &dump, &err), SOREX_OK);
        assert_int_equal(dump_finish(&dump, &err), SOREX_OK);
        assert_int_equal(lines.count, state.used);
        char *sorted[KEYS];
        memcpy(sorted, lines.line, sizeof sorted);
        qsort(sorted, lines.count, sizeof sorted[0], text_order);
        for (size_t i = 0; i < lines.count; i++)
            assert_string_equal(lines.line[i], sorted[i]);
        for (size_t i = 0; i < lines.count; i++)
            free(lines.line[i]);
        dump_deinit(&dump);
        memory_state_deinit(&state);
    }
}

static void test_example(void **unused)
{
    (void)unused;
    static const char *const keys[] = {"ab", "ab00", "aba0"};
    static const char *const want[] = {"ab00:01\n", "ab:01\n", "aba0:01\n"};
    struct lines lines = {0};
    struct dump dump;
    struct sorex_error err;
    dump_init(&dump, line_keep, &lines);
    for (int i = 0; i < 3; i++) {
        struct buf key = {0};
        assert_int_equal(hex_decode(bytes_str(keys[i]), &key, &err), SOREX_OK);
        assert_int_equal(dump_pair(&dump, buf_view(&key), bytes_of("\1", 1), &err), SOREX_OK);
        buf_deinit(&key);
    }
    assert_int_equal(dump_finish(&dump, &err), SOREX_OK);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(lines.line[i], want[i]);
        free(lines.line[i]);
    }
    dump_deinit(&dump);
}

static enum sorex_status base_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                  struct sorex_error *err)
{
    (void)user_data;
    (void)err;
    *out_found = bytes_is(key, "below");
    *out_value = bytes_str("deep");
    return SOREX_OK;
}

static void test_overlay(void **unused)
{
    (void)unused;
    struct state_reader base = {.get = base_get};
    struct memory_state state;
    struct sorex_error err;
    struct bytes value;
    bool found;
    memory_state_init(&state, &base);
    assert_int_equal(memory_state_get(&state, bytes_str("below"), &value, &found, &err), SOREX_OK);
    assert_true(found && bytes_is(value, "deep"));
    assert_int_equal(memory_state_put(&state, bytes_str("below"), bytes_str("shallow"), &err), SOREX_OK);
    assert_int_equal(memory_state_get(&state, bytes_str("below"), &value, &found, &err), SOREX_OK);
    assert_true(found && bytes_is(value, "shallow"));
    assert_int_equal(memory_state_del(&state, bytes_str("below"), &err), SOREX_OK);
    assert_int_equal(memory_state_get(&state, bytes_str("below"), &value, &found, &err), SOREX_OK);
    assert_false(found);
    assert_int_equal(memory_state_get(&state, bytes_str("nowhere"), &value, &found, &err), SOREX_OK);
    assert_false(found);
    memory_state_deinit(&state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_order), cmocka_unit_test(test_example),
                                       cmocka_unit_test(test_overlay)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
