#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "guest/kept.h"
#include "map.h"

#define PAGES 32

static const uint8_t module[SHA256_BYTES] = {1}, other_module[SHA256_BYTES] = {2};

static struct guest_memory memory_new(size_t pages)
{
    uint8_t *data = calloc(pages, KEPT_PAGE_BYTES);
    assert_non_null(data);
    return (struct guest_memory){data, pages * KEPT_PAGE_BYTES};
}

static void save(struct kept *kept, struct guest_memory memory, const char *globals, struct map *map)
{
    struct state_writer writer = map_writer(map);
    struct sorex_error err = {0};
    assert_int_equal(kept_save(kept, memory, bytes_str(globals), &writer, &err), SOREX_OK);
}

static enum sorex_status load(struct kept *kept, struct map *map)
{
    struct state_reader reader = map_reader(map);
    struct sorex_error err = {0};
    return kept_load(kept, &reader, &err);
}

/* A fresh instance's memory, with something of its own in it, restored. */
static void check_restored(const struct kept *kept, struct guest_memory expected)
{
    struct guest_memory fresh = memory_new(expected.len / KEPT_PAGE_BYTES);
    memset(fresh.data + 5 * KEPT_PAGE_BYTES, 0xee, 100);
    kept_restore(kept, fresh);
    assert_memory_equal(fresh.data, expected.data, expected.len);
    free(fresh.data);
}

static void test_only_changed_pages_are_written(void **state)
{
    (void)state;
    struct kept kept;
    struct map map = {0};
    struct guest_memory memory = memory_new(PAGES);
    kept_init(&kept, module);
    assert_int_equal(load(&kept, &map), SOREX_OK);
    assert_true(kept.empty);

    memory.data[3 * KEPT_PAGE_BYTES] = 1;
    memory.data[31 * KEPT_PAGE_BYTES + 4095] = 2;
    save(&kept, memory, "globals", &map);
    assert_int_equal(map.puts, 2 + 3); /* two pages, "s", "g", "m" */
    check_restored(&kept, memory);

    assert_int_equal(load(&kept, &map), SOREX_OK);
    save(&kept, memory, "globals", &map);
    assert_int_equal(map.puts, 5); /* nothing differs, nothing is written */

    memory.data[3 * KEPT_PAGE_BYTES] = 0;
    save(&kept, memory, "globals", &map);
    assert_int_equal(map.puts, 5 + 2); /* the page, now zero, and "m" */
    check_restored(&kept, memory);

    save(&kept, memory, "other", &map);
    assert_int_equal(map.puts, 7 + 2); /* "g", "m" */
    kept_deinit(&kept);
    free(memory.data);
    map_free(&map);
}

/* Only the module that left it gets it back; the other one begins with nothing, and then the first one does. */
static void test_another_module_gets_nothing(void **state)
{
    (void)state;
    struct kept first, second;
    struct map map = {0};
    struct guest_memory memory = memory_new(PAGES), other = memory_new(PAGES);
    kept_init(&first, module);
    kept_init(&second, other_module);
    memory.data[7 * KEPT_PAGE_BYTES] = 1;
    other.data[0] = 2;
    assert_int_equal(load(&first, &map), SOREX_OK);
    save(&first, memory, "globals", &map);
    assert_int_equal(load(&second, &map), SOREX_OK);
    assert_true(second.empty);
    save(&second, other, "other", &map);
    assert_int_equal(load(&second, &map), SOREX_OK);
    assert_false(second.empty);
    check_restored(&second, other);
    assert_int_equal(load(&first, &map), SOREX_OK);
    assert_true(first.empty);
    kept_deinit(&first);
    kept_deinit(&second);
    free(memory.data);
    free(other.data);
    map_free(&map);
}

static void test_another_process_reads_it_back(void **state)
{
    (void)state;
    struct kept first, second;
    struct map map = {0};
    struct guest_memory memory = memory_new(PAGES);
    kept_init(&first, module);
    kept_init(&second, module);
    assert_int_equal(load(&first, &map), SOREX_OK);
    for (size_t i = 0; i < PAGES; i += 3)
        memory.data[i * KEPT_PAGE_BYTES + i] = (uint8_t)(i + 1);
    save(&first, memory, "g", &map);
    assert_int_equal(load(&second, &map), SOREX_OK);
    assert_false(second.empty);
    check_restored(&second, memory);
    assert_true(bytes_is(buf_view(&second.globals), "g"));
    unsigned gets = map.gets;
    assert_int_equal(load(&second, &map), SOREX_OK);
    assert_int_equal(map.gets, gets + 1); /* the tag says that the image is current */
    kept_deinit(&first);
    kept_deinit(&second);
    free(memory.data);
    map_free(&map);
}

static void test_undo_brings_the_pages_back(void **state)
{
    (void)state;
    struct kept kept;
    struct map map = {0};
    struct guest_memory memory = memory_new(PAGES), grown = memory_new(2 * PAGES);
    kept_init(&kept, module);
    assert_int_equal(load(&kept, &map), SOREX_OK);
    memory.data[1] = 1;
    save(&kept, memory, "one", &map);
    struct map before = map_copy(&map);

    memcpy(grown.data, memory.data, memory.len);
    grown.data[1] = 2;
    grown.data[40 * KEPT_PAGE_BYTES] = 2;
    assert_int_equal(load(&kept, &map), SOREX_OK);
    save(&kept, grown, "two", &map);
    struct map after = map_copy(&map);

    assert_int_equal(load(&kept, &before), SOREX_OK);
    check_restored(&kept, memory);
    save(&kept, grown, "two", &before); /* the same block again: the same bytes */
    assert_true(map_equal(&before, &after));
    kept_deinit(&kept);
    free(memory.data);
    free(grown.data);
    map_free(&map);
    map_free(&before);
    map_free(&after);
}

static void test_a_failed_write_invalidates(void **state)
{
    (void)state;
    struct kept kept;
    struct map map = {0};
    struct guest_memory memory = memory_new(PAGES);
    struct sorex_error err = {0};
    kept_init(&kept, module);
    assert_int_equal(load(&kept, &map), SOREX_OK);
    memory.data[0] = 1;
    save(&kept, memory, "g", &map);
    struct map before = map_copy(&map);
    for (unsigned at = 1; at <= 3; at++) {
        struct map work = map_copy(&before);
        struct guest_memory changed = memory_new(PAGES);
        struct state_writer writer = map_writer(&work);
        changed.data[0] = 9;
        changed.data[7 * KEPT_PAGE_BYTES] = 9;
        work.fail_put_at = at;
        assert_int_equal(load(&kept, &before), SOREX_OK);
        assert_int_equal(kept_save(&kept, changed, bytes_str("h"), &writer, &err), SOREX_IO);
        assert_int_equal(load(&kept, &before), SOREX_OK); /* the caller dropped what was written */
        check_restored(&kept, memory);
        assert_true(bytes_is(buf_view(&kept.globals), "g"));
        free(changed.data);
        map_free(&work);
    }
    kept_deinit(&kept);
    free(memory.data);
    map_free(&map);
    map_free(&before);
}

static void test_damaged_records(void **state)
{
    (void)state;
    struct map map = {0};
    struct kept kept;
    struct guest_memory memory = memory_new(PAGES);
    kept_init(&kept, module);
    assert_int_equal(load(&kept, &map), SOREX_OK);
    memory.data[0] = 1;
    save(&kept, memory, "g", &map);
    kept_deinit(&kept);

    static const char *const keys[] = {"m", "p"};
    for (size_t i = 0; i < 2; i++) {
        struct map damaged = map_copy(&map);
        for (size_t e = 0; e < damaged.count; e++)
            if (damaged.entries[e].key[0] == (uint8_t)keys[i][0])
                damaged.entries[e].value_len--;
        kept_init(&kept, module);
        assert_int_equal(load(&kept, &damaged), SOREX_CORRUPT);
        kept_deinit(&kept);
        map_free(&damaged);
    }
    struct map damaged = map_copy(&map);
    map_set(&damaged, "s", bytes_of("\x01\x00\x00\x00\x01", 5)); /* a page beyond the memory, without a key */
    kept_init(&kept, module);
    assert_int_equal(load(&kept, &damaged), SOREX_CORRUPT);
    assert_false(kept.valid);
    kept_deinit(&kept);
    map_free(&damaged);

    map.fail_get_at = map.gets + 3;
    kept_init(&kept, module);
    assert_int_equal(load(&kept, &map), SOREX_IO);
    assert_int_equal(load(&kept, &map), SOREX_OK); /* and again, when the disk is back */
    check_restored(&kept, memory);
    kept_deinit(&kept);
    free(memory.data);
    map_free(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_changed_pages_are_written),
        cmocka_unit_test(test_another_module_gets_nothing),
        cmocka_unit_test(test_another_process_reads_it_back),
        cmocka_unit_test(test_undo_brings_the_pages_back),
        cmocka_unit_test(test_a_failed_write_invalidates),
        cmocka_unit_test(test_damaged_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
