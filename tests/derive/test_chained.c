/* A database derived from a chain: whatever the chain does, it is that of the chain as it is now. The entries are
 * statements of SQL, with hashes like any chain's. */
#include "derive.h"

#include "fold.h"

#include "base/log.h"
#include "derive/chained.h"
#include "pg/place.h"

#define HEIGHTS_MAX 512u
#define FIRST 7u

/* A chain in memory: entries of branches, one above the other. */
struct chain {
    struct entry entries[HEIGHTS_MAX]; /* by height - FIRST */
    char texts[HEIGHTS_MAX][128];
    uint32_t count;
};

static void text_of(uint32_t height, uint32_t branch, char out[128])
{
    switch (height % 5) {
    case 0:
        (void)snprintf(out, 128, "insert into note values (%u, 'on %u at ' || now() || random())", height, branch);
        break;
    case 1:
        (void)snprintf(out, 128, "update note set body = body || '+%u' where id %% 10 = 0", branch);
        break;
    case 2:
        (void)snprintf(out, 128, height % 3 == 0 ? "reject" : "insert into note values (%u, 'again')", height - 2);
        break;
    case 3:
        (void)snprintf(out, 128, "insert into note select %u, md5(string_agg(body, ',' order by id)) from note",
                       height);
        break;
    default:
        (void)snprintf(out, 128, "delete from note where id = %u", height - 20);
    }
}

static void chain_grow(struct chain *chain, uint32_t count, uint32_t branch)
{
    for (; count > 0; count--) {
        struct entry *entry = &chain->entries[chain->count];
        char *text = chain->texts[chain->count];
        uint8_t seed[HASH_BYTES + sizeof branch] = {0};
        *entry = (struct entry){.height = FIRST + chain->count};
        text_of(entry->height, branch, text);
        if (chain->count > 0)
            memcpy(entry->parent, entry[-1].hash, HASH_BYTES);
        memcpy(seed, entry->parent, HASH_BYTES);
        memcpy(seed + HASH_BYTES, &branch, sizeof branch);
        sha256_once(bytes_of(seed, sizeof seed), entry->hash);
        entry->time_ms = 1700000000000 + (uint64_t)entry->height * 600000 - (entry->height % 4 == 0 ? 7200000 : 0);
        entry->payload = bytes_str(text);
        chain->count++;
    }
}

/* Another branch from `depth` entries below the tip on. */
static void chain_fork(struct chain *chain, uint32_t depth, uint32_t count, uint32_t branch)
{
    assert_true(depth <= chain->count);
    chain->count -= depth;
    chain_grow(chain, count, branch);
}

static enum sorex_status on_chain(void *user_data, const struct chained_place *place, bool *out,
                                  struct sorex_error *err)
{
    const struct chain *chain = user_data;
    (void)err;
    *out = place->height >= FIRST && place->height < FIRST + chain->count &&
           memcmp(chain->entries[place->height - FIRST].hash, place->hash, HASH_BYTES) == 0;
    return SOREX_OK;
}

/* What a pipeline's thread does. at_most: entries. */
static enum sorex_status follow(struct chained *chained, struct chain *chain, uint32_t at_most, struct sorex_error *err)
{
    struct chained_place place = chained_place(chained);
    bool on = place.height == SOREX_HEIGHT_NONE;
    if (!on)
        TRY(on_chain(chain, &place, &on, err));
    if (!on)
        TRY(chained_back(chained, on_chain, chain, err));
    for (uint32_t next; (next = chained_next_height(chained)) < FIRST + chain->count && at_most > 0; at_most--)
        TRY(chained_apply(chained, &chain->entries[next - FIRST], err));
    return at_most > 0 ? chained_commit(chained, err) : SOREX_OK;
}

/* -- what is kept in a store ------------------------------------------------------------------------------------------
 */

struct kept {
    struct store *store;
    struct chained *chained;
};

static struct derive_settings settings_now;

static enum sorex_status kept_try(struct kept *kept, struct bytes module, struct sorex_error *err)
{
    struct store_options store = {.dir = in_scratch("data"), .create = true, .history = STORE_HISTORY_FULL};
    struct chained_options options = {
        .name = "notes", .dir = in_scratch("data"), .wasm = module, .settings = &settings_now, .first_height = FIRST};
    TRY(store_open(&store, &kept->store, err));
    options.store = kept->store;
    kept->chained = NULL;
    return chained_open(&options, &kept->chained, err);
}

static void kept_open(struct kept *kept)
{
    struct sorex_error err = {0};
    assert_ok(kept_try(kept, buf_view(&wasm), &err));
}

/* What was not saved is lost, as when the process is killed. */
static void kept_close(struct kept *kept)
{
    chained_close(kept->chained);
    store_close(kept->store);
    *kept = (struct kept){0};
}

static void kept_state(struct kept *kept, struct state *out)
{
    struct sorex_error err = {0};
    struct database *database;
    uint32_t height;
    assert_ok(chained_fork(kept->chained, SOREX_HEIGHT_NONE, &database, &height, &err));
    assert_int_equal(height, chained_place(kept->chained).height);
    state_of(database, chained_receipt(kept->chained), true, out);
    database_close(database);
}

/* -- a straight run ---------------------------------------------------------------------------------------------------
 */

static void straight_state(const struct chain *chain, struct state *out)
{
    struct sorex_error err = {0};
    struct database *database;
    struct receipt receipt;
    struct log_end end;
    struct buf canonical = {0};
    struct derivation *straight = NULL;
    struct derivation_options options = derive_settings_derivation(&settings_now);
    options.cache_dir = in_scratch("data/cache");
    log_end_init(&end);
    assert_ok(derivation_new(buf_view(&wasm), &options, &straight, &err));
    assert_ok(database_open(derivation_program(straight), derivation_database_options(straight), &database, &err));
    assert_ok(derivation_begin(straight, database, &receipt, &err));
    for (uint32_t i = 0; i < chain->count; i++) {
        struct message message = {.time_ms = (int64_t)chain->entries[i].time_ms, .payload = chain->entries[i].payload};
        struct logged logged;
        buf_reset(&canonical);
        assert_ok(message_encode(&message, &canonical, &err));
        assert_ok(log_end_add_entry(&end, buf_view(&canonical), &logged, &err));
        assert_ok(derivation_step(straight, database, &receipt, &logged, NULL, NULL, NULL, &err));
    }
    state_of(database, &receipt, true, out);
    database_close(database);
    derivation_free(straight);
    buf_deinit(&canonical);
}

static void same(struct kept *kept, const struct chain *chain)
{
    static struct state is, wanted;
    struct chained_place place = chained_place(kept->chained);
    kept_state(kept, &is);
    straight_state(chain, &wanted);
    assert_int_equal(place.height, FIRST + chain->count - 1);
    assert_memory_equal(place.hash, chain->entries[chain->count - 1].hash, HASH_BYTES);
    assert_int_equal(is.receipt.count, chain->count);
    assert_int_equal(is.receipt.rejected, wanted.receipt.rejected);
    assert_memory_equal(is.receipt.key, wanted.receipt.key, SHA256_BYTES);
    assert_memory_equal(is.receipt.trace, wanted.receipt.trace, SHA256_BYTES);
    assert_memory_equal(is.receipt.log, wanted.receipt.log, SHA256_BYTES);
    assert_memory_equal(is.digest, wanted.digest, SHA256_BYTES);
    assert_memory_equal(is.image, wanted.image, SHA256_BYTES);
}

/* -- tests ------------------------------------------------------------------------------------------------------------
 */

static struct chain chain;
static struct database_program *program; /* held: it is loaded once */

static uint32_t rounds_of(uint32_t otherwise)
{
    const char *text = getenv("SOREX_ROUNDS");
    return text != NULL ? (uint32_t)strtoul(text, NULL, 10) : otherwise;
}

static void forks_of_every_depth_lead_to_what_a_straight_run_leads_to(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct kept kept;
    settings_now = default_settings();
    settings_now.snapshot_messages = 30;
    kept_open(&kept);
    chain_grow(&chain, 60, 0);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    same(&kept, &chain);
    uint32_t step = rounds_of(0) > 0 ? 1 : 3; /* the depths between: in `make torture` */
    for (uint32_t depth = 1; depth <= 50; depth += step) {
        chain_fork(&chain, depth, depth % 3 == 0 ? depth : depth + 1, depth);
        assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
        if (depth == 49 || rounds_of(0) > 0) { /* others are seen through those that come after them */
            same(&kept, &chain);
            kept_close(&kept);
            kept_open(&kept);
        }
    }
    same(&kept, &chain);
    kept_close(&kept);
}

static void a_shorter_chain_and_one_that_comes_back(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct kept kept;
    static struct chain before;
    settings_now = default_settings();
    settings_now.snapshot_messages = 16;
    kept_open(&kept);
    chain_grow(&chain, 40, 0);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    before = chain;
    for (uint32_t i = 0; i < chain.count; i++)
        before.entries[i].payload = bytes_str(before.texts[i]);
    chain.count = 25;
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    same(&kept, &chain);
    chain_grow(&chain, 3, 1);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    same(&kept, &chain);
    assert_ok(follow(kept.chained, &before, 1, &err)); /* from its snapshot: there is nothing to apply */
    assert_int_equal(chained_place(kept.chained).height, FIRST + 39);
    same(&kept, &before);
    chain_fork(&chain, chain.count, 4, 9); /* not even the first entry stays */
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    same(&kept, &chain);
    kept_close(&kept);
}

static uint64_t random_next(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return *seed >> 33;
}

static void whatever_happens_when(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    uint32_t rounds = rounds_of(10);
    uint64_t seed = 7;
    struct kept kept;
    settings_now = default_settings();
    settings_now.snapshot_messages = 8;
    settings_now.checkpoint_messages = 4;
    settings_now.cache_bytes = (uint64_t)8 << 20;
    settings_now.maintenance = 16;
    kept_open(&kept);
    for (uint32_t round = 1; round <= rounds; round++) {
        uint32_t depth = (uint32_t)random_next(&seed) % 12;
        uint32_t grow = (uint32_t)random_next(&seed) % 14;
        depth = depth < chain.count ? depth : chain.count;
        if (chain.count - depth + grow + 1 > 100)
            depth = chain.count > 60 ? chain.count - 40 : depth;
        chain_fork(&chain, depth, grow + 1, round);
        assert_ok(follow(kept.chained, &chain, (uint32_t)random_next(&seed) % 20, &err));
        if (random_next(&seed) % 4 == 0) {
            kept_close(&kept);
            kept_open(&kept);
        }
        if (round % 5 == 0 || round == rounds) {
            assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
            same(&kept, &chain);
        }
    }
    kept_close(&kept);
}

static int snapshot_spoil(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)where;
    return kind == FTW_F ? truncate(path, st->st_size - 3) : 0;
}

static void damaged_snapshots_are_derived_again(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct kept kept;
    settings_now = default_settings();
    settings_now.snapshot_messages = 10;
    kept_open(&kept);
    chain_grow(&chain, 35, 0);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    assert_int_equal(nftw(in_scratch("data/derive/notes"), snapshot_spoil, 8, FTW_PHYS), 0);
    chain_fork(&chain, 7, 8, 1);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    same(&kept, &chain);
    kept_close(&kept);
}

static void a_message_that_halts_leaves_what_was_saved(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct kept kept;
    struct chained_place place;
    settings_now = default_settings();
    settings_now.on_error = 1;
    kept_open(&kept);
    chain_grow(&chain, 9, 0);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    place = chained_place(kept.chained);
    chain_grow(&chain, 2, 0); /* the second one's row is there already */
    assert_fails(follow(kept.chained, &chain, UINT32_MAX, &err), SOREX_GUEST, "height 17: message 11");
    assert_memory_equal(chained_place(kept.chained).hash, place.hash, HASH_BYTES);
    chain_fork(&chain, 1, 1, 1);
    chain.entries[10].payload = bytes_str("select 1");
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    same(&kept, &chain);
    kept_close(&kept);
}

static void another_derivation_is_refused_and_can_begin_anew(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct kept kept;
    settings_now = default_settings();
    kept_open(&kept);
    chain_grow(&chain, 5, 0);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    kept_close(&kept);
    settings_now.maintenance = 3;
    assert_fails(kept_try(&kept, buf_view(&wasm), &err), SOREX_MISMATCH, "--program notes");
    assert_ok(chained_drop(kept.store, in_scratch("data"), "notes", &err));
    kept_close(&kept);
    kept_open(&kept);
    assert_int_equal(chained_place(kept.chained).height, SOREX_HEIGHT_NONE);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    struct entry stranger = {.height = chained_next_height(kept.chained)};
    assert_fails(chained_apply(kept.chained, &stranger, &err), SOREX_MISMATCH, "no child");
    kept_close(&kept);
}

static void a_copy_is_what_is_saved(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct kept kept;
    struct chained *copy;
    struct database *database;
    uint8_t digest[SHA256_BYTES];
    uint32_t height;
    static struct state wanted;
    settings_now = default_settings();
    kept_open(&kept);
    chain_grow(&chain, 12, 0);
    assert_ok(follow(kept.chained, &chain, UINT32_MAX, &err));
    straight_state(&chain, &wanted);
    kept_close(&kept);
    struct store_options options = {.dir = in_scratch("data"), .read_only = true, .history = STORE_HISTORY_FULL};
    assert_ok(store_open(&options, &kept.store, &err));
    assert_fails(chained_open_copy(kept.store, program, "others", &copy, &err), SOREX_GONE, "others");
    assert_ok(chained_open_copy(kept.store, program, "notes", &copy, &err));
    assert_fails(chained_fork(copy, FIRST + 3, &database, NULL, &err), SOREX_GONE, "at height 18");
    assert_ok(chained_fork(copy, FIRST + 11, &database, &height, &err));
    assert_ok(database_digest(database, digest, &err));
    assert_memory_equal(digest, wanted.digest, SHA256_BYTES);
    database_close(database);
    chained_close(copy);
    store_close(kept.store);
}

static int set_up(void **state)
{
    (void)state;
    folder_make();
    chain.count = 0;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    folder_remove();
    return 0;
}

static int group_set_up(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    fold_setup();
    return place_program_take(NULL, true, &program, &err) == SOREX_OK ? 0 : -1;
}

static int group_tear_down(void **state)
{
    (void)state;
    place_program_give(program);
    buf_deinit(&wasm);
    return 0;
}

int main(void)
{
    log_level_set(LOG_OFF);
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(forks_of_every_depth_lead_to_what_a_straight_run_leads_to),
        TEST(a_shorter_chain_and_one_that_comes_back),
        TEST(whatever_happens_when),
        TEST(damaged_snapshots_are_derived_again),
        TEST(a_message_that_halts_leaves_what_was_saved),
        TEST(another_derivation_is_refused_and_can_begin_anew),
        TEST(a_copy_is_what_is_saved),
    };
    return cmocka_run_group_tests(tests, group_set_up, group_tear_down);
}
