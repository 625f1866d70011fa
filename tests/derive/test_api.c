/* include/sorex/derive.h: what a program that embeds it gets. */
#include "derive/story.h"

#include "derive/verify.h"
#include "sorex/derive.h"

static struct sorex_derivation *derivation;
static struct sorex_message messages[MESSAGES];
static struct state states[MESSAGES + 1];

static int setup(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    folder_make();
    fold_setup();
    struct derive_settings settings = default_settings();
    texts_write(in_scratch("story.jsonl"), story, MESSAGES);
    fold(in_scratch("story.jsonl"), &settings, false, states, 0, MESSAGES);
    for (int i = 0; i < MESSAGES; i++)
        messages[i] = (struct sorex_message){.time_ms = 1700000000000 + i * 1000, .author = "ann", .payload = story[i]};
    assert_ok(sorex_derivation_load(wasm.data, wasm.len, NULL, &derivation, &err));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sorex_derivation_free(derivation);
    buf_deinit(&wasm);
    folder_remove();
    return 0;
}

static struct sorex_state *derive(size_t count)
{
    struct sorex_error err = {0};
    struct sorex_state *out = NULL;
    assert_ok(sorex_derive_state(derivation, messages, count, &out, &err));
    return out;
}

/* As a fold from the beginning gives it. */
static void assert_state(struct sorex_state *is, size_t count)
{
    struct sorex_error err = {0};
    struct sorex_state_info info;
    uint8_t digest[SOREX_HASH_BYTES];
    sorex_state_info(is, &info);
    assert_int_equal(info.messages, count);
    assert_int_equal(info.rejected, states[count].receipt.rejected);
    assert_memory_equal(info.key, states[count].receipt.key, SOREX_HASH_BYTES);
    assert_memory_equal(info.log, states[count].receipt.log, SOREX_HASH_BYTES);
    assert_memory_equal(info.trace, states[count].receipt.trace, SOREX_HASH_BYTES);
    assert_ok(sorex_state_digest(is, digest, &err));
    assert_memory_equal(digest, states[count].digest, SOREX_HASH_BYTES);
}

static void test_derive(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct sorex_state *is = derive(0), *fork = NULL;
    assert_state(is, 0);
    assert_ok(sorex_state_apply(is, messages, 10, &err));
    assert_state(is, 10);
    assert_ok(sorex_state_fork(is, &fork, &err));
    assert_ok(sorex_state_apply(is, messages + 10, MESSAGES - 10, &err));
    assert_state(is, MESSAGES);
    assert_state(fork, 10);
    sorex_state_free(is);
    assert_ok(sorex_state_apply(fork, messages + 10, 5, &err));
    assert_state(fork, 15);
    sorex_state_free(fork);
}

static void test_ask(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct sorex_result *result = NULL;
    struct sorex_database *database = NULL;
    struct sorex_state *is = derive(2);
    assert_ok(sorex_state_query(is, "select sum(hp) from unit", &result, &err));
    assert_int_equal(sorex_result_rows(result), 1);
    assert_int_equal(sorex_result_row(result, 0)[0].integer, 2460);
    sorex_result_free(result);
    assert_fails(sorex_state_query(is, "select nothing", &result, &err), SOREX_INVALID, "42703");
    assert_ok(sorex_state_database(is, &database, &err));
    assert_ok(sorex_database_exec(database, "delete from unit", NULL, &err));
    sorex_database_close(database);
    assert_state(is, 2); /* nothing of it got back */
    assert_ok(sorex_state_apply(is, messages + 2, 3, &err));
    assert_state(is, 5);
    sorex_state_free(is);
}

/* What is no message, and what stops it: the state is that before. */
static void test_stops(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct sorex_state *is = derive(3), *none = NULL;
    struct sorex_message bad[3] = {messages[3], messages[4], {.time_ms = 5, .payload = "x"}};
    assert_fails(sorex_state_apply(is, bad, 3, &err), SOREX_INVALID, "message 6: its time");
    assert_state(is, 5);
    bad[0] = (struct sorex_message){.time_ms = INT64_MAX, .author = "\xff", .payload = "x"};
    assert_fails(sorex_state_apply(is, bad, 1, &err), SOREX_INVALID, "message 6: the time");
    assert_state(is, 5);
    sorex_state_free(is);

    struct sorex_derivation *halting = NULL;
    const struct sorex_derivation_options options = {.halt = 1};
    struct sorex_state_info info;
    assert_ok(sorex_derivation_load(wasm.data, wasm.len, &options, &halting, &err));
    assert_fails(sorex_derive_state(halting, messages, MESSAGES, &none, &err), SOREX_GUEST, "message 4");
    assert_null(none);
    assert_ok(sorex_derive_state(halting, messages, 0, &is, &err));
    assert_fails(sorex_state_apply(is, messages, MESSAGES, &err), SOREX_GUEST, "message 4");
    sorex_state_info(is, &info);
    assert_int_equal(info.messages, 3);
    assert_fails(sorex_state_apply(is, messages + 3, 1, &err), SOREX_GUEST, "message 4"); /* and again */
    sorex_state_free(is);
    sorex_derivation_free(halting);
    assert_fails(sorex_derivation_load("no module", 9, NULL, &halting, &err), SOREX_INVALID, "");
}

static void test_receipt_and_export(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    char *receipt = NULL;
    void *bytes = NULL;
    size_t receipt_len = 0, len = 0;
    struct sorex_derivation *other = NULL;
    struct sorex_state *is = derive(12), *imported = NULL;
    assert_ok(sorex_state_receipt(is, "select count(*) from note", &receipt, &receipt_len, &err));
    assert_ok(sorex_state_export(is, &bytes, &len, &err));
    assert_fails(sorex_state_receipt(is, "select nothing", &receipt, &receipt_len, &err), SOREX_INVALID, "42703");
    sorex_state_free(is);

    static struct receipt_file file;
    struct derivation *inner = NULL;
    struct derive_settings settings = default_settings();
    struct derivation_options options = derive_settings_derivation(&settings);
    assert_ok(receipt_file_read(bytes_of(receipt, receipt_len), &file, &err));
    assert_ok(derivation_new(buf_view(&wasm), &options, &inner, &err));
    const struct witness witness = {.derivation = inner, .log = in_scratch("story.jsonl")};
    assert_ok(verify_receipt(&witness, &file, NULL, NULL, &err));
    receipt_file_deinit(&file);
    derivation_free(inner);

    assert_ok(sorex_state_import(bytes, len, receipt, receipt_len, NULL, &other, &imported, &err));
    assert_state(imported, 12);
    assert_ok(sorex_state_apply(imported, messages + 12, MESSAGES - 12, &err));
    assert_state(imported, MESSAGES);
    sorex_state_free(imported);
    sorex_derivation_free(other);
    char *digest = strstr(receipt, "\"digest\":\"");
    assert_non_null(digest);
    digest[12] = digest[12] == '0' ? '1' : '0';
    assert_fails(sorex_state_import(bytes, len, receipt, receipt_len, NULL, &other, &imported, &err), SOREX_MISMATCH,
                 "digest");
    ((uint8_t *)bytes)[len - 1] ^= 1;
    assert_fails(sorex_state_import(bytes, len, NULL, 0, NULL, &other, &imported, &err), SOREX_CORRUPT, "damaged");
    free(receipt);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_derive),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_stops),
        cmocka_unit_test(test_receipt_and_export),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
