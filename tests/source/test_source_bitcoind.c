/* The Bitcoin node source against a node that misbehaves in every way we know. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "chain/chain.h"
#include "config/option.h"
#include "fake_node.h"
#include "integration/process.h"

struct world {
    struct source *chain; /* what the node has */
    struct fake_node *fake;
    struct source *source;
    struct sorex_error err;
};

/* settings: "name", "value", ..., NULL. */
static enum sorex_status open_source(const char *url, const char *const *settings, struct source **out,
                                     struct sorex_error *err)
{
    _Alignas(16) uint8_t storage[1024] = {0};
    const struct source_type *type = source_type_find("bitcoind");
    assert_true(type->settings_size <= sizeof storage);
    for (const struct option *option = type->options; option->name != NULL; option++) {
        const char *value = strcmp(option->name, "url") == 0 ? url : option->fallback;
        for (size_t i = 0; settings[i] != NULL; i += 2) {
            if (strcmp(settings[i], option->name) == 0)
                value = settings[i + 1];
        }
        if (value != NULL)
            assert_int_equal(option_set(option, bytes_str(value), "test", NULL, storage, NULL), SOREX_OK);
    }
    enum sorex_status status = type->open(storage, out, err);
    options_free(type->options, storage);
    return status;
}

static void world_init(struct world *world, uint32_t blocks, const char *const *settings)
{
    *world = (struct world){0};
    assert_int_equal(memory_open(&world->chain, NULL), SOREX_OK);
    assert_int_equal(memory_extend(world->chain, blocks, 0, NULL), SOREX_OK);
    world->fake = fake_node_new(world->chain);
    assert_int_equal(open_source(fake_node_url(world->fake), settings, &world->source, &world->err), SOREX_OK);
}

static void world_deinit(struct world *world)
{
    world->source->type->close(world->source);
    fake_node_free(world->fake);
    world->chain->type->close(world->chain);
}

static const char *const plain[] = {"timeout_ms", "5s", NULL};
static const char *const impatient[] = {"timeout_ms", "200ms", NULL};

static enum sorex_status tip(struct world *world)
{
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    return world->source->type->tip(world->source, &height, hash, &world->err);
}

static void assert_said(const struct world *world, const char *text)
{
    if (strstr(world->err.text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", world->err.text, text);
}

/* The blocks that the source gives are the node's. */
static void assert_serves(struct world *world, uint32_t from, uint32_t to)
{
    for (uint32_t height = from; height <= to; height++) {
        uint8_t expected[HASH_BYTES];
        uint8_t hash[HASH_BYTES];
        struct buf want = {0};
        struct buf got = {0};
        assert_int_equal(world->chain->type->hash_at(world->chain, height, expected, NULL), SOREX_OK);
        assert_int_equal(world->source->type->hash_at(world->source, height, hash, &world->err), SOREX_OK);
        assert_memory_equal(hash, expected, HASH_BYTES);
        assert_int_equal(world->chain->type->fetch(world->chain, height, hash, &want, NULL), SOREX_OK);
        assert_int_equal(world->source->type->fetch(world->source, height, hash, &got, &world->err), SOREX_OK);
        assert_true(bytes_equal(buf_view(&want), buf_view(&got)));
        buf_deinit(&want);
        buf_deinit(&got);
    }
}

static void serves_blocks_on_one_connection(void **state)
{
    struct world w;
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    (void)state;
    world_init(&w, 200, plain);
    assert_int_equal(w.source->type->tip(w.source, &height, hash, &w.err), SOREX_OK);
    assert_int_equal(height, 199);
    assert_serves(&w, 0, 199);
    assert_int_equal(w.source->type->hash_at(w.source, 200, hash, &w.err), SOREX_GONE);
    struct fake_counts counts = fake_node_counts(w.fake);
    assert_int_equal(counts.connections, 1);
    assert_true(counts.batches >= 4 && counts.batches <= 5);
    assert_true(counts.posts <= 200 + 10); /* a request a block, and little else */
    assert_int_equal(counts.gets, 1);      /* REST was tried once */
    world_deinit(&w);
}

static void uses_rest_where_offered(void **state)
{
    struct world w;
    uint8_t hash[HASH_BYTES] = {9};
    struct buf out = {0};
    (void)state;
    world_init(&w, 50, plain);
    fake_node_offer(w.fake, true, true);
    assert_int_equal(tip(&w), SOREX_OK);
    assert_serves(&w, 0, 49);
    struct fake_counts counts = fake_node_counts(w.fake);
    assert_int_equal(counts.gets, 51);
    assert_true(counts.posts <= 3);
    assert_int_equal(w.source->type->fetch(w.source, 3, hash, &out, &w.err), SOREX_GONE);
    buf_deinit(&out);
    world_deinit(&w);
}

static void rest_off_means_off(void **state)
{
    static const char *const settings[] = {"rest", "off", NULL};
    struct world w;
    (void)state;
    world_init(&w, 5, settings);
    fake_node_offer(w.fake, true, true);
    assert_serves(&w, 0, 4);
    assert_int_equal(fake_node_counts(w.fake).gets, 0);
    world_deinit(&w);
}

static void rest_on_is_not_asked(void **state)
{
    static const char *const settings[] = {"rest", "on", NULL};
    struct world w;
    uint8_t hash[HASH_BYTES];
    struct buf out = {0};
    (void)state;
    world_init(&w, 5, settings);
    fake_node_offer(w.fake, true, true);
    assert_serves(&w, 0, 4);
    assert_int_equal(fake_node_counts(w.fake).gets, 5);
    fake_node_fail(w.fake, FAKE_503, 0, 1);
    assert_int_equal(w.chain->type->hash_at(w.chain, 2, hash, NULL), SOREX_OK);
    assert_int_equal(w.source->type->fetch(w.source, 2, hash, &out, &w.err), SOREX_AGAIN);
    assert_said(&w, "HTTP 503");
    buf_deinit(&out);
    world_deinit(&w);
}

/* A node that is starting is not taken for one without REST. */
static void rest_is_decided_by_a_node_that_runs(void **state)
{
    struct world w;
    uint8_t hash[HASH_BYTES];
    struct buf out = {0};
    (void)state;
    world_init(&w, 5, plain);
    fake_node_offer(w.fake, true, true);
    assert_int_equal(w.chain->type->hash_at(w.chain, 2, hash, NULL), SOREX_OK);
    fake_node_fail(w.fake, FAKE_503, 0, 1);
    assert_int_equal(w.source->type->fetch(w.source, 2, hash, &out, &w.err), SOREX_AGAIN);
    fake_node_fail(w.fake, FAKE_CLOSED, 0, 2); /* twice: a kept connection that is closed is opened again by libcurl */
    assert_int_equal(w.source->type->fetch(w.source, 2, hash, &out, &w.err), SOREX_AGAIN);
    assert_serves(&w, 0, 4);
    assert_true(fake_node_counts(w.fake).gets >= 6);
    buf_deinit(&out);
    world_deinit(&w);
}

static void a_node_without_batches(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 100, plain);
    fake_node_offer(w.fake, false, false);
    assert_int_equal(tip(&w), SOREX_OK);
    assert_serves(&w, 0, 99);
    assert_int_equal(fake_node_counts(w.fake).batches, 1);
    world_deinit(&w);
}

static void user_and_password(void **state)
{
    static const char *const settings[] = {"user", "me", "password", "s3cret:with:colons", NULL};
    struct world w;
    (void)state;
    world_init(&w, 5, settings);
    fake_node_password(w.fake, "me:s3cret:with:colons");
    assert_int_equal(tip(&w), SOREX_OK);
    fake_node_password(w.fake, "me:other");
    assert_int_equal(tip(&w), SOREX_AGAIN);
    assert_said(&w, "HTTP 401");
    assert_said(&w, "check user and password");
    assert_null(strstr(w.err.text, "s3cret"));
    world_deinit(&w);
}

static void write_cookie(const char *path, const char *text)
{
    assert_int_equal(file_replace(path, bytes_str(text), NULL), SOREX_OK);
}

static void cookie_file(void **state)
{
    char dir[PATH_MAX];
    char path[PATH_MAX + 16];
    struct world w;
    (void)state;
    assert_int_equal(scratch_make(dir, NULL), SOREX_OK);
    (void)snprintf(path, sizeof path, "%s/.cookie", dir);
    const char *const settings[] = {"cookie_file", path, NULL};
    world_init(&w, 5, settings);
    fake_node_password(w.fake, "__cookie__:one");
    assert_int_equal(tip(&w), SOREX_AGAIN); /* the node has not written it yet */
    assert_said(&w, ".cookie");
    write_cookie(path, "__cookie__:one\n");
    assert_int_equal(tip(&w), SOREX_OK);
    write_cookie(path, "__cookie__:two"); /* as after a restart of the node */
    fake_node_password(w.fake, "__cookie__:two");
    assert_int_equal(tip(&w), SOREX_OK);
    assert_int_equal(fake_node_counts(w.fake).refused, 1);
    fake_node_password(w.fake, "__cookie__:three"); /* the file is old */
    assert_int_equal(tip(&w), SOREX_AGAIN);
    assert_said(&w, "check cookie_file");
    world_deinit(&w);
    scratch_remove(dir);
}

static void settings_that_do_not_fit(void **state)
{
    static const char *const both[] = {"user", "me", "cookie_file", "/x", NULL};
    static const char *const none[] = {NULL};
    struct source *source = NULL;
    struct sorex_error err = {0};
    (void)state;
    assert_int_equal(open_source("http://127.0.0.1:1", both, &source, &err), SOREX_INVALID);
    assert_int_equal(open_source("ftp://127.0.0.1:1", none, &source, &err), SOREX_INVALID);
    assert_int_equal(open_source("no url", none, &source, &err), SOREX_INVALID);
    assert_int_equal(open_source("http://", none, &source, &err), SOREX_INVALID);
    assert_null(source);
}

static void refused_connection(void **state)
{
    static const char *const none[] = {NULL};
    char url[64];
    char label[64];
    uint16_t port = port_free();
    struct world w = {0};
    (void)state;
    (void)snprintf(url, sizeof url, "http://user:hidden@127.0.0.1:%u/", port);
    (void)snprintf(label, sizeof label, "node 127.0.0.1:%u: ", port);
    assert_int_equal(open_source(url, none, &w.source, &w.err), SOREX_OK);
    assert_int_equal(tip(&w), SOREX_AGAIN);
    assert_int_equal(strncmp(w.err.text, label, strlen(label)), 0);
    assert_null(strstr(w.err.text, "hidden"));
    w.source->type->close(w.source);
}

struct fault_case {
    enum fake_fault fault;
    enum sorex_status status;
    const char *text;
};

/* Each fault has its status and its text, and the next question is answered. */
static void faults(void **state)
{
    static const struct fault_case cases[] = {
        {FAKE_WARMUP, SOREX_AGAIN, "the node is starting: Verifying blocks..."},
        {FAKE_500, SOREX_AGAIN, "HTTP 500"},
        {FAKE_503, SOREX_AGAIN, "HTTP 503"},
        {FAKE_GARBAGE, SOREX_CORRUPT, "not JSON"},
        {FAKE_WRONG_JSON, SOREX_CORRUPT, "neither result nor error"},
        {FAKE_WRONG_RESULT, SOREX_CORRUPT, "getblockchaininfo gives no number of blocks"},
        {FAKE_TRUNCATED, SOREX_AGAIN, "node 127.0.0.1:"},
        {FAKE_NO_METHOD, SOREX_INVALID, "Method not found"},
        {FAKE_PRUNED, SOREX_GONE, "pruned data"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        world_init(&w, 5, plain);
        fake_node_fail(w.fake, cases[i].fault, 0, 1);
        assert_int_equal(tip(&w), cases[i].status);
        assert_said(&w, cases[i].text);
        assert_int_equal(tip(&w), SOREX_OK);
        world_deinit(&w);
    }
}

static void faults_of_a_block(void **state)
{
    static const struct fault_case cases[] = {
        {FAKE_WARMUP, SOREX_AGAIN, "starting"},    {FAKE_500, SOREX_AGAIN, "HTTP 500"},
        {FAKE_GARBAGE, SOREX_CORRUPT, "not JSON"}, {FAKE_WRONG_RESULT, SOREX_CORRUPT, "getblock gives no text"},
        {FAKE_PRUNED, SOREX_GONE, "pruned"},       {FAKE_TRUNCATED, SOREX_AGAIN, "node 127.0.0.1:"},
    };
    static const char *const settings[] = {"rest", "off", NULL};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct world w;
        uint8_t hash[HASH_BYTES];
        struct buf out = {0};
        world_init(&w, 5, settings);
        assert_int_equal(w.source->type->hash_at(w.source, 3, hash, &w.err), SOREX_OK);
        fake_node_fail(w.fake, cases[i].fault, 0, 1);
        assert_int_equal(w.source->type->fetch(w.source, 3, hash, &out, &w.err), cases[i].status);
        assert_said(&w, cases[i].text);
        assert_int_equal(out.len, 0);
        assert_serves(&w, 3, 3);
        buf_deinit(&out);
        world_deinit(&w);
    }
}

static void slow_answers_time_out(void **state)
{
    struct world w;
    (void)state;
    world_init(&w, 5, impatient);
    fake_node_fail(w.fake, FAKE_SILENT, 0, 1);
    uint64_t before = clock_ms();
    assert_int_equal(tip(&w), SOREX_AGAIN);
    assert_said(&w, "timed out");
    assert_true(clock_ms() - before < 10000);
    assert_int_equal(tip(&w), SOREX_OK);
    world_deinit(&w);
}

static void *ask_tip(void *argument)
{
    struct world *w = argument;
    enum sorex_status status = tip(w);
    return status == SOREX_STOPPED ? w : NULL;
}

static void interrupt_ends_a_silent_answer(void **state)
{
    struct world w;
    pthread_t thread;
    void *stopped;
    (void)state;
    world_init(&w, 5, plain);
    fake_node_fail(w.fake, FAKE_SILENT, 0, 1);
    uint64_t before = clock_ms();
    assert_int_equal(pthread_create(&thread, NULL, ask_tip, &w), 0);
    while (fake_node_counts(w.fake).posts == 0) {
    }
    w.source->type->interrupt(w.source);
    pthread_join(thread, &stopped);
    assert_non_null(stopped);
    assert_true(clock_ms() - before < 3000);
    assert_int_equal(tip(&w), SOREX_OK);
    world_deinit(&w);
}

/* Hashes that were asked ahead are of the branch that was left: the new tip makes them be asked again. */
static void hashes_follow_a_reorganisation(void **state)
{
    struct world w;
    uint8_t hash[HASH_BYTES];
    (void)state;
    world_init(&w, 60, plain);
    assert_int_equal(tip(&w), SOREX_OK);
    assert_int_equal(w.source->type->hash_at(w.source, 10, hash, &w.err), SOREX_OK);
    assert_int_equal(memory_fork(w.chain, 20, 45, 1, NULL), SOREX_OK);
    assert_int_equal(tip(&w), SOREX_OK);
    assert_serves(&w, 11, 65);
    world_deinit(&w);
}

static enum sorex_status own_hash(void *user_data, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                  struct sorex_error *err)
{
    uint8_t(*own)[HASH_BYTES] = user_data;
    (void)err;
    memcpy(out_hash, own[height], HASH_BYTES);
    return SOREX_OK;
}

/* The whole way, with several requests in hand at a time and a fault of every kind on it. */
static void followed_by_a_chain(void **state)
{
    static uint8_t own[600][HASH_BYTES];
    static const enum fake_fault faults_met[] = {FAKE_WARMUP, FAKE_500,    FAKE_GARBAGE,      FAKE_WRONG_JSON,
                                                 FAKE_CLOSED, FAKE_PRUNED, FAKE_WRONG_RESULT, FAKE_TRUNCATED};
    struct world w;
    struct chain *chain;
    uint32_t count = 0;
    uint32_t met = 0;
    uint64_t deadline = clock_ms() + 60000;
    (void)state;
    world_init(&w, 500, plain);
    const struct chain_options options = {.own_hash = own_hash, .user_data = own, .poll_ms = 5, .retry_ms = 2};
    assert_int_equal(chain_new(w.source, &options, SOREX_HEIGHT_NONE, NULL, &chain, NULL), SOREX_OK);
    while (count < 500) {
        struct chain_event event;
        if (count == 100)
            fake_node_gather(w.fake, 4);
        if (count == 50 * met + 10)
            fake_node_fail(w.fake, faults_met[met++ % 8], 1, 2);
        if (chain_next(chain, 100, &event, &w.err) != SOREX_OK)
            fail_msg("%s", w.err.text);
        assert_true(clock_ms() < deadline);
        if (event.kind != CHAIN_ENTRY)
            continue;
        assert_int_equal(event.entry.height, count);
        memcpy(own[count++], event.entry.hash, HASH_BYTES);
    }
    assert_in_range(fake_node_counts(w.fake).at_once, 4, 8);
    chain_free(chain);
    world_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_blocks_on_one_connection),
        cmocka_unit_test(uses_rest_where_offered),
        cmocka_unit_test(rest_off_means_off),
        cmocka_unit_test(rest_on_is_not_asked),
        cmocka_unit_test(rest_is_decided_by_a_node_that_runs),
        cmocka_unit_test(a_node_without_batches),
        cmocka_unit_test(user_and_password),
        cmocka_unit_test(cookie_file),
        cmocka_unit_test(settings_that_do_not_fit),
        cmocka_unit_test(refused_connection),
        cmocka_unit_test(faults),
        cmocka_unit_test(faults_of_a_block),
        cmocka_unit_test(slow_answers_time_out),
        cmocka_unit_test(interrupt_ends_a_silent_answer),
        cmocka_unit_test(hashes_follow_a_reorganisation),
        cmocka_unit_test(followed_by_a_chain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
