/* Databases that are kept in a store: what comes back is what was committed, whatever happened in between. */
#include "pg/statements.h"

#include <dirent.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "pg/saved.h"
#include "store/disk.h"
#include "store/fault.h"

/* SOREX_SAVED_KILLS: how often a process that commits is killed. */
#define KILLS_NORMAL 6

/* -- a store on a disk in memory */

struct world {
    struct disk *disk;
    struct store *store;
    struct saved *saved;
};

static void store_begin_on(struct world *world, bool read_only)
{
    struct sorex_error err = {0};
    struct store_options options = {.dir = "",
                                    .disk = world->disk,
                                    .create = !read_only,
                                    .read_only = read_only,
                                    .history = STORE_HISTORY_FULL,
                                    .cache_bytes = 1 << 20};
    assert_ok(store_open(&options, &world->store, &err));
}

static void world_open(struct world *world)
{
    struct sorex_error err = {0};
    if (world->disk == NULL)
        assert_non_null(world->disk = disk_new());
    store_begin_on(world, false);
    assert_ok(saved_open(world->store, program, "main", NULL, &world->saved, &err));
}

static void world_close(struct world *world)
{
    saved_close(world->saved);
    store_close(world->store);
}

/* As a process that is killed, on a machine whose power fails. */
static void world_crash(struct world *world)
{
    saved_close(world->saved);
    store_crash(world->store);
    disk_crash(world->disk);
}

static void run(struct saved *saved, const char *sql) { exec_ok(saved_database(saved), sql); }

static void expect(struct saved *saved, const char *sql, const char *wanted)
{
    exec_value(saved_database(saved), sql, wanted);
}

static void hash_of(struct saved *saved, char out[HASH_HEX_SIZE])
{
    struct sorex_error err = {0};
    uint8_t hash[SHA256_BYTES];
    struct snapshot *snapshot = NULL;
    assert_ok(database_save(saved_database(saved), &snapshot, &err));
    assert_ok(image_hash(snapshot, hash, &err));
    snapshot_drop(snapshot);
    hash_hex(hash, out);
}

static void commit(struct saved *saved, const char *note)
{
    struct sorex_error err = {0};
    assert_ok(saved_commit(saved, bytes_str(note), NULL, &err));
}

/* After each of many kinds of work: committed, opened again, equal to the last byte. */
static void test_reopen(void **state)
{
    (void)state;
    static const char *const steps[] = {
        "select 1",
        "create table t(id int primary key, v text)",
        "insert into t values (0, 'zero')",
        "insert into t select i, repeat('v', 200) from generate_series(1, 20000) i", /* beyond what an image holds */
        "update t set v = 'new' where id % 1000 = 3",
        "begin; insert into t values (30000, 'in a transaction'); prepare p as select count(*) from t",
        "execute p",
        "savepoint s; delete from t",
        "rollback to s; commit",
        "create temp table x as select * from t",
        "create extension if not exists plpgsql; do $$ begin perform 1; end $$",
        "drop table t; checkpoint",
        "create table big as select i, repeat('x', 1000) from generate_series(1, 30000) i", /* memory grows */
        "truncate big",
        "vacuum",
        "checkpoint",
    };
    struct world world = {0};
    world_open(&world);
    assert_int_equal(saved_version(world.saved), 0);
    assert_int_equal(saved_note(world.saved).len, 0);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char before[HASH_HEX_SIZE], after[HASH_HEX_SIZE], note[32];
        run(world.saved, steps[i]);
        (void)snprintf(note, sizeof note, "step %zu", i);
        hash_of(world.saved, before);
        commit(world.saved, note);
        if (i % 2 == 0)
            world_close(&world);
        else
            world_crash(&world);
        world_open(&world);
        hash_of(world.saved, after);
        if (strcmp(before, after) != 0)
            fail_msg("step %zu: another database came back", i);
        assert_int_equal(saved_version(world.saved), i + 1);
        assert_true(bytes_is(saved_note(world.saved), note));
    }
    world_close(&world);
    disk_free(world.disk);
}

/* The other of two runs is never interrupted; it may not be told apart. */
static void test_transaction_goes_on(void **state)
{
    (void)state;
    char hashes[2][HASH_HEX_SIZE];
    for (int interrupted = 0; interrupted < 2; interrupted++) {
        struct world world = {0};
        world_open(&world);
        run(world.saved, "create table t(id serial, at timestamptz default now(), r float8 default random())");
        run(world.saved, "begin; insert into t default values; savepoint a; insert into t default values");
        commit(world.saved, "");
        if (interrupted) {
            world_crash(&world);
            world_open(&world);
        }
        run(world.saved, "rollback to a; insert into t default values; commit");
        expect(world.saved, "select string_agg(id::text, ' ' order by id) from t", "1 3");
        hash_of(world.saved, hashes[interrupted]);
        world_close(&world);
        disk_free(world.disk);
    }
    assert_string_equal(hashes[0], hashes[1]);
}

/* -- failures of the store */

/* Each write fails in turn, before or after it happened: what comes back is one of two commits, whole. */
static void test_every_write(void **state)
{
    (void)state;
    enum { COMMITS = 4 };
    static const enum fault_kind kinds[] = {FAULT_FAIL, FAULT_FAIL_AFTER};
    char hashes[COMMITS + 1][HASH_HEX_SIZE];
    for (uint32_t round = 0; round <= 2 * COMMITS; round++) { /* the first one without a fault: it tells the hashes */
        struct sorex_error err = {0};
        struct world world = {0};
        uint32_t nth = (round + 1) / 2;
        bool after = round % 2 == 0 && round > 0;
        world_open(&world);
        hash_of(world.saved, hashes[0]);
        if (round > 0)
            store_fault_arm(kinds[after], nth);
        for (uint32_t i = 1; i <= COMMITS; i++) {
            char sql[100];
            (void)snprintf(sql, sizeof sql, "create table t%u as select i from generate_series(1, 100) i", (unsigned)i);
            run(world.saved, sql);
            if (round == 0)
                hash_of(world.saved, hashes[i]);
            enum sorex_status status = saved_commit(world.saved, bytes_of(&i, sizeof i), NULL, &err);
            assert_int_equal(status, round == 0 || i < nth ? SOREX_OK : SOREX_IO); /* and all that come behind it */
        }
        if (round > 0) {
            char hash[HASH_HEX_SIZE];
            uint32_t version = after ? nth : nth - 1;
            assert_int_equal(saved_version(world.saved), nth - 1);
            assert_ok(saved_restore(world.saved, &err));
            hash_of(world.saved, hash);
            assert_string_equal(hash, hashes[nth - 1]);
            world_crash(&world);
            world_open(&world);
            assert_int_equal(saved_version(world.saved), version);
            hash_of(world.saved, hash);
            assert_string_equal(hash, hashes[version]);
        }
        world_close(&world);
        disk_free(world.disk);
    }
}

/* A statement ends the backend, inside of a transaction that was committed as it was. */
static void test_restore(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct world world = {0};
    char before[HASH_HEX_SIZE], after[HASH_HEX_SIZE];
    world_open(&world);
    run(world.saved, "create table t(v int)");
    assert_ok(saved_restore(world.saved, &err)); /* there is no commit: to its beginning */
    run(world.saved, "create table t(v int); insert into t values (1)");
    run(world.saved, "begin; insert into t values (2)");
    commit(world.saved, "in a transaction");
    hash_of(world.saved, before);
    run(world.saved, "insert into t select i from generate_series(1, 30000) i; commit");
    assert_int_equal(database_exec(saved_database(world.saved), "set exit_on_error = on; select 1/0", &results, &err),
                     SOREX_GUEST);
    assert_ok(saved_restore(world.saved, &err));
    hash_of(world.saved, after);
    assert_string_equal(before, after);
    expect(world.saved, "select sum(v) from t", "3");
    run(world.saved, "rollback; insert into t values (5)");
    commit(world.saved, "");
    hash_of(world.saved, before);
    world_crash(&world);
    world_open(&world);
    hash_of(world.saved, after);
    assert_string_equal(before, after);
    expect(world.saved, "select sum(v) from t", "6");
    world_close(&world);
    disk_free(world.disk);
}

static void test_snapshots_and_notes(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct world world = {0};
    struct snapshot *snapshot = NULL;
    struct database *fork = NULL;
    uint8_t *large = calloc(1, 65537);
    assert_non_null(large);
    world_open(&world);
    run(world.saved, "create table t(v int)");
    assert_ok(saved_commit(world.saved, bytes_of(large, 65536), &snapshot, &err));
    assert_int_equal(saved_commit(world.saved, bytes_of(large, 65537), NULL, &err), SOREX_INVALID);
    assert_int_equal(saved_version(world.saved), 1);
    run(world.saved, "insert into t values (1)");
    assert_ok(database_fork(saved_database(world.saved), snapshot, &fork, &err));
    snapshot_drop(snapshot);
    assert_ok(database_exec(fork, "select * from t", &results, &err));
    assert_int_equal(results.first->rows_count, 0);
    database_close(fork);
    world_close(&world); /* what was not committed is gone */
    world_open(&world);
    assert_int_equal(saved_note(world.saved).len, 65536);
    expect(world.saved, "select count(*) from t", "0");
    world_close(&world);
    disk_free(world.disk);
    free(large);
}

static void test_two_databases(void **state)
{
    (void)state;
    static const char *const names[] = {"mai", "mail"}; /* beside "main" */
    struct sorex_error err = {0};
    struct world world = {0};
    struct saved *saved[2], *none = NULL;
    char hashes[2][HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    world_open(&world);
    commit(world.saved, "");
    for (int i = 0; i < 2; i++)
        assert_ok(saved_open(world.store, program, names[i], NULL, &saved[i], &err));
    for (int step = 0; step < 3; step++)
        for (int i = 0; i < 2; i++) {
            run(saved[i], step == 0 ? "create table t(v int)" : i == 0 ? "insert into t values (1)" : "select 1");
            commit(saved[i], names[i]);
            hash_of(saved[i], hashes[i]);
        }
    for (int i = 0; i < 2; i++)
        saved_close(saved[i]);
    assert_ok(saved_drop(world.store, names[0], &err));
    assert_int_equal(saved_drop(world.store, names[0], &err), SOREX_GONE);
    world_close(&world);
    store_begin_on(&world, true);
    assert_int_equal(saved_open(world.store, program, names[0], NULL, &none, &err), SOREX_GONE);
    assert_int_equal(saved_open(world.store, program, "", NULL, &none, &err), SOREX_INVALID);
    assert_ok(saved_open(world.store, program, names[1], NULL, &saved[1], &err));
    hash_of(saved[1], hash);
    assert_string_equal(hash, hashes[1]);
    assert_int_equal(saved_commit(saved[1], bytes_str(""), NULL, &err), SOREX_INVALID);
    saved_close(saved[1]);
    store_close(world.store);
    disk_free(world.disk);
}

static void test_limits(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct world world = {0};
    struct database_options options = {.file_bytes_max = (uint64_t)64 << 20, .seed = 5};
    world_open(&world);
    run(world.saved, "create table t as select repeat('x', 1000) v from generate_series(1, 1000)");
    commit(world.saved, "");
    saved_close(world.saved);
    for (int i = 0; i < 2; i++) { /* limits are those of whoever opens it, also after an error */
        assert_ok(saved_open(world.store, program, "main", &options, &world.saved, &err));
        for (int k = 0; k < 2; k++) {
            assert_ok(database_exec(saved_database(world.saved),
                                    "insert into t select repeat('y', 1000) from generate_series(1, 60000)", &results,
                                    &err));
            assert_non_null(results.error);
            assert_true(bytes_is(results.error->fields[PROTOCOL_FIELD_SQLSTATE], "53100"));
            assert_ok(saved_restore(world.saved, &err));
        }
        expect(world.saved, "select count(*) from t", "1000");
        saved_close(world.saved);
    }
    options.memory_bytes_max = (uint64_t)64 << 20; /* less than it has */
    assert_int_equal(saved_open(world.store, program, "main", &options, &world.saved, &err), SOREX_LIMIT);
    store_close(world.store);
    disk_free(world.disk);
}

/* -- damage */

struct victim {
    struct buf key, value;
    size_t wanted; /* which of those of that kind */
    uint8_t kind;
};

static void victim_find(struct disk *disk, struct victim *victim)
{
    struct bytes key, value;
    struct disk_iter *iter = disk_iter_new(disk, NULL, DB_PAGES);
    size_t count = victim->wanted;
    for (disk_iter_seek(iter, bytes_of(NULL, 0)); disk_iter_at(iter, &key, &value); disk_iter_next(iter))
        if (key.data[5] == victim->kind && count-- == 0) {
            assert_int_equal(buf_append(&victim->key, key, NULL), SOREX_OK);
            assert_int_equal(buf_append(&victim->value, value, NULL), SOREX_OK);
            break;
        }
    disk_iter_free(iter);
    assert_non_null(victim->key.data);
}

/* Replaces the record by another one; NULL, NULL: by none. */
static void record_change(struct disk *disk, const struct victim *victim, const struct buf *key,
                          const struct buf *value)
{
    struct disk_batch *batch = disk_batch_new();
    assert_non_null(batch);
    disk_batch_delete(batch, DB_PAGES, buf_view(&victim->key));
    if (key != NULL)
        disk_batch_put(batch, DB_PAGES, buf_view(key), buf_view(value));
    assert_int_equal(disk_write(disk, batch, true, NULL), SOREX_OK);
    disk_batch_free(batch);
}

static void expect_corrupt(struct world *world, const char *text)
{
    struct sorex_error err = {0};
    store_begin_on(world, false);
    assert_int_equal(saved_open(world->store, program, "main", NULL, &world->saved, &err), SOREX_CORRUPT);
    if (strstr(err.text, text) == NULL)
        fail_msg("%s, wanted %s", err.text, text);
    store_close(world->store);
}

/* A bit flipped in the middle, the end cut off, the key another one, gone. */
static void damage(struct world *world, struct victim *victim, const char *name, const char *missing)
{
    victim_find(world->disk, victim);
    uint8_t *data = victim->value.data;
    size_t len = victim->value.len;
    data[len / 2] ^= 4;
    record_change(world->disk, victim, &victim->key, &victim->value);
    expect_corrupt(world, name);
    data[len / 2] ^= 4;
    victim->value.len = len - 1;
    record_change(world->disk, victim, &victim->key, &victim->value);
    expect_corrupt(world, name);
    victim->value.len = len;
    record_change(world->disk, victim, NULL, NULL);
    expect_corrupt(world, missing);
    if (victim->key.len > 6) { /* it moves to another place */
        struct buf other = {0};
        assert_int_equal(buf_append(&other, buf_view(&victim->key), NULL), SOREX_OK);
        other.data[6] ^= 64; /* where none is */
        struct victim again = {.key = other};
        record_change(world->disk, victim, &other, &victim->value);
        expect_corrupt(world, "checksum");
        record_change(world->disk, &again, NULL, NULL);
        buf_deinit(&other);
    }
    record_change(world->disk, victim, &victim->key, &victim->value);
    buf_deinit(&victim->key);
    buf_deinit(&victim->value);
}

static void test_damage(void **state)
{
    (void)state;
    struct victim victims[] = {
        {.kind = 0}, {.kind = 1}, {.kind = 2, .wanted = 100}, {.kind = 3, .wanted = 50}, {.kind = 4, .wanted = 700}};
    static const char *const names[] = {"head: its checksum", "table: its checksum", "page ", "inode ", "extent "};
    static const char *const missing[] = {"there is no head", "the table is missing", "there are ", "extent ",
                                          "there are "};
    struct world world = {0};
    world_open(&world);
    commit(world.saved, "note");
    world_close(&world);
    for (size_t i = 0; i < sizeof victims / sizeof *victims; i++)
        damage(&world, &victims[i], names[i], missing[i]);
    world_open(&world); /* all is put back */
    assert_int_equal(saved_version(world.saved), 1);
    world_close(&world);
    disk_free(world.disk);
}

/* -- files */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void dir_make(char out[64])
{
    (void)snprintf(out, 64, "saved-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static void dir_remove(const char *dir) { assert_int_equal(nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0); }

static struct store *dir_open(const char *dir, bool read_only)
{
    struct sorex_error err = {0};
    struct store *store = NULL;
    struct store_options options = {.dir = dir,
                                    .create = !read_only,
                                    .read_only = read_only,
                                    .history = STORE_HISTORY_FULL,
                                    .cache_bytes = 1 << 20};
    assert_ok(store_open(&options, &store, &err));
    return store;
}

static void test_read_only(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    char dir[64];
    dir_make(dir);
    struct world writer = {.store = dir_open(dir, false)}, readers[2];
    assert_ok(saved_open(writer.store, program, "main", NULL, &writer.saved, &err));
    for (int i = 0; i < 2; i++) {
        run(writer.saved, i == 0 ? "create table t(v int)" : "insert into t values (7)");
        commit(writer.saved, "");
        readers[i].store = dir_open(dir, true);
        assert_ok(saved_open(readers[i].store, program, "main", NULL, &readers[i].saved, &err));
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(saved_version(readers[i].saved), i + 1);
        expect(readers[i].saved, "select count(*) from t", i == 0 ? "0" : "1");
        run(readers[i].saved, "insert into t values (8)"); /* its own affair */
        assert_int_equal(saved_commit(readers[i].saved, bytes_str(""), NULL, &err), SOREX_INVALID);
        world_close(&readers[i]);
    }
    expect(writer.saved, "select count(*) from t", "1");
    world_close(&writer);
    dir_remove(dir);
}

static void step_run(struct saved *saved, uint64_t step)
{
    char sql[160];
    if (step == 0)
        (void)snprintf(sql, sizeof sql, "create table t(id int primary key, v text, r float8 default random())");
    else if (step % 7 == 0)
        (void)snprintf(sql, sizeof sql, "begin; delete from t where id %% 11 = %d", (int)(step % 11));
    else if (step % 7 == 1)
        (void)snprintf(sql, sizeof sql, "commit");
    else
        (void)snprintf(sql, sizeof sql,
                       "insert into t select %d * 100 + i, repeat('v', i) from generate_series(1, %d) i", (int)step,
                       (int)(step * 13 % 90 + 1));
    run(saved, sql);
}

/* Commits until it is killed; says each commit that it did. */
_Noreturn static void commit_forever(const char *dir, int out)
{
    struct sorex_error err = {0};
    struct saved *saved = NULL;
    struct store *store = dir_open(dir, false);
    assert_ok(saved_open(store, program, "main", NULL, &saved, &err));
    for (;;) {
        uint64_t step = saved_version(saved);
        step_run(saved, step);
        assert_ok(saved_commit(saved, bytes_of(&step, sizeof step), NULL, &err));
        assert_int_equal(write(out, "", 1), 1);
    }
}

/* Returns how many commits were said to be done. */
static uint64_t kill_after(const char *dir, uint32_t commits)
{
    int ends[2], result = 0;
    char byte;
    uint64_t said = 0;
    assert_int_equal(pipe(ends), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        commit_forever(dir, ends[1]);
    assert_int_equal(close(ends[1]), 0);
    while (said < commits && read(ends[0], &byte, 1) == 1)
        said++;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &result, 0), pid);
    assert_true(WIFSIGNALED(result) && WTERMSIG(result) == SIGKILL);
    while (read(ends[0], &byte, 1) == 1)
        said++;
    assert_int_equal(close(ends[0]), 0);
    return said;
}

/* What a killed process leaves is a commit: no older than the last that it reported, at most one newer, and equal to
 * the last byte to a database that ran as far without interruption. */
static void test_kill(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    const char *text = getenv("SOREX_SAVED_KILLS");
    uint32_t kills = text != NULL ? (uint32_t)strtoul(text, NULL, 10) : KILLS_NORMAL;
    char dir[64], wanted[HASH_HEX_SIZE], got[HASH_HEX_SIZE];
    struct world model = {0};
    uint64_t version = 0, seed = 11;
    dir_make(dir);
    world_open(&model);
    for (uint32_t i = 0; i < kills; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t said = kill_after(dir, (uint32_t)(seed >> 33) % 40);
        struct world world = {.store = dir_open(dir, false)};
        assert_ok(saved_open(world.store, program, "main", NULL, &world.saved, &err));
        uint64_t now = saved_version(world.saved);
        assert_true(now >= version + said && now <= version + said + 1);
        for (; version < now; version++)
            step_run(model.saved, version);
        hash_of(model.saved, wanted);
        hash_of(world.saved, got);
        if (strcmp(wanted, got) != 0)
            fail_msg("kill %u: at version %llu another database came back", (unsigned)i, (unsigned long long)now);
        world_close(&world);
    }
    assert_true(version > 0);
    print_message("%u kills, %llu commits\n", (unsigned)kills, (unsigned long long)version);
    world_close(&model);
    disk_free(model.disk);
    dir_remove(dir);
}

/* The file in DIR/db that ends in .log and is largest. */
static off_t log_largest(const char *dir, char out[400])
{
    char db[80];
    off_t size = -1;
    (void)snprintf(db, sizeof db, "%s/db", dir);
    DIR *list = opendir(db);
    assert_non_null(list);
    for (struct dirent *each; (each = readdir(list)) != NULL;) {
        char path[400];
        struct stat st;
        size_t len = strlen(each->d_name);
        (void)snprintf(path, sizeof path, "%s/%s", db, each->d_name);
        if (len > 4 && strcmp(each->d_name + len - 4, ".log") == 0 && stat(path, &st) == 0 && st.st_size > size) {
            size = st.st_size;
            memcpy(out, path, sizeof path);
        }
    }
    closedir(list);
    return size;
}

/* The power fails while the log is written: it ends anywhere. */
static void test_torn(void **state)
{
    (void)state;
    enum { COMMITS = 5, CUTS = 6 };
    struct sorex_error err = {0};
    char dir[64], path[400], hashes[COMMITS + 1][HASH_HEX_SIZE], got[HASH_HEX_SIZE];
    uint64_t version = COMMITS;
    dir_make(dir);
    struct world world = {.store = dir_open(dir, false)};
    assert_ok(saved_open(world.store, program, "main", NULL, &world.saved, &err));
    for (uint64_t i = 0; i < COMMITS; i++) {
        step_run(world.saved, i);
        commit(world.saved, "");
        hash_of(world.saved, hashes[i + 1]);
        if (i == 0) { /* what comes next has a log of its own */
            world_close(&world);
            world.store = dir_open(dir, false);
            assert_ok(saved_open(world.store, program, "main", NULL, &world.saved, &err));
        }
    }
    world_close(&world);
    for (int cut = 0; cut < CUTS; cut++) {
        off_t size = log_largest(dir, path);
        if (size < 2)
            break;
        assert_int_equal(truncate(path, size - 1 - size / CUTS), 0);
        world.store = dir_open(dir, true); /* which leaves the log as it is */
        assert_ok(saved_open(world.store, program, "main", NULL, &world.saved, &err));
        assert_true(saved_version(world.saved) >= 1 && saved_version(world.saved) <= version);
        version = saved_version(world.saved);
        hash_of(world.saved, got);
        assert_string_equal(got, hashes[version]);
        world_close(&world);
    }
    assert_true(version < COMMITS);
    dir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_reopen),
                                       cmocka_unit_test(test_transaction_goes_on),
                                       cmocka_unit_test(test_every_write),
                                       cmocka_unit_test(test_restore),
                                       cmocka_unit_test(test_snapshots_and_notes),
                                       cmocka_unit_test(test_two_databases),
                                       cmocka_unit_test(test_limits),
                                       cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_read_only),
                                       cmocka_unit_test(test_kill),
                                       cmocka_unit_test(test_torn)};
    return cmocka_run_group_tests_name("saved databases", tests, setup, teardown);
}
