/* Images of a memory that goes on, read and forked by other threads meanwhile. For ThreadSanitizer. */
#include "wasm/module.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "wasm/linear.h"

#define PAGE LINEAR_PAGE_BYTES
#define PAGES 8192u
#define MARKED 300u /* one page in four of the first ones: more than an image likes to hold */
#define STATES 100

struct board {
    pthread_mutex_t lock;
    struct linear_image *newest;
    atomic_bool end;
    atomic_uint wrong;
};

static struct linear_image *newest_take(struct board *board)
{
    (void)pthread_mutex_lock(&board->lock);
    struct linear_image *image = board->newest;
    linear_image_keep(image);
    (void)pthread_mutex_unlock(&board->lock);
    return image;
}

static void newest_put(struct board *board, struct linear_image *image)
{
    (void)pthread_mutex_lock(&board->lock);
    struct linear_image *before = board->newest;
    board->newest = image;
    (void)pthread_mutex_unlock(&board->lock);
    linear_image_drop(before);
}

struct look {
    uint8_t value; /* of the first marked page: the others have the same */
    unsigned wrong;
};

static enum sorex_status page_look(void *user_data, uint32_t page, const uint8_t *content, struct sorex_error *err)
{
    struct look *look = user_data;
    (void)err;
    if (page == 0)
        look->value = content[1];
    else if (page % 4 == 0 && page / 4 < MARKED && content[1] != look->value)
        look->wrong++;
    return SOREX_OK;
}

static void image_look(struct linear_image *image, struct look *look)
{
    struct sorex_error err;
    if (linear_image_visit(image, page_look, look, &err) != SOREX_OK)
        look->wrong++;
}

static void fork_look(struct linear_image *image, struct look *look)
{
    struct sorex_error err;
    struct linear *fork = NULL;
    if (linear_open(PAGES * PAGE, PAGES * PAGE, &fork, &err) != SOREX_OK ||
        linear_restore(fork, image, &err) != SOREX_OK)
        look->wrong++;
    else
        for (uint32_t page = 0; page < 4 * MARKED; page += 4)
            (void)page_look(look, page, linear_memory(fork).data + page * PAGE, NULL);
    /* It goes its own way: its images are on the base, too, until that is done. */
    struct linear_image *own = NULL;
    if (look->wrong == 0) {
        linear_memory(fork).data[1] = (uint8_t)(look->value + 1);
        if (linear_save(fork, &own, &err) != SOREX_OK || linear_image_pages(own) > 4 * MARKED)
            look->wrong++;
        linear_image_drop(own);
    }
    linear_close(fork);
}

static void *reader_main(void *user_data)
{
    struct board *board = user_data;
    for (unsigned i = 0; !atomic_load(&board->end); i++) {
        struct linear_image *image = newest_take(board);
        struct look look = {0};
        if (i % 8 == 7)
            fork_look(image, &look);
        else
            image_look(image, &look);
        atomic_fetch_add(&board->wrong, look.wrong);
        linear_image_drop(image);
    }
    return NULL;
}

static void mark(struct linear *linear, uint8_t value)
{
    for (uint32_t i = 0; i < MARKED; i++)
        linear_memory(linear).data[(size_t)i * 4 * PAGE + 1] = value;
}

static void test_readers(void **state)
{
    (void)state;
    enum { READERS = 2 };
    struct sorex_error err = {0};
    struct board board = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct linear *linear = NULL;
    pthread_t readers[READERS];
    unsigned advanced = 0;
    assert_ok(linear_open(PAGES * PAGE, PAGES * PAGE, &linear, &err));
    memset(linear_memory(linear).data, 1, PAGES * PAGE);
    assert_ok(linear_save(linear, &board.newest, &err));
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, reader_main, &board), 0);
    for (int i = 0; i < STATES; i++) {
        struct linear_image *image = NULL;
        size_t pages = linear_image_pages(board.newest);
        mark(linear, (uint8_t)(i + 2));
        assert_ok(linear_save(linear, &image, &err));
        advanced += linear_image_pages(board.newest) > pages;
        struct look look = {0};
        image_look(image, &look);
        assert_int_equal(look.wrong, 0);
        assert_int_equal(look.value, (uint8_t)(i + 2));
        newest_put(&board, image);
    }
    atomic_store(&board.end, true);
    for (int i = 0; i < READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    assert_int_equal(atomic_load(&board.wrong), 0);
    assert_true(advanced > 0);
    linear_image_drop(board.newest);
    linear_close(linear);
}

static enum sorex_status page_count(void *user_data, uint32_t page, const uint8_t *before, const uint8_t *after,
                                    struct sorex_error *err)
{
    (void)page;
    (void)before;
    (void)after;
    (void)err;
    ++*(unsigned *)user_data;
    return SOREX_OK;
}

/* Two bases are locked in one order, whichever image comes first. */
static void test_order_of_locks(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct linear *linears[2];
    struct linear_image *images[2];
    unsigned pages = 0;
    for (int i = 0; i < 2; i++) {
        assert_ok(linear_open(PAGES * PAGE, PAGES * PAGE, &linears[i], &err));
        linear_memory(linears[i]).data[(size_t)i * PAGE] = 1;
        assert_ok(linear_save(linears[i], &images[i], &err));
    }
    for (int i = 0; i < 2; i++)
        assert_ok(linear_image_diff(images[i], images[1 - i], page_count, &pages, &err));
    assert_int_equal(pages, 4);
    for (int i = 0; i < 2; i++) {
        linear_image_drop(images[i]);
        linear_close(linears[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_readers), cmocka_unit_test(test_order_of_locks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
