/* A real Bitcoin node (btcd on regtest), followed: reorganisations of every depth and back, restarts in between, other
 * networks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "chain/chain.h"
#include "config/option.h"
#include "integration/node.h"
#include "source/source.h"

#define SKIPPED 77
#define PATIENCE_MS 60000
#define HEIGHTS_MAX 2000

static struct node *node;
static struct source *source;

struct follower {
    struct chain *chain;
    struct chain_options options;
    uint8_t own[HEIGHTS_MAX][HASH_BYTES];
    uint32_t count;
    uint32_t undone_to; /* by the last undo, or SOREX_HEIGHT_NONE */
    uint32_t undos;
    char waiting[CHAIN_WAITING_BYTES];
};

static struct follower follower;

static void good(enum sorex_status status, const struct sorex_error *err)
{
    if (status != SOREX_OK)
        fail_msg("%s: %s", sorex_status_name(status), err->text);
}

static enum sorex_status own_hash(void *user_data, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                  struct sorex_error *err)
{
    (void)user_data;
    if (height >= follower.count)
        return sorex_error_set(err, SOREX_GONE, "not there");
    memcpy(out_hash, follower.own[height], HASH_BYTES);
    return SOREX_OK;
}

static struct source *open_source(const char *url, const char *password)
{
    _Alignas(16) uint8_t settings[1024] = {0};
    const struct source_type *type = source_type_find("bitcoind");
    struct sorex_error err = {0};
    struct source *out = NULL;
    assert_true(type->settings_size <= sizeof settings);
    const struct {
        const char *name, *value;
    } values[] = {{"url", url}, {"user", NODE_USER}, {"password", password}, {"timeout_ms", "20s"}, {"rest", "auto"}};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        const struct option *option = type->options;
        while (strcmp(option->name, values[i].name) != 0)
            option++;
        good(option_set(option, bytes_str(values[i].value), "test", NULL, settings, &err), &err);
    }
    good(type->open(settings, &out, &err), &err);
    options_free(type->options, settings);
    return out;
}

static void start_chain(void)
{
    struct sorex_error err = {0};
    chain_free(follower.chain);
    follower.chain = NULL;
    good(chain_new(source, &follower.options, follower.count == 0 ? SOREX_HEIGHT_NONE : follower.count - 1,
                   follower.count == 0 ? NULL : follower.own[follower.count - 1], &follower.chain, &err),
         &err);
}

static enum sorex_status step(struct sorex_error *err)
{
    struct chain_event event;
    enum sorex_status status = chain_next(follower.chain, 100, &event, err);
    follower.waiting[0] = '\0';
    if (status != SOREX_OK)
        return status;
    if (event.kind == CHAIN_ENTRY) {
        assert_int_equal(event.entry.height, follower.count);
        assert_true(follower.count < HEIGHTS_MAX);
        memcpy(follower.own[follower.count++], event.entry.hash, HASH_BYTES);
    } else if (event.kind == CHAIN_UNDO) {
        assert_true(event.height + 1 < follower.count);
        follower.count = event.height + 1;
        follower.undone_to = event.height;
        follower.undos++;
    } else {
        memcpy(follower.waiting, event.waiting, sizeof follower.waiting);
    }
    return SOREX_OK;
}

/* Until our chain is the node's, and says so. */
static void catch_up(void)
{
    struct sorex_error err = {0};
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    follower.undos = 0;
    follower.undone_to = SOREX_HEIGHT_NONE;
    good(node_tip(node, &height, hash, &err), &err);
    while (follower.count != height + 1 || memcmp(follower.own[height], hash, HASH_BYTES) != 0 ||
           strcmp(follower.waiting, "at the tip") != 0) {
        good(step(&err), &err);
        if (clock_ms() > deadline)
            fail_msg("not at height %u: we are at %u, %s", height, follower.count - 1, follower.waiting);
    }
    for (uint32_t i = 0; i <= height; i++) {
        good(node_hash_at(node, i, hash, &err), &err);
        assert_memory_equal(hash, follower.own[i], HASH_BYTES);
    }
}

static void wait_for_text(const char *text)
{
    struct sorex_error err = {0};
    uint64_t deadline = clock_ms() + PATIENCE_MS;
    while (strstr(follower.waiting, text) == NULL) {
        good(step(&err), &err);
        assert_true(clock_ms() < deadline);
    }
}

static void follows_new_blocks(void **state)
{
    struct sorex_error err = {0};
    (void)state;
    catch_up();
    assert_int_equal(follower.count, 1);
    good(node_generate(node, 150, &err), &err);
    catch_up();
    assert_int_equal(follower.count, 151);
    good(node_generate(node, 1, &err), &err);
    catch_up();
    assert_int_equal(follower.undos, 0);
}

static void reorganise(uint32_t depth, uint32_t more)
{
    struct sorex_error err = {0};
    uint8_t left[HASH_BYTES];
    uint32_t before = follower.count;
    good(node_reorganise(node, depth, depth + more, left, &err), &err);
    catch_up();
    assert_int_equal(follower.undos, 1);
    assert_int_equal(follower.undone_to, before - 1 - depth);
    assert_int_equal(follower.count, before + more);
}

static void reorganisations(void **state)
{
    (void)state;
    reorganise(1, 1);
    reorganise(1, 10);
    reorganise(2, 1);
    reorganise(6, 1);
    reorganise(100, 1);
}

/* The same height, another tip: nothing grows, and yet it is noticed. */
static void replaced_at_the_same_height(void **state)
{
    (void)state;
    reorganise(1, 0);
    reorganise(3, 0);
}

static void there_and_back(uint32_t depth)
{
    struct sorex_error err = {0};
    uint8_t left[HASH_BYTES];
    uint8_t old_tip[HASH_BYTES];
    good(node_generate(node, depth + 1, &err), &err); /* a stretch without other branches: see node_reconsider */
    catch_up();
    uint32_t old_count = follower.count;
    memcpy(old_tip, follower.own[old_count - 1], HASH_BYTES);
    good(node_reorganise(node, depth, depth - 1, left, &err),
         &err); /* shorter, with another tip (or a prefix, at depth 1) */
    if (depth == 1)
        wait_for_text("source is behind");
    else
        catch_up();
    good(node_reconsider(node, left, &err), &err);
    catch_up();
    assert_int_equal(follower.count, old_count);
    assert_memory_equal(follower.own[old_count - 1], old_tip, HASH_BYTES);
}

static void back_again(void **state)
{
    (void)state;
    there_and_back(1);
    there_and_back(6);
    there_and_back(100);
}

static void restarted_in_the_middle(void **state)
{
    struct sorex_error err = {0};
    (void)state;
    good(node_generate(node, 300, &err), &err);
    uint32_t from = follower.count;
    while (follower.count < from + 20)
        good(step(&err), &err);
    node_stop(node);
    wait_for_text("retrying in");
    assert_non_null(strstr(follower.waiting, "node 127.0.0.1:"));
    good(node_start(node, &err), &err);
    catch_up();
    assert_int_equal(follower.undos, 0);
}

static void killed_and_reorganised_while_away(void **state)
{
    struct sorex_error err = {0};
    uint8_t left[HASH_BYTES];
    (void)state;
    uint32_t before = follower.count;
    chain_free(follower.chain);
    follower.chain = NULL;
    good(node_reorganise(node, 10, 12, left, &err), &err);
    start_chain();
    catch_up();
    assert_int_equal(follower.undone_to, before - 11);
}

static void wrong_password(void **state)
{
    struct sorex_error err = {0};
    uint32_t height;
    uint8_t hash[HASH_BYTES];
    (void)state;
    struct source *stranger = open_source(node_url(node), "wrong");
    assert_int_equal(stranger->type->tip(stranger, &height, hash, &err), SOREX_AGAIN);
    assert_non_null(strstr(err.text, "check user and password"));
    stranger->type->close(stranger);
}

static void what_is_not_there(void **state)
{
    struct sorex_error err = {0};
    uint8_t hash[HASH_BYTES] = {1};
    struct buf out = {0};
    (void)state;
    assert_int_equal(source->type->hash_at(source, follower.count, hash, &err), SOREX_GONE);
    memset(hash, 7, sizeof hash);
    assert_int_equal(source->type->fetch(source, 5, hash, &out, &err), SOREX_GONE);
    buf_deinit(&out);
}

/* A chain of this test's own making is no prefix of the node's. */
static void another_network(void **state)
{
    struct sorex_error err = {0};
    (void)state;
    follower.own[0][3] ^= 1;
    start_chain();
    enum sorex_status status = SOREX_OK;
    for (uint64_t deadline = clock_ms() + PATIENCE_MS; status == SOREX_OK && clock_ms() < deadline;)
        status = step(&err);
    assert_int_equal(status, SOREX_MISMATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(follows_new_blocks),
        cmocka_unit_test(reorganisations),
        cmocka_unit_test(replaced_at_the_same_height),
        cmocka_unit_test(back_again),
        cmocka_unit_test(restarted_in_the_middle),
        cmocka_unit_test(killed_and_reorganised_while_away),
        cmocka_unit_test(wrong_password),
        cmocka_unit_test(what_is_not_there),
        cmocka_unit_test(another_network),
    };
    struct sorex_error err = {0};
    enum sorex_status status = node_new(&node, &err);
    if (status != SOREX_OK) {
        (void)fprintf(stderr, "SKIPPED: %s\n", err.text);
        return status == SOREX_GONE ? SKIPPED : 1;
    }
    source = open_source(node_url(node), NODE_PASSWORD);
    follower.options = (struct chain_options){.own_hash = own_hash, .poll_ms = 20, .retry_ms = 20};
    start_chain();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    chain_free(follower.chain);
    source->type->close(source);
    node_free(node);
    return failed;
}
