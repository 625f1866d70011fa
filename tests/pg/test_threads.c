/* Instances on threads of their own, which share pages, extents and inodes through snapshots. For ThreadSanitizer. */
#include "pg/pg.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

static struct postgres *postgres;
static struct snapshot *base;

static int setup(void **state)
{
    (void)state;
    postgres = pg_open();
    base = pg_base(postgres);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    snapshot_drop(base);
    postgres_close(postgres);
    return 0;
}

/* -- forks of one snapshot, all at once */

struct worker {
    pthread_t thread;
    enum sorex_status status;
    uint8_t hash[SHA256_BYTES];
};

static enum sorex_status work(struct worker *worker, struct instance *instance)
{
    struct sorex_error err;
    struct snapshot *snapshot = NULL;
    TRY(pg_try(instance, "insert into t select g, 'thread', 0 from generate_series(1, 3000) g", NULL, &err));
    for (int i = 0; i < 10; i++) {
        TRY(instance_save(instance, &snapshot, &err));
        enum sorex_status status =
            pg_try(instance, "update t set v = v || 'x' where id % 5 = 0; delete from t where id % 7 = 0", NULL, &err);
        if (status == SOREX_OK && i % 2 == 0)
            status = instance_restore(instance, snapshot, &err);
        snapshot_drop(snapshot);
        TRY(status);
    }
    TRY(instance_save(instance, &snapshot, &err));
    enum sorex_status status = image_hash(snapshot, worker->hash, &err);
    snapshot_drop(snapshot);
    return status;
}

static void *worker_main(void *user_data)
{
    struct worker *worker = user_data;
    struct sorex_error err;
    struct instance *instance = NULL;
    worker->status = instance_fork(base, 0, &instance, &err);
    if (worker->status == SOREX_OK)
        worker->status = pg_try(instance, "create table t(id int primary key, v text, r float8)", NULL, &err);
    if (worker->status == SOREX_OK)
        worker->status = work(worker, instance);
    instance_close(instance);
    return NULL;
}

static void test_forks(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    struct worker workers[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(workers[i].status, SOREX_OK);
        assert_memory_equal(workers[i].hash, workers[0].hash, SHA256_BYTES);
    }
}

/* -- snapshots that one thread makes and others fork, while it goes on: a writer and its readers */

struct board {
    pthread_mutex_t lock;
    struct snapshot *newest;
    atomic_bool end;
};

static struct snapshot *newest_take(struct board *board)
{
    (void)pthread_mutex_lock(&board->lock);
    struct snapshot *snapshot = snapshot_keep(board->newest);
    (void)pthread_mutex_unlock(&board->lock);
    return snapshot;
}

static void newest_put(struct board *board, struct snapshot *snapshot)
{
    (void)pthread_mutex_lock(&board->lock);
    struct snapshot *before = board->newest;
    board->newest = snapshot;
    (void)pthread_mutex_unlock(&board->lock);
    snapshot_drop(before);
}

/* The two sums are equal in every state that was put on the board. */
static enum sorex_status read_once(struct board *board, bool *out_same)
{
    struct sorex_error err;
    struct instance *instance = NULL;
    struct buf reply = {0};
    struct snapshot *snapshot = newest_take(board);
    enum sorex_status status = instance_fork(snapshot, 0, &instance, &err);
    if (status == SOREX_OK)
        status = pg_try(instance, "insert into a values (1000); select (select sum(v) from a) - (select sum(v) from b)",
                        &reply, &err);
    *out_same = bytes_is(buf_view(&reply), "-> INSERT 0 1\n1000 | \n-> SELECT 1\n");
    instance_close(instance);
    snapshot_drop(snapshot);
    buf_deinit(&reply);
    return status;
}

struct visitor {
    pthread_t thread;
    struct board *board;
    enum sorex_status status;
    bool same;
};

static void *visitor_main(void *user_data)
{
    struct visitor *visitor = user_data;
    do
        visitor->status = read_once(visitor->board, &visitor->same);
    while (visitor->status == SOREX_OK && visitor->same && !atomic_load(&visitor->board->end));
    return NULL;
}

static void test_visitors(void **state)
{
    (void)state;
    enum { VISITORS = 2, STATES = 8 };
    struct board board = {.lock = PTHREAD_MUTEX_INITIALIZER};
    struct visitor visitors[VISITORS];
    struct instance *instance = pg_fork(base);
    (void)pg_run(instance, "create table a(v int); create table b(v int)");
    (void)pg_run(instance, "insert into a values (1); insert into b values (1)");
    board.newest = pg_save(instance);
    for (int i = 0; i < VISITORS; i++) {
        visitors[i] = (struct visitor){.board = &board};
        assert_int_equal(pthread_create(&visitors[i].thread, NULL, visitor_main, &visitors[i]), 0);
    }
    for (int i = 0; i < STATES; i++) {
        char sql[100];
        (void)snprintf(sql, sizeof sql, "insert into a select g from generate_series(1, %d) g", 1 + i % 3 * 1000);
        (void)pg_run(instance, sql);
        sql[12] = 'b';
        (void)pg_run(instance, sql);
        newest_put(&board, pg_save(instance));
    }
    atomic_store(&board.end, true);
    instance_close(instance);
    for (int i = 0; i < VISITORS; i++) {
        assert_int_equal(pthread_join(visitors[i].thread, NULL), 0);
        assert_int_equal(visitors[i].status, SOREX_OK);
        assert_true(visitors[i].same);
    }
    snapshot_drop(board.newest);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forks), cmocka_unit_test(test_visitors)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
