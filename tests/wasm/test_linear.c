/* Memories that are saved, restored and forked, against plain copies. */
#include "wasm/module.h"

#include <stdlib.h>

#include "wasm/linear.h"

#define PAGE LINEAR_PAGE_BYTES
#define MIB ((size_t)1 << 20)

static struct linear *memory_of(size_t size)
{
    struct sorex_error err = {0};
    struct linear *linear = NULL;
    assert_ok(linear_open(size, 64 * MIB, &linear, &err));
    return linear;
}

struct diff {
    const uint8_t *before, *after; /* plain copies, put on a par by what is reported */
    uint8_t *patched;
    uint32_t last, count;
};

static enum sorex_status page_patch(void *user_data, uint32_t page, const uint8_t *before, const uint8_t *after,
                                    struct sorex_error *err)
{
    static const uint8_t zeros[PAGE];
    struct diff *diff = user_data;
    (void)err;
    assert_true(diff->count++ == 0 || page > diff->last);
    diff->last = page;
    assert_memory_equal(before != NULL ? before : zeros, diff->before + page * PAGE, PAGE);
    assert_memory_equal(after != NULL ? after : zeros, diff->after + page * PAGE, PAGE);
    assert_true(memcmp(diff->before + page * PAGE, diff->after + page * PAGE, PAGE) != 0);
    memcpy(diff->patched + page * PAGE, diff->after + page * PAGE, PAGE);
    return SOREX_OK;
}

/* What is reported is what differs, and all of it. from may be NULL, with a copy of zeros. */
static void diff_check(const struct linear_image *from, const uint8_t *before, const struct linear_image *to,
                       const uint8_t *after, size_t size)
{
    struct sorex_error err = {0};
    struct diff diff = {.before = before, .after = after, .patched = malloc(size)};
    assert_non_null(diff.patched);
    memcpy(diff.patched, before, size);
    assert_ok(linear_image_diff(from, to, page_patch, &diff, &err));
    assert_memory_equal(diff.patched, after, size);
    free(diff.patched);
}

/* Random writes, few or many, images taken and restored in any order, into any of the memories. With one memory and two
 * images its base advances; more of them, and forks, keep it from that. */
static void model_run(bool plain, unsigned memories_count, unsigned images_count)
{
    enum { MEMORIES = 3, IMAGES = 6, STEPS = 600 };
    const size_t size = 16 * MIB;
    struct sorex_error err = {0};
    struct linear *memories[MEMORIES];
    struct linear_image *images[IMAGES] = {NULL};
    uint8_t *models[MEMORIES], *kept[IMAGES];
    uint64_t seed = plain ? 3 : 4;
    linear_scan_plain(plain);
    for (int i = 0; i < MEMORIES; i++) {
        memories[i] = memory_of(size);
        models[i] = calloc(1, size);
        assert_non_null(models[i]);
    }
    for (int i = 0; i < IMAGES; i++)
        assert_non_null(kept[i] = malloc(size));
    for (int step = 0; step < STEPS; step++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        size_t m = (seed >> 20) % memories_count, k = (seed >> 24) % images_count;
        uint32_t what = (uint32_t)(seed >> 57);
        if (what < 90) {
            /* A few, those of a range, or more than an image holds besides its base. */
            uint32_t pages = what < 75 ? 5 : what < 80 ? 20 + what % 3 * 20 : 200 + what % 4 * 200;
            uint32_t stride = what < 75 || what > 85 ? 37 : 1;
            for (uint32_t i = 0; i < pages; i++) {
                size_t at = ((seed >> 30) + i * stride % 4096 * PAGE + i) % size;
                linear_memory(memories[m]).data[at] = models[m][at] = (uint8_t)(what == 7 ? 0 : step + 1);
            }
        } else if (what < 105) {
            linear_image_drop(images[k]);
            assert_ok(linear_save(memories[m], &images[k], &err));
            memcpy(kept[k], models[m], size);
        } else if (images[k] != NULL) {
            assert_ok(linear_restore(memories[m], images[k], &err));
            memcpy(models[m], kept[k], size);
        }
        if (step % 50 == 49)
            for (int i = 0; i < MEMORIES; i++)
                assert_memory_equal(linear_memory(memories[i]).data, models[i], size);
        size_t other = (seed >> 34) % images_count;
        if (step % 25 == 4 && images[k] != NULL && images[other] != NULL)
            diff_check(images[other], kept[other], images[k], kept[k], size);
    }
    uint8_t *zeros = calloc(1, size);
    assert_non_null(zeros);
    for (int i = 0; i < IMAGES; i++)
        if (images[i] != NULL)
            diff_check(NULL, zeros, images[i], kept[i], size);
    free(zeros);
    for (int i = 0; i < MEMORIES; i++) {
        assert_memory_equal(linear_memory(memories[i]).data, models[i], size);
        linear_close(memories[i]);
        free(models[i]);
    }
    for (int i = 0; i < IMAGES; i++) {
        linear_image_drop(images[i]);
        free(kept[i]);
    }
    linear_scan_plain(false);
}

static void test_model(void **state)
{
    (void)state;
    model_run(false, 3, 6);
}

static void test_model_alone(void **state)
{
    (void)state;
    model_run(false, 1, 2);
    model_run(false, 1, 3);
    model_run(false, 2, 2);
}

static void test_model_older_kernels(void **state)
{
    (void)state;
    model_run(true, 3, 6);
    model_run(true, 1, 2);
}

/* One page in four of the first `pages` ones. */
static void scatter(struct linear *linear, uint32_t pages, uint8_t value)
{
    for (uint32_t i = 0; i < pages; i++)
        linear_memory(linear).data[(size_t)i * 4 * PAGE + 1] = value;
}

static uint8_t *copy_of(const struct linear *linear)
{
    struct wasm_memory memory = linear_memory(linear);
    uint8_t *copy = malloc(memory.len);
    assert_non_null(copy);
    return memcpy(copy, memory.data, memory.len);
}

static void fork_check(struct linear_image *image, const uint8_t *content)
{
    struct sorex_error err = {0};
    struct linear *fork = memory_of(16 * MIB);
    assert_ok(linear_restore(fork, image, &err));
    assert_memory_equal(linear_memory(fork).data, content, 16 * MIB);
    linear_close(fork);
}

/* Many written pages go into the base, and the image before stays what it is; not when a fork is there, or somebody
 * forked that image and may do so again. */
static void test_base_advances(void **state)
{
    (void)state;
    enum { STATES = 6 };
    struct sorex_error err = {0};
    struct linear *linear = memory_of(16 * MIB), *fork = memory_of(16 * MIB);
    struct linear_image *images[STATES];
    uint8_t *copies[STATES];
    memset(linear_memory(linear).data, 1, 16 * MIB);
    for (int i = 0; i < STATES; i++) {
        if (i == 3) {
            linear_image_drop(images[0]);
            assert_ok(linear_restore(fork, images[2], &err));
        }
        if (i > 0)
            scatter(linear, 300 + 20 * (uint32_t)i, (uint8_t)(i + 1));
        copies[i] = copy_of(linear);
        assert_ok(linear_save(linear, &images[i], &err));
        if (i > 0)
            diff_check(images[i - 1], copies[i - 1], images[i], copies[i], 16 * MIB);
    }
    assert_int_equal(linear_image_pages(images[1]), 340); /* from when images[2] was taken */
    assert_int_equal(linear_image_pages(images[2]), 0);
    assert_int_equal(linear_image_pages(images[3]), 360); /* images[2] was forked */
    assert_int_equal(linear_image_pages(images[4]), 400); /* a new base, as more was too much to copy; it advanced */
    assert_int_equal(linear_image_pages(images[5]), 0);
    diff_check(images[1], copies[1], images[5], copies[5], 16 * MIB);
    diff_check(images[5], copies[5], images[2], copies[2], 16 * MIB);
    for (int i = 1; i < STATES; i++)
        fork_check(images[i], copies[i]);
    assert_memory_equal(linear_memory(fork).data, copies[2], 16 * MIB);
    for (int i = STATES - 1; i > 0; i--) {
        assert_ok(linear_restore(linear, images[i], &err));
        assert_memory_equal(linear_memory(linear).data, copies[i], 16 * MIB);
        linear_image_drop(images[i]);
    }
    for (int i = 0; i < STATES; i++)
        free(copies[i]);
    linear_close(linear);
    linear_close(fork);
}

/* Pages that a restore gave their old content back cost a fork nothing. */
static void test_restored_pages_are_not_kept(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct linear *linear = memory_of(16 * MIB);
    struct linear_image *before = NULL, *after = NULL;
    memset(linear_memory(linear).data, 1, 16 * MIB);
    assert_ok(linear_save(linear, &before, &err));
    scatter(linear, 100, 2);
    assert_ok(linear_restore(linear, before, &err));
    scatter(linear, 10, 3);
    uint8_t *copy = copy_of(linear);
    assert_ok(linear_save(linear, &after, &err));
    assert_int_equal(linear_image_pages(after), 10);
    fork_check(after, copy);
    free(copy);
    linear_image_drop(before);
    linear_image_drop(after);
    linear_close(linear);
}

static enum sorex_status page_note(void *user_data, uint32_t page, const uint8_t *content, struct sorex_error *err)
{
    uint32_t *sum = user_data;
    (void)err;
    *sum = *sum * 31 + page * 7 + content[0];
    return SOREX_OK;
}

/* What is beyond a base cannot go into it; a new one takes it. */
static void test_growth_beyond_the_base(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct linear *linear = memory_of(8 * MIB);
    struct linear_image *images[3];
    uint8_t *copies[3];
    memset(linear_memory(linear).data, 1, 8 * MIB);
    assert_ok(linear_save(linear, &images[0], &err));
    assert_ok(linear_grow(linear, 16 * MIB, &err));
    for (int i = 1; i < 3; i++) {
        scatter(linear, 1000, (uint8_t)(i + 1)); /* half of them beyond */
        copies[i] = copy_of(linear);
        assert_ok(linear_save(linear, &images[i], &err));
        assert_int_equal(linear_image_pages(images[0]), 0);
    }
    assert_int_equal(linear_image_pages(images[2]), 0);
    diff_check(images[1], copies[1], images[2], copies[2], 16 * MIB);
    for (int i = 1; i < 3; i++)
        fork_check(images[i], copies[i]);
    for (int i = 0; i < 3; i++)
        linear_image_drop(images[i]);
    free(copies[1]);
    free(copies[2]);
    linear_close(linear);
}

static void test_growth_and_visit(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct linear *linear = memory_of(MIB), *other = memory_of(MIB);
    struct linear_image *small = NULL, *large = NULL, *made = NULL;
    uint8_t *data = linear_memory(linear).data, page[PAGE] = {9};
    data[5 * PAGE] = 5;
    assert_ok(linear_save(linear, &small, &err));
    assert_ok(linear_grow(linear, 2 * MIB, &err));
    assert_ptr_equal(linear_memory(linear).data, data);
    assert_int_equal(data[2 * MIB - 1], 0);
    data[5 * PAGE] = 0; /* becomes zero: not visited */
    data[7 * PAGE] = 7;
    data[2 * MIB - PAGE] = 8;
    assert_ok(linear_save(linear, &large, &err));
    assert_int_equal(linear_image_pages(large), 3);
    uint32_t sum = 0, wanted = 0;
    assert_ok(linear_image_visit(large, page_note, &sum, &err));
    assert_ok(page_note(&wanted, 7, (const uint8_t[]){7}, &err));
    assert_ok(page_note(&wanted, (uint32_t)(2 * MIB / PAGE - 1), (const uint8_t[]){8}, &err));
    assert_int_equal(sum, wanted);
    uint8_t *before = calloc(1, 2 * MIB), *after = malloc(2 * MIB);
    assert_true(before != NULL && after != NULL);
    before[5 * PAGE] = 5;
    memcpy(after, data, 2 * MIB);
    diff_check(small, before, large, after, 2 * MIB);
    diff_check(large, after, small, before, 2 * MIB); /* what is beyond it is zero */
    free(before);
    free(after);
    assert_int_equal(linear_restore(linear, small, &err), SOREX_MISMATCH); /* it cannot shrink */
    assert_ok(linear_restore(other, small, &err));
    assert_int_equal(linear_memory(other).data[5 * PAGE], 5);
    assert_ok(linear_restore(other, large, &err));
    assert_int_equal(linear_memory(other).len, 2 * MIB);
    assert_memory_equal(linear_memory(other).data, data, 2 * MIB);
    assert_int_equal(linear_grow(linear, 65 * MIB, &err), SOREX_LIMIT);
    assert_ok(linear_image_make(MIB, &made, &err));
    assert_ok(linear_image_put(made, 3, page, &err));
    assert_int_equal(linear_image_put(made, 256, page, &err), SOREX_INVALID);
    struct linear *fresh = memory_of(MIB);
    assert_ok(linear_restore(fresh, made, &err));
    assert_int_equal(linear_memory(fresh).data[3 * PAGE], 9);
    linear_close(linear);
    linear_close(other);
    linear_close(fresh);
    linear_image_drop(small);
    linear_image_drop(large);
    linear_image_drop(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_model),
                                       cmocka_unit_test(test_model_alone),
                                       cmocka_unit_test(test_model_older_kernels),
                                       cmocka_unit_test(test_base_advances),
                                       cmocka_unit_test(test_restored_pages_are_not_kept),
                                       cmocka_unit_test(test_growth_beyond_the_base),
                                       cmocka_unit_test(test_growth_and_visit)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
