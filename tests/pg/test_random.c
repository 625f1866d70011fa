/* Random statements in random transactions, rewound at random points: what follows a rewind is what followed before,
 * and the end is that of a run that was never interrupted. One seed a round, from SOREX_PG_SEED on;
 * SOREX_PG_ROUNDS more of them, and every tenth of these kept in a store that crashes. */
#include "pg/pg.h"

#include <stdio.h>
#include <stdlib.h>

#include "pg/saved.h"
#include "store/disk.h"
#include "store/fault.h"

#define STATEMENTS 60
#define SNAPSHOTS 4

static struct database_program *program;
static struct snapshot *base;

static int setup(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database_program_options options = {.dir = PG_DIR, .cache_dir = PG_CACHE};
    assert_ok(database_program_open(&options, &program, &err));
    base = pg_base(database_program_postgres(program));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    snapshot_drop(base);
    database_program_close(program);
    return 0;
}

static uint64_t dice(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void statement_make(uint64_t *seed, char *out, size_t cap)
{
    static const char *const forms[] = {
        "begin",
        "commit",
        "rollback",
        "savepoint s",
        "rollback to s",
        "insert into t values (%u, 'v%u', random()) on conflict (id) do update set v = excluded.v || t.v",
        "insert into t select g, md5(g::text), random() from generate_series(%u, %u + 50) g on conflict do nothing",
        "insert into t values (%u, 'v%u', 0)",
        "update t set v = v || 'x', r = r + %u where id %% 7 = %u %% 7",
        "delete from t where id %% 13 = %u %% 13",
        "select count(*), sum(id), sum(r), min(v), %u from t",
        "select * from t where id > %u order by id limit 3",
        "select 1 / (%u %% 3)",
        "prepare p%u as select count(*) from t where id < $1",
        "execute p%u(%u)",
        "declare c%u cursor for select id from t order by id",
        "fetch 3 from c%u",
        "do $$ begin for i in 1..%u %% 20 loop begin insert into t values (i, 'do', "
        "clock_timestamp()::text::timestamptz - now() > "
        "interval '0'); exception when others then null; end; end loop; end $$",
        "create table n%u as select * from t limit %u",
        "drop table if exists n%u",
        "create index on t(v, id) where id > %u",
        "select gen_random_uuid(), now(), %u",
        "vacuum t",
        "checkpoint",
    };
    size_t form = dice(seed) % (sizeof forms / sizeof *forms);
    unsigned a = (unsigned)(dice(seed) % (form >= 13 && form <= 19 ? 4 : 300)), b = (unsigned)(dice(seed) % 300);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
    (void)snprintf(out, cap, forms[form], a, form == 6 ? a : b);
#pragma GCC diagnostic pop
}

struct history {
    char statements[STATEMENTS][512];
    struct buf replies[STATEMENTS];
};

static struct instance *instance_begin(void)
{
    struct instance *instance = pg_fork(base);
    (void)pg_run(instance, "create table t(id int primary key, v text, r float8)");
    return instance;
}

/* Runs one statement; the reply must be what it was when it ran first. */
static void step(struct instance *instance, struct history *history, int at, uint64_t seed)
{
    struct sorex_error err = {0};
    struct buf reply = {0};
    if (pg_try(instance, history->statements[at], &reply, &err) != SOREX_OK)
        fail_msg("seed %llu: %s: %s", (unsigned long long)seed, history->statements[at], err.text);
    if (history->replies[at].len == 0) {
        history->replies[at] = reply;
        return;
    }
    if (!bytes_equal(buf_view(&reply), buf_view(&history->replies[at])))
        fail_msg("seed %llu, statement %d: %s\n%.*s\nfirst it was\n%.*s", (unsigned long long)seed, at,
                 history->statements[at], BYTES_FMT(buf_view(&reply)), BYTES_FMT(buf_view(&history->replies[at])));
    buf_deinit(&reply);
}

/* Without interruption: what all other runs are compared with. */
static void history_make(struct history *history, uint64_t seed, uint64_t *state, char hash[HASH_HEX_SIZE])
{
    memset(history, 0, sizeof *history);
    struct instance *instance = instance_begin();
    *state = seed;
    for (int i = 0; i < STATEMENTS; i++) {
        statement_make(state, history->statements[i], sizeof history->statements[i]);
        step(instance, history, i, seed);
    }
    pg_hash(instance, hash);
    instance_close(instance);
}

static void history_end(struct history *history, uint64_t seed, const char *wanted, const char *hash)
{
    if (strcmp(wanted, hash) != 0)
        fail_msg("seed %llu: the end is another one", (unsigned long long)seed);
    for (int i = 0; i < STATEMENTS; i++)
        buf_deinit(&history->replies[i]);
}

static void round_run(uint64_t seed)
{
    struct sorex_error err = {0};
    static struct history history;
    uint64_t state;
    char straight[HASH_HEX_SIZE], rewound[HASH_HEX_SIZE];
    struct snapshot *snapshots[SNAPSHOTS] = {NULL};
    int places[SNAPSHOTS] = {0}, rewinds = 0;
    history_make(&history, seed, &state, straight);
    struct instance *instance = instance_begin();
    for (int i = 0; i < STATEMENTS; i++) {
        size_t k = dice(&state) % SNAPSHOTS, what = dice(&state) % 6;
        if (what == 0) {
            snapshot_drop(snapshots[k]);
            snapshots[k] = pg_save(instance);
            places[k] = i;
        } else if (what <= 2 && snapshots[k] != NULL && rewinds++ < 20) {
            if (what == 1) {
                assert_ok(instance_restore(instance, snapshots[k], &err));
            } else {
                instance_close(instance);
                instance = pg_fork(snapshots[k]);
            }
            i = places[k];
        }
        step(instance, &history, i, seed);
    }
    pg_hash(instance, rewound);
    instance_close(instance);
    for (int i = 0; i < SNAPSHOTS; i++)
        snapshot_drop(snapshots[i]);
    history_end(&history, seed, straight, rewound);
}

/* -- kept in a store, which crashes */

struct kept {
    struct disk *disk;
    struct store *store;
    struct saved *saved;
};

static struct instance *kept_open(struct kept *kept)
{
    struct sorex_error err = {0};
    struct store_options options = {
        .dir = "", .disk = kept->disk, .create = true, .history = STORE_HISTORY_FULL, .cache_bytes = 1 << 20};
    assert_ok(store_open(&options, &kept->store, &err));
    assert_ok(saved_open(kept->store, program, "random", NULL, &kept->saved, &err));
    return database_instance(saved_database(kept->saved));
}

static void kept_crash(struct kept *kept)
{
    saved_close(kept->saved);
    store_crash(kept->store);
    disk_crash(kept->disk);
}

static void kept_run(uint64_t seed)
{
    struct sorex_error err = {0};
    static struct history history;
    uint64_t state;
    char straight[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    struct kept kept = {.disk = disk_new()};
    int place = 0, crashes = 0;
    assert_non_null(kept.disk);
    history_make(&history, seed, &state, straight);
    struct instance *instance = kept_open(&kept);
    (void)pg_run(instance, "create table t(id int primary key, v text, r float8)");
    assert_ok(saved_commit(kept.saved, bytes_str(""), NULL, &err));
    for (int i = 0; i < STATEMENTS; i++) {
        size_t what = dice(&state) % 16;
        if (what < 5) {
            assert_ok(saved_commit(kept.saved, bytes_str(""), NULL, &err));
            place = i;
        } else if (what == 5) {
            assert_ok(saved_restore(kept.saved, &err));
            i = place;
        } else if (what == 6 && crashes++ < 3) {
            kept_crash(&kept);
            instance = kept_open(&kept);
            i = place;
        }
        step(instance, &history, i, seed);
    }
    pg_hash(instance, hash);
    kept_crash(&kept);
    disk_free(kept.disk);
    history_end(&history, seed, straight, hash);
}

static uint64_t setting(const char *name, uint64_t normal)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : normal;
}

static void test_rewinds(void **state)
{
    (void)state;
    uint64_t first = setting("SOREX_PG_SEED", 1), rounds = 20 + setting("SOREX_PG_ROUNDS", 0);
    for (uint64_t seed = first; seed < first + rounds; seed++)
        round_run(seed);
}

static void test_kept(void **state)
{
    (void)state;
    uint64_t first = setting("SOREX_PG_SEED", 1), rounds = 5 + setting("SOREX_PG_ROUNDS", 0) / 10;
    for (uint64_t seed = first; seed < first + rounds; seed++)
        kept_run(seed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rewinds), cmocka_unit_test(test_kept)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
